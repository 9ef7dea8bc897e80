//! A disk that hangs: when to let others lead, and when to give up.
//!
//! A node whose write does not come back holds its leaderships, its peers' streams and its clients
//! for as long as the kernel likes; Raft's own timers end that after half a minute, the detector of
//! dead nodes never, because the node answers. So it is watched here ([`Watchdog`], which is pure).
//! After a while the node tells its peers, which take it for dead, and stops naming itself leader of
//! the groups that can go on without it. Much later it ends, so that whoever supervises it learns
//! of the disk. A group whose majority hangs has nobody to go on: its nodes keep what they have
//! and wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_storage::{Operations, mutant};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::condition::Condition;
use crate::config::StallConfig;
use crate::node::{Core, Node};

/// Between two looks. Each counts for no more than twice as long, so that a process that was paused
/// does not take its own pause for the disk's.
const LOOK: Duration = Duration::from_millis(100);
/// Groups with fewer voters survive no loss, so it makes no difference to them whether a node ends.
const REDUNDANT: usize = 3;

/// What the node should do about its disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskState {
    /// Nothing.
    #[default]
    Fine,
    /// Let others lead.
    Stalled,
    /// End the process.
    Lost,
}

/// Tells from operations that do not end how a disk is.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    seen: Operations,
    stuck: [Duration; 3],
    /// Time since an operation was last found stuck, while that is not long ago.
    calm: Option<Duration>,
}

impl Watchdog {
    /// Looks at the operations `elapsed` after the last look. `redundant`: others can go on without
    /// this node.
    pub fn step(
        &mut self,
        operations: Operations,
        elapsed: Duration,
        redundant: bool,
        config: &StallConfig,
    ) -> DiskState {
        for (operation, count) in operations.into_iter().enumerate() {
            let under_way = count % 2 == 1 && count == self.seen[operation];
            self.stuck[operation] =
                if under_way { self.stuck[operation] + elapsed } else { Duration::ZERO };
        }
        self.seen = operations;
        let longest = self.longest();
        if longest >= config.step_aside_after && !mutant::on("hang-unnoticed") {
            self.calm = Some(Duration::ZERO);
            return if longest >= config.end_after && redundant {
                DiskState::Lost
            } else {
                DiskState::Stalled
            };
        }
        self.calm = self.calm.map(|calm| calm + elapsed).filter(|calm| *calm < config.calm);
        if self.calm.is_some() { DiskState::Stalled } else { DiskState::Fine }
    }

    /// How long the operation that is under way longest has been seen.
    pub fn longest(&self) -> Duration {
        self.stuck.into_iter().max().unwrap_or_default()
    }
}

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

impl Core {
    /// What this node tells its peers of its disk.
    pub fn condition(&self) -> Condition {
        Condition::from_bits(self.condition.load(Ordering::Relaxed))
    }

    pub fn set_condition(&self, stalled: bool) {
        let condition = Condition { low_space: self.db.low_on_space(), stalled };
        self.condition.store(condition.to_bits(), Ordering::Relaxed);
    }

    pub fn set_stalled_for(&self, longest: Duration) {
        let ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.stalled_ms.store(ms, Ordering::Relaxed);
    }

    /// What a node last said of its disk; nothing while it is not heard.
    pub fn condition_of(&self, id: u64) -> Condition {
        if id == self.id() {
            return self.condition();
        }
        match self.peers.get(id) {
            Some(peer) if peer.link().is_some() => peer.condition(),
            _ => Condition::default(),
        }
    }
}

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

#[cfg(test)]
mod tests;
