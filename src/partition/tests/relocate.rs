//! Moving records from the log to the tail as they are: compaction that leaves nothing out, so that a replica with a tail can
//! be compared with one without.

use std::time::Duration;

use quorate_storage::{Error as StorageError, Log, NewChunk};

use crate::partition::disk::on_disk;
use crate::partition::machine::View;
use crate::partition::position::Position;
use crate::partition::records::StoredRecords;
use crate::partition::relocate::failed;
use crate::partition::tail::Tail;
use crate::partition::tail_writer::{TailWriteError, TailWriter};
use crate::partition::{Partition, RelocateError};

/// Chunks that are written, and where they end.
pub(super) struct Written {
    /// The tail that they go behind, and how many of its chunks are trimmed and go at the same time.
    tail: Tail,
    trimmed: usize,
    chunks: Vec<NewChunk>,
    pub(super) end: Position,
}

impl Partition {
    /// Moves the records of this replica that lie in whole entries before `offset` from its log to its tail.
    ///
    /// Returns the first offset that is still in the log; none if there was nothing to move. If dropped, it is as if it
    /// had not been called, or done.
    pub async fn move_to_tail(&self, offset: i64) -> Result<Option<i64>, RelocateError> {
        let _changing = self.tail_changes.lock().await;
        let Some(written) = self.write_tail(offset).await? else { return Ok(None) };
        let end = self.take_tail(written).await?;
        Ok(Some(end.offset))
    }

    /// Writes what is to be moved.
    pub(super) async fn write_tail(&self, offset: i64) -> Result<Option<Written>, RelocateError> {
        let view = self.group.machine().view();
        let (log, seen) = (self.group.log().clone(), self.seen(&view));
        let tail = Tail::of(&log).map_err(failed)?;
        let trimmed = self.trimmed(&tail);
        let is_passed = tail.end().is_some_and(|end| end.offset < view.start.offset);
        if is_passed && trimmed < tail.chunks().len() {
            // What it would go behind is still given to others, until the next checkpoint.
            return Err(RelocateError::Changed);
        }
        let write = move || write(&log, &view, tail, trimmed, offset);
        let written = on_disk(&self.disk_reads, write).await?;
        written.map_err(|error| match error {
            _ if self.has_changed_since(&seen) => RelocateError::Changed,
            TailWriteError::Storage(StorageError::Closed) => RelocateError::Closed,
            error => RelocateError::Failed(error.to_string()),
        })
    }

    /// Puts what was written in its place; returns the new boundary.
    pub(super) async fn take_tail(&self, written: Written) -> Result<Position, RelocateError> {
        let Written { tail, trimmed, chunks, end } = written;
        let all = tail.chunks().len();
        // What is trimmed altogether would leave a gap.
        let gone = if trimmed == all { 0..all } else { all..all };
        if !self.change_tail(&tail, gone, chunks).await? {
            return Err(RelocateError::Changed);
        }
        self.note_boundary();
        self.free_log(Duration::ZERO);
        Ok(end)
    }
}

/// Writes chunks of the batches before `offset` that the tail does not have.
fn write(
    log: &Log,
    view: &View,
    tail: Tail,
    trimmed: usize,
    offset: i64,
) -> Result<Option<Written>, TailWriteError> {
    let from = tail.end().map_or(view.start.offset, |end| end.offset.max(view.start.offset));
    let index_end = index_before(log, view, offset)?;
    let mut records = StoredRecords::new(log, view, from, index_end)?;
    let mut writer = TailWriter::new(log);
    while let Some((at, value)) = records.next()? {
        writer.put(at.offset, &value)?;
    }
    let end = records.end();
    let chunks = writer.finish(end)?;
    Ok((!chunks.is_empty()).then_some(Written { tail, trimmed, chunks, end }))
}

/// Returns the index of the entry with the batch that holds `offset`.
fn index_before(log: &Log, view: &View, offset: i64) -> Result<u64, TailWriteError> {
    if offset >= view.end.offset {
        return Ok(view.end.place.index);
    }
    let mut records = StoredRecords::new(log, view, offset, u64::MAX)?;
    let found = records.next()?;
    Ok(found.map_or(view.end.place.index, |(at, _)| at.place.index))
}
