//! Appending over HTTP: at the leader, wherever that is, as one batch that is taken whole or refused whole.
//!
//! The same steps as for a Kafka producer. What is certain not to be in the log is tried again here as long as the request
//! may take; what may be in the log only if the request has an idempotency key, because then it is appended once.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};

use super::events::{Draft, invalid_event};
use super::extract::patience;
use super::placed::{LEADER_WAIT, Leader, Place, streams_building, streams_off};
use super::problem::{Conflict, Problem};
use super::relay::{self, Asked, Relayed, unknown_outcome};
use crate::context::Context;
use crate::partition::{
    AppendError, Appended, AttachmentError, Attachments, CONDITIONS_MAX, ExpectedVersion, KeyRules,
    Partition, Refusal, Unmet, limits_of,
};
use crate::record::{self, BatchBuilder, BatchError, CheckedBatch};
use crate::wall_clock::WallClock;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// What is to be appended, and under which conditions.
#[derive(Debug, Clone, Default)]
pub(super) struct Append {
    pub(super) records: Vec<Draft>,
    pub(super) conditions: Vec<Condition>,
    /// Idempotency key and fingerprint of the request.
    pub(super) once: Option<(Bytes, u64)>,
    /// The version behind it is told, so it has to be known.
    pub(super) is_stream: bool,
}

/// A condition beside the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    EndOffset(i64),
    Version(Bytes, ExpectedVersion),
    NoTagAfter(Bytes, i64),
}

/// Who appended, or refused.
pub(super) enum Outcome {
    Here(Appended),
    /// Another broker did, and this is its answer.
    Told(Response),
}

/// Why nothing was appended.
enum Failed {
    /// Not here, or not now; certain not to be in the log.
    Again,
    /// It may be in the log.
    Unknown,
    For(Problem),
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self::For(problem)
    }
}

/// Appends at the leader, to which any other broker passes the request.
pub(super) async fn append(
    context: &Context,
    place: &Place,
    asked: &Asked,
    append: &Append,
) -> Result<Outcome, Problem> {
    let started = Instant::now();
    let deadline = started + patience(context);
    let leader_by = (started + LEADER_WAIT).min(deadline);
    if append.conditions.len() > CONDITIONS_MAX {
        return Err(too_many_conditions());
    }
    loop {
        let mut may_be_in = false;
        match place.leader(context, leader_by).await? {
            Leader::Here(partition, epoch) => {
                match here(context, place, (&partition, epoch), append, deadline).await {
                    Ok(appended) => return Ok(Outcome::Here(appended)),
                    Err(Failed::For(problem)) => return Err(problem),
                    Err(Failed::Again) => {}
                    Err(Failed::Unknown) => may_be_in = true,
                }
            }
            Leader::There(_) if asked.is_forwarded() => {
                return Ok(Outcome::Told(relay::not_leader()));
            }
            Leader::There(broker) => {
                let wait = deadline.saturating_duration_since(Instant::now());
                match relay::to(context, broker, asked, wait, false).await {
                    Ok(Relayed::Answered(answer)) => return Ok(Outcome::Told(answer)),
                    Ok(Relayed::Again) => {}
                    Err(problem) if append.once.is_none() => return Err(problem),
                    Err(_) => may_be_in = true,
                }
            }
        }
        let is_late = Instant::now() + PAUSE >= deadline;
        if may_be_in && (append.once.is_none() || is_late) {
            return Err(unknown_outcome("the leadership moved while it was under way"));
        }
        if is_late || Instant::now() >= leader_by {
            return Err(place.no_leader());
        }
        sleep(PAUSE).await;
    }
}

