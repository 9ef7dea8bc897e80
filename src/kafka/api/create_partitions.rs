//! CreatePartitions (key 37), versions 0–3: adds partitions to topics. Every topic asked for has a row in the answer; one
//! that is named twice is refused, as in Kafka, for the two may not say the same.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | flexible (KIP-482) |
//! | 3 | quotas on changes (KIP-599), of which there are none here |

use std::sync::Arc;

use kafka_wire::create_partitions_request::CreatePartitionsTopic;
use kafka_wire::create_partitions_response::CreatePartitionsTopicResult;
use kafka_wire::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::create_topics::{broker_ids, named_twice};
use super::{change_wait_of, repeated};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::{AdminError, NewPartitions};

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let repeated = repeated(request.topics.iter().map(|topic| topic.name.clone()));
    let mut wanted = Vec::new();
    let mut rows = Vec::new();
    for topic in request.topics {
        let refused = if repeated.contains(&topic.name) {
            Some(named_twice())
        } else {
            new_partitions(&topic).map(|topic| wanted.push(topic)).err()
        };
        rows.push((topic.name, refused));
    }
    let timeout = change_wait_of(request.timeout_ms);
    let controller = &server.context.controller;
    let created = controller.create_partitions(wanted, request.validate_only, timeout).await;
    let mut created = created.into_iter();
    let mut answer = CreatePartitionsResponse::default();
    for (name, refused) in rows {
        let error = match refused {
            Some(error) => Some(error),
            None => created.next().unwrap_or(Err(AdminError::Timeout)).err(),
        };
        let mut row = CreatePartitionsTopicResult::default();
        row.name = name;
        if let Some(error) = error {
            row.error_code = ErrorCode::from(&error).count(&call);
            row.error_message = Some(error.to_string().into());
        }
        answer.results.push(row);
    }
    answer
}

fn new_partitions(asked: &CreatePartitionsTopic) -> Result<NewPartitions, AdminError> {
    let total = u32::try_from(asked.count)
        .map_err(|_| AdminError::InvalidPartitions(format!("{} is negative", asked.count)))?;
    let assignment = asked.assignments.iter().flatten().map(|it| broker_ids(&it.broker_ids));
    let assignment = assignment.collect::<Result<_, _>>()?;
    Ok(NewPartitions { topic: asked.name.to_string(), total, assignment })
}
