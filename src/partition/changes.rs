//! Waiting for a partition to change.
//!
//! A long poll waits on many partitions, most of them idle. So a partition keeps no list of waiters and
//! no task: a waiter subscribes to what Raft publishes anyway, and looks for itself what has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_raft::{Group, Leadership};
use tokio::sync::{Notify, watch};

use super::PartitionMachine;

/// Wakes when something was applied (so high watermark or log start may have moved), when the
/// leadership changed, and when the replica is closed. May wake for nothing.
pub struct Changes {
    applied: watch::Receiver<u64>,
    leadership: watch::Receiver<Leadership>,
    closing: Arc<Closing>,
}

/// The replica was closed; it will not change any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the replica is closed")]
pub struct Closed;

/// Whether a replica was taken out of service; handlers may hold it a little longer.
#[derive(Debug, Default)]
pub(super) struct Closing {
    closed: AtomicBool,
    woken: Notify,
}

impl Closing {
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.woken.notify_waiters();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    async fn closed(&self) {
        let mut woken = std::pin::pin!(self.woken.notified());
        // Before looking, so that a close in between is not missed.
        woken.as_mut().enable();
        if !self.is_closed() {
            woken.await;
        }
    }
}

impl Changes {
    pub(super) fn new(group: &Group<PartitionMachine>, closing: Arc<Closing>) -> Self {
        let (mut applied, mut leadership) = (group.applied(), group.leadership());
        applied.mark_unchanged();
        leadership.mark_unchanged();
        Self { applied, leadership, closing }
    }

    /// Waits for a change since this was made or last returned. Safe to drop and call again.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        tokio::select! {
            biased;
            () = self.closing.closed() => Err(Closed),
            changed = self.applied.changed() => changed.map_err(|_| Closed),
            changed = self.leadership.changed() => changed.map_err(|_| Closed),
        }
    }
}