async fn here(
    context: &Context,
    place: &Place,
    (partition, epoch): (&Partition, i32),
    append: &Append,
    deadline: Instant,
) -> Result<Appended, Failed> {
    let clock = context.controller.clock();
    let (trusted, now_ms) = (clock.trusted_ms().is_some(), clock.now_ms());
    let mut limits = limits_of(&place.topic.configs, now_ms, true);
    if !trusted {
        limits.timestamps = limits.timestamps.unbounded();
    }
    let batch = build(&append.records, now_ms);
    let batch = record::check(batch, &limits).map_err(|error| malformed_batch(&error))?;
    if partition.begin_streams().await.is_err() {
        return Err(Failed::Again);
    }
    let (attachments, origins) = attachments(place, partition, &batch, append)?;
    let mut aside = partition.group().aside();
    let pending = partition.append(batch, &attachments, now_ms, epoch).await;
    let pending = pending.map_err(|error| failed(error, place, append, &origins))?;
    let answered = async {
        tokio::select! {
            biased;
            outcome = pending => outcome,
            // The sender lives as long as the partition; without it the log answers.
            Ok(_) = aside.wait_for(|aside| *aside) => Err(AppendError::Indeterminate),
        }
    };
    match timeout_at(deadline, answered).await {
        Ok(outcome) => outcome.map_err(|error| failed(error, place, append, &origins)),
        Err(_) => Err(unknown_outcome("no majority of the replicas has answered in time").into()),
    }
}

fn build(records: &[Draft], now_ms: i64) -> Bytes {
    let mut batch = BatchBuilder::new();
    for Draft { key, value, headers, timestamp } in records {
        batch = batch.record(timestamp.unwrap_or(now_ms), key.as_deref(), value.as_deref());
        for (name, value) in headers {
            batch = batch.header(name, value.as_deref());
        }
    }
    batch.build()
}

/// Also returns which record each condition came from that came with one.
fn attachments(
    place: &Place,
    partition: &Partition,
    batch: &CheckedBatch,
    append: &Append,
) -> Result<(Attachments, Vec<i32>), Failed> {
    let rules = partition.key_rules();
    let name = &place.topic.name;
    let has_streams = place.topic.configs.streams().is_some();
    let unknown = || if has_streams { streams_building(name) } else { streams_off(name) };
    if append.is_stream && (!has_streams || !partition.streams_progress().ready) {
        return Err(unknown().into());
    }
    let found = Attachments::of(batch, rules);
    let (mut attachments, origins) = found.map_err(|error| match error {
        AttachmentError::NoStreams { .. } => unknown(),
        error => malformed_record(&error),
    })?;
    for condition in &append.conditions {
        let generation = rules.map(|KeyRules { generation, .. }| generation);
        match condition {
            Condition::EndOffset(offset) => attachments.expect_offset(*offset),
            Condition::Version(key, expected) => {
                let generation = generation.ok_or_else(unknown)?;
                attachments.expect_version(generation, key.clone(), *expected);
            }
            Condition::NoTagAfter(tag, offset) => {
                let generation = generation.ok_or_else(unknown)?;
                attachments.no_tag_after(generation, tag.clone(), *offset);
            }
        }
    }
    if origins.len() + append.conditions.len() > CONDITIONS_MAX {
        return Err(too_many_conditions().into());
    }
    if let Some((key, fingerprint)) = &append.once {
        attachments.once(key.clone(), *fingerprint);
    }
    Ok((attachments, origins))
}

fn failed(error: AppendError, place: &Place, append: &Append, origins: &[i32]) -> Failed {
    let now = |code, error: AppendError| {
        Failed::For(Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string()))
    };
    match error {
        AppendError::NotLeader { .. } | AppendError::Closed => Failed::Again,
        AppendError::Refused(Refusal::StreamsChanged) => Failed::Again,
        AppendError::Busy => now("busy", error),
        AppendError::NoSpace { .. } => now("no_space", error),
        AppendError::Indeterminate => Failed::Unknown,
        AppendError::Refused(refusal) => Failed::For(refused(refusal, place, append, origins)),
    }
}

fn refused(refusal: Refusal, place: &Place, append: &Append, origins: &[i32]) -> Problem {
    match refusal {
        Refusal::Condition { number, unmet } => {
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            match origins.get(number) {
                Some(record) => unmet_by_record(unmet, place, append, *record),
                None => {
                    let condition = append.conditions.get(number - origins.len());
                    problem_of(unmet, place, condition)
                }
            }
        }
        Refusal::Stream { unmet, .. } => problem_of(unmet, place, None),
        Refusal::IdempotencyKeyReused => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "another request was made under this Idempotency-Key",
        )
        .hint("give every request a key of its own, and only its retries the same"),
        // What only producers with ids meet.
        other => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "refused", other.to_string()),
    }
}

