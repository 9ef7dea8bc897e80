//! Writing a tail, batch by batch, unseen until it takes its place.
//!
//! Whoever fills a replica, from its own log or from another replica, puts the batches in order and gets chunks that are
//! durable and that no reader sees. They take their place in one write: behind the tail there is
//! ([`Log::change_chunks`]), or with a snapshot instead of it ([`Log::reset_to`]). Dropped before, they leave
//! nothing.

use bytes::Bytes;
use quorate_storage::{ChunkWriter, Error as StorageError, Log, NewChunk};

use super::codec::CodecError;
use super::position::Position;
use super::tail::{Description, TailBatch, to_unsigned};
use super::walk::WalkError;

/// See the file's header. Blocks for the disk.
pub(super) struct TailWriter {
    log: Log,
    writing: Option<(ChunkWriter, Position)>,
    done: Vec<NewChunk>,
    /// Where the next batch may begin.
    next: Option<Position>,
}

/// The tail is not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum TailWriteError {
    #[error("a batch is not as it stands in a chunk")]
    Damaged(#[from] CodecError),
    #[error("a batch begins at offset {found}, but the one before it ends at {end}")]
    Order { found: i64, end: i64 },
    #[error("the records cannot be read")]
    Unreadable(#[source] WalkError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl TailWriter {
    pub(super) fn new(log: &Log) -> Self {
        Self { log: log.clone(), writing: None, done: Vec::new(), next: None }
    }

    /// Returns the offset behind the last batch.
    pub(super) fn next_offset(&self) -> Option<i64> {
        self.next.map(|next| next.offset)
    }

    /// Adds the batch at `offset`, `value` being what stands in a chunk.
    pub(super) fn put(&mut self, offset: i64, value: &Bytes) -> Result<(), TailWriteError> {
        let batch = TailBatch::decode(offset, value)?;
        let located = batch.located()?;
        let at = batch.at;
        if let Some(next) =
            self.next.filter(|next| at.offset < next.offset || at.place < next.place)
        {
            return Err(TailWriteError::Order { found: at.offset, end: next.offset });
        }
        // Between two entries, so that its index says which chunk a log start has passed.
        let is_full = self.writing.as_ref().is_some_and(|(writer, _)| writer.is_full());
        if is_full && at.place.sub == 0 {
            self.end_chunk(at)?;
        }
        if self.writing.is_none() {
            self.writing = Some((self.log.chunk_writer()?, at));
        }
        if let Some((writer, _)) = &mut self.writing {
            writer.put(to_unsigned(offset), value)?;
        }
        self.next = Some(batch.next(located.end_offset, located.batch.size));
        Ok(())
    }

    fn end_chunk(&mut self, end: Position) -> Result<(), TailWriteError> {
        if let Some((writer, start)) = self.writing.take() {
            let description = Description { start, end }.encode();
            let index = end.place.index;
            self.done.push(writer.finish(to_unsigned(end.offset), index, description)?);
        }
        Ok(())
    }

    /// Returns the chunks, which end at `end`, where the log goes on.
    pub(super) fn finish(mut self, end: Position) -> Result<Vec<NewChunk>, TailWriteError> {
        if let Some(next) =
            self.next.filter(|next| end.offset < next.offset || end.place < next.place)
        {
            return Err(TailWriteError::Order { found: end.offset, end: next.offset });
        }
        self.end_chunk(end)?;
        Ok(self.done)
    }
}
