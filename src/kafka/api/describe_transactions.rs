//! DescribeTransactions (key 65), versions 0–0: what becomes of transactional ids (KIP-664).
//!
//! Told by the coordinator of each id; the partitions are those of the open transaction. Topics that were deleted meanwhile are not
//! told.
//!
//! | since version | what is new |
//! |---|---|
//! | 0 | flexible from the beginning |

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::future::join_all;
use kafka_wire::describe_transactions_response::{TopicData, TransactionState};
use kafka_wire::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use kafka_wire_core::StrBytes;
use tokio::time::{Instant, timeout_at};

use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::groups::ANSWER_BYTES_MAX;
use crate::kafka::server::KafkaServer;
use crate::kafka::transactions::{self, REQUEST_WAIT};
use crate::metadata::Image;
use crate::transaction::{TransactionDescription, TransactionError};

/// Ids that are asked for at the same time.
const AT_A_TIME: usize = 16;
/// What an id, a topic and a partition take in the answer.
const ID_BYTES: usize = 256;
const TOPIC_BYTES: usize = 96;
const PARTITION_BYTES: usize = 4;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let deadline = Instant::now() + REQUEST_WAIT;
    let image = server.context.metadata.image();
    let mut seen = HashSet::new();
    // Each once, however often it is named.
    let ids = request.transactional_ids.into_iter().filter(|id| seen.insert(id.clone()));
    let ids: Vec<_> = ids.collect();
    let mut rows: Vec<TransactionState> = Vec::with_capacity(ids.len());
    for some in ids.chunks(AT_A_TIME) {
        let asked = some.iter().map(|id| describe(&server, &call, &image, id, deadline));
        rows.extend(join_all(asked).await);
    }
    let mut answer = DescribeTransactionsResponse::default();
    let mut bytes = 0;
    for row in rows {
        bytes += weigh(&row);
        // One is told of, whatever it takes.
        if bytes <= ANSWER_BYTES_MAX || answer.transaction_states.is_empty() {
            answer.transaction_states.push(row);
        } else {
            let id = row.transactional_id;
            answer.transaction_states.push(refused(id, ErrorCode::PolicyViolation, &call));
        }
    }
    answer
}

async fn describe(
    server: &KafkaServer,
    call: &Call,
    image: &Image,
    id: &StrBytes,
    deadline: Instant,
) -> TransactionState {
    let described = timeout_at(deadline, server.context.transactions.describe(id)).await;
    match described.unwrap_or(Err(TransactionError::NotAvailable)) {
        Ok(description) => row(id.clone(), description, image),
        Err(error) => refused(id.clone(), code_of(&error), call),
    }
}

/// Returns about how many bytes an answer takes.
pub(in crate::kafka) fn weigh_answer(answer: &DescribeTransactionsResponse) -> usize {
    answer.transaction_states.iter().map(weigh).sum()
}

fn weigh(row: &TransactionState) -> usize {
    let partitions =
        row.topics.iter().map(|it| it.partitions.len() * PARTITION_BYTES + TOPIC_BYTES);
    ID_BYTES + row.transactional_id.len() + partitions.sum::<usize>()
}

fn code_of(error: &TransactionError) -> ErrorCode {
    match error {
        TransactionError::NotFound => ErrorCode::TransactionalIdNotFound,
        other => other.into(),
    }
}

fn refused(id: StrBytes, code: ErrorCode, call: &Call) -> TransactionState {
    let mut row = TransactionState::default();
    row.transactional_id = id;
    row.error_code = code.count(call);
    row
}

fn row(id: StrBytes, of: TransactionDescription, image: &Image) -> TransactionState {
    let mut row = TransactionState::default();
    row.transactional_id = id;
    row.transaction_state = transactions::name_of(of.state).into();
    row.transaction_timeout_ms = of.timeout_ms;
    row.transaction_start_time_ms = of.start_ms;
    (row.producer_id, row.producer_epoch) = (of.producer_id, of.epoch);
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in of.partitions {
        if let Some(topic) = image.topic_by_id(topic) {
            topics.entry(topic.name.as_str()).or_default().push(partition);
        }
    }
    row.topics = topics
        .into_iter()
        .map(|(name, mut partitions)| {
            partitions.sort_unstable();
            let mut topic = TopicData::default();
            (topic.topic, topic.partitions) = (name.into(), partitions);
            topic
        })
        .collect();
    row
}
