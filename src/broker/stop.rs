//! Taking a broker apart.
//!
//! Leaderships go first. Whoever drained before would leave its partitions without a leader for as long as its
//! slowest client takes; so clients are told of the new leaders, and the rest can take its time.

use std::sync::Arc;
use std::time::Duration;

use quorate_raft::DiskState;
use quorate_storage::fatal;
use tokio::time::timeout;

use super::{Broker, StartError};

/// The longest that closing sockets may take when the process is about to end.
const GIVE_UP: Duration = Duration::from_secs(1);

impl Broker {
    /// Runs until `signal` resolves or the broker cannot go on, then stops it within the configured time. The
    /// error says why it cannot: the cluster turned it away, or its metadata group failed.
    pub async fn run_until_shutdown(
        mut self,
        signal: impl Future<Output = ()>,
    ) -> Result<(), StartError> {
        let mut disk = self.context.node.disk();
        let refused = tokio::select! {
            () = signal => None,
            Some(refusal) = self.refused.recv() => Some(refusal),
            Ok(_) = disk.wait_for(|disk| *disk == DiskState::Lost) => return self.give_up().await,
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

    /// Ends the process although a thread may wait in the kernel for a disk that does not answer, and
    /// keep the process, and with it its sockets, until it does. So the sockets are closed first:
    /// peers and clients must not wait as well.
    async fn give_up(mut self) -> Result<(), StartError> {
        self.context.node.cut_off();
        let ended = async {
            self.graceful.shutdown().await;
            self.drivers.shutdown().await;
        };
        if timeout(GIVE_UP, ended).await.is_err() {
            tracing::info!("some connections were not closed in time");
        }
        let seconds = self.context.config.storage.stall_end_ms / 1_000;
        fatal("the disk does not answer", &format!("a write or sync takes longer than {seconds} s"))
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
