//! DeleteTopics (key 20), versions 1–6: by name, and from version 6 on by id as well.

use std::sync::Arc;

use kafka_wire::delete_topics_request::DeleteTopicState;
use kafka_wire::delete_topics_response::DeletableTopicResult;
use kafka_wire::{DeleteTopicsRequest, DeleteTopicsResponse};
use uuid::Uuid;

use super::wait_of;
use crate::controller::TopicRef;
use crate::kafka::error::ErrorCode;
use crate::kafka::face::Face;
use crate::kafka::frame::Call;

/// The version from which topics may be named by id and the list has another form.
const IDS_FROM: i16 = 6;

pub(in crate::kafka) async fn handle(
    face: Arc<Face>,
    call: Call,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let image = face.context.metadata.image();
    let mut rows = Vec::new();
    let mut wanted = Vec::new();
    for asked in asked_of(request.topics, request.topic_names, call.version) {
        let mut row = DeletableTopicResult::default();
        let id = Uuid::from_bytes(asked.topic_id.to_bytes());
        wanted.push(match &asked.name {
            Some(name) => TopicRef::Name(name.to_string()),
            None => TopicRef::Id(id),
        });
        // Who deletes by id is told the name, if there is one.
        row.name =
            asked.name.or_else(|| image.topic_by_id(id).map(|topic| topic.name.as_str().into()));
        row.topic_id = asked.topic_id;
        rows.push(row);
    }
    let timeout = wait_of(request.timeout_ms);
    let outcomes = face.context.controller.delete_topics(wanted, timeout).await;
    for (row, outcome) in rows.iter_mut().zip(outcomes) {
        if let Err(error) = outcome {
            row.error_code = ErrorCode::from(&error).count(&call);
            row.error_message = Some(error.to_string().into());
        }
        if call.version < IDS_FROM {
            row.name.get_or_insert_with(|| "".into());
        }
    }
    let mut answer = DeleteTopicsResponse::default();
    answer.responses = rows;
    answer
}

fn asked_of(
    topics: Vec<DeleteTopicState>,
    names: Vec<kafka_wire_core::StrBytes>,
    version: i16,
) -> Vec<DeleteTopicState> {
    if version >= IDS_FROM {
        return topics;
    }
    let named = |name| {
        let mut topic = DeleteTopicState::default();
        topic.name = Some(name);
        topic
    };
    names.into_iter().map(named).collect()
}
