//! Reading a stream over HTTP: a page of it, lines, or for as long as the client likes.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant, timeout_at};
use utoipa::ToSchema;

use super::events::Event;
use super::extract::{Options, Parameters, patience, within};
use super::live::{self, Source};
use super::placed::{KeyEncoding, Place, key_of, streams_topic};
use super::problem::Problem;
use super::reading::{
    self, Consistency, Form, Here, Passing, ReadOptions, Reader, WAIT_MS_MAX, not_shown,
};
use super::streams::{asked, etag};
use crate::context::Context;
use crate::partition::{Changes, StreamRange, StreamState};
use crate::wall_clock::WallClock;

/// Events of a page when nobody says otherwise, and at most.
pub(super) const LIMIT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;
/// Bytes of records of a page, about.
pub(super) const BYTES_MAX: usize = 4 << 20;
/// How often one page is read on when all that was read is filtered out.
const ROUNDS_MAX: usize = 16;
const NEXT: HeaderName = HeaderName::from_static("quorate-next-version");
const NDJSON: &str = "application/x-ndjson";

/// In which direction a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    Forward,
    /// Newest first.
    Backward,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamWanted {
    /// How the key is written in the path: utf8 if left out, base64url for one that is no text.
    #[param(inline)]
    key_encoding: Option<KeyEncoding>,
    /// The first version.
    #[param(minimum = 1, maximum = 9_223_372_036_854_775_807_i64)]
    from_version: Option<i64>,
    /// The last version.
    #[param(minimum = 1, maximum = 9_223_372_036_854_775_807_i64)]
    to_version: Option<i64>,
    /// Only events that are no younger than this, in milliseconds since 1970.
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    as_of: Option<i64>,
    /// backward is newest first.
    #[param(inline)]
    direction: Option<Direction>,
    /// At most so many events, 1000 if left out.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// linearizable if left out: all that was acknowledged before is there. committed asks no other broker.
    #[param(inline)]
    consistency: Option<Consistency>,
    /// Waits until the replica has everything before this offset of the partition.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    min_offset: Option<i64>,
    /// Waits so long for an event when there is none from from_version on.
    #[param(minimum = 0, maximum = 30_000)]
    wait_ms: Option<u64>,
}

/// Events of a stream.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamPage {
    topic: String,
    partition: i32,
    /// The key as the path has it.
    key: String,
    /// How many events the stream has had.
    version: i64,
    events: Vec<Event>,
    /// The version to go on with, if there are more in the range.
    next_version: Option<i64>,
}

/// What of a stream is wanted.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    from: i64,
    to: i64,
    as_of: Option<i64>,
    backward: bool,
    limit: usize,
}

/// What was found of it.
struct Found {
    state: StreamState,
    events: Vec<Event>,
    next: Option<i64>,
}

/// Reads a stream. Accept chooses between a page, lines (`application/x-ndjson`), and events that go on as they come
/// (`text/event-stream`), whose ids are versions.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/streams/{key}", tag = "streams",
    params(
        ("topic" = String, Path, description = "Its name", example = "orders"),
        ("key" = String, Path, description = "The key of the stream", example = "order-1", min_length = 1),
        StreamWanted
    ),
    responses(
        (status = 200, description = "Events", content((StreamPage = "application/json"), (String = "application/x-ndjson"), (String = "text/event-stream")), headers(("ETag" = String, description = "The version of the stream in quotes"), ("quorate-last-contact-ms" = i64, description = "How long ago this broker last heard of the leader, or was confirmed as it by a majority, in milliseconds"))),
        (status = 307, description = "Only for text/event-stream: another broker has the partition"),
        (status = 404, description = "There is no such topic or stream, or it is deleted", body = Problem),
        (status = 409, description = "The topic has no streams", body = Problem),
        (status = 410, description = "The stream is closed", body = Problem),
        (status = 422, description = "The key is none", body = Problem),
        (status = 503, description = "Its versions are still being counted, or nobody answers for it", body = Problem),
        (status = 504, description = "The replica has not caught up", body = Problem)
    )
)]
pub(super) async fn read(
    State(context): State<Context>,
    Options(options): Options<StreamWanted>,
    Parameters((topic, key)): Parameters<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = asked(request).await?;
    let form = Form::of(&asked.headers);
    let (mut wanted, wait) = options.checked()?;
    let bytes = key_of(&key, options.key_encoding)?;
    let topic = streams_topic(&context, &topic).await?;
    let place = Place::of_key(topic, &bytes)?;
    let fresh = ReadOptions { consistency: options.consistency, min_offset: options.min_offset };
    let passing = match form {
        Form::Live => Passing::Redirect,
        _ if wait.is_zero() => Passing::On,
        _ => Passing::OnWaiting,
    };
    let here = match reading::reader(&context, &place, &asked, fresh, passing).await? {
        Reader::Told(response) => return Ok(response),
        Reader::Here(here) => here,
    };
    here.check_streams()?;
    if form == Form::Live {
        if let Some(id) = live::last_event_id(&asked.headers)? {
            let version: i64 = id.parse().map_err(|_| live::unknown_id())?;
            wanted.from = version.saturating_add(1);
        }
        return follow(&context, here, bytes, wanted).await;
    }
    let found = if wait.is_zero() || wanted.backward {
        here.page(&bytes, wanted).await?
    } else {
        let wait = wait.min(patience(&context));
        here.page_soon(&bytes, wanted, wait).await?
    };
    Ok(told(&here, key, form, found))
}

