//! Asking another broker, over the same HTTP interface, for what only it knows.
//!
//! A forwarded request carries a header and is never forwarded again, so two brokers that disagree about who knows
//! cannot send a request round in circles.

use std::time::Duration;

use axum::http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::context::Context;

/// Set on a request that one broker asks of another.
const HEADER: &str = "x-quorate-forwarded";
/// A broker that takes longer is reported as not answering; it must be well below a request's own limit.
const WAIT: Duration = Duration::from_secs(2);
/// What is asked of another broker while a forwarded request is answered takes less, or the one would end with the other.
const INNER_WAIT: Duration = Duration::from_secs(1);
/// A status of a broker with ten thousand groups takes a few megabytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Requests to other brokers under way at a time; each takes a thread and a file descriptor.
pub(crate) const ASKED_AT_A_TIME: usize = OUTER + INNER;
const OUTER: usize = 32;
const INNER: usize = 16;
static ASKING: Semaphore = Semaphore::const_new(OUTER);
/// Apart, so that brokers that ask each other do not wait for each other's places.
static ASKING_WITHIN: Semaphore = Semaphore::const_new(INNER);

/// What another broker says of a thing.
pub(super) enum Told<T> {
    Found(T),
    /// It says that there is no such thing.
    Missing,
    /// It is not known, or gave no usable answer in time.
    Nothing,
}

/// The part of a problem that programs compare.
#[derive(Deserialize)]
struct Code {
    code: String,
}

/// Returns whether another broker sent this request.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(HEADER)
}

/// Asks that broker for `path`. None: it is not known, does not answer in time, or does not know either.
pub(super) async fn ask<T: DeserializeOwned + Send + 'static>(
    context: &Context,
    broker: u64,
    path: String,
) -> Option<T> {
    let _turn = ASKING.acquire().await.ok()?;
    send(context, broker, path, WAIT).await?.read()
}

/// Asks that broker for `path` while a request is answered that was itself forwarded.
pub(super) async fn ask_within<T: DeserializeOwned + Send + 'static>(
    context: &Context,
    broker: u64,
    path: String,
) -> Option<T> {
    let _turn = ASKING_WITHIN.acquire().await.ok()?;
    send(context, broker, path, INNER_WAIT).await?.read()
}

/// Asks that broker for `path`; `code` is that of the problem which says that there is no such thing. Any other 404 is no
/// such answer: an older broker does not know the path.
pub(super) async fn find<T: DeserializeOwned + Send + 'static>(
    context: &Context,
    broker: u64,
    path: String,
    code: &str,
) -> Told<T> {
    let Ok(_turn) = ASKING.acquire().await else { return Told::Nothing };
    let Some(answer) = send(context, broker, path, WAIT).await else { return Told::Nothing };
    let is_missing = answer.status == 404
        && serde_json::from_slice(&answer.body).is_ok_and(|problem: Code| problem.code == code);
    if is_missing {
        return Told::Missing;
    }
    answer.read().map_or(Told::Nothing, Told::Found)
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    fn read<T: DeserializeOwned>(&self) -> Option<T> {
        if self.status != 200 {
            return None;
        }
        serde_json::from_slice(&self.body).ok()
    }
}

async fn send(context: &Context, broker: u64, path: String, wait: Duration) -> Option<Answer> {
    if !context.node.alive(broker) {
        return None;
    }
    let address = context.metadata.image().brokers.get(&broker)?.http.to_string();
    // The HTTP client blocks, so it gets a thread of the blocking pool; its timeout bounds how long.
    let answer = spawn_blocking(move || get(&format!("http://{address}{path}"), wait));
    match answer.await.ok()? {
        Ok(answer) => Some(answer),
        Err(error) => {
            tracing::debug!(broker, %error, "broker did not answer a forwarded request");
            None
        }
    }
}

fn get(url: &str, wait: Duration) -> Result<Answer, ureq::Error> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(wait))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .new_agent();
    let mut response = agent.get(url).header(HEADER, "1").call()?;
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
    Ok(Answer { status: response.status().as_u16(), body })
}
