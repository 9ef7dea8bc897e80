//! ListOffsets (key 2), versions 1–10: offsets by time, and the ends of the log.
//!
//! A time finds a record, not a batch. A leader that was just elected serves nothing before it has applied an
//! entry of its own epoch: until then its log may end before what another broker acknowledged, and an offset that
//! goes back makes consumers start over (KIP-207). One that was deposed unheard would answer from the past, so every
//! answer waits for a majority to confirm the leader (ReadIndex, Raft § 6.4): the end of a log is linearizable. All
//! leaders of a request are confirmed at the same time: partitions without a majority hold up the others once.
//!
//! To who reads what is committed the log ends at the last stable offset, and what lies behind that is not found.
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | one offset instead of a list (KIP-79) |
//! | 2 | isolation levels (KIP-98) |
//! | 4 | the leader epoch a client believes in (KIP-320) |
//! | 5 | an error of its own for a leader that is not ready (KIP-207), which here says that it does not lead yet |
//! | 6 | flexible (KIP-482) |
//! | 7 | time -3, the record with the greatest timestamp (KIP-734) |
//! | 8 | time -4, the earliest offset on local disks (KIP-405), the log start here |
//! | 9 | time -5, the newest in tiered storage (KIP-1005), of which there is none here |
//! | 10 | how long the client waits (KIP-1075) |

use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use kafka_wire::list_offsets_request::ListOffsetsPartition;
use kafka_wire::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_wire::{ListOffsetsRequest, ListOffsetsResponse};
use kafka_wire_core::StrBytes;
use quorate_storage::mutant;

use super::repeated;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::route::{self, Leaders, Led};
use crate::kafka::server::KafkaServer;
use crate::metadata::PartitionInfo;
use crate::partition::{OffsetAt, OffsetSpec};

/// The version from which the leader epoch is part of the answer.
const EPOCHS_FROM: i16 = 4;
/// Partitions of one request that are searched at the same time.
const CONCURRENT: usize = 64;
/// The isolation level of who reads what is committed alone.
const READ_COMMITTED: i8 = 1;
/// -5, the last offset in tiered storage: there is none, which is no error (KIP-1005).
const LAST_TIERED: i64 = -5;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let image = server.context.metadata.image();
    let name = |(topic, wanted): Named<'_>| (topic.clone(), wanted.partition_index);
    let repeated = repeated(named(&request).map(name));
    let find = |(topic, wanted): Named<'_>| {
        if repeated.contains(&name((topic, wanted))) {
            Err(ErrorCode::InvalidRequest)
        } else {
            route::find(&image, topic, wanted.partition_index)
        }
    };
    let found: Vec<_> = named(&request).filter_map(|wanted| find(wanted).ok()).collect();
    let mut leaders = Leaders::of(&server, &found, route::ready_by(None)).await;
    if !mutant::on("stale-list-offsets") {
        leaders.confirm(|_| true).await;
    }
    let committed = request.isolation_level == READ_COMMITTED;
    let mut rows = Vec::new();
    let mut searches = Vec::new();
    for (topic, wanted) in named(&request) {
        let place = find((topic, wanted)).and_then(|info| place(&server, &leaders, info, wanted));
        rows.push(
            place.map(|it| it.map(|(led, spec)| searches.push(search(led, spec, committed)))),
        );
    }
    let searched: Vec<_> = stream::iter(searches).buffered(CONCURRENT).collect().await;
    let mut searched = searched.into_iter();
    let mut rows = named(&request).zip(rows).map(|((_, wanted), place)| {
        let found = match place {
            Ok(Some(())) => searched.next().unwrap_or(Err(ErrorCode::NotLeaderOrFollower)),
            Ok(None) => Ok(None),
            Err(code) => Err(code),
        };
        row(wanted.partition_index, found, &call)
    });
    let mut answer = ListOffsetsResponse::default();
    for topic in &request.topics {
        let mut result = ListOffsetsTopicResponse::default();
        result.partitions = rows.by_ref().take(topic.partitions.len()).collect();
        result.name = topic.name.clone();
        answer.topics.push(result);
    }
    drop(rows);
    answer
}

/// A partition as the request names it.
type Named<'r> = (&'r StrBytes, &'r ListOffsetsPartition);

fn named(request: &ListOffsetsRequest) -> impl Iterator<Item = Named<'_>> {
    request.topics.iter().flat_map(|topic| topic.partitions.iter().map(|it| (&topic.name, it)))
}

/// Returns who knows the offset and what is sought; `None` when it is known without a search that there is none.
fn place(
    server: &KafkaServer,
    leaders: &Leaders,
    info: &PartitionInfo,
    wanted: &ListOffsetsPartition,
) -> Result<Option<(Led, OffsetSpec)>, ErrorCode> {
    let led = leaders.get(server, info, wanted.current_leader_epoch);
    let led = led.map_err(|refused| refused.code)?;
    match OffsetSpec::of_wire(wanted.timestamp) {
        Some(spec) => Ok(Some((led, spec))),
        None if wanted.timestamp == LAST_TIERED => Ok(None),
        None => Err(ErrorCode::UnsupportedVersion),
    }
}

async fn search(
    led: Led,
    spec: OffsetSpec,
    committed: bool,
) -> Result<Option<OffsetAt>, ErrorCode> {
    // Before searching: it only grows, so nothing is found that was not stable then.
    let stable = led.partition.last_stable_offset();
    let found = led.partition.offset_for_timestamp(spec).await;
    let found = found.map_err(|it| ErrorCode::from(&it))?;
    let found = if committed { found.and_then(|it| within(it, spec, stable)) } else { found };
    // A search may take a while. If the leadership went meanwhile, the new leader may know of more.
    match led.partition.leader_epoch_if_ready() {
        Ok(epoch) if epoch == led.epoch => Ok(found),
        _ => Err(ErrorCode::NotLeaderOrFollower),
    }
}

/// Returns what of an offset is seen by who reads what is committed.
fn within(found: OffsetAt, spec: OffsetSpec, stable: i64) -> Option<OffsetAt> {
    match spec {
        OffsetSpec::Latest => Some(OffsetAt { offset: found.offset.min(stable), ..found }),
        OffsetSpec::Earliest => Some(found),
        OffsetSpec::MaxTimestamp | OffsetSpec::AtOrAfter(_) => {
            Some(found).filter(|found| found.offset < stable)
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_stable_yet_is_not_found() {
        let at = |offset| OffsetAt { offset, timestamp: 1, epoch: 2 };
        let offset = |spec, found| within(at(found), spec, 7).map(|it| it.offset);
        for (found, latest, record) in
            [(5, Some(5), Some(5)), (6, Some(6), Some(6)), (7, Some(7), None), (9, Some(7), None)]
        {
            assert_eq!(offset(OffsetSpec::Latest, found), latest);
            assert_eq!(offset(OffsetSpec::Earliest, found), Some(found));
            assert_eq!(offset(OffsetSpec::MaxTimestamp, found), record);
            assert_eq!(offset(OffsetSpec::AtOrAfter(0), found), record);
        }
    }
}
