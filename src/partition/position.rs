//! A place in the log, in all three of its measures.
//!
//! Offsets are what clients count, places what Raft counts, bytes what retention counts. They are related only
//! through the entries, so code that knows one keeps the three together.

use super::codec::{CodecError, Reader, Writer};

/// Where a batch stands in the Raft log. Ordered as the log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The Raft index of the entry.
    pub(super) index: u64,
    /// Which of the entry's batches, from 0. Behind the last one comes the next entry's first.
    pub(super) sub: u32,
}

/// Where a batch begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The batch's first offset.
    pub(super) offset: i64,
    /// The batch's place, or one before it with no other accepted batch between.
    pub(super) place: Place,
    /// Bytes of all batches before it since the partition was created, each as large as it was when it was appended:
    /// a replica on which some were compacted counts the same.
    pub(super) bytes: u64,
}

impl Place {
    /// Returns where the entry at `index` begins.
    pub(super) fn of_entry(index: u64) -> Self {
        Self { index, sub: 0 }
    }

    /// Returns the place behind this batch, in an entry of `count` batches.
    pub(super) fn next(self, count: u32) -> Self {
        let sub = self.sub + 1;
        if sub < count { Self { sub, ..self } } else { Self::of_entry(self.index + 1) }
    }

    pub(super) fn encode(self, writer: &mut Writer) {
        writer.u64(self.index);
        writer.u32(self.sub);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { index: reader.u64()?, sub: reader.u32()? })
    }
}

impl Position {
    /// Returns the later of two places from which `offset` can be reached by walking forward.
    pub(super) fn nearer(self, other: Position, offset: i64) -> Position {
        let usable = other.offset <= offset;
        if usable && (other.offset, other.place) > (self.offset, self.place) { other } else { self }
    }

    pub(super) fn encode(self, writer: &mut Writer) {
        writer.i64(self.offset);
        self.place.encode(writer);
        writer.u64(self.bytes);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { offset: reader.i64()?, place: Place::decode(reader)?, bytes: reader.u64()? })
    }
}
