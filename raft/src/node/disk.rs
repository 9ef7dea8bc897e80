//! How disks are, for the owner of a node.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::Node;
use crate::condition::Condition;
use crate::stall::DiskState;

impl Node {
    /// What a node last said of its disk: this one, or a peer while it is heard.
    pub fn condition(&self, id: u64) -> Condition {
        self.shared_core().condition_of(id)
    }

    /// How long the oldest write or sync has been under way; zero when none is.
    pub fn disk_stalled_for(&self) -> Duration {
        Duration::from_millis(self.shared_core().stalled_ms.load(Ordering::Relaxed))
    }

    /// How the disk of this node is.
    pub fn disk(&self) -> watch::Receiver<DiskState> {
        self.shared_core().disk.subscribe()
    }
}
