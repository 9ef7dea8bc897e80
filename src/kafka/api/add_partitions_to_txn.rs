//! AddPartitionsToTxn (key 24), versions 0–5: partitions become part of a producer's transaction (KIP-98).
//!
//! All of them or none: if one does not exist, the others are not attempted. Producers send versions up to 3, and those of
//! KIP-890 none at all, as Produce adds what it writes to. From version 4 on it is what Kafka's brokers ask each other, for several
//! transactions and also whether partitions are part of one already. Brokers here ask otherwise; it is served for
//! who expects it where it is told of.
//!
//! | since version | what is new |
//! |---|---|
//! | 2 | fencing has an error of its own (KIP-588) |
//! | 3 | flexible (KIP-482) |
//! | 4 | several transactions, and whether partitions are part of one (KIP-890) |
//! | 5 | transactions that can be aborted (KIP-890) |

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use kafka_wire::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_wire::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_wire::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::image_with;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::kafka::transactions::{self, ENLIST_WAIT, REQUEST_WAIT};
use crate::metadata::Image;
use crate::transaction::{Claim, Enlist};

/// The version from which a producer that was fenced is told by PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;
/// The version from which a request names several transactions.
const SEVERAL_FROM: i16 = 4;
/// The version from which a partition that is not part of the transaction is told by TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 5;
/// Partitions that a request may name of one transaction: as many as a transaction may have.
const PARTITIONS_MAX: usize = 20_000;
/// Partitions that are asked about at the same time.
const AT_A_TIME: usize = 16;

/// A partition: its topic's id and its number.
type Place = (Uuid, i32);
/// What came of each partition, in the order of the request.
type Outcomes = Vec<Result<(), ErrorCode>>;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let mut answer = AddPartitionsToTxnResponse::default();
    if call.version < SEVERAL_FROM {
        let claim = transactions::claim(
            &request.v3_and_below_transactional_id,
            request.v3_and_below_producer_id,
            request.v3_and_below_producer_epoch,
        );
        let topics = request.v3_and_below_topics;
        let outcomes = add(&server, &call, &claim, &topics, false).await;
        answer.results_by_topic_v3_and_below = rows(topics, outcomes, &call);
        return answer;
    }
    let deadline = Instant::now() + REQUEST_WAIT;
    for transaction in request.transactions {
        let AddPartitionsToTxnTransaction { transactional_id, topics, verify_only, .. } =
            transaction;
        let (producer, epoch) = (transaction.producer_id, transaction.producer_epoch);
        let claim = transactions::claim(&transactional_id, producer, epoch);
        let added = timeout_at(deadline, add(&server, &call, &claim, &topics, verify_only));
        let outcomes = added.await.unwrap_or_else(|_| {
            let named: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
            vec![Err(ErrorCode::CoordinatorNotAvailable); named]
        });
        let mut result = AddPartitionsToTxnResult::default();
        result.transactional_id = transactional_id;
        result.topic_results = rows(topics, outcomes, &call);
        answer.results_by_transaction.push(result);
    }
    answer
}

async fn add(
    server: &KafkaServer,
    call: &Call,
    claim: &Claim,
    topics: &[AddPartitionsToTxnTopic],
    verify_only: bool,
) -> Outcomes {
    let named: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    if named > PARTITIONS_MAX {
        return vec![Err(ErrorCode::InvalidRequest); named];
    }
    let image = image_with(server, |image| places(image, topics).iter().all(Result::is_ok)).await;
    let places = places(&image, topics);
    if places.iter().any(Result::is_err) {
        let place = |place: Result<Place, ErrorCode>| match place {
            Ok(_) => Err(ErrorCode::OperationNotAttempted),
            Err(code) => Err(code),
        };
        return places.into_iter().map(place).collect();
    }
    let places: Vec<Place> = places.into_iter().flatten().collect();
    if verify_only {
        return verify(server, call.version, claim, places).await;
    }
    // Each once, however often it is named.
    let once: BTreeSet<Place> = places.iter().copied().collect();
    let added = server.context.transactions.add_partitions(claim, once.into_iter().collect()).await;
    let added = added.map_err(|error| transactions::code(&error, call.version, FENCED_FROM));
    vec![added; places.len()]
}

/// Where each partition of a request is.
fn places(image: &Image, topics: &[AddPartitionsToTxnTopic]) -> Vec<Result<Place, ErrorCode>> {
    let of_topic = |topic: &AddPartitionsToTxnTopic| {
        let found = image.topic(&topic.name);
        let place = move |index: &i32| {
            let found = found.filter(|it| it.partition(*index).is_some());
            found.map(|it| (it.id, *index)).ok_or(ErrorCode::UnknownTopicOrPartition)
        };
        topic.partitions.iter().map(place).collect::<Vec<_>>()
    };
    topics.iter().flat_map(of_topic).collect()
}

async fn verify(server: &KafkaServer, version: i16, claim: &Claim, places: Vec<Place>) -> Outcomes {
    let transactions = &server.context.transactions;
    let verify = async |place: Place| match transactions
        .enlist(claim, place, Enlist::Verify, ENLIST_WAIT)
        .await
    {
        Ok(_) => Ok(()),
        Err(error) => match ErrorCode::from(&error) {
            ErrorCode::InvalidTxnState if version >= ABORTABLE_FROM => {
                Err(ErrorCode::TransactionAbortable)
            }
            code => Err(code),
        },
    };
    let mut outcomes = Outcomes::new();
    for some in places.chunks(AT_A_TIME) {
        outcomes.extend(join_all(some.iter().map(|place| verify(*place))).await);
    }
    outcomes
}

fn rows(
    topics: Vec<AddPartitionsToTxnTopic>,
    outcomes: Outcomes,
    call: &Call,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut outcomes = outcomes.into_iter();
    let mut rows = Vec::with_capacity(topics.len());
    for topic in topics {
        let mut result = AddPartitionsToTxnTopicResult::default();
        for (index, outcome) in topic.partitions.iter().zip(outcomes.by_ref()) {
            let mut row = AddPartitionsToTxnPartitionResult::default();
            row.partition_index = *index;
            row.partition_error_code = outcome.err().map_or(0, |code| code.count(call));
            result.results_by_partition.push(row);
        }
        result.name = topic.name;
        rows.push(result);
    }
    rows
}
