//! OffsetCommit (key 8), versions 2–10: how far a group has read.
//!
//! Committed by a majority when it is answered. Offsets belong to a topic's id: a topic that is deleted and made anew
//! begins without any. How long they stay is the cluster's setting alone, `retention_time_ms` of the old versions is not
//! minded.
//!
//! | since version | what is new |
//! |---|---|
//! | 5 | no retention time any more (KIP-211) |
//! | 6 | leader epochs (KIP-320) |
//! | 7 | static members (KIP-345) |
//! | 8 | flexible (KIP-482) |
//! | 9 | member epochs (KIP-848) |
//! | 10 | topic ids (KIP-848) |

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_wire::offset_commit_request::OffsetCommitRequestPartition;
use kafka_wire::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_wire::{OffsetCommitRequest, OffsetCommitResponse};
use uuid::Uuid;

use super::image_with;
use crate::coordinator::{Commit, GroupError, Identity, Position};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::{self, optional, text};
use crate::kafka::keys::TopicKey;
use crate::kafka::server::KafkaServer;
use crate::metadata::Image;

/// The version from which topics are named by their ids.
const TOPIC_IDS_FROM: i16 = 10;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let by_id = call.version >= TOPIC_IDS_FROM;
    let has_all = |image: &Image| {
        let mut topics = request.topics.iter();
        topics.all(|it| TopicKey::of(by_id, &it.name, it.topic_id).find(image).is_ok())
    };
    let image = image_with(&server, has_all).await;
    let metadata_max = server.context.config.groups.offset_metadata_bytes_max;
    let (mut rows, mut positions) = (Vec::new(), BTreeMap::new());
    for topic in &request.topics {
        let key = TopicKey::of(by_id, &topic.name, topic.topic_id);
        for it in &topic.partitions {
            let place = key.with_partition(&image, it.partition_index);
            let row = place.and_then(|topic| position(topic.id, it, metadata_max));
            rows.push(row.map(|position| {
                // Of two that name the same the later counts, as in Kafka.
                positions.insert((position.topic, position.partition), position);
            }));
        }
    }
    let committed = commit(&server, &request, positions.into_values().collect()).await;
    answer_of(request, rows, committed.map_err(|error| ErrorCode::from(&error)), &call)
}

fn position(
    topic: Uuid,
    it: &OffsetCommitRequestPartition,
    metadata_max: usize,
) -> Result<Position, ErrorCode> {
    let metadata = groups::offset_metadata(it.committed_metadata.as_ref(), metadata_max)?;
    Ok(Position {
        topic,
        partition: it.partition_index,
        offset: it.committed_offset,
        leader_epoch: it.committed_leader_epoch,
        metadata,
    })
}

async fn commit(
    server: &KafkaServer,
    request: &OffsetCommitRequest,
    offsets: Vec<Position>,
) -> Result<(), GroupError> {
    if request.group_id.len() > groups::NAME_BYTES_MAX {
        return Err(GroupError::TooLarge);
    }
    let who = Identity {
        group: text(&request.group_id),
        member_id: text(&request.member_id),
        instance_id: optional(request.group_instance_id.as_ref()),
        generation: request.generation_id_or_member_epoch,
    };
    groups::coordinator_of(server, &request.group_id)?.commit(Commit { who, offsets }).await
}

fn answer_of(
    request: OffsetCommitRequest,
    rows: Vec<Result<(), ErrorCode>>,
    committed: Result<(), ErrorCode>,
    call: &Call,
) -> OffsetCommitResponse {
    let mut rows = rows.into_iter();
    let mut answer = OffsetCommitResponse::default();
    for topic in request.topics {
        let mut result = OffsetCommitResponseTopic::default();
        for (it, row) in topic.partitions.iter().zip(rows.by_ref()) {
            let mut partition = OffsetCommitResponsePartition::default();
            partition.partition_index = it.partition_index;
            if let Err(code) = row.and(committed) {
                partition.error_code = code.count(call);
            }
            result.partitions.push(partition);
        }
        (result.name, result.topic_id) = (topic.name, topic.topic_id);
        answer.topics.push(result);
    }
    answer
}
