//! What all reads of records have in common: which replica answers, how fresh it has to be, and how that is told.
//!
//! Every replica may answer. A linearizable read has it ask the leader first what was acknowledged and wait until it has
//! that as well; a committed one shows what the replica has applied, which may be behind and is never taken back.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{ACCEPT, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use utoipa::ToSchema;

use super::extract::patience;
use super::placed::{KeyEncoding, LEADER_WAIT, Place, Replica, streams_building};
use super::problem::{Conflict, Problem};
use super::relay::{self, Asked, Relayed};
use crate::context::Context;
use crate::partition::{Partition, ReadError, StreamState};

/// The longest that a reader may have the broker wait for records.
pub(super) const WAIT_MS_MAX: u64 = 30_000;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(25);

/// How fresh an answer has to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Consistency {
    /// All that was acknowledged before the request is in it.
    #[default]
    Linearizable,
    /// What the replica has, without asking another.
    Committed,
}

/// How fresh the replica has to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReadOptions {
    pub(super) consistency: Option<Consistency>,
    pub(super) min_offset: Option<i64>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HeadOptions {
    /// How the key is written in the path: utf8 if left out, base64url for one that is no text.
    #[param(inline)]
    pub(super) key_encoding: Option<KeyEncoding>,
    /// linearizable if left out: all that was acknowledged before is taken into account. committed asks no other broker.
    #[param(inline)]
    pub(super) consistency: Option<Consistency>,
    /// Waits until the replica has everything before this offset.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    pub(super) min_offset: Option<i64>,
}

/// In which form records are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    /// `application/x-ndjson`
    Lines,
    /// `text/event-stream`
    Live,
}

/// What becomes of a request when the broker has no replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing {
    /// Another one answers it.
    On,
    /// The same, and that may take long.
    OnWaiting,
    /// The client is sent there.
    Redirect,
}

/// Who answers.
pub(super) enum Reader {
    Told(Response),
    Here(Here),
}

/// A replica here that is as fresh as was asked for.
#[derive(Clone)]
pub(super) struct Here {
    pub(super) context: Context,
    pub(super) place: Place,
    pub(super) partition: Arc<Partition>,
    /// Taken before anything is read.
    high_watermark: i64,
    /// When the leader was asked who then confirmed what is newest.
    confirmed: Option<Instant>,
}

impl Form {
    /// The first of those that the client names; JSON if it names none.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|it| it.to_str().ok());
        let mut kinds = accepted.flat_map(|it| it.split(','));
        let known =
            kinds.find_map(|kind| match kind.split(';').next().unwrap_or_default().trim() {
                "application/json" => Some(Self::Json),
                "application/x-ndjson" => Some(Self::Lines),
                "text/event-stream" => Some(Self::Live),
                _ => None,
            });
        known.unwrap_or(Self::Json)
    }
}

/// Finds the replica that answers and waits until it is fresh enough.
pub(super) async fn reader(
    context: &Context,
    place: &Place,
    asked: &Asked,
    wanted: ReadOptions,
    passing: Passing,
) -> Result<Reader, Problem> {
    let started = Instant::now();
    let deadline = started + patience(context);
    loop {
        match place.replica(context)? {
            Replica::Here(partition) => {
                let here = settled(context, place, partition, wanted, deadline).await?;
                return Ok(Reader::Here(here));
            }
            Replica::There(_) if asked.is_forwarded() => {
                return Ok(Reader::Told(relay::not_leader()));
            }
            Replica::There(broker) if passing == Passing::Redirect => {
                return redirect(context, broker, asked).map(Reader::Told);
            }
            Replica::There(broker) => {
                let wait = deadline.saturating_duration_since(Instant::now());
                let waits = passing == Passing::OnWaiting;
                match relay::to(context, broker, asked, wait, waits).await {
                    Ok(Relayed::Answered(answer)) => return Ok(Reader::Told(answer)),
                    // A read that failed can be asked again.
                    Ok(Relayed::Again) | Err(_) => {}
                }
            }
        }
        if Instant::now() + PAUSE >= deadline.min(started + LEADER_WAIT) {
            return Err(place.no_leader());
        }
        sleep(PAUSE).await;
    }
}

async fn settled(
    context: &Context,
    place: &Place,
    partition: Arc<Partition>,
    wanted: ReadOptions,
    deadline: Instant,
) -> Result<Here, Problem> {
    let mut confirmed = None;
    if wanted.consistency.unwrap_or_default() == Consistency::Linearizable {
        confirmed = Some(barrier(context, place, &partition, deadline).await?);
    }
    if let Some(offset) = wanted.min_offset {
        caught_up(&partition, offset, deadline).await?;
    }
    let (context, place) = (context.clone(), place.clone());
    let high_watermark = partition.high_watermark();
    Ok(Here { context, place, partition, high_watermark, confirmed })
}

/// Waits until the replica has all that was acknowledged before. Returns when the leader was asked that confirmed it.
async fn barrier(
    context: &Context,
    place: &Place,
    partition: &Partition,
    deadline: Instant,
) -> Result<Instant, Problem> {
    let until = deadline.min(Instant::now() + LEADER_WAIT);
    let mut applied = partition.group().applied();
    loop {
        let mut changes = partition.changed();
        let asked = Instant::now();
        if let Some(index) = context.controller.read_index(place.group).await {
            let shown = applied.wait_for(|applied| *applied >= index);
            match timeout_at(deadline, shown).await {
                Ok(Ok(_)) => return Ok(asked),
                Ok(Err(_)) => return Err(closed()),
                Err(_) => return Err(behind(partition)),
            }
        }
        let look_again = (Instant::now() + PAUSE).min(until);
        match timeout_at(look_again, changes.changed()).await {
            Ok(Err(_)) => return Err(closed()),
            _ if Instant::now() >= until => {
                return Err(place.no_leader().hint(
                    "no leader confirms what is newest; consistency=committed reads what the replica has",
                ));
            }
            _ => {}
        }
    }
}

