//! Which leader epoch each offset was written under (KIP-101, KIP-279).
//!
//! An epoch is a Raft term. A term is noted when its first entry is applied, even if that entry holds no
//! records; but an epoch that wrote nothing is replaced by the next, so elections alone do not make the
//! list grow. Clients cannot tell: the epoch below it ends at the same offset.

use super::codec::{CodecError, Reader, Writer};

/// More than that and the oldest epochs are forgotten; questions about them are then answered as if
/// the log began with the first one known. 64 KiB at most.
const EPOCHS_MAX: usize = 4096;

const UNKNOWN: (i32, i64) = (-1, -1);

/// Epochs with their first offsets, both strictly increasing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epochs(Vec<Started>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Started {
    epoch: i32,
    offset: i64,
}

/// Returns the leader epoch that clients know a Raft term by.
///
/// # Panics
/// When the term exceeds `i32::MAX`: at ten elections a second that is seven years of nothing else, and
/// an epoch that went backwards would make clients read the past as the present.
pub(super) fn of_term(term: u64) -> i32 {
    i32::try_from(term).expect("terms stay far below 2^31")
}

impl Epochs {
    /// Notes that an entry of `epoch` was applied when the log ended at `next_offset`.
    pub(super) fn observe(&mut self, epoch: i32, next_offset: i64) {
        if self.0.last().is_some_and(|last| last.epoch >= epoch) {
            return;
        }
        while self.0.last().is_some_and(|last| last.offset >= next_offset) {
            self.0.pop();
        }
        if self.0.len() == EPOCHS_MAX {
            self.0.remove(0);
        }
        self.0.push(Started { epoch, offset: next_offset });
    }

    /// Forgets the epochs that ended at or before `log_start`; the one that covers it begins there now.
    pub(super) fn trim(&mut self, log_start: i64) {
        let covering = self.0.partition_point(|started| started.offset <= log_start);
        if covering > 0 {
            self.0.drain(..covering - 1);
            self.0[0].offset = log_start;
        }
    }

    /// Returns the newest epoch, -1 when there is none.
    pub fn latest(&self) -> i32 {
        self.0.last().map_or(-1, |last| last.epoch)
    }

    /// Returns the epoch `offset` was or would be written under, -1 when there is none.
    pub fn at(&self, offset: i64) -> i32 {
        let after = self.0.partition_point(|started| started.offset <= offset);
        after.checked_sub(1).map_or(-1, |covering| self.0[covering].epoch)
    }

    /// Returns the largest epoch not above `epoch` and the offset where it ends; (-1, -1) when `epoch`
    /// is newer than all, or none is known. An epoch before all ends where the first known begins.
    pub fn end_of(&self, epoch: i32, next_offset: i64) -> (i32, i64) {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return UNKNOWN };
        if epoch < 0 || epoch > last.epoch {
            return UNKNOWN;
        }
        if epoch == last.epoch {
            return (epoch, next_offset);
        }
        if epoch < first.epoch {
            return (epoch, first.offset);
        }
        let above = self.0.partition_point(|started| started.epoch <= epoch);
        (self.0[above - 1].epoch, self.0[above].offset)
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.count(self.0.len());
        for started in &self.0 {
            writer.i32(started.epoch);
            writer.i64(started.offset);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let count = reader.count(EPOCHS_MAX, 12)?;
        let mut epochs = Vec::with_capacity(count);
        for _ in 0..count {
            epochs.push(Started { epoch: reader.i32()?, offset: reader.i64()? });
        }
        let increasing = epochs
            .windows(2)
            .all(|two| two[0].epoch < two[1].epoch && two[0].offset < two[1].offset);
        if increasing { Ok(Self(epochs)) } else { Err(CodecError::Range("the order of epochs")) }
    }
}

#[cfg(test)]
mod tests;