impl StreamWanted {
    fn checked(&self) -> Result<(Wanted, Duration), Problem> {
        let (limit, wait) = limit_and_wait(self.limit, self.wait_ms)?;
        let from = within("from_version", self.from_version.unwrap_or(1), 1..=i64::MAX)?;
        let to = within("to_version", self.to_version.unwrap_or(i64::MAX), 1..=i64::MAX)?;
        let as_of = self.as_of.map(|ms| within("as_of", ms, 0..=super::ends::TIME_MS_MAX));
        self.min_offset.map(|it| within("min_offset", it, 0..=i64::MAX)).transpose()?;
        let backward = self.direction == Some(Direction::Backward);
        let wanted = Wanted { from, to, as_of: as_of.transpose()?, backward, limit };
        Ok((wanted, wait))
    }
}

/// Checks how much a reader wants, and how long it waits for some.
pub(super) fn limit_and_wait(
    limit: Option<usize>,
    wait_ms: Option<u64>,
) -> Result<(usize, Duration), Problem> {
    let limit = within("limit", limit.unwrap_or(LIMIT), 1..=LIMIT_MAX)?;
    let wait = within("wait_ms", wait_ms.unwrap_or(0), 0..=WAIT_MS_MAX)?;
    Ok((limit, Duration::from_millis(wait)))
}

/// Answers with lines.
pub(super) fn lines(lines: impl IntoIterator<Item = impl AsRef<str>>) -> Response {
    let text: String = lines.into_iter().map(|line| line.as_ref().to_owned() + "\n").collect();
    ([(CONTENT_TYPE, HeaderValue::from_static(NDJSON))], text).into_response()
}

fn told(here: &Here, key: String, form: Form, found: Found) -> Response {
    let Found { state, events, next } = found;
    let mut response = if form == Form::Lines {
        lines(events.iter().map(Event::line))
    } else {
        let (topic, partition) = (here.place.topic.name.clone(), here.place.index);
        let version = state.version;
        Json(StreamPage { topic, partition, key, version, events, next_version: next })
            .into_response()
    };
    let headers = response.headers_mut();
    headers.extend(here.headers());
    headers.insert(ETAG, etag(state.version));
    headers.extend(next.map(|next| (NEXT, HeaderValue::from(next))));
    response
}

impl Here {
    /// Reads a page of a stream that has something to show.
    async fn page(&self, key: &[u8], mut wanted: Wanted) -> Result<Found, Problem> {
        let youngest = wanted.as_of.unwrap_or(i64::MAX);
        let age_max = self.partition.settings().streams.map_or(i64::MAX, |it| it.age_max_ms);
        let oldest = self.context.controller.clock().now_ms().saturating_sub(age_max);
        let mut events = Vec::new();
        let mut round = 0;
        loop {
            round += 1;
            let range = StreamRange {
                from: wanted.from,
                to: wanted.to,
                backward: wanted.backward,
                events_max: wanted.limit - events.len(),
                bytes_max: BYTES_MAX,
            };
            let read = self.partition.read_stream(key, range).await;
            let read = read.map_err(|error| self.failed(&error))?;
            // What is not shown is told by what was read: a second look may find another state.
            let read = match read {
                Some(read) if read.state.is_visible() && !read.state.closed => read,
                other => {
                    return Err(not_shown(&self.place.topic.name, other.map(|it| it.state)));
                }
            };
            for event in &read.events {
                if (oldest..=youngest).contains(&event.record.timestamp) {
                    let mut shown = Event::new(self.place.index, event.offset, &event.record);
                    shown.version = Some(event.version);
                    events.push(shown);
                }
            }
            match read.next {
                // All that was read is filtered out.
                Some(next) if events.is_empty() && round < ROUNDS_MAX => {
                    let edge = if wanted.backward { &mut wanted.to } else { &mut wanted.from };
                    *edge = next;
                }
                next => return Ok(Found { state: read.state, events, next }),
            }
        }
    }

