//! Answers that do not end: Server-Sent Events of records as they come.
//!
//! First comes what is there, then what is appended, in the same order and without a gap between, because both are read from
//! the same place on. A reader who is slow slows nobody: nothing is read for it before it has taken what was. Every
//! fifteen seconds without an event a comment says that the connection lives.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::select_all;
use futures::stream::unfold;
use quorate_storage::mutant;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep;

use super::preconditions::{malformed, single};
use super::problem::Problem;
use super::reading::{Here, waiting_place};
use crate::context::Context;
use crate::partition::Changes;

/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(15);
const LAST_EVENT_ID: &str = "last-event-id";

/// Where the events of an answer come from.
pub(super) trait Source: Send + 'static {
    /// Takes the changes that show that there may be more, before it is looked for.
    fn changes(&self) -> Vec<Changes>;

    /// Returns what has come since, as it is sent; `None` if nothing more can come.
    fn more(&mut self) -> impl Future<Output = Option<Vec<Bytes>>> + Send;
}

/// An answer under way.
struct Live<S> {
    source: S,
    ready: VecDeque<Bytes>,
    stopping: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

/// Returns the answer that goes on for as long as the source does and the broker runs.
pub(super) fn answer<S: Source>(
    context: &Context,
    headers: HeaderMap,
    source: S,
) -> Result<Response, Problem> {
    let live = Live {
        source,
        // Who loses the connection comes back soon.
        ready: VecDeque::from([Bytes::from_static(b"retry: 1000\n\n")]),
        stopping: context.readiness.stopping(),
        _place: waiting_place(context)?,
    };
    let stream = unfold(live, |mut live| async move {
        let bytes = live.next().await?;
        Some((Ok::<_, Infallible>(bytes), live))
    });
    let mut response = Body::from_stream(stream).into_response();
    let told = response.headers_mut();
    told.extend(headers);
    told.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    told.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl<S: Source> Live<S> {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            // Before looking, so that what comes in between is not missed.
            let mut changes = self.source.changes();
            self.ready.extend(self.source.more().await?);
            if !self.ready.is_empty() {
                continue;
            }
            let open = tokio::select! {
                open = any_change(&mut changes) => open,
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                () = sleep(HEARTBEAT) => return Some(Bytes::from_static(b": still here\n\n")),
            };
            if !open {
                return None;
            }
            if mutant::on("live-record-skipped") {
                self.source.more().await?;
            }
        }
    }
}

/// Returns an event as it is sent. `data` is one line.
pub(super) fn event(kind: Option<&str>, id: &str, data: &str) -> Bytes {
    let kind = kind.map(|kind| format!("event: {kind}\n")).unwrap_or_default();
    Bytes::from(format!("{kind}id: {id}\ndata: {data}\n\n"))
}

/// Returns what tells a client where it has come, without an event: there was nothing to show for it. It takes a data field to
/// make one, and an id stands without (HTML § 9.2.6).
pub(super) fn passed(id: &str) -> Bytes {
    Bytes::from(format!("id: {id}\n: nothing to show yet\n\n"))
}

/// Reads where a client that had a connection before has come.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    single(headers, LAST_EVENT_ID)
}

/// The problem that a client says that it has come where nobody sent it.
pub(super) fn unknown_id() -> Problem {
    malformed("the Last-Event-ID is none that was sent")
}

/// Waits for a change of any of these replicas; false once one is closed.
pub(super) async fn any_change(changes: &mut [Changes]) -> bool {
    let waits = changes.iter_mut().map(|it| Box::pin(it.changed()));
    let (changed, ..) = select_all(waits).await;
    changed.is_ok()
}

/// Takes the changes of replicas, before they are looked at.
pub(super) fn changes_of<'a>(replicas: impl Iterator<Item = &'a Here>) -> Vec<Changes> {
    replicas.map(|here| here.partition.changed()).collect()
}
