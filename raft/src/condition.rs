//! What a node says of its own disk, in every answer to a ping.
//!
//! A leader decides by it: a follower cannot refuse entries and take the trim behind them, so whoever
//! proposes has to know that a replica runs out of space; and a node whose disk hangs cannot tell its
//! groups so through the log, because the log is what hangs.

/// The state of a node's disk as the node itself sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Condition {
    /// Too little space is free to take more entries.
    pub low_space: bool,
    /// A write or sync has been under way for so long that others should lead.
    pub stalled: bool,
}

const LOW_SPACE: u8 = 1;
const STALLED: u8 = 2;

impl Condition {
    pub(crate) fn to_bits(self) -> u8 {
        (u8::from(self.low_space) * LOW_SPACE) | (u8::from(self.stalled) * STALLED)
    }

    /// Bits without a meaning here are of a later version and say nothing.
    pub(crate) fn from_bits(bits: u8) -> Self {
        Self { low_space: bits & LOW_SPACE != 0, stalled: bits & STALLED != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_survives_its_byte_form_and_unknown_bits_say_nothing() {
        for (low_space, stalled) in [(false, false), (true, false), (false, true), (true, true)] {
            let condition = Condition { low_space, stalled };
            assert_eq!(Condition::from_bits(condition.to_bits()), condition);
            assert_eq!(Condition::from_bits(condition.to_bits() | 0xf0), condition);
        }
    }
}
