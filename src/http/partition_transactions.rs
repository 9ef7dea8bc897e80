//! Transactions as a partition knows them: which are open in it, and an operator's end of one that its coordinator has forgotten.
//!
//! An open transaction holds readers of committed records at its first record. Its coordinator ends it in time, so one that stays is
//! open here alone: "hanging" (KIP-664). It is ended here by its number, so that a later one of the same producer is not met, and
//! only after all coordinators have said that none of them is about to end it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::extract::{Nothing, Options, Parameters};
use super::forward;
use super::placed::{self, Leader, Place};
use super::problem::Problem;
use super::transactions::{self, Transaction, TransactionDetail, TransactionPartition};
use crate::context::Context;
use crate::partition::{AppendError, Marker, OpenTransaction, Partition};
use crate::percent;

/// How long the leader may take to be known.
const LEADER_WAIT: Duration = Duration::from_secs(2);
/// How long the coordinators may take to be heard: less than a broker waits that forwards the request.
const COORDINATORS_WAIT: Duration = Duration::from_secs(2);

/// The open transactions of a partition, the oldest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct PartitionTransactions {
    topic: String,
    partition: i32,
    /// The first offset that readers of committed records do not see yet: that of the first open transaction, else the end.
    last_stable_offset: i64,
    /// The offset after the last committed record.
    high_watermark: i64,
    transactions: Vec<PartitionTransaction>,
}

/// A transaction that is open in a partition.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct PartitionTransaction {
    producer_id: i64,
    epoch: i16,
    /// Of two transactions of a producer the later has the greater.
    number: u64,
    /// Of its first record here.
    first_offset: i64,
    /// How long it has been open.
    open_ms: i64,
}

/// Finds a partition and who answers of it; a request that was passed on is answered here or not at all.
async fn led(
    context: &Context,
    topic: &str,
    index: i32,
    headers: &HeaderMap,
) -> Result<(Place, Leader), Problem> {
    let place = Place::new(placed::topic(context, topic).await?, index)?;
    match place.leader(context, Instant::now() + LEADER_WAIT).await? {
        Leader::There(_) if forward::is_forwarded(headers) => Err(place.no_leader()),
        leader => Ok((place, leader)),
    }
}

/// Lists the transactions that are open in a partition, the oldest first.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/partitions/{partition}/transactions", tag = "transactions",
    operation_id = "list_partition_transactions",
    params(
        ("topic" = String, Path, description = "Its name", example = "orders"),
        ("partition" = i32, Path, description = "Its number", example = 0, minimum = 0, maximum = 2_147_483_647)
    ),
    responses(
        (status = 200, body = PartitionTransactions),
        (status = 404, description = "There is no such partition", body = Problem),
        (status = 503, description = "Its leader does not answer", body = Problem)
    )
)]
pub(super) async fn list(
    State(context): State<Context>,
    headers: HeaderMap,
    Parameters((name, index)): Parameters<(String, i32)>,
) -> Result<Json<PartitionTransactions>, Problem> {
    let (place, leader) = led(&context, &name, index, &headers).await?;
    let here = match leader {
        Leader::Here(here, _) => here,
        Leader::There(leader) => {
            let path = format!("/v1/topics/{name}/partitions/{index}/transactions");
            let told = forward::ask(&context, leader, path).await;
            return told.map(Json).ok_or_else(|| place.no_leader());
        }
    };
    let transaction = |it: OpenTransaction| PartitionTransaction {
        producer_id: it.producer_id,
        epoch: it.epoch,
        number: it.number,
        first_offset: it.first_offset,
        open_ms: it.open_ms,
    };
    Ok(Json(PartitionTransactions {
        topic: name,
        partition: index,
        last_stable_offset: here.last_stable_offset(),
        high_watermark: here.high_watermark(),
        transactions: here.open_transactions().into_iter().map(transaction).collect(),
    }))
}

