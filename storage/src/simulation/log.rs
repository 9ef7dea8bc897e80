//! The handle of one group on a simulated disk, with the interface of the real one.
//!
//! What the methods promise is said there, in `log.rs` of the crate.

use std::fmt;
use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::chunk_writer::ChunkWriter;
use super::db::Db;
use super::image::{Record, Stored};
use crate::chunks::{Chunk, ChunkRecords, Chunks, NewChunk, Reset};
use crate::group::Group;
use crate::sync::Callback;
use crate::{Durable, Entry, EntryId, Error, GroupId, LogState, StateDelete, StatePut, read};

/// A group's log, vote and replicated state. Cloning is cheap and gives the same group.
#[derive(Clone)]
pub struct Log {
    db: Arc<Db>,
    group: GroupId,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Log {
    pub(super) fn new(db: Arc<Db>, group: GroupId) -> Log {
        Log { db, group }
    }

    /// The group this is the log of.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// Whether the store was closed, or lost its disk to another one.
    pub fn is_closed(&self) -> bool {
        self.db.read(|_| ()).is_err()
    }

    /// None: a simulated disk keeps what it has.
    pub fn corrupt(&self) -> Option<u64> {
        None
    }

    /// The bounds of the log, everything written included.
    pub fn state(&self) -> LogState {
        self.peek(Group::log_state)
    }

    /// Appends entries behind the last.
    pub async fn append(&self, entries: Vec<Entry>, durable: Durable) -> Result<(), Error> {
        let wait = Callback::Append(self.group, durable);
        self.db.write(Record::Append { group: self.group, entries }, Some(wait))
    }

    /// Stores the group's vote; `durable` always fires.
    pub async fn save_vote(&self, vote: Bytes, durable: Durable) -> Result<(), Error> {
        let wait = Callback::Always(durable);
        self.db.write(Record::Vote { group: self.group, vote }, Some(wait))
    }

    /// The newest vote given to [`Log::save_vote`].
    pub fn vote(&self) -> Option<Bytes> {
        self.peek(|group| group.vote.clone())
    }

    /// Removes the entries behind `last_kept`, all of them if None.
    pub async fn truncate_after(&self, last_kept: Option<u64>) -> Result<(), Error> {
        self.db.write(Record::Truncate { group: self.group, last_kept }, None)
    }

    /// Removes the entries up to and including `upto`.
    pub async fn purge(&self, upto: EntryId) -> Result<(), Error> {
        self.db.write(Record::Purge { group: self.group, upto }, None)
    }

    /// Replaces the log by a snapshot boundary, and all that the group has by what `new` has.
    pub async fn reset_to(&self, upto: EntryId, new: Reset, durable: Durable) -> Result<(), Error> {
        let Reset { keep, state, chunks } = new;
        let now = chunks.iter().map(|chunk| Chunk::clone(chunk)).collect();
        let now = Chunks::new(self.group, now)?;
        let wait = Callback::Always(durable);
        let group = self.group;
        self.db.write(Record::Reset { group, upto, keep, state, chunks: now }, Some(wait))?;
        chunks.into_iter().for_each(|chunk| drop(chunk.named()));
        Ok(())
    }

    /// The group's chunks, in order.
    pub fn chunks(&self) -> Chunks {
        self.peek(|group| group.chunks.clone())
    }

    /// Puts new chunks in the place of some of `seen`, in one write; false if something else came first.
    pub async fn change_chunks(
        &self,
        seen: &Chunks,
        gone: Range<usize>,
        new: Vec<NewChunk>,
        durable: Durable,
    ) -> Result<bool, Error> {
        let (start, same) = self.peek(|group| (group.start(), group.chunks.is_same(seen)));
        let is_behind = |last: &NewChunk| gone.end == seen.len() && last.index < start;
        if !same || new.last().is_some_and(is_behind) {
            return Ok(false);
        }
        let added: Vec<Chunk> = new.iter().map(|chunk| Chunk::clone(chunk)).collect();
        let chunks = seen.spliced(self.group, gone, &added)?;
        let wait = Callback::Always(durable);
        self.db.write(Record::Chunks { group: self.group, chunks }, Some(wait))?;
        new.into_iter().for_each(|chunk| drop(chunk.named()));
        Ok(true)
    }

    /// Puts new chunks in the place of all that there are.
    pub async fn replace_chunks(&self, new: Vec<NewChunk>, durable: Durable) -> Result<(), Error> {
        let chunks =
            Chunks::new(self.group, new.iter().map(|chunk| Chunk::clone(chunk)).collect())?;
        let wait = Callback::Always(durable);
        self.db.write(Record::Chunks { group: self.group, chunks }, Some(wait))?;
        new.into_iter().for_each(|chunk| drop(chunk.named()));
        Ok(())
    }

    /// Records of one of `chunks`, from the last one at or before `from` on.
    pub fn read_chunk(
        &self,
        chunks: &Chunks,
        from: u64,
        bytes_max: usize,
    ) -> Result<ChunkRecords, Error> {
        let Some(chunk) = chunks.holding(from) else {
            return Ok(ChunkRecords { records: Vec::new(), next: from });
        };
        let dropped = || Error::ChunkDropped { group: self.group, chunk: chunk.number };
        let stored = self.db.read(|inner| inner.chunks.get(&chunk.number).cloned())?;
        let stored = stored.ok_or_else(dropped)?;
        let begin = stored.range(..=from).next_back().map_or(0, |(offset, _)| *offset);
        let (mut records, mut left) = (Vec::new(), bytes_max);
        for (offset, value) in stored.range(begin..) {
            if value.len() > left && !records.is_empty() {
                return Ok(ChunkRecords { records, next: *offset });
            }
            left = left.saturating_sub(value.len());
            records.push((*offset, value.clone()));
        }
        Ok(ChunkRecords { records, next: chunk.end })
    }

    /// Begins a chunk on the store this is a log of.
    pub fn chunk_writer(&self) -> Result<ChunkWriter, Error> {
        self.db.chunk_writer()
    }

    /// Entries `[from, to)` in order, at least one if it exists.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>, Error> {
        self.db.read(|_| ())?;
        self.read_cached(from, to, bytes_max).expect("all entries are in memory")
    }

