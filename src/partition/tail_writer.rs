//! Writing a tail, batch by batch, unseen until it takes its place.
//!
//! Whoever fills a replica, from its own log or from another replica, puts the batches in order and gets chunks that are
//! durable and that no reader sees. They take their place in one write: behind the tail there is
//! ([`Log::change_chunks`]), or with a snapshot instead of it ([`Log::reset_to`]). Dropped before, they leave
//! nothing.

use bytes::Bytes;
use quorate_storage::{ChunkWriter, Error as StorageError, Log, NewChunk};

use super::codec::CodecError;
use super::position::{Place, Position};
use super::tail::{Description, Mark, TailBatch, to_unsigned};
use super::walk::WalkError;

/// See the file's header. Blocks for the disk.
pub(super) struct TailWriter {
    log: Log,
    /// Where the first chunk begins, if not with its first batch.
    begin: Option<Position>,
    writing: Option<Writing>,
    done: Vec<NewChunk>,
    /// Where the next batch may begin.
    next: Option<Position>,
    /// The entry of the last batch.
    entry: Option<u64>,
}

struct Writing {
    chunk: ChunkWriter,
    start: Position,
    bytes: usize,
    tombstones: bool,
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
        Self {
            log: log.clone(),
            begin: None,
            writing: None,
            done: Vec::new(),
            next: None,
            entry: None,
        }
    }

    /// Begins at a place whose batch may be gone.
    pub(super) fn from(log: &Log, begin: Position) -> Self {
        Self { begin: Some(begin), ..Self::new(log) }
    }

    /// Returns how many bytes the chunk has that is not finished yet.
    pub(super) fn open_bytes(&self) -> usize {
        self.writing.as_ref().map_or(0, |writing| writing.bytes)
    }

    /// Returns the chunks that are finished, which are given once.
    pub(super) fn take_done(&mut self) -> Vec<NewChunk> {
        std::mem::take(&mut self.done)
    }

    /// Returns the offset behind the last batch.
    pub(super) fn next_offset(&self) -> Option<i64> {
        self.next.map(|next| next.offset)
    }

    /// Adds the batch at `offset`, `value` being what stands in a chunk.
    pub(super) fn put(&mut self, offset: i64, value: &Bytes) -> Result<(), TailWriteError> {
        self.put_known(offset, value, true)
    }

    /// Adds a batch of which is known whether there is a tombstone in it.
    pub(super) fn put_known(
        &mut self,
        offset: i64,
        value: &Bytes,
        tombstones: bool,
    ) -> Result<(), TailWriteError> {
        let batch = TailBatch::decode(offset, value)?;
        let located = batch.located()?;
        let at = batch.at;
        if let Some(next) =
            self.next.filter(|next| at.offset < next.offset || at.place < next.place)
        {
            return Err(TailWriteError::Order { found: at.offset, end: next.offset });
        }
        // Between two entries, so that its index says which chunk a log start has passed.
        let is_full = self.writing.as_ref().is_some_and(|writing| writing.chunk.is_full());
        if is_full && self.entry.is_some_and(|entry| at.place.index > entry) {
            // What the entry had before is refused or compacted.
            let boundary = Position { place: Place::of_entry(at.place.index), ..at };
            self.end_chunk(boundary, Mark::default())?;
            self.begin = Some(boundary);
        }
        let writing = match self.writing.take() {
            Some(writing) => writing,
            None => self.begin_chunk(at)?,
        };
        let writing = self.writing.insert(writing);
        writing.chunk.put(to_unsigned(offset), value)?;
        writing.bytes += value.len();
        writing.tombstones |= tombstones;
        self.next = Some(batch.next(located.end_offset, located.batch.size));
        self.entry = Some(at.place.index);
        Ok(())
    }

    fn begin_chunk(&mut self, at: Position) -> Result<Writing, TailWriteError> {
        let mut chunk = self.log.chunk_writer()?;
        // A batch may begin before the log does.
        let start = self.begin.take().filter(|begin| begin.offset <= at.offset).unwrap_or(at);
        chunk.begin_at(to_unsigned(start.offset));
        Ok(Writing { chunk, start, bytes: 0, tombstones: false })
    }

    fn end_chunk(&mut self, end: Position, mark: Mark) -> Result<(), TailWriteError> {
        if let Some(Writing { chunk, start, tombstones, .. }) = self.writing.take() {
            let description = Description { start, end, tombstones, mark }.encode();
            let index = end.place.index;
            self.done.push(chunk.finish(to_unsigned(end.offset), index, description)?);
        }
        Ok(())
    }

    /// Returns the chunks, which end at `end`, where the log goes on.
    pub(super) fn finish(self, end: Position) -> Result<Vec<NewChunk>, TailWriteError> {
        self.finish_marked(end, Mark::default())
    }

    /// Returns the chunks, the last of which says how far the tail is compacted.
    pub(super) fn finish_marked(
        mut self,
        end: Position,
        mark: Mark,
    ) -> Result<Vec<NewChunk>, TailWriteError> {
        if let Some(next) =
            self.next.filter(|next| end.offset < next.offset || end.place < next.place)
        {
            return Err(TailWriteError::Order { found: end.offset, end: next.offset });
        }
        self.end_chunk(end, mark)?;
        Ok(self.done)
    }
}
