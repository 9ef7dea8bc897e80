//! OffsetForLeaderEpoch (key 23), versions 2–4: where an epoch ended, so that a consumer finds out whether what it
//! has read still stands (KIP-320). With Raft nothing that was acknowledged or shown is ever taken back,
//! so the answer only ever confirms; it matters to clients that check.
//!
//! The end of the newest epoch moves. A leader that was deposed unheard would name one that a consumer is beyond, which
//! takes it for records taken back; so a majority has to confirm the leader first (ReadIndex, Raft § 6.4).

use std::sync::Arc;

use futures::{StreamExt, stream};
use kafka_wire::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_wire::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_wire::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::kafka::error::ErrorCode;
use crate::kafka::face::Face;
use crate::kafka::frame::Call;
use crate::kafka::route::{self, PartitionKey, TopicKey};
use crate::metadata::Image;

/// Partitions of one topic whose leaders are confirmed at the same time.
const CONCURRENT: usize = 64;

pub(in crate::kafka) async fn handle(
    face: Arc<Face>,
    call: Call,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let image = face.context.metadata.image();
    let mut answer = OffsetForLeaderEpochResponse::default();
    for topic in request.topics {
        let mut result = OffsetForLeaderTopicResult::default();
        let key = TopicKey::Name(Arc::from(topic.topic.as_str()));
        let rows: Vec<_> =
            topic.partitions.iter().map(|it| row(&face, &image, &key, it, &call)).collect();
        result.partitions = stream::iter(rows).buffered(CONCURRENT).collect().await;
        result.topic = topic.topic;
        answer.topics.push(result);
    }
    answer
}

async fn row(
    face: &Face,
    image: &Image,
    topic: &TopicKey,
    wanted: &OffsetForLeaderPartition,
    call: &Call,
) -> EpochEndOffset {
    let mut row = EpochEndOffset::default();
    row.partition = wanted.partition;
    match end_of_epoch(face, image, topic, wanted).await {
        Ok(end) => (row.leader_epoch, row.end_offset) = end,
        Err(code) => row.error_code = code.count(call),
    }
    row
}

async fn end_of_epoch(
    face: &Face,
    image: &Image,
    topic: &TopicKey,
    wanted: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    let key = PartitionKey::new(topic.clone(), wanted.partition);
    let led = route::lead(face, image, &key, wanted.current_leader_epoch);
    let led = led.map_err(|refused| refused.code)?;
    if wanted.leader_epoch >= led.epoch {
        let confirmed = led.partition.read_barrier().await;
        confirmed.map_err(|_| ErrorCode::NotLeaderOrFollower)?;
    }
    Ok(led.partition.end_offset_for_epoch(wanted.leader_epoch))
}