    /// The same, but waits a while if there is nothing.
    async fn page_soon(
        &self,
        key: &[u8],
        wanted: Wanted,
        wait: Duration,
    ) -> Result<Found, Problem> {
        let until = Instant::now() + wait;
        let _place = reading::waiting_place(&self.context)?;
        let mut stopping = self.context.readiness.stopping();
        loop {
            // Taken before looking, so that what changes in between is not missed.
            let mut changes = self.partition.changed();
            let found = self.page(key, wanted).await;
            let is_missing = match &found {
                Ok(found) => found.events.is_empty() && found.next.is_none(),
                Err(problem) => problem.is_not_found(),
            };
            if !is_missing {
                return found;
            }
            let changed = async {
                tokio::select! {
                    changed = changes.changed() => changed.is_ok(),
                    _ = stopping.wait_for(|stopping| *stopping) => false,
                }
            };
            if !timeout_at(until, changed).await.unwrap_or(false) {
                return found;
            }
        }
    }
}

/// A stream that is followed.
struct Followed {
    here: Here,
    key: Bytes,
    wanted: Wanted,
    /// Its deletion up to this version was told.
    hidden: i64,
    over: bool,
}

async fn follow(
    context: &Context,
    here: Here,
    key: Bytes,
    wanted: Wanted,
) -> Result<Response, Problem> {
    let state = here.partition.stream(&key).await.map_err(|error| here.failed(&error))?;
    if let Some(closed) = state.filter(|state| state.closed && wanted.from > state.version) {
        return Err(not_shown(&here.place.topic.name, Some(closed)));
    }
    let headers = here.headers();
    let wanted = Wanted { backward: false, limit: LIMIT, ..wanted };
    live::answer(context, headers, Followed { here, key, wanted, hidden: 0, over: false })
}

impl Followed {
    /// Goes on behind a tombstone that was not told yet: what it hides is not read, and neither is the tombstone.
    fn ended(&mut self, state: StreamState) -> Option<Bytes> {
        if state.hidden < self.wanted.from || state.hidden <= self.hidden {
            return None;
        }
        self.hidden = state.hidden;
        self.over = state.closed;
        self.wanted.from = state.hidden + 1;
        let kind = if state.closed { "closed" } else { "deleted" };
        let data = format!("{{\"version\":{}}}", state.hidden);
        Some(live::event(Some(kind), &state.hidden.to_string(), &data))
    }
}

impl Source for Followed {
    fn changes(&self) -> Vec<Changes> {
        live::changes_of(std::iter::once(&self.here))
    }

    async fn more(&mut self) -> Option<Vec<Bytes>> {
        if self.over || self.wanted.from > self.wanted.to || self.here.check_streams().is_err() {
            return None;
        }
        let state = self.here.partition.stream(&self.key).await.ok()?;
        let Some(state) = state else { return Some(Vec::new()) };
        let mut sent = Vec::from_iter(self.ended(state));
        if state.closed || !state.is_visible() || state.version < self.wanted.from {
            return Some(sent);
        }
        loop {
            let found = match self.here.page(&self.key, self.wanted).await {
                Ok(found) => found,
                // Deleted meanwhile; that is told next.
                Err(problem) if problem.is_not_found() => return Some(sent),
                Err(_) => return None,
            };
            // Deleted and written to again, since the state was looked at.
            sent.extend(self.ended(found.state));
            for event in &found.events {
                let version = event.version.unwrap_or_default();
                sent.push(live::event(None, &version.to_string(), &event.line()));
            }
            self.wanted.from = found.next.unwrap_or(found.state.version + 1);
            if !sent.is_empty() || found.next.is_none() {
                return Some(sent);
            }
        }
    }
}
