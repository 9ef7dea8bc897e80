//! A disk that hangs: when to let others lead, and when to give up.
//!
//! A node whose write does not come back holds its leaderships, its peers' streams and its clients
//! for as long as the kernel likes; Raft's own timers end that after half a minute, the detector of
//! dead nodes never, because the node answers. So it is watched here ([`Watchdog`], which is pure).
//! After a while the node tells its peers, which take it for dead, and stops naming itself leader of
//! the groups that can go on without it. Much later it ends, so that whoever supervises it learns
//! of the disk. A group whose majority hangs has nobody to go on: its nodes keep what they have
//! and wait.

use std::time::Duration;

use quorate_storage::{Operations, mutant};

use crate::config::StallConfig;

/// Between two looks. Each counts for no more than twice as long, so that a process that was paused
/// does not take its own pause for the disk's.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

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

#[cfg(test)]
mod tests;
