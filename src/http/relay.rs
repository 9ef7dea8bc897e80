//! Passing a request about records on to the broker that can answer it, with its headers, and the answer back.
//!
//! Appends are passed on all the time, two of three in a cluster of three, so connections are kept. What is sent over one
//! that breaks has an unknown outcome; what could not be sent at all, and what the other broker says it does not decide,
//! was not carried out, so it is tried again with whoever leads then.

use std::io::ErrorKind;
use std::sync::OnceLock;
use std::time::Duration;

use axum::http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::forward::{self, HEADER};
use super::preconditions::IDEMPOTENCY_KEY;
use super::problem::Problem;
use crate::context::Context;

/// Requests passed on at a time; each takes a thread and a file descriptor.
pub(crate) const RELAYED_AT_A_TIME: usize = 16;
/// Of those, requests that may wait long for records.
const WAITING_AT_A_TIME: usize = 4;
static CHANGES: Semaphore = Semaphore::const_new(RELAYED_AT_A_TIME - WAITING_AT_A_TIME);
static WAITS: Semaphore = Semaphore::const_new(WAITING_AT_A_TIME);
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Connections that are kept while nothing is sent.
const IDLE_MAX: usize = 16;
/// Shorter than the other side keeps a silent connection.
const IDLE_AGE: Duration = Duration::from_secs(10);

/// On an answer that says that the broker does not lead the partition, so that nothing was done.
const NOT_LEADER: HeaderName = HeaderName::from_static("x-quorate-not-leader");
/// What of a request's headers changes its meaning.
const ASKED: [HeaderName; 6] = [
    ACCEPT,
    CONTENT_TYPE,
    IF_MATCH,
    IF_NONE_MATCH,
    HeaderName::from_static(IDEMPOTENCY_KEY),
    HeaderName::from_static("last-event-id"),
];

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What became of a request that was passed on.
pub(super) enum Relayed {
    Answered(Response),
    /// Nothing was done; somebody else may do it.
    Again,
}

impl Asked {
    /// Returns whether another broker passed it on.
    pub(super) fn is_forwarded(&self) -> bool {
        forward::is_forwarded(&self.headers)
    }

    /// The path with the query.
    pub(super) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("", |path| path.as_str())
    }
}

/// Passes a request on to that broker. `waits`: it may take long by itself.
pub(super) async fn to(
    context: &Context,
    broker: u64,
    asked: &Asked,
    wait: Duration,
    waits: bool,
) -> Result<Relayed, Problem> {
    let address = context.metadata.image().brokers.get(&broker).map(|it| it.http.to_string());
    let address = address.filter(|_| context.node.alive(broker));
    let Some(address) = address else { return Ok(Relayed::Again) };
    let places = if waits { &WAITS } else { &CHANGES };
    let Ok(_turn) = places.acquire().await else { return Ok(Relayed::Again) };
    let (url, asked) = (format!("http://{address}{}", asked.path()), asked.clone());
    match spawn_blocking(move || send(&url, asked, wait)).await {
        Ok(Ok(answer)) if answer.headers().contains_key(NOT_LEADER) => Ok(Relayed::Again),
        Ok(Ok(answer)) => Ok(Relayed::Answered(answer)),
        Ok(Err(ureq::Error::ConnectionFailed)) => Ok(Relayed::Again),
        Ok(Err(ureq::Error::Io(error))) if error.kind() == ErrorKind::ConnectionRefused => {
            Ok(Relayed::Again)
        }
        Ok(Err(error)) => Err(unknown_outcome(&format!("broker {broker}: {error}"))),
        Err(_) => Err(unknown_outcome(&format!("broker {broker} was not heard out"))),
    }
}

fn send(url: &str, asked: Asked, wait: Duration) -> Result<Response, ureq::Error> {
    let mut request = ureq::http::Request::builder().method(asked.method).uri(url);
    request = request.header(HEADER, "1");
    for name in ASKED {
        for value in asked.headers.get_all(&name) {
            request = request.header(&name, value);
        }
    }
    let request = request.body(Vec::from(asked.body))?;
    let request = agent().configure_request(request).timeout_global(Some(wait)).build();
    let mut answer = agent().run(request)?;
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
    let mut response = (answer.status(), body).into_response();
    response.headers_mut().remove(CONTENT_TYPE);
    let told = |name: &HeaderName| {
        [CONTENT_TYPE, ETAG, LOCATION, NOT_LEADER].contains(name)
            || name.as_str().starts_with("quorate-")
    };
    let headers = answer.headers().iter().filter(|(name, _)| told(name));
    response.headers_mut().extend(headers.map(|(name, value)| (name.clone(), value.clone())));
    Ok(response)
}

/// One for all, so that connections are found again.
fn agent() -> &'static ureq::Agent {
    static AGENT: OnceLock<ureq::Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let config = config.max_redirects(0).max_redirects_will_error(false);
        let config = config.max_idle_connections(IDLE_MAX);
        let config = config.max_idle_connections_per_host(IDLE_MAX).max_idle_age(IDLE_AGE);
        // A query may ask by any method, with or without a body.
        config.allow_non_standard_methods(true).build().new_agent()
    })
}

/// The answer of a broker that was passed a request and does not lead.
pub(super) fn not_leader() -> Response {
    let detail = "this broker does not lead the partition any more";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_leader", detail);
    let mut response = problem.into_response();
    response.headers_mut().insert(NOT_LEADER, HeaderValue::from_static("1"));
    response
}

/// The problem that something may have been appended or not.
pub(super) fn unknown_outcome(reason: &str) -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout_unknown_outcome", reason).hint(
        "it may have been appended or may yet be; ask again with the same Idempotency-Key, or read first",
    )
}
