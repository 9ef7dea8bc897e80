//! DeleteRecords (key 21), versions 0–2: moves the log start of partitions forward (KIP-107).
//!
//! The answer is the new log start, committed by a majority: whoever leads next will not show the records either.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use kafka_wire::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_wire::{DeleteRecordsRequest, DeleteRecordsResponse};
use tokio::time::{Instant, timeout_at};

use super::wait_of;
use crate::kafka::error::ErrorCode;
use crate::kafka::face::Face;
use crate::kafka::frame::Call;
use crate::kafka::route::{self, TopicKey};
use crate::metadata::Image;

/// Partitions of one request that are trimmed at a time.
const CONCURRENT: usize = 16;

pub(in crate::kafka) async fn handle(
    face: Arc<Face>,
    call: Call,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let deadline = Instant::now() + wait_of(request.timeout_ms);
    let ready_by = route::ready_by(Some(deadline));
    let image = face.context.metadata.image();
    let mut answer = DeleteRecordsResponse::default();
    for topic in request.topics {
        let key = TopicKey::Name(Arc::from(topic.name.as_str()));
        let delete = |partition: &kafka_wire::delete_records_request::DeleteRecordsPartition| {
            let (index, before) = (partition.partition_index, partition.offset);
            let (face, image, key, call) = (&face, &image, &key, &call);
            async move {
                let deleted = delete(face, image, key, index, before, ready_by);
                let deleted = timeout_at(deadline, deleted).await;
                row(index, deleted.unwrap_or(Err(ErrorCode::RequestTimedOut)), call)
            }
        };
        let mut result = DeleteRecordsTopicResult::default();
        let rows: Vec<_> = topic.partitions.iter().map(delete).collect();
        result.partitions = stream::iter(rows).buffered(CONCURRENT).collect().await;
        result.name = topic.name;
        answer.topics.push(result);
    }
    answer
}

async fn delete(
    face: &Face,
    image: &Image,
    topic: &TopicKey,
    index: i32,
    before: i64,
    ready_by: Instant,
) -> Result<i64, ErrorCode> {
    let topic = topic.find(image)?;
    let info = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let led = route::lead_soon(face, info, -1, ready_by).await.map_err(|refused| refused.code)?;
    led.partition.delete_records(before).await.map_err(|error| (&error).into())
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
