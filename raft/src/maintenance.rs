//! Work for groups that has time: snapshots at the retention boundary, checkpoints of quiet groups,
//! and replication to peers that came back.
//!
//! Groups ask by putting their id into a set, so nothing is queued twice, nothing grows beyond the
//! number of groups, and groups that do nothing cost nothing.

mod looks;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_storage::GroupId;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::node::Core;
use crate::replica::{Replica, Shared};
use crate::transfer;

use looks::Looks;

/// How often to see whether it is time to look at a group.
const LOOK: Duration = Duration::from_secs(1);
/// How often to see whether a replica may vote again.
const VOTERS: Duration = Duration::from_secs(15);

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
}

/// Serves the groups' wishes until the node stops.
pub(crate) async fn run(core: Arc<Core>) {
    let (mut look, mut promised) = (interval(LOOK), interval(VOTERS));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    promised.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = core.wanted.wake.notified() => {
                reconnected(&core).await;
                snapshots(&core).await;
            }
            () = core.db.corruption() => damaged(&core),
            _ = look.tick() => checkpoints(&core).await,
            _ = promised.tick() => voters(&core),
        }
    }
}

async fn reconnected(core: &Core) {
    let nodes = std::mem::take(&mut *core.wanted.connected.lock());
    if nodes.is_empty() {
        return;
    }
    for replica in core.replicas().iter().filter(|replica| replica.shared.leads()) {
        drop(replica.raft.trigger().reset_backoff(nodes.iter().copied()).await);
    }
}

async fn snapshots(core: &Core) {
    let groups = std::mem::take(&mut *core.wanted.snapshots.lock());
    for group in groups {
        if let Some(replica) = core.replica(group.0) {
            // A stopping group refuses, and needs no snapshot any more.
            drop(replica.raft.trigger().snapshot().await);
        }
    }
}

/// Replicas that have caught up with an earlier one of this node, or whose log is whole again, may ask for votes by
/// themselves.
fn voters(core: &Arc<Core>) {
    let restricted = |shared: &Shared| {
        shared.promised().is_some()
            || shared.unfit.load(Ordering::Relaxed)
            || shared.states.told().is_some()
    };
    for replica in core.replicas().iter().filter(|replica| restricted(&replica.shared)) {
        let may_lead = replica.shared.may_lead();
        replica.raft.runtime_config().elect(may_lead);
        replica.shared.refresh_ready();
        replica.shared.unfit.store(replica.shared.log.corrupt().is_some(), Ordering::Relaxed);
        // Nobody could take it over when the damage was found, or it was elected since.
        if !may_lead && replica.shared.leads() {
            give_away(core, replica);
        }
    }
}

/// Groups in which an entry was found damaged lead no more: they do not campaign, and what they lead they hand over.
fn damaged(core: &Arc<Core>) {
    for replica in core.replicas() {
        let shared = &replica.shared;
        if shared.log.corrupt().is_none() || shared.unfit.swap(true, Ordering::Relaxed) {
            continue;
        }
        replica.raft.runtime_config().elect(false);
        shared.refresh_ready();
        if shared.leads() {
            give_away(core, &replica);
        }
    }
}

fn give_away(core: &Arc<Core>, replica: &Arc<Replica>) {
    let (core, replica) = (Arc::clone(core), Arc::clone(replica));
    tokio::spawn(async move { transfer::hand_over(&core, &replica).await });
}

async fn checkpoints(core: &Core) {
    let groups = core.wanted.dirty.lock().take_due(Instant::now());
    for group in groups {
        let Some(replica) = core.replica(group.0) else { continue };
        let asked = replica.raft.external_state_machine_request(|machine| {
            Box::pin(async move { machine.look().await })
        });
        drop(asked.await);
    }
}
