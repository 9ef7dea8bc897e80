//! Compaction as operators see it, and as they ask for it.
//!
//! How far a partition is compacted is what its leader says of its own replica; that of every other broker is in that broker's
//! metrics. A leader is asked once, whatever the number of its partitions, and what has not come in time is told as not
//! known. To be asked is to decide: that much may be compacted. The replicas do it after the answer, each in its own time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};
use utoipa::ToSchema;

use super::extract::{Nothing, Options, Parameters, patience};
use super::placed::Place;
use super::problem::Problem;
use super::{forward, leaders};
use crate::context::Context;
use crate::metadata::{AdminError, Image, Topic, quote};
use crate::partition::{Partition, Partitions, TrimError};

/// Requests to leaders under way at the same time.
const LEADERS_AT_A_TIME: usize = 8;
/// Partitions that are decided on at the same time.
const PARTITIONS_AT_A_TIME: usize = 64;
/// How long the leaders may take together to say how far they are.
const TELL_WAIT: Duration = Duration::from_secs(5);
/// How long a decision may take, which waits for a majority.
const DECIDE_WAIT: Duration = Duration::from_secs(10);
/// How long the metadata may take to be current before a topic is taken for missing, or for not compacted.
const CURRENT_WAIT: Duration = Duration::from_secs(2);
/// An answer about ten thousand partitions takes a megabyte.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// How far a partition is compacted, and what that came to, as its leader sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct Compaction {
    /// The first offset that no decision covers. What lies before it each replica compacts in its own time.
    decided_upto: i64,
    /// The first offset up to which the leader has done so.
    compacted_upto: i64,
    /// Bytes of batches before `decided_upto`, on the leader's disk.
    clean_bytes: u64,
    /// Bytes of batches behind it.
    dirty_bytes: u64,
    /// How much of all bytes is dirty, from 0 to 1. From `min.cleanable.dirty.ratio` on it is compacted again.
    #[schema(minimum = 0, maximum = 1)]
    dirty_ratio: f64,
    /// Whether `log.cleaner.enable` keeps the leader from compacting.
    paused: bool,
    /// Whether the leader compacts it now.
    running: bool,
    /// Compactions that ended since the leader's broker started, and those that failed and are tried again.
    runs: u64,
    failures: u64,
    /// Bytes of batches that those have read, written, and left out.
    bytes_read: u64,
    bytes_written: u64,
    bytes_saved: u64,
    /// The last one that ended or failed.
    last_run: Option<CompactionRun>,
}

/// A compaction of a replica that is over.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct CompactionRun {
    /// When it ended, by the broker's clock, as RFC 3339 writes it.
    #[schema(example = "2026-11-27T05:30:00.250Z", format = DateTime)]
    ended: String,
    took_ms: u64,
}

/// How far the partitions of a topic are compacted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct TopicCompaction {
    topic: String,
    /// Whether its `cleanup.policy` has compact.
    compacted: bool,
    /// None of a topic that is not compacted.
    partitions: Vec<PartitionCompaction>,
}

/// How far a partition is compacted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct PartitionCompaction {
    partition: i32,
    /// None while no leader is known.
    leader: Option<u64>,
    /// None when its leader does not answer.
    compaction: Option<Compaction>,
}

/// What was decided of the partitions of a topic.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct CompactionAsked {
    topic: String,
    partitions: Vec<PartitionAsked>,
}

/// What was decided of a partition.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct PartitionAsked {
    partition: i32,
    /// Whether there was anything that is new and old enough (`min.compaction.lag.ms`).
    decided: bool,
    /// The first offset that no decision covers; none if the leader does not tell.
    decided_upto: Option<i64>,
    /// The first offset up to which the leader has carried that out.
    compacted_upto: Option<i64>,
    /// Why nothing was decided.
    error: Option<CompactionError>,
}

/// Why a leader did not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CompactionError {
    /// There is none that answers; nothing was decided.
    NoLeader,
    /// It cannot now; nothing was decided, ask again.
    Busy,
    /// It cannot read its log; nothing was decided, let another replica lead.
    Unreadable,
    /// It may have decided. Asking again is harmless.
    UnknownOutcome,
}

