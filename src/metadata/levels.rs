//! Feature levels: what brokers of several releases in one cluster agree to do (after KIP-584).
//!
//! Whatever replicas must do alike, from the commands a log may hold to the constants a machine counts by, belongs
//! to a level. A release supports a range of them, and the cluster has one that is finalized: the one everything
//! that is written follows. It is raised by an explicit command when every registered broker supports the new one, and
//! never lowered, because what was written since could not be read by whoever does not know it.
//!
//! A range says which levels a cluster may have finalized with this release in it. Its lower end limits nothing in a
//! log or checkpoint: those begin at the levels of the past, so the rules and commands of every level stay readable,
//! and only a level above the range is one that a release cannot go on with.
//!
//! ```text
//!   release 1   supports 1        ─┐ finalized: 1      any broker may be upgraded, and taken back again
//!   release 2   supports 1 and 2  ─┘
//!   all brokers on release 2, then `quorate cluster finalize 2`: no way back to release 1
//! ```

use std::fmt;

use quorate_storage::mutant;
use serde::{Deserialize, Serialize};

use super::{AdminError, EXIT_REFUSED};

/// What Kafka's tools call the level (`kafka-features.sh describe`). Not `metadata.version`: that one says which
/// records Kafka's own metadata log has.
pub const FEATURE: &str = "quorate.version";

/// The level of the first release.
pub const FIRST_LEVEL: u16 = 1;
/// Kafka's messages carry levels as a signed number of 16 bits.
const LEVEL_MAX: u16 = i16::MAX.unsigned_abs();

/// A range of feature levels, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    pub lowest: u16,
    pub highest: u16,
}

impl Levels {
    /// Returns what this release supports.
    pub fn supported() -> Self {
        #[cfg(test)]
        if let Some(levels) = tests::SUPPORTED.get() {
            return levels;
        }
        Self { lowest: FIRST_LEVEL, highest: FIRST_LEVEL + u16::from(is_next_release()) }
    }

    /// Returns whether a broker of these levels may be part of a cluster that finalized `level`.
    pub fn contains(self, level: u16) -> bool {
        (self.lowest..=self.highest).contains(&level)
    }

    /// Returns whether such a release can read what a log or checkpoint of `level` holds, however old that is.
    fn reads(self, level: u16) -> bool {
        level <= self.highest
    }

    /// Returns whether a release can support such a range.
    pub(super) fn is_range(self) -> bool {
        FIRST_LEVEL <= self.lowest && self.lowest <= self.highest && self.highest <= LEVEL_MAX
    }
}

/// Returns whether this is the release after this one: unit tests are, and a build for tests may be told so.
pub(super) fn is_next_release() -> bool {
    cfg!(test) || mutant::next_release()
}

/// Returns whether what came with level `since` may be used in a cluster that has finalized `level`. Everything that a
/// release does otherwise than the one before it asks this first.
pub(super) fn is_reached(level: u16, since: u16) -> bool {
    level >= since || mutant::on("level-gate-skipped")
}

/// Ends a process whose release does not know the level that a log has just reached, before it meets what it cannot
/// read. It was started with an older release after it had registered with a newer one.
pub(crate) fn end_if_unfit(level: u16) {
    if !Levels::supported().reads(level) {
        end_unfit(level);
    }
}

/// The same of the level in a checkpoint, its own or one that was sent, before anything of that is taken over. Unit
/// tests go on, with the reason as the error.
pub(crate) fn check_checkpoint(level: u16) -> Result<(), AdminError> {
    let levels = Levels::supported();
    if levels.reads(level) {
        return Ok(());
    }
    if cfg!(not(test)) {
        end_unfit(level);
    }
    Err(AdminError::ReleaseUnfit { level, levels })
}

/// Ends the process: its release does not know `level`.
pub(crate) fn end_unfit(level: u16) -> ! {
    let levels = Levels::supported();
    quorate_storage::end(EXIT_REFUSED.into(), &AdminError::ReleaseUnfit { level, levels })
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lowest == self.highest {
            write!(f, "{} alone", self.lowest)
        } else {
            write!(f, "{} to {}", self.lowest, self.highest)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use super::Levels;

    thread_local! {
        /// What the release of this test supports.
        pub(in crate::metadata) static SUPPORTED: Cell<Option<Levels>> = const { Cell::new(None) };
    }
}
