//! The HTTP client of those who ask brokers over HTTP and block meanwhile.

use std::time::Duration;

/// Longer than a broker takes to answer at most, so that its own verdict is seen.
const WAIT: Duration = Duration::from_secs(40);
const CONNECT_WAIT: Duration = Duration::from_secs(3);

/// Returns a client that keeps its connections, and answers whatever the status.
pub(crate) fn http_agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(WAIT))
        .timeout_connect(Some(CONNECT_WAIT))
        .http_status_as_error(false)
        .proxy(None)
        .build();
    config.new_agent()
}
