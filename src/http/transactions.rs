//! Transactions as their coordinators know them: which there are, in what state, and an operator's end of one.
//!
//! Each transactional id is known to the broker that coordinates it; any broker asks that one. What partitions know of open
//! transactions is in `partition_transactions.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use quorate_storage::GroupId;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;

use super::coordinator_list::{CoordinatorList, PAGE_MAX, Row};
use super::extract::{Nothing, Options, Parameters, within};
use super::forward::{self, Told};
use super::leaders;
use super::problem::Problem;
use crate::context::Context;
use crate::metadata::{InternalKind, quote};
use crate::transaction::{
    self, TRANSACTIONS, TransactionDescription, TransactionError, Transactions,
};

/// The code of the problem that there is no such transactional id.
const UNKNOWN: &str = "unknown_transactional_id";
/// How long a coordinator may take that was just elected.
const SERVING_WAIT: Duration = Duration::from_secs(2);
/// Between two looks whether it serves.
const SERVING_LOOK: Duration = Duration::from_millis(20);

/// A state of a transactional id, by Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) enum TransactionState {
    /// It has had no transaction.
    Empty,
    Ongoing,
    /// Committed; its partitions are being told.
    PrepareCommit,
    /// Aborted; its partitions are being told.
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    /// Aborted by its coordinator, which shuts the producer out.
    PrepareEpochFence,
}

/// Some of the transactional ids of the cluster, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TransactionList {
    transactions: Vec<Transaction>,
    /// Ask again with `after` set to this id for the rest; none at the end.
    next: Option<String>,
    /// Brokers that did not say which transactional ids they coordinate.
    unreachable: BTreeSet<u64>,
    /// The coordinators that brokers spoke for, by number.
    coordinators: BTreeSet<u32>,
    /// The coordinators that nobody spoke for, by number: their transactional ids are missing here.
    missing: BTreeSet<u32>,
}

#[derive(Debug, Clone, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TransactionsWanted {
    /// Begin after this id.
    after: Option<String>,
    /// At most so many; 1000 if left out.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
    /// Only those in this state.
    #[param(inline)]
    state: Option<TransactionState>,
    /// Only that of this producer.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    producer_id: Option<i64>,
}

/// A transactional id in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct Transaction {
    #[schema(example = "payments-1")]
    pub(super) transactional_id: String,
    pub(super) state: TransactionState,
    pub(super) producer_id: i64,
    epoch: i16,
    /// After so long its coordinator aborts a transaction that is open.
    timeout_ms: i32,
    /// When the open transaction began, milliseconds since 1970; none if none is open.
    start_ms: Option<i64>,
    /// How long it has been open; none if none is open.
    open_ms: Option<i64>,
    /// The broker that coordinates it.
    pub(super) coordinator: u64,
}

/// A transactional id in full.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct TransactionDetail {
    #[serde(flatten)]
    transaction: Transaction,
    /// Those of the open transaction, without topics that were deleted.
    pub(super) partitions: Vec<TransactionPartition>,
}

/// A partition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub(super) struct TransactionPartition {
    #[schema(example = "orders")]
    pub(super) topic: String,
    pub(super) partition: i32,
}

impl From<transaction::TransactionState> for TransactionState {
    fn from(state: transaction::TransactionState) -> Self {
        use transaction::TransactionState as Known;
        match state {
            Known::Empty => Self::Empty,
            Known::Ongoing => Self::Ongoing,
            Known::PrepareCommit => Self::PrepareCommit,
            Known::PrepareAbort => Self::PrepareAbort,
            Known::CompleteCommit => Self::CompleteCommit,
            Known::CompleteAbort => Self::CompleteAbort,
            Known::PrepareEpochFence => Self::PrepareEpochFence,
        }
    }
}

impl TransactionState {
    /// Returns whether partitions may still wait for the end of a transaction.
    pub(super) fn is_open(self) -> bool {
        !matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }
}

impl TransactionsWanted {
    /// Those of one producer, a page of them.
    pub(super) fn of_producer(producer_id: i64) -> Self {
        Self { after: None, limit: None, state: None, producer_id: Some(producer_id) }
    }

    fn wants(&self, it: &TransactionDescription) -> bool {
        self.after.as_ref().is_none_or(|after| it.transactional_id > *after)
            && self.state.is_none_or(|state| TransactionState::from(it.state) == state)
            && self.producer_id.is_none_or(|producer_id| it.producer_id == producer_id)
    }
}

/// Lists the transactional ids of the cluster, each with its state and what is known of its open transaction.
#[utoipa::path(
    get, path = "/v1/transactions", tag = "transactions", operation_id = "list_transactions", params(TransactionsWanted),
    responses((status = 200, body = TransactionList))
)]
pub(super) async fn list(
    State(context): State<Context>,
    headers: HeaderMap,
    uri: Uri,
    Options(wanted): Options<TransactionsWanted>,
) -> Result<Json<TransactionList>, Problem> {
    let limit = within("limit", wanted.limit.unwrap_or(PAGE_MAX), 1..=PAGE_MAX)?;
    wanted.producer_id.map(|it| within("producer_id", it, 0..=i64::MAX)).transpose()?;
    let found = here(&context, &wanted, limit).await;
    let found = found.page(&context, &headers, &uri, limit).await;
    Ok(Json(TransactionList::of(found, &context)))
}

