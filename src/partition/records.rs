//! All that a replica has from the log start on, batch by batch as it stands in a chunk, wherever it is.
//!
//! It is what another replica is filled with, and what a compaction begins with. The end lies between two entries, so
//! that a log can go on there.

use bytes::Bytes;
use quorate_storage::Log;

use super::machine::View;
use super::position::{Place, Position};
use super::tail::{Tail, TailBatch};
use super::walk::{Source, Step, Walk, WalkError};

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// See the file's header. Blocks for the disk.
pub(super) struct StoredRecords {
    walk: Walk,
    /// Batches that end before it are not wanted.
    offset: i64,
    /// Entries from this one on are not wanted.
    index_end: u64,
    /// Behind the last batch that was given.
    end: Position,
}

impl StoredRecords {
    /// Returns the batches of `view` in entries before `index_end`, from the one that holds `offset` on.
    pub(super) fn new(
        log: &Log,
        view: &View,
        offset: i64,
        index_end: u64,
    ) -> Result<Self, WalkError> {
        let offset = offset.max(view.start.offset);
        let mut from = view.seek(log, offset)?;
        if let Some(boundary) = Tail::of(log)?.end().filter(|it| it.offset <= offset) {
            from = from.nearer(boundary, offset);
        }
        let index_end = index_end.min(view.end.place.index);
        let walk = Walk::new(log, view, from, READ_BYTES).toward(offset);
        Ok(Self { walk, offset, index_end, end: from })
    }

    /// Returns the next batch: where it stands, and its value in a chunk, which has all of that but the offset.
    pub(super) fn next(&mut self) -> Result<Option<(Position, Bytes)>, WalkError> {
        loop {
            let Step::Batch(located) = self.walk.step(Source::Disk)? else { return Ok(None) };
            if located.at.place.index >= self.index_end {
                return Ok(None);
            }
            self.end = self.walk.position();
            if located.end_offset > self.offset {
                return Ok(Some((located.at, TailBatch::of(&located)?.encode())));
            }
        }
    }

    /// Returns where the log goes on behind the batches that were given, once there are no more.
    pub(super) fn end(&self) -> Position {
        Position { place: Place::of_entry(self.index_end), ..self.end }
    }
}
