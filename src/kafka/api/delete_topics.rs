//! DeleteTopics (key 20), versions 1–6: by name, and from version 6 on by id as well.
//!
//! What is deleted does not come back, so a request that is not clear deletes nothing: a topic given by name and id
//! at once, or more than once in whatever way, is refused.
//!
//! | since version | what is new |
//! |---|---|
//! | 3 | deletion may be disabled (KIP-322); here it never is |
//! | 4 | flexible (KIP-482) |
//! | 5 | a message (KIP-599) |
//! | 6 | topics by id (KIP-516) |

use std::sync::Arc;

use kafka_wire::delete_topics_request::DeleteTopicState;
use kafka_wire::delete_topics_response::DeletableTopicResult;
use kafka_wire::{DeleteTopicsRequest, DeleteTopicsResponse};
use uuid::Uuid;

use super::create_topics::named_twice;
use super::{change_wait_of, repeated};
use crate::controller::TopicRef;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::{AdminError, Image};

/// The version from which topics may be named by id and the list has another form.
const IDS_FROM: i16 = 6;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let image = server.context.metadata.image();
    let asked = asked_of(request.topics, request.topic_names, call.version);
    let refs: Vec<_> = asked.iter().map(named).collect();
    let repeated = repeated(refs.iter().flatten().map(|topic| one(topic, &image)));
    let mut wanted = Vec::new();
    let mut refused = Vec::with_capacity(refs.len());
    for topic in refs {
        refused.push(match topic {
            Ok(topic) if repeated.contains(&one(&topic, &image)) => Some(named_twice()),
            Ok(topic) => {
                wanted.push(topic);
                None
            }
            Err(error) => Some(error),
        });
    }
    let timeout = change_wait_of(request.timeout_ms);
    let outcomes = server.context.controller.delete_topics(wanted, timeout).await;
    let mut outcomes = outcomes.into_iter();
    let row = |(asked, refused): (DeleteTopicState, Option<AdminError>)| {
        let error = match refused {
            Some(error) => Some(error),
            None => outcomes.next().unwrap_or(Err(AdminError::Timeout)).err(),
        };
        row(asked, error, &image, &call)
    };
    let mut answer = DeleteTopicsResponse::default();
    answer.responses = asked.into_iter().zip(refused).map(row).collect();
    answer
}

/// Returns the topic that is meant; to name it in two ways is refused even where both agree, as in Kafka.
fn named(asked: &DeleteTopicState) -> Result<TopicRef, AdminError> {
    let id = Uuid::from_bytes(asked.topic_id.to_bytes());
    let refuse = |why: &str| Err(AdminError::InvalidRequest(why.to_owned()));
    match &asked.name {
        Some(_) if !id.is_nil() => refuse("a topic is given by its name or by its id, not by both"),
        Some(name) => Ok(TopicRef::Name(name.to_string())),
        None if id.is_nil() => refuse("neither the name nor the id of a topic is given"),
        None => Ok(TopicRef::Id(id)),
    }
}

/// Returns the same for two references to one topic.
fn one(topic: &TopicRef, image: &Image) -> TopicRef {
    match topic {
        TopicRef::Name(name) => image.topic(name).map(|found| TopicRef::Id(found.id)),
        TopicRef::Id(_) => None,
    }
    .unwrap_or_else(|| topic.clone())
}

fn row(
    asked: DeleteTopicState,
    error: Option<AdminError>,
    image: &Image,
    call: &Call,
) -> DeletableTopicResult {
    let mut row = DeletableTopicResult::default();
    // Who deletes by id is told the name, if there is one.
    let id = Uuid::from_bytes(asked.topic_id.to_bytes());
    row.name = asked.name.or_else(|| image.topic_by_id(id).map(|it| it.name.as_str().into()));
    row.topic_id = asked.topic_id;
    if let Some(error) = error {
        row.error_code = ErrorCode::from(&error).count(call);
        row.error_message = Some(error.to_string().into());
    }
    if call.version < IDS_FROM {
        row.name.get_or_insert_with(|| "".into());
    }
    row
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
