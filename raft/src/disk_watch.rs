//! Watching the node's disk (`stall.rs` judges it), and what follows for its leaderships and its peers.

use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::core::Core;
use crate::stall::{DiskState, LOOK, Watchdog};

/// Groups with fewer voters survive no loss, so it makes no difference to them whether a node ends.
const REDUNDANT: usize = 3;

/// Watches the disk until the node stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut watchdog = Watchdog::default();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        looks.tick().await;
        let elapsed = last.elapsed().min(LOOK * 2);
        last = Instant::now();
        let operations = core.db.operations();
        let before = *core.disk.borrow();
        let redundant = before != DiskState::Fine && goes_on_without(&core);
        let state = watchdog.step(operations, elapsed, redundant, &core.config.stall);
        core.set_stalled_for(watchdog.longest());
        if state != before {
            tell(before, state);
        }
        core.set_condition(state != DiskState::Fine);
        if state != DiskState::Fine || before != DiskState::Fine {
            step_aside(&core, state != DiskState::Fine);
        }
        // Last, so that whoever ends the process finds everything said.
        core.disk.send_if_modified(|known| std::mem::replace(known, state) != state);
    }
}

fn tell(before: DiskState, now: DiskState) {
    match (before, now) {
        (_, DiskState::Fine) => tracing::info!("the disk answers again"),
        (DiskState::Fine, _) => {
            tracing::warn!("the disk does not answer, others may lead until it does");
        }
        (_, DiskState::Lost) => {
            tracing::error!("the disk does not answer, and the groups go on without this node");
        }
        (_, DiskState::Stalled) => {}
    }
}

/// Gives up the leaderships that others can take, or takes them back where nobody did.
fn step_aside(core: &Core, stalled: bool) {
    for replica in core.replicas() {
        let shared = &replica.shared;
        shared.set_aside(stalled && shared.is_quorum(|id| id != shared.me && core.alive(id)));
    }
}

/// True if every group that can survive the loss of a node would survive that of this one.
fn goes_on_without(core: &Core) -> bool {
    let mut redundant = core
        .replicas()
        .into_iter()
        .filter(|replica| replica.shared.view().voters().len() >= REDUNDANT)
        .peekable();
    redundant.peek().is_some()
        && redundant.all(|replica| {
            let me = replica.shared.me;
            replica.shared.is_quorum(|id| id != me && core.alive(id))
        })
}
