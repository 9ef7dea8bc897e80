//! ListPartitionReassignments (key 46), versions 0–0: the partitions whose replicas are being changed.
//!
//! | since version | what is new |
//! |---|---|
//! | 0 | flexible from the beginning (KIP-455) |

use std::sync::Arc;

use kafka_wire::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_wire::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::kafka::call::Call;
use crate::kafka::server::{KafkaServer, broker_id};
use crate::metadata::{PartitionInfo, Topic};

/// What a partition on its way takes in the answer, about.
const PARTITION_BYTES: usize = 512;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    _: Call,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let image = server.context.metadata.image();
    let mut answer = ListPartitionReassignmentsResponse::default();
    answer.error_message = None;
    answer.topics = match request.topics {
        None => image.topics.values().filter_map(|topic| row(topic, |_| true)).collect(),
        Some(topics) => {
            let named = topics.iter().filter_map(|it| Some((image.topic(&it.name)?, it)));
            named
                .filter_map(|(topic, it)| row(topic, |index| it.partition_indexes.contains(&index)))
                .collect()
        }
    };
    answer
}

/// Returns about how many bytes the answer takes while it is made.
pub(in crate::kafka) fn weigh(
    server: &KafkaServer,
    _: i16,
    _: &ListPartitionReassignmentsRequest,
) -> usize {
    server.context.metadata.image().moving.len().saturating_mul(PARTITION_BYTES)
}

/// The partitions of a topic that are under way; `None` if there are none.
fn row(topic: &Topic, wanted: impl Fn(i32) -> bool) -> Option<OngoingTopicReassignment> {
    let moving = topic.numbered().filter(|(index, it)| it.target.is_some() && wanted(*index));
    let mut row = OngoingTopicReassignment::default();
    row.partitions = moving.map(|(index, info)| partition(index, info)).collect();
    row.name = topic.name.as_str().into();
    (!row.partitions.is_empty()).then_some(row)
}

fn partition(index: i32, info: &PartitionInfo) -> OngoingPartitionReassignment {
    let target = info.target.as_deref().unwrap_or_default();
    let adding: Vec<u64> =
        target.iter().filter(|id| !info.replicas.contains(id)).copied().collect();
    let removing: Vec<u64> =
        info.replicas.iter().filter(|id| !target.contains(id)).copied().collect();
    let mut row = OngoingPartitionReassignment::default();
    row.partition_index = index;
    row.replicas = info.replicas.iter().chain(&adding).map(|id| broker_id(*id)).collect();
    row.adding_replicas = adding.into_iter().map(broker_id).collect();
    row.removing_replicas = removing.into_iter().map(broker_id).collect();
    row
}