/// A version that a record expected. What records before it in the request do was subtracted, and is added again.
fn unmet_by_record(unmet: Unmet, place: &Place, append: &Append, record: i32) -> Problem {
    let at = usize::try_from(record).unwrap_or(0);
    let key = append.records.get(at).and_then(|draft| draft.key.clone());
    let mut problem = problem_of(unmet, place, None);
    if let Unmet::Version { current } = unmet {
        let name = key.map(|key| String::from_utf8_lossy(&key).into_owned());
        problem = Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "version_conflict",
            format!("record {record}: its key has version {current} before the request"),
        )
        .conflict(Conflict {
            key: name,
            current_version: Some(current),
            ..Conflict::default()
        });
    }
    problem
}

fn problem_of(unmet: Unmet, place: &Place, condition: Option<&Condition>) -> Problem {
    let new = Problem::new;
    let detail = unmet.to_string();
    match (unmet, condition) {
        (Unmet::Version { current }, condition) => {
            let expected = match condition {
                Some(Condition::Version(_, expected)) => Some(expected.number()),
                _ => None,
            };
            let detail = match expected {
                Some(-1) => format!("the stream exists, its version is {current}"),
                Some(-3) => format!("there is no such stream (version {current})"),
                Some(expected) => format!("the version of the stream is {current}, not {expected}"),
                None => detail,
            };
            let conflict = Conflict {
                current_version: Some(current),
                expected_version: expected,
                ..Conflict::default()
            };
            new(StatusCode::PRECONDITION_FAILED, "version_conflict", detail).conflict(conflict)
        }
        (Unmet::Tag { current }, condition) => {
            let tag = match condition {
                Some(Condition::NoTagAfter(tag, _)) => Some(String::from_utf8_lossy(tag).into()),
                _ => None,
            };
            let conflict = Conflict { tag, current_offset: Some(current), ..Conflict::default() };
            new(StatusCode::PRECONDITION_FAILED, "tag_conflict", detail).conflict(conflict)
        }
        (Unmet::EndOffset { current }, _) => {
            let conflict = Conflict { current_offset: Some(current), ..Conflict::default() };
            new(StatusCode::PRECONDITION_FAILED, "offset_conflict", detail).conflict(conflict)
        }
        (Unmet::Closed { current }, _) => {
            let conflict = Conflict { current_version: Some(current), ..Conflict::default() };
            new(StatusCode::GONE, "stream_closed", detail).conflict(conflict)
        }
        (Unmet::Trimmed { log_start }, _) => {
            let conflict = Conflict { current_offset: Some(log_start), ..Conflict::default() };
            new(StatusCode::UNPROCESSABLE_ENTITY, "offset_trimmed", detail).conflict(conflict)
        }
        (Unmet::NoStreams, _) => streams_off(&place.topic.name),
        (Unmet::Building, _) => streams_building(&place.topic.name),
    }
}

fn too_many_conditions() -> Problem {
    let detail = format!("a request has at most {CONDITIONS_MAX} conditions");
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many_conditions", detail)
}

fn malformed_record(error: &AttachmentError) -> Problem {
    let code = match error {
        AttachmentError::WrongPartition { .. } => "wrong_partition",
        AttachmentError::Contradiction { .. } => "contradiction",
        AttachmentError::TooMany { .. } => "too_many_conditions",
        _ => return invalid_event(error.to_string()),
    };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, error.to_string())
}

fn malformed_batch(error: &BatchError) -> Problem {
    let (status, code) = match error {
        BatchError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "batch_too_large"),
        BatchError::Timestamps { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_timestamp"),
        BatchError::Keys { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "missing_key"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_event"),
    };
    Problem::new(status, code, error.to_string())
}