/// Returns how far the partitions of a topic are compacted, as their leaders see it.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/compaction", tag = "topics",
    params(("topic" = String, Path, description = "Its name", example = "orders")),
    responses((status = 200, body = TopicCompaction), (status = 404, description = "There is none", body = Problem))
)]
pub(super) async fn describe_topic(
    State(context): State<Context>,
    headers: HeaderMap,
    Parameters(name): Parameters<String>,
) -> Result<Json<TopicCompaction>, Problem> {
    let image = context.metadata.image();
    let topic = image.topic(&name).ok_or_else(|| AdminError::UnknownTopic(quote(&name)))?;
    if topic.configs.compaction().is_none() {
        return Ok(Json(TopicCompaction { topic: name, compacted: false, partitions: Vec::new() }));
    }
    let told = leaders::led_here(&context, topic).into_iter().map(|(index, here)| {
        let compaction = of(&context, &here);
        PartitionCompaction { partition: index, leader: Some(context.node.id()), compaction }
    });
    let mut partitions: BTreeMap<i32, PartitionCompaction> =
        told.map(|it| (it.partition, it)).collect();
    if !forward::is_forwarded(&headers) {
        let path = format!("/v1/topics/{name}/compaction");
        let asks = leaders::others(&context, topic)
            .into_iter()
            .map(|leader| forward::ask::<TopicCompaction>(&context, leader, path.clone()));
        let told = stream::iter(asks).buffer_unordered(LEADERS_AT_A_TIME);
        let told = told.take_until(sleep(TELL_WAIT)).collect::<Vec<_>>().await;
        for it in told.into_iter().flatten().flat_map(|it| it.partitions) {
            partitions.entry(it.partition).or_insert(it);
        }
        for (partition, info) in topic.numbered() {
            let leader = context.metadata.leader(info.group).map(|leader| leader.id);
            let unknown = PartitionCompaction { partition, leader, compaction: None };
            partitions.entry(partition).or_insert(unknown);
        }
    }
    let partitions = partitions.into_values().collect();
    Ok(Json(TopicCompaction { topic: name, compacted: true, partitions }))
}

/// Asks the leaders of a topic's partitions to decide on compaction now, whatever the dirty ratio.
///
/// What is younger than `min.compaction.lag.ms` stays out of it. The replicas follow after the answer, unless
/// `log.cleaner.enable` pauses them.
#[utoipa::path(
    post, path = "/v1/topics/{topic}/compaction", tag = "topics",
    params(("topic" = String, Path, description = "Its name", example = "orders")),
    responses(
        (status = 202, description = "What was decided, of each partition", body = CompactionAsked),
        (status = 404, description = "There is none", body = Problem),
        (status = 409, description = "It is not compacted", body = Problem),
        (status = 503, description = "Nothing was decided", body = Problem),
        (status = 504, description = "It may have been decided", body = Problem)
    )
)]
pub(super) async fn compact_topic(
    State(context): State<Context>,
    headers: HeaderMap,
    Options(Nothing {}): Options<Nothing>,
    Parameters(name): Parameters<String>,
) -> Result<(StatusCode, Json<CompactionAsked>), Problem> {
    let topic = compacted(&context, &name).await?;
    let end = decide_end(&context);
    let here = leaders::led_here(&context, &topic).into_iter();
    let here = here.map(|(index, here)| decide_here(&context, index, here, end));
    let here = stream::iter(here).buffer_unordered(PARTITIONS_AT_A_TIME).collect::<Vec<_>>();
    if forward::is_forwarded(&headers) {
        let asked = CompactionAsked { topic: name, partitions: here.await };
        return Ok((StatusCode::ACCEPTED, Json(asked)));
    }
    let elsewhere = leaders::others(&context, &topic);
    let elsewhere = elsewhere.into_iter().map(|leader| decide_at(&context, &topic, leader));
    let elsewhere = stream::iter(elsewhere).buffer_unordered(LEADERS_AT_A_TIME).collect::<Vec<_>>();
    let (here, elsewhere) = tokio::join!(here, elsewhere);
    let asked = here.into_iter().chain(elsewhere.into_iter().flatten());
    let mut partitions: BTreeMap<i32, PartitionAsked> =
        asked.map(|it| (it.partition, it)).collect();
    for (index, _) in topic.numbered() {
        partitions.entry(index).or_insert_with(|| failed(index, CompactionError::NoLeader));
    }
    let partitions: Vec<PartitionAsked> = partitions.into_values().collect();
    let errors: Option<Vec<CompactionError>> = partitions.iter().map(|it| it.error).collect();
    if let Some(errors) = errors {
        // Nothing was decided anywhere, or nobody knows.
        let unknown = errors.iter().find(|it| **it == CompactionError::UnknownOutcome);
        return Err(refused(&name, *unknown.unwrap_or(&errors[0])));
    }
    Ok((StatusCode::ACCEPTED, Json(CompactionAsked { topic: name, partitions })))
}

