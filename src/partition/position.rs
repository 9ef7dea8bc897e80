//! A place in the log, in all three of its measures.
//!
//! Offsets are what clients count, indexes what Raft counts, bytes what retention counts. They are
//! related only through the entries, so code that knows one place keeps the three together.

/// Where a batch begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The batch's first offset.
    pub(super) offset: i64,
    /// The entry that holds it, or a place before that with no other batch between.
    pub(super) index: u64,
    /// Bytes of all batches before it since the partition was created.
    pub(super) bytes: u64,
}

impl Position {
    /// Returns the later of two places from which `offset` can be reached by walking forward.
    pub(super) fn nearer(self, other: Position, offset: i64) -> Position {
        let usable = other.offset <= offset;
        if usable && (other.offset, other.index) > (self.offset, self.index) { other } else { self }
    }
}