/// The transactional ids of a producer, asked of all coordinators while another request is answered; none if one of them was
/// not heard.
pub(super) async fn of_producer(
    context: &Context,
    producer_id: i64,
    wait: Duration,
) -> Option<Vec<Transaction>> {
    let mut found = here(context, &TransactionsWanted::of_producer(producer_id), PAGE_MAX).await;
    let path = format!("/v1/transactions?producer_id={producer_id}");
    found.add_others(context, |id| forward::ask_within(context, id, path.clone(), wait)).await;
    found.whole(context)
}

impl Row for Transaction {
    const KIND: InternalKind = TRANSACTIONS;

    fn name(&self) -> &str {
        &self.transactional_id
    }
}

impl TransactionList {
    fn of(found: CoordinatorList<Transaction>, context: &Context) -> Self {
        let missing = found.missing(context);
        let CoordinatorList { rows: transactions, next, unreachable, coordinators } = found;
        Self { transactions, next, unreachable, coordinators, missing }
    }
}

/// The first transactional ids that are wanted of those that this broker coordinates.
async fn here(
    context: &Context,
    wanted: &TransactionsWanted,
    limit: usize,
) -> CoordinatorList<Transaction> {
    let me = context.node.id();
    // Whoever led before and leads in the same term afterwards has led in between, and was asked.
    let before = led(context);
    // Of each coordinator one more than are asked for, which says that there are more.
    let wants = |it: &TransactionDescription| wanted.wants(it);
    let listed = context.transactions.list(limit.saturating_add(1), &wants).await;
    let after = led(context);
    let is_whole = listed.is_ok();
    let spoken_for = before.intersection(&after).filter(|_| is_whole);
    let coordinators = spoken_for.map(|(number, _)| *number).collect();
    let rows = listed.unwrap_or_default().into_iter().map(|it| row(it, me)).collect();
    let mut here = CoordinatorList::here(context, rows, coordinators, is_whole);
    here.cut(limit);
    here
}

/// The coordinators that this broker leads and is ready to speak for, by number, with the terms it leads in.
fn led(context: &Context) -> BTreeSet<(u32, u64)> {
    let image = context.metadata.image();
    let claims = context.metadata.leaders().led_by(context.node.id());
    let led = claims.into_iter().filter_map(|claim| {
        let (id, _) = image.internal.of(GroupId(claim.group))?;
        (id.kind == TRANSACTIONS).then_some((id.number, claim.term))
    });
    led.collect()
}

fn row(it: TransactionDescription, coordinator: u64) -> Transaction {
    let known = |ms: i64| (ms >= 0).then_some(ms);
    Transaction {
        transactional_id: it.transactional_id,
        state: it.state.into(),
        producer_id: it.producer_id,
        epoch: it.epoch,
        timeout_ms: it.timeout_ms,
        start_ms: known(it.start_ms),
        open_ms: known(it.open_ms),
        coordinator,
    }
}

/// Returns a transactional id: its state, its producer, and the partitions of its open transaction.
#[utoipa::path(
    get, path = "/v1/transactions/{transactional_id}", tag = "transactions", operation_id = "describe_transaction",
    params(("transactional_id" = String, Path, description = "As its producer names itself", example = "payments-1")),
    responses(
        (status = 200, body = TransactionDetail),
        (status = 404, description = "There is none", body = Problem),
        (status = 503, description = "Its coordinator does not answer", body = Problem)
    )
)]
pub(super) async fn describe(
    State(context): State<Context>,
    headers: HeaderMap,
    uri: Uri,
    Parameters(id): Parameters<String>,
) -> Result<Json<TransactionDetail>, Problem> {
    let deadline = Instant::now() + SERVING_WAIT;
    if let Some(leader) = elsewhere(&context, &id, &headers, deadline).await? {
        return match forward::find(&context, leader, uri.path().to_owned(), UNKNOWN).await {
            Told::Found(told) => Ok(Json(told)),
            Told::Missing => Err(unknown(&id)),
            Told::Nothing => Err(unavailable(&id)),
        };
    }
    detail_here(&context, &id, deadline).await.map(Json)
}

/// Describes a transactional id that this broker coordinates.
pub(super) async fn detail_here(
    context: &Context,
    id: &str,
    deadline: Instant,
) -> Result<TransactionDetail, Problem> {
    let described = loop {
        let described = context.transactions.describe(id).await;
        if !serves_soon(described.as_ref().err(), deadline).await {
            break described;
        }
    };
    let described = described.map_err(|error| refused(id, &error))?;
    let image = context.metadata.image();
    let partitions = described.partitions.iter().filter_map(|(topic, partition)| {
        let topic = image.topic_by_id(*topic)?.name.clone();
        Some(TransactionPartition { topic, partition: *partition })
    });
    let mut partitions: Vec<_> = partitions.collect();
    partitions.sort_unstable();
    Ok(TransactionDetail { transaction: row(described, context.node.id()), partitions })
}