    /// Gives the payload of the entry at `index` to `take`; none if there is no such entry.
    pub fn read_one<T>(
        &self,
        index: u64,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        Ok(self.read(index, index + 1, 1)?.first().map(|entry| take(&entry.payload)))
    }

    /// Like [`Log::read`]; memory always has the answer.
    pub fn read_cached(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Option<Result<Vec<Entry>, Error>> {
        self.peek(|group| read::read_cached(group, from, to, bytes_max))
    }

    /// The id of the entry at `index`, also of the newest purged one; None outside the log.
    pub fn id_at(&self, index: u64) -> Result<Option<EntryId>, Error> {
        Ok(self.peek(|group| group.id_at(index)))
    }

    /// Bytes of the entries.
    pub fn bytes(&self) -> u64 {
        self.peek(|group| group.tail.bytes() as u64)
    }

    /// Changes the replicated state: first the deletes, then the puts.
    pub async fn write_state(
        &self,
        puts: Vec<StatePut>,
        deletes: Vec<StateDelete>,
    ) -> Result<(), Error> {
        self.db.write(Record::State { group: self.group, puts, deletes }, None)
    }

    /// A value of the replicated state.
    pub fn state_get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.state_of(|stored| stored.state.get(key).cloned())
    }

    /// The greatest key at or before `key` whose first byte is `prefix`, with its value.
    pub fn state_at_or_before(
        &self,
        prefix: u8,
        key: &[u8],
    ) -> Result<Option<(Vec<u8>, Bytes)>, Error> {
        let bounds = (Bound::Included(vec![prefix]), Bound::Included(key.to_vec()));
        self.state_of(|stored| {
            let found = stored.state.range(bounds).next_back();
            found.filter(|(key, _)| key.first() == Some(&prefix)).map(owned)
        })
    }

    /// The first `max` values with keys in `[from, to)`, ascending.
    pub fn state_range(
        &self,
        from: &[u8],
        to: &[u8],
        max: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, Error> {
        if from >= to {
            return Ok(Vec::new());
        }
        let bounds = from.to_vec()..to.to_vec();
        self.state_of(|stored| stored.state.range(bounds).take(max).map(owned).collect())
    }

    fn peek<R>(&self, read: impl FnOnce(&Group) -> R) -> R {
        self.db.peek(|inner| match inner.image(false).groups.get(&self.group) {
            Some(stored) => read(&stored.group),
            None => read(&Group::default()),
        })
    }

    fn state_of<R>(&self, read: impl FnOnce(&Stored) -> R) -> Result<R, Error> {
        self.db.read(|inner| match inner.image(false).groups.get(&self.group) {
            Some(stored) => read(stored),
            None => read(&Stored::default()),
        })
    }
}

fn owned((key, value): (&Vec<u8>, &Bytes)) -> (Vec<u8>, Bytes) {
    (key.clone(), value.clone())
}