/// Asks the leader of a partition to decide on its compaction now, whatever the dirty ratio.
///
/// What is younger than `min.compaction.lag.ms` stays out of it. The replicas follow after the answer, unless
/// `log.cleaner.enable` pauses them.
#[utoipa::path(
    post, path = "/v1/topics/{topic}/partitions/{partition}/compaction", tag = "topics",
    params(
        ("topic" = String, Path, description = "Its name", example = "orders"),
        ("partition" = i32, Path, description = "Its number", example = 0, minimum = 0, maximum = 2_147_483_647)
    ),
    responses(
        (status = 202, description = "What was decided", body = PartitionAsked),
        (status = 404, description = "There is no such partition", body = Problem),
        (status = 409, description = "It is not compacted", body = Problem),
        (status = 503, description = "Nothing was decided", body = Problem),
        (status = 504, description = "It may have been decided", body = Problem)
    )
)]
pub(super) async fn compact_partition(
    State(context): State<Context>,
    headers: HeaderMap,
    Options(Nothing {}): Options<Nothing>,
    Parameters((name, index)): Parameters<(String, i32)>,
) -> Result<Response, Problem> {
    let Place { group, .. } = Place::new(compacted(&context, &name).await?, index)?;
    let leader = context.metadata.leader(group).map(|leader| leader.id);
    if let Some(leader) = leaders::elsewhere(&context, leader, &headers) {
        let path = format!("/v1/topics/{name}/partitions/{index}/compaction");
        return forward::post(&context, leader, path).await;
    }
    let here = context.partitions.get(group).ok_or(AdminError::NoLeader)?;
    let asked = decide_here(&context, index, here, decide_end(&context)).await;
    match asked.error {
        Some(error) => Err(refused(&format!("{name}-{index}"), error)),
        None => Ok((StatusCode::ACCEPTED, Json(asked)).into_response()),
    }
}

/// What this broker says of the compaction of a partition; none if that is not compacted.
pub(super) fn of(context: &Context, here: &Partition) -> Option<Compaction> {
    let image = context.metadata.image();
    Partitions::settings_of(&image, here.id())?.compaction?;
    let (state, totals) = (here.compaction_state().ok()?, here.compactions());
    let last_run = totals.last_ended_ms.and_then(DateTime::from_timestamp_millis);
    let last_run = last_run.map(|ended| CompactionRun {
        ended: ended.to_rfc3339_opts(SecondsFormat::Millis, true),
        took_ms: totals.last_took_ms,
    });
    Some(Compaction {
        decided_upto: state.decided_upto,
        compacted_upto: state.compacted_upto,
        clean_bytes: state.clean_bytes,
        dirty_bytes: state.dirty_bytes,
        dirty_ratio: f64::from(state.dirty_millionths()) / 1e6,
        paused: is_paused(context, &image),
        running: totals.running,
        runs: totals.runs,
        failures: totals.failures,
        bytes_read: totals.bytes_read,
        bytes_written: totals.bytes_written,
        bytes_saved: totals.bytes_saved,
        last_run,
    })
}

/// Whether this broker was told to compact nothing.
pub(super) fn is_paused(context: &Context, image: &Image) -> bool {
    !context.config.compaction.with(&image.configs, context.node.id()).0
}

