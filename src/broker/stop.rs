//! Taking a broker apart.
//!
//! Leaderships go first. Whoever drained before would leave its partitions without a leader for as long as its
//! slowest client takes; so clients are told of the new leaders, and the rest can take its time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Broker, StartError};

impl Broker {
    /// Runs until `signal` resolves or the cluster turns the broker away, then stops it within the
    /// configured time. The error is the cluster's refusal.
    pub async fn run_until_shutdown(
        mut self,
        signal: impl Future<Output = ()>,
    ) -> Result<(), StartError> {
        let refused = tokio::select! {
            () = signal => None,
            Some(refusal) = self.refused.recv() => Some(refusal),
        };
        let limit = Duration::from_millis(self.context.config.broker.stop_timeout_ms);
        if timeout(limit, self.stop()).await.is_err() {
            tracing::info!(
                seconds = limit.as_secs(),
                "stop takes too long, ending as a crash would"
            );
        }
        refused.map_or(Ok(()), Err)
    }

    /// Stops in order. Acknowledged records are on disk whatever happens here; the order is for clients,
    /// who get their answers and find new leaders at once.
    pub async fn stop(mut self) {
        tracing::info!("broker stops");
        self.context.readiness.stop();
        self.context.node.hand_over().await;
        self.stopping.send_replace(true);
        while self.graceful.join_next().await.is_some() {}
        self.drivers.shutdown().await;
        self.context.node.shutdown().await;
        let db = Arc::clone(&self.context.db);
        let closed = tokio::task::spawn_blocking(move || db.close()).await;
        closed.expect("closing neither panics nor is cancelled");
        tracing::info!("broker stopped");
    }
}
