//! Asking another broker, over the same HTTP interface, for what only it knows.
//!
//! A forwarded request carries a header and is never forwarded again, so two brokers that disagree about who knows
//! cannot send a request round in circles.

use std::io::ErrorKind;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::extract;
use super::problem::Problem;
use super::relay::RELAYED_AT_A_TIME;
use crate::context::Context;

/// Set on a request that one broker asks of another.
pub(super) const HEADER: &str = "x-quorate-forwarded";
/// A broker that takes longer is reported as not answering; it must be well below a request's own limit.
const WAIT: Duration = Duration::from_secs(2);
/// A status of a broker with ten thousand groups takes a few megabytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Requests to other brokers under way at a time; each takes a thread and a file descriptor.
pub(crate) const ASKED_AT_A_TIME: usize = OUTER + INNER + RELAYED_AT_A_TIME;
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

/// Asks that broker for `path` while a request is answered that was itself forwarded, and which ends by itself if this
/// takes as long as it may.
pub(super) async fn ask_within<T: DeserializeOwned + Send + 'static>(
    context: &Context,
    broker: u64,
    path: String,
    wait: Duration,
) -> Option<T> {
    let _turn = ASKING_WITHIN.acquire().await.ok()?;
    send(context, broker, path, wait).await?.read()
}

/// Has that broker carry a change out, and passes on what it answers.
pub(super) async fn pass_on(
    context: &Context,
    broker: u64,
    method: Method,
    path: String,
    body: Vec<u8>,
) -> Result<Response, Problem> {
    let address = context.metadata.image().brokers.get(&broker).map(|it| it.http.to_string());
    let address = address.filter(|_| context.node.alive(broker));
    let Some(address) = address else { return Err(nobody_there(broker)) };
    let Ok(_turn) = ASKING.acquire().await else { return Err(nobody_there(broker)) };
    let (url, wait) = (format!("http://{address}{path}"), extract::patience(context));
    match spawn_blocking(move || change(method, &url, body, wait)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(ureq::Error::ConnectionFailed)) => Err(nobody_there(broker)),
        Ok(Err(ureq::Error::Io(error))) if error.kind() == ErrorKind::ConnectionRefused => {
            Err(nobody_there(broker))
        }
        Ok(Err(error)) => Err(unknown_outcome(&format!("broker {broker}: {error}"))),
        Err(_) => Err(unknown_outcome(&format!("broker {broker} was not heard out"))),
    }
}

/// Has that broker carry out what takes no body, and passes on what it answers.
pub(super) async fn post(
    context: &Context,
    broker: u64,
    path: String,
) -> Result<Response, Problem> {
    pass_on(context, broker, Method::POST, path, Vec::new()).await
}

fn nobody_there(broker: u64) -> Problem {
    let detail = format!("broker {broker} would decide on it and does not answer");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "coordinator_unavailable", detail)
        .hint("nothing was changed; ask again, GET /v1/brokers shows which brokers are alive")
}

/// The problem that a change may have been made or not.
pub(super) fn unknown_outcome(reason: &str) -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout_unknown_outcome", reason)
        .hint("look whether the change was made before asking again")
}

fn change(
    method: Method,
    url: &str,
    body: Vec<u8>,
    wait: Duration,
) -> Result<Response, ureq::Error> {
    let request = ureq::http::Request::builder().method(method).uri(url).header(HEADER, "1");
    let request = request.header(CONTENT_TYPE, "application/json").body(body)?;
    let mut answer = agent(wait).run(request)?;
    let (status, kind) = (answer.status(), answer.headers().get(CONTENT_TYPE).cloned());
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
    let mut response = (status, body).into_response();
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().extend(kind.map(|kind| (CONTENT_TYPE, kind)));
    Ok(response)
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
    let mut response = agent(wait).get(url).header(HEADER, "1").call()?;
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
    Ok(Answer { status: response.status().as_u16(), body })
}

fn agent(wait: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(wait));
    config.http_status_as_error(false).proxy(None).build().new_agent()
}
