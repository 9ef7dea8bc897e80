//! OffsetForLeaderEpoch (key 23), versions 2–4: where an epoch ended, so that a consumer finds out whether what it
//! has read still stands (KIP-320). With Raft nothing that was acknowledged or shown is ever taken back,
//! so the answer only ever confirms; it matters to clients that check.
//!
//! The end of the newest epoch moves. A leader that was deposed unheard would name one that a consumer is beyond, which
//! takes it for records taken back; so a majority has to confirm the leader first (ReadIndex, Raft § 6.4).
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | the leader epoch a client believes in (KIP-320) |
//! | 3 | who asks, a replica or a client |
//! | 4 | flexible (KIP-482) |

use std::collections::HashMap;
use std::sync::Arc;

use kafka_wire::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_wire::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_wire::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use quorate_storage::GroupId;

use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::route::{self, Leaders, Led};
use crate::kafka::server::KafkaServer;
use crate::metadata::Image;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let image = server.context.metadata.image();
    // For each partition the newest epoch asked about, however often it is named.
    let mut newest: HashMap<GroupId, i32> = HashMap::new();
    let mut found = Vec::new();
    for topic in &request.topics {
        for wanted in &topic.partitions {
            let Ok(info) = route::find(&image, &topic.topic, wanted.partition) else { continue };
            let epoch = newest.entry(info.group).or_insert_with(|| {
                found.push(info);
                i32::MIN
            });
            *epoch = wanted.leader_epoch.max(*epoch);
        }
    }
    let mut leaders = Leaders::of(&server, &found, route::ready_by(None)).await;
    let moves = |led: &Led| newest.get(&led.partition.id()).is_some_and(|it| *it >= led.epoch);
    leaders.confirm(moves).await;
    let mut answer = OffsetForLeaderEpochResponse::default();
    for topic in request.topics {
        let mut result = OffsetForLeaderTopicResult::default();
        let row = |it| row(&call, it, end_of_epoch(&server, &image, &leaders, &topic.topic, it));
        result.partitions = topic.partitions.iter().map(row).collect();
        result.topic = topic.topic;
        answer.topics.push(result);
    }
    answer
}

fn row(
    call: &Call,
    wanted: &OffsetForLeaderPartition,
    end: Result<(i32, i64), ErrorCode>,
) -> EpochEndOffset {
    let mut row = EpochEndOffset::default();
    row.partition = wanted.partition;
    match end {
        Ok(end) => (row.leader_epoch, row.end_offset) = end,
        Err(code) => row.error_code = code.count(call),
    }
    row
}

fn end_of_epoch(
    server: &KafkaServer,
    image: &Image,
    leaders: &Leaders,
    topic: &str,
    wanted: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    let info = route::find(image, topic, wanted.partition)?;
    let led = leaders.get(server, info, wanted.current_leader_epoch);
    let led = led.map_err(|refused| refused.code)?;
    Ok(led.partition.end_offset_for_epoch(wanted.leader_epoch))
}
