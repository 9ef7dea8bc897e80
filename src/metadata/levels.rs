//! Feature levels: what brokers of several releases in one cluster agree to do (after KIP-584).
//!
//! Whatever replicas must do alike, from the commands a log may hold to the constants a machine counts by, belongs
//! to a level. A release supports a range of them, and the cluster has one that is finalized: the one everything
//! that is written follows. It is raised by an explicit command when every registered broker supports the new one, and
//! never lowered, because what was written since could not be read by whoever does not know it.
//!
//! ```text
//!   release 1   supports 1        ─┐ finalized: 1      any broker may be upgraded, and taken back again
//!   release 2   supports 1 and 2  ─┘
//!   all brokers on release 2, then `quorate cluster finalize 2`: no way back to release 1
//! ```

use std::fmt;

use quorate_storage::mutant;
use serde::{Deserialize, Serialize};

/// What Kafka's tools call the level (`kafka-features.sh describe`). Not `metadata.version`: that one says which
/// records Kafka's own metadata log has.
pub const FEATURE: &str = "quorate.version";

/// The level of the first release.
const FIRST: u16 = 1;
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
        Self { lowest: FIRST, highest: FIRST + u16::from(mutant::next_release()) }
    }

    /// Returns whether a broker of these levels may be part of a cluster that finalized `level`.
    pub fn contains(self, level: u16) -> bool {
        (self.lowest..=self.highest).contains(&level)
    }

    /// Returns whether a release can support such a range.
    pub(super) fn is_range(self) -> bool {
        FIRST <= self.lowest && self.lowest <= self.highest && self.highest <= LEVEL_MAX
    }
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