/// Returns a topic that is compacted. It may have become so a moment ago, through another broker.
async fn compacted(context: &Context, name: &str) -> Result<Arc<Topic>, Problem> {
    let found = |image: &Image| {
        let topic = image.topic(name).cloned();
        topic.filter(|topic| topic.configs.compaction().is_some())
    };
    if let Some(topic) = found(&context.metadata.image()) {
        return Ok(topic);
    }
    // Whether that comes about or not, what is known then is the answer.
    let _ = context.controller.catch_up(Instant::now() + CURRENT_WAIT).await;
    let image = context.metadata.image();
    if image.topic(name).is_none() {
        return Err(AdminError::UnknownTopic(quote(name)).into());
    }
    found(&image).ok_or_else(|| {
        let detail = format!("topic {name} is not compacted: its cleanup.policy has no compact");
        Problem::new(StatusCode::CONFLICT, "not_compacted", detail).hint(
            "PATCH /v1/topics/{topic}/configs sets cleanup.policy to compact, or to compact,delete",
        )
    })
}

/// Well before whoever waits for the answer gives up.
fn decide_end(context: &Context) -> Instant {
    Instant::now() + DECIDE_WAIT.min(patience(context).mul_f32(0.8))
}

/// Has a partition decided on that this broker leads.
async fn decide_here(
    context: &Context,
    partition: i32,
    here: Arc<Partition>,
    end: Instant,
) -> PartitionAsked {
    // It is told of changed configs, but may not have been yet.
    let current = Partitions::settings_of(&context.metadata.image(), here.id());
    if let Some(current) = current.filter(|current| *current != here.settings()) {
        here.set_settings(current);
    }
    let decided = match timeout_at(end, context.partitions.compact_now(&here)).await {
        Ok(Ok(decided)) => decided,
        Ok(Err(error)) => {
            tracing::debug!(group = %here.id(), %error, "compaction was asked for and not decided");
            return failed(partition, error.into());
        }
        Err(_) => return failed(partition, CompactionError::UnknownOutcome),
    };
    let state = here.compaction_state().ok();
    PartitionAsked {
        partition,
        decided,
        decided_upto: state.map(|state| state.decided_upto),
        compacted_upto: state.map(|state| state.compacted_upto),
        error: None,
    }
}

/// Has another broker decide on all partitions of a topic that it leads.
async fn decide_at(context: &Context, topic: &Topic, leader: u64) -> Vec<PartitionAsked> {
    let path = format!("/v1/topics/{}/compaction", topic.name);
    let answer = forward::post(context, leader, path).await;
    let answer = answer.unwrap_or_else(Problem::into_response);
    let error = match answer.status() {
        StatusCode::ACCEPTED => {
            let body = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await;
            let asked = body.ok().and_then(|body| serde_json::from_slice(&body).ok());
            if let Some(asked) = asked.map(|asked: CompactionAsked| asked.partitions) {
                return asked;
            }
            CompactionError::UnknownOutcome
        }
        // It has not heard of the topic, or of its configs.
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => CompactionError::Busy,
        StatusCode::SERVICE_UNAVAILABLE => CompactionError::NoLeader,
        _ => CompactionError::UnknownOutcome,
    };
    let is_led = |group| context.metadata.leader(group).is_some_and(|it| it.id == leader);
    let led = topic.numbered().filter(|(_, info)| is_led(info.group));
    led.map(|(index, _)| failed(index, error)).collect()
}

fn failed(partition: i32, error: CompactionError) -> PartitionAsked {
    let error = Some(error);
    PartitionAsked { partition, decided: false, decided_upto: None, compacted_upto: None, error }
}

impl From<TrimError> for CompactionError {
    fn from(error: TrimError) -> Self {
        match error {
            TrimError::NotLeader { .. } | TrimError::Closed => Self::NoLeader,
            TrimError::Busy | TrimError::OutOfRange { .. } => Self::Busy,
            TrimError::Read(_) => Self::Unreadable,
            TrimError::Indeterminate => Self::UnknownOutcome,
        }
    }
}

fn refused(what: &str, error: CompactionError) -> Problem {
    let unavailable = |code, reason| {
        let detail = format!("compaction of {what}: {reason}; nothing was decided");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    };
    match error {
        CompactionError::NoLeader => unavailable("no_leader", "there is no leader that answers"),
        CompactionError::Busy => unavailable("busy", "the leader cannot decide now"),
        CompactionError::Unreadable => unavailable("unreadable", "the leader cannot read its log")
            .hint("PUT /v1/topics/{topic}/partitions/{partition}/leader has another replica lead"),
        CompactionError::UnknownOutcome => {
            forward::unknown_outcome(&format!("compaction of {what} may have been decided"))
        }
    }
}
