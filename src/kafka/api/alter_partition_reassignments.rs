//! AlterPartitionReassignments (key 45), versions 0–1: other replicas for partitions, or back to those before (KIP-455).
//!
//! The answer comes when that is agreed on; ListPartitionReassignments says how far it is.
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | whether the number of replicas may change (KIP-860) |

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use kafka_wire::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_wire::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
use kafka_wire_core::StrBytes;
use tokio::time::Instant;

use super::create_topics::broker_ids;
use super::{change_wait_of, repeated};
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::AdminError;

/// Partitions that are changed at the same time.
const AT_A_TIME: usize = 32;

/// What is asked of one partition.
type Asked = (StrBytes, i32, Option<Vec<i32>>);
/// Why it was not done.
type Refusal = (ErrorCode, String);

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let asked: Vec<Asked> = request
        .topics
        .into_iter()
        .flat_map(|topic| {
            let name = topic.name;
            topic
                .partitions
                .into_iter()
                .map(move |it| (name.clone(), it.partition_index, it.replicas))
        })
        .collect();
    let twice = repeated(asked.iter().map(|(topic, index, _)| (topic.clone(), *index)));
    // One for all of them: the last is not to wait for the time of each before it.
    let deadline = Instant::now() + change_wait_of(request.timeout_ms);
    let may_change = request.allow_replication_factor_change;
    let done = asked.into_iter().map(|(topic, index, replicas)| {
        let (server, is_twice) = (Arc::clone(&server), twice.contains(&(topic.clone(), index)));
        async move {
            let refused = if is_twice {
                Some((ErrorCode::InvalidRequest, "the partition is named twice".to_owned()))
            } else {
                change(&server, &topic, index, replicas, may_change, deadline).await.err()
            };
            (topic, index, refused)
        }
    });
    let done: Vec<_> = stream::iter(done).buffered(AT_A_TIME).collect().await;
    let mut answer = AlterPartitionReassignmentsResponse::default();
    answer.allow_replication_factor_change = may_change;
    let mut rows: HashMap<StrBytes, usize> = HashMap::new();
    for (topic, index, refused) in done {
        let at = *rows.entry(topic.clone()).or_insert_with(|| {
            let mut row = ReassignableTopicResponse::default();
            row.name = topic;
            answer.responses.push(row);
            answer.responses.len() - 1
        });
        let mut row = ReassignablePartitionResponse::default();
        row.partition_index = index;
        row.error_message = None;
        if let Some((code, why)) = refused {
            (row.error_code, row.error_message) = (code.count(&call), Some(why.into()));
        }
        answer.responses[at].partitions.push(row);
    }
    answer
}

async fn change(
    server: &KafkaServer,
    topic: &str,
    index: i32,
    replicas: Option<Vec<i32>>,
    may_change: bool,
    deadline: Instant,
) -> Result<(), Refusal> {
    let refusal = |error: AdminError| (ErrorCode::from(&error), error.to_string());
    let timeout = deadline.saturating_duration_since(Instant::now());
    let controller = &server.context.controller;
    let Some(replicas) = replicas else {
        return controller.cancel_replicas(topic, index, timeout).await.map(drop).map_err(refusal);
    };
    let replicas = broker_ids(&replicas).map_err(refusal)?;
    let image = server.context.metadata.image();
    let known = image.topic(topic).and_then(|topic| topic.partition(index));
    if let Some(known) = known.filter(|known| known.replicas.len() != replicas.len())
        && !may_change
    {
        let (now, then) = (known.replicas.len(), replicas.len());
        let why = format!("it has {now} replicas and would have {then}");
        return Err((ErrorCode::InvalidReplicationFactor, why));
    }
    controller.set_replicas(topic, index, replicas, timeout).await.map(drop).map_err(refusal)
}
