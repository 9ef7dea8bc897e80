//! Waiting for a partition to change.
//!
//! A long poll waits on many partitions, most of them idle. So a partition keeps no list of waiters and
//! no task: a waiter subscribes to what Raft publishes anyway, and looks for itself what has changed.

use quorate_raft::{Group, Leadership};
use tokio::sync::watch;

use super::PartitionMachine;

/// Wakes when something was applied (so high watermark or log start may have moved), when the
/// leadership changed, and when the replica is closed. May wake for nothing.
pub struct Changes {
    applied: watch::Receiver<u64>,
    leadership: watch::Receiver<Leadership>,
}

/// The replica was closed; it will not change any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the replica is closed")]
pub struct Closed;

impl Changes {
    pub(super) fn new(group: &Group<PartitionMachine>) -> Self {
        let mut changes = Self { applied: group.applied(), leadership: group.leadership() };
        changes.applied.mark_unchanged();
        changes.leadership.mark_unchanged();
        changes
    }

    /// Waits for a change since this was made or last returned. Safe to drop and call again.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        tokio::select! {
            changed = self.applied.changed() => changed.map_err(|_| Closed),
            changed = self.leadership.changed() => changed.map_err(|_| Closed),
        }
    }
}
