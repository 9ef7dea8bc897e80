//! OffsetDelete (key 47), versions 0–0: forgets how far a group has read.
//!
//! Not of topics that a living group subscribes to.
//!
//! | since version | what is new |
//! |---|---|
//! | 0 | the API (KIP-496) |

use std::sync::Arc;

use kafka_wire::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_wire::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::coordinator::NamedPartition;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::{self, text};
use crate::kafka::route;
use crate::kafka::server::KafkaServer;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let mut answer = OffsetDeleteResponse::default();
    let image = server.context.metadata.image();
    let (mut rows, mut partitions) = (Vec::new(), Vec::new());
    for topic in &request.topics {
        for it in &topic.partitions {
            let found = route::find(&image, &topic.name, it.partition_index);
            rows.push(found.map(|_| ()));
            if let Some(found) = image.topic(&topic.name).filter(|_| found.is_ok()) {
                let (id, topic) = (found.id, found.name.clone());
                partitions.push(NamedPartition { id, topic, partition: it.partition_index });
            }
        }
    }
    let deleted = match groups::coordinator_of(&server, &request.group_id) {
        Ok(coordinator) => coordinator.delete_offsets(text(&request.group_id), partitions).await,
        Err(error) => Err(error),
    };
    let mut deleted = match deleted {
        Ok(deleted) => deleted.into_iter(),
        Err(error) => {
            answer.error_code = ErrorCode::from(&error).count(&call);
            return answer;
        }
    };
    let mut rows = rows.into_iter();
    for topic in request.topics {
        let mut result = OffsetDeleteResponseTopic::default();
        for (it, row) in topic.partitions.iter().zip(rows.by_ref()) {
            let mut partition = OffsetDeleteResponsePartition::default();
            partition.partition_index = it.partition_index;
            let outcome = row.and_then(|()| {
                let deleted = deleted.next().unwrap_or(Ok(()));
                deleted.map_err(|error| ErrorCode::from(&error))
            });
            if let Err(code) = outcome {
                partition.error_code = code.count(&call);
            }
            result.partitions.push(partition);
        }
        result.name = topic.name;
        answer.topics.push(result);
    }
    answer
}
