//! Waiting until a cluster is healthy.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Admin, Failure};

const PAUSE: Duration = Duration::from_millis(100);

/// Returns the cluster's state when it is healthy, or as it is when patience ends.
pub(crate) async fn wait_until_healthy(
    admin: &Admin,
    patience: Duration,
) -> Result<Value, Failure> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = admin.get("/v1/cluster").await;
        let healthy = answer.as_ref().is_ok_and(|cluster| cluster["healthy"] == Value::Bool(true));
        if healthy || Instant::now() >= deadline {
            return answer;
        }
        sleep(PAUSE).await;
    }
}
