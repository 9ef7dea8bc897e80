//! The feature level of a partition: what its machine counts by.
//!
//! Two replicas may run different releases, so what the machine does must not come from the release. It comes from the
//! level in its own log: a group is born at the first, and once the cluster has finalized another its leader proposes
//! that for the group. Entries before it are judged by the old rules and those behind it by the new ones, on every
//! replica and at every replay. A constant of the machine that is to change moves here.

#[cfg(feature = "mutants")]
use quorate_storage::mutant::{self, next_release};

use super::command::level_payload;
use super::index::SPAN_BATCHES;
use super::{Partition, TrimError};
use crate::metadata::{FIRST_LEVEL, end_unfit};

#[cfg(any(test, feature = "mutants"))]
const NEXT_LEVEL: u16 = FIRST_LEVEL + 1;

/// What a partition's machine counts by at one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// Batches after which a span is full.
    pub(super) span_batches: u32,
}

impl Rules {
    /// Returns the rules of a level, 0 standing for the first. Those of old levels stay here as long as a log may hold
    /// them. A level that is not here ends the process: any rules but its own would be a silent fork.
    pub(super) fn of(level: u16) -> Self {
        #[cfg(feature = "mutants")]
        let level =
            if mutant::on("rules-by-release") && next_release() { NEXT_LEVEL } else { level };
        match level {
            0 | FIRST_LEVEL => Self { span_batches: SPAN_BATCHES },
            // What the next release does otherwise, for tests of a cluster of two releases.
            #[cfg(any(test, feature = "mutants"))]
            NEXT_LEVEL => Self { span_batches: SPAN_BATCHES / 2 },
            unknown => end_unfit(unknown),
        }
    }
}

impl Partition {
    /// Returns the feature level that its log has reached here.
    pub fn level(&self) -> u16 {
        self.group.machine().level()
    }

    /// Raises the level of its log; returns once that is committed and applied here. Only the leader can. Asking again
    /// is harmless, and a lower level changes nothing.
    pub async fn set_level(&self, level: u16) -> Result<(), TrimError> {
        let term = self.fence()?;
        let payload = level_payload(self.times(self.clock.now_ms()), level);
        self.propose(payload.into(), term).await?.await?;
        Ok(())
    }
}
