//! DescribeQuorum (key 55), versions 0–2: who votes in the metadata group, who leads it, and how far each is (KIP-595).
//!
//! Tools know that group as partition 0 of the topic `__cluster_metadata`, and its indexes as offsets. Any broker answers: it
//! asks the leader, which alone knows how far the others are.
//!
//! | since version | what is new |
//! |---|---|
//! | 0 | flexible from the beginning |
//! | 1 | when each was heard and had caught up; not kept here, and said to be unknown |
//! | 2 | data directories, and where the voters listen (KIP-853) |

use std::sync::Arc;
use std::time::Duration;

use kafka_wire::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_wire::{DescribeQuorumRequest, DescribeQuorumResponse};
use kafka_wire_core::Uuid as WireUuid;

use crate::controller::{Quorum, QuorumMember};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::{KafkaServer, broker_id};
use crate::metadata::Image;

const TOPIC: &str = "__cluster_metadata";
const PARTITION: i32 = 0;
/// What the listener of brokers among themselves is called.
const LISTENER: &str = "PEER";
const WAIT: Duration = Duration::from_secs(5);
const UNKNOWN: i64 = -1;
/// The version from which members have directories, and voters addresses.
const DIRECTORIES_FROM: i16 = 2;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let quorum = server.context.controller.quorum(WAIT).await;
    let image = server.context.metadata.image();
    let mut answer = DescribeQuorumResponse::default();
    answer.error_message = None;
    for topic in request.topics {
        let row = |index| partition(&topic.topic_name, index, quorum.as_ref(), &image, &call);
        let mut of = TopicData::default();
        of.partitions = topic.partitions.iter().map(|it| row(it.partition_index)).collect();
        of.topic_name = topic.topic_name;
        answer.topics.push(of);
    }
    if let Some(quorum) = quorum.filter(|_| call.version >= DIRECTORIES_FROM) {
        answer.nodes = quorum.voters.iter().filter_map(|it| node(&image, it.id)).collect();
    }
    answer
}

fn partition(
    topic: &str,
    index: i32,
    quorum: Option<&Quorum>,
    image: &Image,
    call: &Call,
) -> PartitionData {
    let mut row = PartitionData::default();
    (row.partition_index, row.error_message) = (index, None);
    let refused = match quorum {
        _ if topic != TOPIC || index != PARTITION => {
            Err((ErrorCode::UnknownTopicOrPartition, "only the metadata group has such a quorum"))
        }
        None => {
            Err((ErrorCode::NotLeaderOrFollower, "the metadata group has no leader that answers"))
        }
        Some(quorum) => Ok(quorum),
    };
    match refused {
        Err((code, why)) => {
            (row.error_code, row.error_message) = (code.count(call), Some(why.into()));
            (row.leader_id, row.leader_epoch, row.high_watermark) = (-1, -1, UNKNOWN);
        }
        Ok(quorum) => {
            row.leader_id = broker_id(quorum.leader);
            row.leader_epoch = i32::try_from(quorum.term).unwrap_or(i32::MAX);
            row.high_watermark = end(quorum.committed_index);
            row.current_voters = quorum.voters.iter().map(|it| state(image, it, call)).collect();
            row.observers = quorum.learners.iter().map(|it| state(image, it, call)).collect();
        }
    }
    row
}

fn state(image: &Image, member: &QuorumMember, call: &Call) -> ReplicaState {
    let mut row = ReplicaState::default();
    row.replica_id = broker_id(member.id);
    if call.version >= DIRECTORIES_FROM {
        let directory = image.brokers.get(&member.id).map_or(0, |broker| broker.directory_id);
        row.replica_directory_id = WireUuid::from_bytes(directory.to_be_bytes());
    }
    row.log_end_offset = end(member.matched_index);
    (row.last_fetch_timestamp, row.last_caught_up_timestamp) = (UNKNOWN, UNKNOWN);
    row
}

fn node(image: &Image, id: u64) -> Option<Node> {
    let broker = image.brokers.get(&id)?;
    let mut listener = Listener::default();
    listener.name = LISTENER.into();
    listener.host = broker.peer.host.as_str().into();
    listener.port = broker.peer.port;
    let mut node = Node::default();
    (node.node_id, node.listeners) = (broker_id(id), vec![listener]);
    Some(node)
}

/// The offset after an index; Raft's first index is 1, and offset 0 says that there is nothing.
fn end(index: Option<u64>) -> i64 {
    index.map_or(UNKNOWN, |index| i64::try_from(index).map_or(i64::MAX, |it| it.saturating_add(1)))
}