/// Aborts a transaction that is open in this partition alone, because its coordinator knows nothing of it any more.
///
/// Refused while a coordinator has it open, for that one ends it everywhere.
#[utoipa::path(
    post, path = "/v1/topics/{topic}/partitions/{partition}/transactions/{producer_id}/abort", tag = "transactions",
    operation_id = "abort_partition_transaction",
    params(
        ("topic" = String, Path, description = "Its name", example = "orders"),
        ("partition" = i32, Path, description = "Its number", example = 0, minimum = 0, maximum = 2_147_483_647),
        ("producer_id" = i64, Path, description = "Its producer's id", example = 1000, minimum = 0, maximum = 9_223_372_036_854_775_807_i64)
    ),
    responses(
        (status = 204, description = "Aborted"),
        (status = 404, description = "There is no such partition, or the producer has no open transaction in it", body = Problem),
        (status = 409, description = "Its coordinator has it open", body = Problem),
        (status = 503, description = "Nothing was aborted", body = Problem),
        (status = 504, description = "It may have been aborted", body = Problem)
    )
)]
pub(super) async fn abort(
    State(context): State<Context>,
    headers: HeaderMap,
    Options(Nothing {}): Options<Nothing>,
    Parameters((name, index, producer_id)): Parameters<(String, i32, i64)>,
) -> Result<Response, Problem> {
    let (place, leader) = led(&context, &name, index, &headers).await?;
    let here = match leader {
        Leader::Here(here, _) => here,
        Leader::There(leader) => {
            let path =
                format!("/v1/topics/{name}/partitions/{index}/transactions/{producer_id}/abort");
            return forward::post(&context, leader, path).await;
        }
    };
    let open = here.open_transactions().into_iter().find(|it| it.producer_id == producer_id);
    let open = open.ok_or_else(|| not_open(&place, producer_id))?;
    if let Some(id) = coordinated(&context, &place, producer_id).await? {
        return Err(still_coordinated(&place, producer_id, &id));
    }
    let marker = Marker {
        producer_id,
        epoch: open.epoch,
        number: Some(open.number),
        commit: false,
        coordinator_epoch: coordinator_epoch(&here, producer_id).await,
    };
    here.end_transaction(marker).await.map_err(|error| refused(&place, &error))?;
    tracing::info!(topic = %name, partition = index, producer_id, number = open.number, "a hanging transaction was aborted by an operator");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Returns the transactional id whose coordinator has a transaction of this producer open in this partition.
///
/// # Errors
/// That not all coordinators were heard.
async fn coordinated(
    context: &Context,
    place: &Place,
    producer_id: i64,
) -> Result<Option<String>, Problem> {
    let found = transactions::of_producer(context, producer_id, COORDINATORS_WAIT).await;
    let found = found.ok_or_else(not_all_heard)?;
    let this = TransactionPartition { topic: place.topic.name.clone(), partition: place.index };
    for it in found.into_iter().filter(|it| it.state.is_open()) {
        let detail = detail(context, &it).await.ok_or_else(not_all_heard)?;
        if detail.partitions.contains(&this) {
            return Ok(Some(it.transactional_id));
        }
    }
    Ok(None)
}

async fn detail(context: &Context, it: &Transaction) -> Option<TransactionDetail> {
    let id = &it.transactional_id;
    if it.coordinator == context.node.id() {
        let deadline = Instant::now() + COORDINATORS_WAIT;
        return transactions::detail_here(context, id, deadline).await.ok();
    }
    let path = format!("/v1/transactions/{}", percent::encoded(id));
    forward::ask_within(context, it.coordinator, path, COORDINATORS_WAIT).await
}

/// That of the producer's last marker, as Kafka's tool for this sends it.
async fn coordinator_epoch(here: &Arc<Partition>, producer_id: i64) -> i32 {
    let after = producer_id.checked_sub(1);
    let known = here.producers(after, 1).await.unwrap_or_default();
    let known = known.iter().find(|it| it.producer_id == producer_id);
    known.map_or(0, |it| it.coordinator_epoch.max(0))
}

fn not_open(place: &Place, producer_id: i64) -> Problem {
    let detail = format!(
        "producer {producer_id} has no open transaction in {}-{}",
        place.topic.name, place.index
    );
    Problem::new(StatusCode::NOT_FOUND, "no_open_transaction", detail).hint(
        "GET /v1/topics/{topic}/partitions/{partition}/transactions lists those that are open",
    )
}

fn still_coordinated(place: &Place, producer_id: i64, id: &str) -> Problem {
    let detail = format!(
        "the transaction of producer {producer_id} in {}-{} is that of transactional id {}, whose coordinator ends it",
        place.topic.name,
        place.index,
        crate::metadata::quote(id)
    );
    Problem::new(StatusCode::CONFLICT, "transaction_coordinated", detail)
        .hint("POST /v1/transactions/{transactional_id}/abort aborts it in all its partitions")
}

fn not_all_heard() -> Problem {
    let detail = "not all coordinators of transactions say what they have open";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "coordinator_unavailable", detail).hint(
        "nothing was aborted; GET /v1/transactions shows which are missing, ask again when they are back",
    )
}

fn refused(place: &Place, error: &AppendError) -> Problem {
    let words = format!("{}-{}: {error}", place.topic.name, place.index);
    let now = |code| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, words.clone());
    match error {
        AppendError::NotLeader { .. } | AppendError::Closed => place.no_leader(),
        AppendError::Busy => now("busy").hint("nothing was aborted; ask again"),
        AppendError::NoSpace { .. } => now("no_space").hint("nothing was aborted; free disk space"),
        AppendError::Indeterminate => forward::unknown_outcome(&words),
        AppendError::Refused(_) => Problem::new(StatusCode::CONFLICT, "transaction_changed", words)
            .hint("it ended meanwhile, or its producer has begun anew; list the open ones again"),
    }
}