/// Aborts the open transaction of a transactional id, as if its time were over: readers of committed records see nothing of it, and
/// its producer is shut out until it begins anew.
///
/// The answer comes when it is decided; the partitions hear of it at once, and those without a leader when they have one.
#[utoipa::path(
    post, path = "/v1/transactions/{transactional_id}/abort", tag = "transactions", operation_id = "abort_transaction",
    params(("transactional_id" = String, Path, description = "As its producer names itself", example = "payments-1")),
    responses(
        (status = 204, description = "Aborted"),
        (status = 404, description = "There is no such transactional id", body = Problem),
        (status = 409, description = "It has no open transaction", body = Problem),
        (status = 503, description = "Nothing was aborted", body = Problem),
        (status = 504, description = "It may have been aborted", body = Problem)
    )
)]
pub(super) async fn abort(
    State(context): State<Context>,
    headers: HeaderMap,
    uri: Uri,
    Options(Nothing {}): Options<Nothing>,
    Parameters(id): Parameters<String>,
) -> Result<Response, Problem> {
    let deadline = Instant::now() + SERVING_WAIT;
    if let Some(leader) = elsewhere(&context, &id, &headers, deadline).await? {
        return forward::post(&context, leader, uri.path().to_owned()).await;
    }
    let number = loop {
        let number = context.transactions.number(&id).await;
        if !serves_soon(number.as_ref().err(), deadline).await {
            break number.map_err(|error| refused(&id, &error))?;
        }
    };
    // The one that was open then, and none that came after.
    let mut may_be = false;
    let aborted = loop {
        let aborted = context.transactions.abort(&id, number).await;
        may_be |= aborted == Err(TransactionError::NotAvailable);
        if !serves_soon(aborted.as_ref().err(), deadline).await {
            break aborted;
        }
    };
    match aborted {
        Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(_) if may_be => {
            Err(forward::unknown_outcome(&format!("the transaction of {}", quote(&id))))
        }
        Err(error) => Err(refused(&id, &error)),
    }
}

/// Returns the broker to pass a request on to, once it is known who coordinates the transactional id; none: it is answered here.
async fn elsewhere(
    context: &Context,
    id: &str,
    headers: &HeaderMap,
    deadline: Instant,
) -> Result<Option<u64>, Problem> {
    loop {
        let image = context.metadata.image();
        // As long as no producer has asked for a coordinator there are none, and no transactional id.
        let home = Transactions::home(&image, id).ok_or_else(|| unknown(id))?;
        if let Some(leader) = context.metadata.leader(home.group) {
            return Ok(leaders::elsewhere(context, Some(leader.id), headers));
        }
        if Instant::now() > deadline {
            return Err(unavailable(id));
        }
        sleep(SERVING_LOOK).await;
    }
}

/// Waits a moment if the coordinator here was just elected and reads its log first; returns whether to ask it again.
async fn serves_soon(error: Option<&TransactionError>, deadline: Instant) -> bool {
    let may_pass =
        matches!(error, Some(TransactionError::NotCoordinator | TransactionError::NotAvailable));
    if !may_pass || Instant::now() > deadline {
        return false;
    }
    sleep(SERVING_LOOK).await;
    true
}

fn unknown(id: &str) -> Problem {
    let detail = format!("there is no transactional id {}", quote(id));
    Problem::new(StatusCode::NOT_FOUND, UNKNOWN, detail).hint(
        "GET /v1/transactions lists the transactional ids; those unused for long are forgotten",
    )
}

fn unavailable(id: &str) -> Problem {
    let detail = format!("the coordinator of transactional id {} does not answer", quote(id));
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "coordinator_unavailable", detail)
        .hint("ask again; GET /v1/brokers shows which brokers are alive")
}

/// Why a coordinator did not do it.
fn refused(id: &str, error: &TransactionError) -> Problem {
    match error {
        TransactionError::NotFound => unknown(id),
        TransactionError::NotCoordinator | TransactionError::NotAvailable => unavailable(id),
        TransactionError::InvalidState => {
            let detail = format!("transactional id {} has no open transaction", quote(id));
            Problem::new(StatusCode::CONFLICT, "no_open_transaction", detail).hint(
                "GET /v1/topics/{topic}/partitions/{partition}/transactions lists what is open in a partition",
            )
        }
        TransactionError::Concurrent => {
            let detail = format!("the transaction of {} is being ended", quote(id));
            Problem::new(StatusCode::CONFLICT, "transaction_ending", detail)
                .hint("its outcome is decided; GET /v1/transactions/{transactional_id} shows it")
        }
        other => forward::unknown_outcome(&format!("transactional id {}: {other}", quote(id))),
    }
}

#[cfg(test)]
mod tests;
