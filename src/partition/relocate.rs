//! Moving records from the log to the tail as they are, and dropping what is trimmed of the tail.
//!
//! ```text
//!   1  chunks are written and durable; no row names them      a crash: they are dropped, the log has the records
//!   2  rows are durable                                       a crash: both have them, the tail is read
//!   3  the log may go up to the boundary                      Raft purges it behind a checkpoint, in its own time
//! ```
//!
//! This is compaction that leaves nothing out. Nobody calls it on its own yet; what does will be a compaction that does,
//! with batches removed between reading and writing.

use quorate_storage::{Error as StorageError, Log, NewChunk};
use tokio::sync::oneshot;

use super::disk::on_disk;
use super::machine::View;
use super::position::Position;
use super::records::StoredRecords;
use super::tail::Tail;
use super::tail_writer::{TailWriteError, TailWriter};
use super::walk::WalkError;
use super::{Closed, Partition};

/// Records stay where they are.
#[derive(Debug, thiserror::Error)]
pub enum RelocateError {
    /// They moved otherwise meanwhile, or were trimmed. Ask again.
    #[error("the log changed meanwhile")]
    Changed,
    #[error("the replica is closed")]
    Closed,
    /// The disk; nothing changed.
    #[error("the tail cannot be written: {0}")]
    Failed(String),
}

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
        self.free_log();
        Ok(end)
    }

    /// Lets the log go up to the boundary.
    pub(super) fn free_log(&self) {
        if let Ok(tail) = Tail::of(self.group.log())
            && let Some(end) = tail.end()
        {
            self.group.free_log_below(end.place.index);
        }
    }

    /// Drops the chunks of the tail whose records are all trimmed; returns how many.
    pub async fn drop_trimmed(&self) -> Result<usize, RelocateError> {
        if self.group.log().chunks().is_empty() {
            return Ok(0);
        }
        let _changing = self.tail_changes.lock().await;
        let tail = Tail::of(self.group.log()).map_err(failed)?;
        let gone = self.trimmed(&tail);
        if gone == 0 || self.change_tail(&tail, 0..gone, Vec::new()).await? {
            return Ok(gone);
        }
        Err(RelocateError::Changed)
    }

    /// Returns how many chunks lie below the log start of the newest checkpoint. Not of now: whoever is given that
    /// checkpoint is given its records.
    fn trimmed(&self, tail: &Tail) -> usize {
        let kept_from = self.group.covered_from();
        tail.chunks().partition_point(|chunk| chunk.index <= kept_from)
    }

    /// Puts chunks in the place of others; returns once that is durable, false if the tail is not as seen any more.
    pub(super) async fn change_tail(
        &self,
        seen: &Tail,
        gone: std::ops::Range<usize>,
        new: Vec<NewChunk>,
    ) -> Result<bool, RelocateError> {
        let (done, durable) = oneshot::channel();
        let done = Box::new(move || {
            // Who waited may have gone away.
            let _ = done.send(());
        });
        let changed = self.group.log().change_chunks(seen.chunks(), gone, new, done).await;
        let changed = changed.map_err(failed)?;
        if changed {
            durable.await.map_err(|_| RelocateError::Closed)?;
        }
        Ok(changed)
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

impl From<WalkError> for TailWriteError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Storage(error) => Self::Storage(error),
            error => Self::Unreadable(error),
        }
    }
}

impl From<Closed> for RelocateError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

fn failed(error: impl std::fmt::Display) -> RelocateError {
    RelocateError::Failed(error.to_string())
}
