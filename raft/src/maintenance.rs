//! Work for groups that has time: snapshots at the retention boundary, checkpoints of quiet groups,
//! and replication to peers that came back. What is wanted stands in `due_groups.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::core::Core;
use crate::replica::Replica;
use crate::shared::Shared;
use crate::transfer;

/// How often to see whether it is time to look at a group.
const LOOK: Duration = Duration::from_secs(1);
/// How often to see whether a replica may vote again.
const VOTERS: Duration = Duration::from_secs(15);

/// Serves the groups' wishes until the node stops.
pub(crate) async fn run(core: Arc<Core>) {
    let (mut look, mut promised) = (interval(LOOK), interval(VOTERS));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    promised.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = core.wanted.woken() => {
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
    let nodes = core.wanted.take_connected();
    if nodes.is_empty() {
        return;
    }
    for replica in core.replicas().iter().filter(|replica| replica.shared.leads()) {
        drop(replica.raft.trigger().reset_backoff(nodes.iter().copied()).await);
    }
}

async fn snapshots(core: &Core) {
    let groups = core.wanted.take_snapshots();
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
            || shared.states.divergence().is_some()
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
    let groups = core.wanted.take_due(Instant::now());
    for group in groups {
        let Some(replica) = core.replica(group.0) else { continue };
        let asked = replica.raft.external_state_machine_request(|machine| {
            Box::pin(async move { machine.look().await })
        });
        drop(asked.await);
    }
}
