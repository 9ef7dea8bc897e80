//! DeleteRecords (key 21), versions 0–2: moves the log start of partitions forward (KIP-107).
//!
//! The answer is the new log start, committed by a majority: whoever leads next will not show the records either.
//! A partition that is named twice is refused: the two may not say the same, and what is deleted does not come back.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | flexible (KIP-482) |

use std::sync::Arc;

use futures::future::join_all;
use kafka_wire::delete_records_request::DeleteRecordsPartition;
use kafka_wire::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_wire::{DeleteRecordsRequest, DeleteRecordsResponse};
use kafka_wire_core::StrBytes;
use tokio::time::{Instant, timeout_at};

use super::{change_wait_of, repeated};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::route::{self, Leaders};
use crate::kafka::server::KafkaServer;
use crate::partition::Partition;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let deadline = Instant::now() + change_wait_of(request.timeout_ms);
    let image = server.context.metadata.image();
    let name = |(topic, wanted): Named<'_>| (topic.clone(), wanted.partition_index);
    let repeated = repeated(named(&request).map(name));
    let found = |wanted: Named<'_>| {
        if repeated.contains(&name(wanted)) {
            return Err(ErrorCode::InvalidRequest);
        }
        let found = route::find(&image, wanted.0, wanted.1.partition_index)?;
        // What is compacted alone keeps the newest record of every key.
        let deletes = image.topic(wanted.0).is_none_or(|topic| topic.configs.deletes());
        if deletes { Ok(found) } else { Err(ErrorCode::PolicyViolation) }
    };
    let infos: Vec<_> = named(&request).filter_map(|wanted| found(wanted).ok()).collect();
    let leaders = Leaders::of(&server, &infos, route::ready_by(Some(deadline))).await;
    let mut rows = Vec::new();
    let mut led = Vec::new();
    for wanted in named(&request) {
        let leader = found(wanted)
            .and_then(|info| leaders.get(&server, info, -1).map_err(|refused| refused.code));
        rows.push(leader.map(|leader| led.push((leader.partition, wanted.1.offset))));
    }
    // All at the same time: those that have no majority would else use up the time of the others.
    let led: Vec<_> = led.iter().map(|(it, before)| delete(it, *before, deadline)).collect();
    let mut deleted = join_all(led).await.into_iter();
    let mut rows = named(&request).zip(rows).map(|((_, wanted), led)| {
        let deleted = led.and_then(|()| deleted.next().unwrap_or(Err(ErrorCode::RequestTimedOut)));
        row(wanted.partition_index, deleted, &call)
    });
    let mut answer = DeleteRecordsResponse::default();
    for topic in &request.topics {
        let mut result = DeleteRecordsTopicResult::default();
        result.partitions = rows.by_ref().take(topic.partitions.len()).collect();
        result.name = topic.name.clone();
        answer.topics.push(result);
    }
    drop(rows);
    answer
}

/// A partition as the request names it.
type Named<'r> = (&'r StrBytes, &'r DeleteRecordsPartition);

fn named(request: &DeleteRecordsRequest) -> impl Iterator<Item = Named<'_>> {
    request.topics.iter().flat_map(|topic| topic.partitions.iter().map(|it| (&topic.name, it)))
}

async fn delete(partition: &Partition, before: i64, deadline: Instant) -> Result<i64, ErrorCode> {
    match timeout_at(deadline, partition.delete_records(before)).await {
        Ok(deleted) => deleted.map_err(|error| (&error).into()),
        Err(_) => Err(ErrorCode::RequestTimedOut),
    }
}

fn row(index: i32, deleted: Result<i64, ErrorCode>, call: &Call) -> DeleteRecordsPartitionResult {
    let mut row = DeleteRecordsPartitionResult::default();
    row.partition_index = index;
    row.low_watermark = -1;
    match deleted {
        Ok(log_start) => row.low_watermark = log_start,
        Err(code) => row.error_code = code.count(call),
    }
    row
}
