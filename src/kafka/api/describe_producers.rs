//! DescribeProducers (key 61), versions 0–0: who writes into partitions, and which of them have a transaction open there
//! (KIP-664).
//!
//! Told by any replica of a partition, as in Kafka: `kafka-transactions find-hanging --broker-id` asks a broker about all of
//! which it has one. What a follower tells is what it has applied, a moment behind its leader. A partition remembers
//! producers for a day at least, so there may be many: what one answer does not hold is to be asked for partition by
//! partition, and a single one that has too many says so.
//!
//! | since version | what is new |
//! |---|---|
//! | 0 | flexible from the beginning |

use std::sync::Arc;

use kafka_wire::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_wire::{DescribeProducersRequest, DescribeProducersResponse};
use kafka_wire_core::StrBytes;

use super::repeated;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::route::{self, Leaders};
use crate::kafka::server::KafkaServer;
use crate::metadata::{Image, PartitionInfo};
use crate::partition::{self, Partition};

/// Producers of one answer.
const PRODUCERS_MAX: usize = 200_000;
/// Producers that are read at once.
const PAGE: usize = 1_000;
/// What a producer takes in the answer and in its making.
const PRODUCER_BYTES: usize = 128;

/// Why there is nothing to tell of a partition, and words for it.
type Refusal = (ErrorCode, Option<&'static str>);

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let image = server.context.metadata.image();
    let found = found(&image, &request);
    let infos: Vec<_> = found.iter().filter_map(|found| found.ok()).collect();
    // Who was just elected tells what its predecessor had acknowledged, too.
    let _ = Leaders::of(&server, &infos, route::ready_by(None)).await;
    let mut found = found.into_iter();
    let mut left = PRODUCERS_MAX;
    let mut answer = DescribeProducersResponse::default();
    for topic in &request.topics {
        let mut result = TopicResponse::default();
        result.name = topic.name.clone();
        for (index, found) in topic.partition_indexes.iter().zip(found.by_ref()) {
            let replica = found.and_then(|info| {
                let replica = server.context.partitions.get(info.group);
                replica.ok_or(ErrorCode::NotLeaderOrFollower)
            });
            let told = match replica {
                Ok(replica) => producers(&replica, left).await,
                Err(code) => Err((code, None)),
            };
            left = left.saturating_sub(told.as_ref().map_or(0, Vec::len));
            result.partitions.push(row(*index, told, &call));
        }
        answer.topics.push(result);
    }
    answer
}

/// Returns every partition of a request, in its order.
fn found<'i>(
    image: &'i Image,
    request: &DescribeProducersRequest,
) -> Vec<Result<&'i PartitionInfo, ErrorCode>> {
    let topics = request.topics.iter();
    let named = topics.flat_map(|it| it.partition_indexes.iter().map(|index| (&it.name, *index)));
    let repeated = repeated(named.clone());
    let find = |named: (&StrBytes, i32)| {
        if repeated.contains(&named) {
            return Err(ErrorCode::InvalidRequest);
        }
        route::find(image, named.0, named.1)
    };
    named.map(find).collect()
}

/// Returns about how many bytes an answer takes.
pub(in crate::kafka) fn weigh_answer(answer: &DescribeProducersResponse) -> usize {
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|it| it.active_producers.len().saturating_mul(PRODUCER_BYTES)).sum()
}

async fn producers(
    partition: &Partition,
    left: usize,
) -> Result<Vec<partition::ProducerState>, Refusal> {
    let mut found: Vec<partition::ProducerState> = Vec::new();
    loop {
        let after = found.last().map(|it| it.producer_id);
        let page = partition.producers(after, PAGE).await;
        let page = page.map_err(|error| (ErrorCode::from(&error), None))?;
        let is_last = page.len() < PAGE;
        found.extend(page);
        if found.len() > left {
            let words = "there are more producers than one answer holds; ask for fewer partitions";
            return Err((ErrorCode::PolicyViolation, Some(words)));
        }
        if is_last {
            return Ok(found);
        }
    }
}

fn row(
    index: i32,
    told: Result<Vec<partition::ProducerState>, Refusal>,
    call: &Call,
) -> PartitionResponse {
    let mut row = PartitionResponse::default();
    row.partition_index = index;
    match told {
        Ok(producers) => row.active_producers = producers.into_iter().map(producer).collect(),
        Err((code, words)) => {
            row.error_code = code.count(call);
            row.error_message = words.map(Into::into);
        }
    }
    row
}

fn producer(of: partition::ProducerState) -> ProducerState {
    let mut row = ProducerState::default();
    row.producer_id = of.producer_id;
    row.producer_epoch = i32::from(of.epoch);
    row.last_sequence = of.last_sequence;
    row.last_timestamp = of.last_timestamp;
    row.coordinator_epoch = of.coordinator_epoch;
    row.current_txn_start_offset = of.transaction_start_offset;
    row
}
