//! ListOffsets (key 2), versions 1–10: offsets by time, and the ends of the log.
//!
//! A time finds a record, not a batch. A leader that was just elected serves nothing before it has applied an
//! entry of its own epoch: until then its log may end before what another broker acknowledged, and an offset that
//! goes back makes consumers start over (KIP-207). One that was deposed unheard would answer from the past, so every
//! answer waits for a majority to confirm the leader (ReadIndex, Raft § 6.4): the end of a log is linearizable.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use kafka_wire::list_offsets_request::ListOffsetsPartition;
use kafka_wire::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_wire::{ListOffsetsRequest, ListOffsetsResponse};
use quorate_storage::mutant;
use tokio::time::Instant;

use crate::kafka::error::ErrorCode;
use crate::kafka::face::Face;
use crate::kafka::frame::Call;
use crate::kafka::route::{self, TopicKey};
use crate::metadata::Image;
use crate::partition::{OffsetAt, OffsetSpec};

/// The version from which the leader epoch is part of the answer.
const EPOCHS_FROM: i16 = 4;
/// Partitions of one request whose leaders are confirmed at the same time.
const CONCURRENT: usize = 64;
/// -5, the last offset in tiered storage: there is none, which is no error (KIP-1005).
const LAST_TIERED: i64 = -5;

pub(in crate::kafka) async fn handle(
    face: Arc<Face>,
    call: Call,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let image = face.context.metadata.image();
    let mut seen = HashSet::new();
    let mut repeated = HashSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let key = (topic.name.clone(), partition.partition_index);
            if !seen.insert(key.clone()) {
                repeated.insert(key);
            }
        }
    }
    let ready_by = route::ready_by(None);
    let mut answer = ListOffsetsResponse::default();
    for topic in request.topics {
        let mut result = ListOffsetsTopicResponse::default();
        let mut rows = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let twice = repeated.contains(&(topic.name.clone(), wanted.partition_index));
            rows.push(find(&face, &image, topic.name.as_str(), wanted, twice, ready_by));
        }
        let found: Vec<_> = stream::iter(rows).buffered(CONCURRENT).collect().await;
        let indexes = topic.partitions.iter().map(|wanted| wanted.partition_index);
        result.partitions = indexes.zip(found).map(|(index, it)| row(index, it, &call)).collect();
        result.name = topic.name;
        answer.topics.push(result);
    }
    answer
}

async fn find(
    face: &Face,
    image: &Image,
    topic: &str,
    wanted: &ListOffsetsPartition,
    twice: bool,
    ready_by: Instant,
) -> Result<Option<OffsetAt>, ErrorCode> {
    if twice {
        return Err(ErrorCode::InvalidRequest);
    }
    let topic = TopicKey::Name(Arc::from(topic)).find(image)?;
    let info = topic.partition(wanted.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let led = route::lead_soon(face, info, wanted.current_leader_epoch, ready_by).await;
    let led = led.map_err(|refused| refused.code)?;
    let Some(spec) = OffsetSpec::of_wire(wanted.timestamp) else {
        return match wanted.timestamp {
            LAST_TIERED => Ok(None),
            _ => Err(ErrorCode::UnsupportedVersion),
        };
    };
    if !mutant::on("stale-list-offsets") {
        let confirmed = led.partition.read_barrier().await;
        confirmed.map_err(|_| ErrorCode::NotLeaderOrFollower)?;
    }
    let found =
        led.partition.offset_for_timestamp(spec).await.map_err(|it| ErrorCode::from(&it))?;
    // A search may take a while. If the leadership went meanwhile, the new leader may know of more.
    match led.partition.leader_epoch_if_ready() {
        Ok(epoch) if epoch == led.epoch => Ok(found),
        _ => Err(ErrorCode::NotLeaderOrFollower),
    }
}

fn row(
    index: i32,
    found: Result<Option<OffsetAt>, ErrorCode>,
    call: &Call,
) -> ListOffsetsPartitionResponse {
    let mut row = ListOffsetsPartitionResponse::default();
    row.partition_index = index;
    (row.offset, row.timestamp) = (-1, -1);
    match found {
        Ok(Some(found)) => {
            (row.offset, row.timestamp) = (found.offset, found.timestamp);
            if call.version >= EPOCHS_FROM {
                row.leader_epoch = found.epoch;
            }
        }
        Ok(None) => {}
        Err(code) => row.error_code = code.count(call),
    }
    row
}