fn behind(partition: &Partition) -> Problem {
    let current = partition.high_watermark();
    let detail = format!("the replica has everything before offset {current} and lacks more");
    let conflict = Conflict { current_offset: Some(current), ..Conflict::default() };
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "not_caught_up", detail)
        .conflict(conflict)
        .hint("nothing was read; ask another broker, or without min_offset")
}

async fn caught_up(partition: &Partition, offset: i64, deadline: Instant) -> Result<(), Problem> {
    loop {
        let mut changes = partition.changed();
        let current = partition.high_watermark();
        if current >= offset {
            return Ok(());
        }
        match timeout_at(deadline, changes.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(closed()),
            Err(_) => return Err(behind(partition)),
        }
    }
}

/// Sends the client to another broker, for an answer that does not end.
pub(super) fn redirect(context: &Context, broker: u64, asked: &Asked) -> Result<Response, Problem> {
    let image = context.metadata.image();
    let address = image.brokers.get(&broker).map(|it| it.http.to_string());
    let url =
        address.and_then(|it| HeaderValue::from_str(&format!("http://{it}{}", asked.path())).ok());
    let url = url.ok_or_else(closed)?;
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    response.headers_mut().insert(LOCATION, url);
    Ok(response)
}

/// Takes a place among those who wait for records, for as long as the permit is kept: they leave half of all connections
/// to others.
pub(super) fn waiting_place(context: &Context) -> Result<OwnedSemaphorePermit, Problem> {
    static PLACES: std::sync::OnceLock<Arc<Semaphore>> = std::sync::OnceLock::new();
    let count = (context.config.http.connections_max / 2).max(1);
    let places = PLACES.get_or_init(|| Arc::new(Semaphore::new(count)));
    Arc::clone(places).try_acquire_owned().map_err(|_| {
        let detail = format!("{count} readers wait for records at this broker already");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_readers", detail)
            .hint("ask another broker, or raise http.connections_max, of which they may take half")
    })
}

pub(super) fn closed() -> Problem {
    let detail = "the replica was closed here meanwhile";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "replica_closed", detail).hint("ask again")
}

/// The problem that a stream has nothing to show. `state`: none if its key has had no record.
pub(super) fn not_shown(topic: &str, state: Option<StreamState>) -> Problem {
    let Some(state) = state else {
        let detail = format!("topic {topic} has no such stream");
        return Problem::new(StatusCode::NOT_FOUND, "unknown_stream", detail);
    };
    let conflict = Conflict { current_version: Some(state.version), ..Conflict::default() };
    let problem = if state.closed {
        let detail = format!("the stream was closed with version {}", state.version);
        Problem::new(StatusCode::GONE, "stream_closed", detail)
    } else {
        let detail = format!("the stream was deleted with version {}", state.version);
        Problem::new(StatusCode::NOT_FOUND, "stream_deleted", detail)
    };
    problem.conflict(conflict)
}

impl Here {
    /// Returns what is known of a stream that has something to show.
    pub(super) async fn stream_state(&self, key: &[u8]) -> Result<StreamState, Problem> {
        self.check_streams()?;
        let state = self.partition.stream(key).await.map_err(|error| self.failed(&error))?;
        match state {
            Some(state) if state.is_visible() && !state.closed => Ok(state),
            other => Err(not_shown(&self.place.topic.name, other)),
        }
    }

    /// Refuses while versions are not known.
    pub(super) fn check_streams(&self) -> Result<(), Problem> {
        // Where nothing was written yet they begin with the first record.
        if self.partition.streams_progress().ready || self.partition.high_watermark() == 0 {
            return Ok(());
        }
        Err(streams_building(&self.place.topic.name))
    }

    /// Returns what is told of the replica beside an answer.
    pub(super) fn headers(&self) -> HeaderMap {
        let name = HeaderName::from_static;
        let leads = self.partition.leader_epoch_if_ready().is_ok();
        let role = HeaderValue::from_static(if leads { "leader" } else { "follower" });
        let told = [
            (name("quorate-high-watermark"), HeaderValue::from(self.high_watermark)),
            (name("quorate-served-by"), HeaderValue::from(self.context.node.id())),
            (name("quorate-role"), role),
        ];
        let contact = self.since_contact().map(|since| {
            let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            (name("quorate-last-contact-ms"), HeaderValue::from(ms))
        });
        told.into_iter().chain(contact).collect()
    }

    /// Returns how long ago the replica heard from the leader, or as the leader from a majority; `None`: never yet.
    fn since_contact(&self) -> Option<Duration> {
        let confirmed = self.confirmed.map(|at| at.elapsed());
        self.partition.group().since_contact().into_iter().chain(confirmed).min()
    }

    pub(super) fn failed(&self, error: &ReadError) -> Problem {
        match error {
            ReadError::Closed => closed(),
            ReadError::OutOfRange { log_start, .. } => {
                let conflict = Conflict { current_offset: Some(*log_start), ..Conflict::default() };
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "offset_trimmed", error.to_string())
                    .conflict(conflict)
            }
            ReadError::Unreadable(_) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "log_unreadable", error.to_string())
                    .hint("ask another broker; an operator has to look at this one")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_is_known_is_taken() {
        let of = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            Form::of(&headers)
        };
        assert_eq!(Form::of(&HeaderMap::new()), Form::Json);
        assert_eq!(of("*/*"), Form::Json);
        assert_eq!(of("text/html, text/event-stream;q=0.5"), Form::Live);
        assert_eq!(of("application/x-ndjson, application/json"), Form::Lines);
    }
}
