//! What a producer is told, once every batch of its request is committed or known not to be.

use std::sync::Arc;

use kafka_wire::ProduceResponse;
use kafka_wire::produce_response::{
    BatchIndexAndErrorMessage, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use tokio::time::Instant;

use super::{Failure, Topic, committed};
use crate::kafka::answer::{Answer, Closed};
use crate::kafka::call::Call;
use crate::kafka::codec;
use crate::kafka::route::{self, Endpoint};
use crate::kafka::server::{KafkaServer, broker_id};
use crate::metadata::Leader;
use crate::partition::Appended;

/// The version from which an answer may say who leads instead (KIP-951).
const HINTS_FROM: i16 = 10;

/// Waits for the commits, in the order of the request, and makes the answer.
pub(super) async fn when_committed(
    server: Arc<KafkaServer>,
    call: Call,
    topics: Vec<Topic>,
    deadline: Instant,
) -> Result<Answer, Closed> {
    let mut answer = ProduceResponse::default();
    let mut leaders = Vec::new();
    for topic in topics {
        let mut result = TopicProduceResponse::default();
        for partition in topic.partitions {
            let outcome = committed(&server, partition.append, deadline).await;
            if let Err(Failure { leader: Some(leader), .. }) = &outcome {
                leaders.push(*leader);
            }
            result.partition_responses.push(row(partition.index, outcome, &call));
        }
        (result.name, result.topic_id) = (topic.name, topic.id);
        answer.responses.push(result);
    }
    if call.version >= HINTS_FROM && !leaders.is_empty() {
        let image = server.context.metadata.image();
        answer.node_endpoints =
            route::endpoints(&image, leaders.into_iter()).into_iter().map(endpoint).collect();
    }
    Ok(Answer::of(codec::encode(&call, &answer)?))
}

fn row(index: i32, outcome: Result<Appended, Failure>, call: &Call) -> PartitionProduceResponse {
    let mut row = PartitionProduceResponse::default();
    row.index = index;
    (row.base_offset, row.log_append_time_ms, row.log_start_offset) = (-1, -1, -1);
    match outcome {
        Ok(appended) => {
            row.base_offset = appended.base_offset;
            row.log_append_time_ms = appended.log_append_time;
            row.log_start_offset = appended.log_start;
        }
        Err(failure) => fail(&mut row, failure, call),
    }
    row
}

fn fail(row: &mut PartitionProduceResponse, failure: Failure, call: &Call) {
    let Failure { code, message, records, leader } = failure;
    row.error_code = code.count(call);
    for index in records {
        let mut error = BatchIndexAndErrorMessage::default();
        error.batch_index = index;
        error.batch_index_error_message = message.as_deref().map(Into::into);
        row.record_errors.push(error);
    }
    row.error_message = message.map(Into::into);
    if let Some(Leader { id, epoch }) = leader.filter(|_| call.version >= HINTS_FROM) {
        row.current_leader.leader_id = broker_id(id);
        row.current_leader.leader_epoch = epoch;
    }
}

fn endpoint(of: Endpoint) -> NodeEndpoint {
    let mut endpoint = NodeEndpoint::default();
    endpoint.node_id = of.id;
    endpoint.host = of.host.into();
    endpoint.port = of.port;
    endpoint.rack = of.rack.map(Into::into);
    endpoint
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::kafka::error::ErrorCode;
    use crate::kafka::table;
    use crate::record::BatchError;

    fn call(version: i16) -> Call {
        let api = &table::find(0).unwrap().api;
        Call {
            api,
            version,
            correlation: 1,
            client: None,
            host: None,
            received: Instant::now(),
            pipeline: Arc::default(),
        }
    }

    fn encoded(row: PartitionProduceResponse, version: i16) -> bytes::Bytes {
        let mut topic = TopicProduceResponse::default();
        topic.partition_responses.push(row);
        let mut answer = ProduceResponse::default();
        answer.responses.push(topic);
        codec::encode(&call(version), &answer).unwrap()
    }

    #[test]
    fn every_version_can_express_every_outcome() {
        for version in 3..=13 {
            let appended =
                Appended { base_offset: 5, log_append_time: 9, log_start: 1, version: -1 };
            let good = row(0, Ok(appended), &call(version));
            assert_eq!((good.error_code, good.base_offset), (0, 5));
            encoded(good, version);
            let leader = Some(Leader { id: 3, epoch: 7 });
            let moved = Failure { leader, ..ErrorCode::NotLeaderOrFollower.into() };
            let moved = row(0, Err(moved), &call(version));
            assert_eq!((moved.error_code, moved.base_offset), (6, -1));
            assert_eq!(moved.current_leader.leader_epoch, if version >= 10 { 7 } else { -1 });
            encoded(moved, version);
            let late = BatchError::Timestamps { first: 2, timestamp: 0, records: vec![2, 5] };
            let late = row(0, Err(late.into()), &call(version));
            let at_fault: Vec<i32> = late.record_errors.iter().map(|it| it.batch_index).collect();
            assert_eq!((late.error_code, at_fault), (32, vec![2, 5]));
            encoded(late, version);
        }
    }
}
