//! WriteTxnMarkers (key 27), versions 1–2: ends transactions in partitions by hand (KIP-98, KIP-664).
//!
//! For an operator whose transaction hangs, as Kafka's tool aborts one: whatever the producer has open in the partition ends, if its epoch
//! is the one that is named. Brokers write markers to each other otherwise, by the number of the transaction. A transaction
//! that its coordinator ends later finds itself ended there.
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | flexible from the beginning |
//! | 2 | the version of transactions (KIP-1228), which makes no difference here |

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::join_all;
use kafka_wire::write_txn_markers_request::WritableTxnMarker;
use kafka_wire::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_wire::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use kafka_wire_core::StrBytes;
use tokio::time::{Instant, timeout_at};

use super::CHANGE_WAIT;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::route::{self, Leaders};
use crate::kafka::server::KafkaServer;
use crate::metadata::Image;
use crate::partition::Marker;

/// Markers of one request that are written at the same time.
const AT_A_TIME: usize = 64;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    let deadline = Instant::now() + CHANGE_WAIT;
    let image = server.context.metadata.image();
    let (mut infos, mut seen) = (Vec::new(), HashSet::new());
    for marker in &request.markers {
        let found = named(marker).filter_map(|(topic, at)| route::find(&image, topic, at).ok());
        infos.extend(found.filter(|info| seen.insert(info.group)));
    }
    let leaders = Leaders::of(&server, &infos, route::ready_by(Some(deadline))).await;
    let mut answer = WriteTxnMarkersResponse::default();
    for marker in &request.markers {
        let mut result = WritableTxnMarkerResult::default();
        result.producer_id = marker.producer_id;
        for topic in &marker.topics {
            let mut rows = WritableTxnMarkerTopicResult::default();
            rows.name = topic.name.clone();
            for some in topic.partition_indexes.chunks(AT_A_TIME) {
                let write = |index: &i32| {
                    end(&server, &image, &leaders, marker, (&topic.name, *index), deadline)
                };
                let ended = join_all(some.iter().map(write)).await;
                for (index, ended) in some.iter().zip(ended) {
                    let mut row = WritableTxnMarkerPartitionResult::default();
                    row.partition_index = *index;
                    row.error_code = ended.err().map_or(0, |code: ErrorCode| code.count(&call));
                    rows.partitions.push(row);
                }
            }
            result.topics.push(rows);
        }
        answer.markers.push(result);
    }
    answer
}

/// The partitions that a marker is for.
fn named(marker: &WritableTxnMarker) -> impl Iterator<Item = (&StrBytes, i32)> {
    let topics = marker.topics.iter();
    topics.flat_map(|topic| topic.partition_indexes.iter().map(|index| (&topic.name, *index)))
}

async fn end(
    server: &KafkaServer,
    image: &Image,
    leaders: &Leaders,
    marker: &WritableTxnMarker,
    (topic, index): (&StrBytes, i32),
    deadline: Instant,
) -> Result<(), ErrorCode> {
    let info = route::find(image, topic, index)?;
    let led = leaders.get(server, info, -1).map_err(|refused| refused.code)?;
    let marker = Marker {
        producer_id: marker.producer_id,
        epoch: marker.producer_epoch,
        number: None,
        commit: marker.transaction_result,
        coordinator_epoch: marker.coordinator_epoch,
    };
    match timeout_at(deadline, led.partition.end_transaction(marker)).await {
        Ok(ended) => ended.map_err(|error| (&error).into()),
        Err(_) => Err(ErrorCode::RequestTimedOut),
    }
}
