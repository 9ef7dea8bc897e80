//! What groups want of the maintenance task.
//!
//! Groups ask by putting their id into a set, so nothing is queued twice, nothing grows beyond the number of groups, and
//! groups that do nothing cost nothing.

mod looks;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use quorate_storage::GroupId;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::shared::Shared;

use looks::Looks;

/// Groups that want something.
#[derive(Default)]
pub(crate) struct DueGroups {
    snapshots: Mutex<BTreeSet<GroupId>>,
    dirty: Mutex<Looks>,
    connected: Mutex<BTreeSet<u64>>,
    wake: Notify,
}

impl DueGroups {
    /// A checkpoint fell below what the machine needs: make it the snapshot and purge up to it.
    pub fn snapshot(&self, group: GroupId) {
        if self.snapshots.lock().insert(group) {
            self.wake.notify_one();
        }
    }

    /// There is a connection to a node again: leaders must not wait for their pauses to pass.
    pub fn connected(&self, node: u64) {
        self.connected.lock().insert(node);
        self.wake.notify_one();
    }

    /// Entries were applied that no checkpoint covers.
    pub fn dirty(&self, shared: &Shared) {
        if !shared.dirty.swap(true, Ordering::Relaxed) {
            self.look_later(shared.group);
        }
    }

    /// The group is to be looked at in a while.
    pub fn look_later(&self, group: GroupId) {
        self.dirty.lock().add(group, Instant::now());
    }

    /// Waits until a group wants a snapshot or a node is connected again.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    pub fn take_snapshots(&self) -> BTreeSet<GroupId> {
        std::mem::take(&mut *self.snapshots.lock())
    }

    pub fn take_connected(&self) -> BTreeSet<u64> {
        std::mem::take(&mut *self.connected.lock())
    }

    /// Takes the groups that are to be looked at by now.
    pub fn take_due(&self, now: Instant) -> Vec<GroupId> {
        self.dirty.lock().take_due(now)
    }
}
