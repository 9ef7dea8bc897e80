//! DescribeTopicPartitions (key 75), versions 0–0: partitions of topics, page by page (KIP-966).
//!
//! Topics come in the order of their names. An answer that is full names the partition at which to go on. Java's admin client
//! asks for descriptions of topics this way.
//!
//! | since version | what is new |
//! |---|---|
//! | 0 | flexible from the beginning |

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_wire::describe_topic_partitions_request::Cursor as From;
use kafka_wire::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_wire::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use kafka_wire_core::Uuid as WireUuid;

use super::metadata::{PARTITION_BYTES, TOPIC_BYTES, partition_row, usable};
use super::operations;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::{Image, Topic};

/// The most partitions of one answer, as Kafka's max.request.partition.size.limit.
const PARTITIONS_MAX: usize = 2_000;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = server.context.metadata.image();
    let named = request.topics.iter().map(|topic| topic.name.as_str()).collect();
    let mut answer = DescribeTopicPartitionsResponse::default();
    if !is_valid(&named, request.cursor.as_ref()) {
        let refused = |name| unknown(name, ErrorCode::InvalidRequest, &call);
        answer.topics = named.into_iter().map(refused).collect();
        return answer;
    }
    let from = request.cursor.as_ref().map_or(("", 0), |it| (&it.topic_name, it.partition_index));
    let mut left = limit(request.response_partition_limit);
    for name in asked(&image, named, from.0) {
        let Some(topic) = image.topic(name) else {
            let code = if usable(name) {
                ErrorCode::UnknownTopicOrPartition
            } else {
                ErrorCode::InvalidTopic
            };
            answer.topics.push(unknown(name, code, &call));
            continue;
        };
        let first = if name == from.0 { usize::try_from(from.1).unwrap_or(0) } else { 0 };
        if left == 0 {
            answer.next_cursor = Some(cursor(name, first));
            break;
        }
        let row = topic_row(&server, &image, topic, (first, left), &call);
        left -= row.partitions.len();
        let next = first + row.partitions.len();
        answer.topics.push(row);
        if next < topic.partitions.len() {
            answer.next_cursor = Some(cursor(name, next));
            break;
        }
    }
    answer
}

/// Returns about how many bytes the answer takes while it is made.
pub(in crate::kafka) fn weigh(
    server: &KafkaServer,
    _: i16,
    request: &DescribeTopicPartitionsRequest,
) -> usize {
    let all = server.context.metadata.image().topics.len();
    let named = request.topics.len();
    let limit = limit(request.response_partition_limit);
    let topics = if named == 0 { all.min(limit) } else { named };
    topics.saturating_mul(TOPIC_BYTES).saturating_add(limit.saturating_mul(PARTITION_BYTES))
}

fn limit(asked: i32) -> usize {
    usize::try_from(asked).unwrap_or(0).clamp(1, PARTITIONS_MAX)
}

/// Where topics are named, the one to go on with is among them.
fn is_valid(named: &BTreeSet<&str>, cursor: Option<&From>) -> bool {
    cursor.is_none_or(|it| {
        let is_among = named.is_empty() || named.contains(it.topic_name.as_str());
        is_among && it.partition_index >= 0
    })
}

/// The names to answer for, in order: those asked for or all, from the cursor's on.
fn asked<'a>(image: &'a Image, named: BTreeSet<&'a str>, from: &str) -> Vec<&'a str> {
    let is_left = |name: &&str| *name >= from;
    if named.is_empty() {
        return image.topics.keys().map(String::as_str).filter(is_left).collect();
    }
    named.into_iter().filter(is_left).collect()
}

fn topic_row(
    server: &KafkaServer,
    image: &Image,
    topic: &Topic,
    (first, most): (usize, usize),
    call: &Call,
) -> DescribeTopicPartitionsResponseTopic {
    let mut row = DescribeTopicPartitionsResponseTopic::default();
    row.name = Some(topic.name.as_str().into());
    row.topic_id = WireUuid::from_bytes(*topic.id.as_bytes());
    // Unlike Metadata's, the request has no field to ask with: Kafka tells it always.
    row.topic_authorized_operations = operations::on_topic(true);
    let partitions = topic.numbered().skip(first).take(most);
    row.partitions = partitions
        .map(|(index, info)| {
            let from = partition_row(server, image, index, info, call);
            let mut row = DescribeTopicPartitionsResponsePartition::default();
            (row.error_code, row.partition_index) = (from.error_code, from.partition_index);
            (row.leader_id, row.leader_epoch) = (from.leader_id, from.leader_epoch);
            (row.replica_nodes, row.isr_nodes) = (from.replica_nodes, from.isr_nodes);
            row.offline_replicas = from.offline_replicas;
            // Whoever a majority elects leads: there is no list of those that may beside the replicas.
            (row.eligible_leader_replicas, row.last_known_elr) = (Some(vec![]), Some(vec![]));
            row
        })
        .collect();
    row
}

fn unknown(name: &str, code: ErrorCode, call: &Call) -> DescribeTopicPartitionsResponseTopic {
    let mut row = DescribeTopicPartitionsResponseTopic::default();
    (row.name, row.error_code) = (Some(name.into()), code.count(call));
    row
}

fn cursor(topic: &str, partition: usize) -> Cursor {
    let mut cursor = Cursor::default();
    cursor.topic_name = topic.into();
    cursor.partition_index = i32::try_from(partition).unwrap_or(i32::MAX);
    cursor
}
