//! OffsetForLeaderEpoch (key 23), versions 2–4: where an epoch ended, so that a consumer finds out whether what it
//! has read still stands (KIP-320). With Raft nothing that was acknowledged or shown is ever taken back,
//! so the answer only ever confirms; it matters to clients that check.

use std::sync::Arc;

use kafka_wire::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_wire::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_wire::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::kafka::face::Face;
use crate::kafka::frame::Call;
use crate::kafka::route::{self, PartitionKey, TopicKey};
use crate::metadata::Image;

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
        let row = |wanted| end_of_epoch(&face, &image, &key, wanted, &call);
        result.partitions = topic.partitions.iter().map(row).collect();
        result.topic = topic.topic;
        answer.topics.push(result);
    }
    answer
}

fn end_of_epoch(
    face: &Face,
    image: &Image,
    topic: &TopicKey,
    wanted: &OffsetForLeaderPartition,
    call: &Call,
) -> EpochEndOffset {
    let mut row = EpochEndOffset::default();
    row.partition = wanted.partition;
    let key = PartitionKey::new(topic.clone(), wanted.partition);
    match route::lead(face, image, &key, wanted.current_leader_epoch) {
        Ok(led) => {
            (row.leader_epoch, row.end_offset) =
                led.partition.end_offset_for_epoch(wanted.leader_epoch);
        }
        Err(refused) => row.error_code = refused.code.count(call),
    }
    row
}
