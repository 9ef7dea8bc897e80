//! Asking another broker, over the same HTTP interface, for what only it knows.
//!
//! A forwarded request carries a header and is never forwarded again, so two brokers that disagree about who knows
//! cannot send a request round in circles.

use std::time::Duration;

use axum::http::HeaderMap;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::context::Context;

/// Set on a request that one broker asks of another.
const HEADER: &str = "x-quorate-forwarded";
/// A broker that takes longer is reported as not answering; it must be well below a request's own limit.
const WAIT: Duration = Duration::from_secs(2);
/// A status of a broker with ten thousand groups takes a few megabytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Requests to other brokers under way at a time; each takes a thread and a file descriptor.
pub(crate) const ASKED_AT_A_TIME: usize = 32;
static ASKING: Semaphore = Semaphore::const_new(ASKED_AT_A_TIME);

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
    find(context, broker, path).await?
}

/// Asks that broker for `path`. None: it is not known, or gave no usable answer in time. `Some(None)`: it says that there
/// is no such thing.
pub(super) async fn find<T: DeserializeOwned + Send + 'static>(
    context: &Context,
    broker: u64,
    path: String,
) -> Option<Option<T>> {
    if !context.node.alive(broker) {
        return None;
    }
    let address = context.metadata.image().brokers.get(&broker)?.http.to_string();
    let _turn = ASKING.acquire().await.ok()?;
    // The HTTP client blocks, so it gets a thread of the blocking pool; its timeout bounds how long.
    let answer = tokio::task::spawn_blocking(move || get(&format!("http://{address}{path}")));
    match answer.await.ok()? {
        Ok(answer) => Some(Some(answer)),
        Err(ureq::Error::StatusCode(404)) => Some(None),
        Err(error) => {
            tracing::debug!(broker, %error, "broker did not answer a forwarded request");
            None
        }
    }
}

fn get<T: DeserializeOwned>(url: &str) -> Result<T, ureq::Error> {
    let agent =
        ureq::Agent::config_builder().timeout_global(Some(WAIT)).proxy(None).build().new_agent();
    let mut response = agent.get(url).header(HEADER, "1").call()?;
    response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_json()
}
