//! The handle of one group: what the layers above call.
//!
//! Every write waits for room in the bounded queue, then changes the group's front and enqueues in
//! one step. Calls of one group must not race each other: their order is the order of the log.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::chunks::{Chunk, Chunks, NewChunk, Reset};
use crate::db::Db;
use crate::entry;
use crate::group::{Cell, Group};
use crate::queue::{ChunkChange, Op};
use crate::{
    Durable, Entry, EntryId, Error, GroupId, LogState, StateDelete, StatePut, read, state,
};

/// A group's log, vote and replicated state. Cloning is cheap and gives the same group.
#[derive(Clone)]
pub struct Log {
    pub(crate) db: Arc<Db>,
    pub(crate) cell: Arc<Cell>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("group", &self.cell.id).finish_non_exhaustive()
    }
}

impl Db {
    /// The log of a group. Handles of one group share their state; a group comes into being with
    /// its first write.
    pub fn log(self: &Arc<Self>, group: GroupId) -> Log {
        assert!(group.0 != u64::MAX, "the greatest group id is reserved as a key bound");
        Log { db: Arc::clone(self), cell: self.shared.cells.get(group) }
    }
}

impl Log {
    /// The group this is the log of.
    pub fn group(&self) -> GroupId {
        self.cell.id
    }

    /// Whether the store was closed, so that writes and reads of the disk are refused.
    pub fn is_closed(&self) -> bool {
        self.db.shared.queue.is_closed()
    }

    /// The first entry that is known to be damaged on disk, until it is purged, cut off or replaced by a snapshot; or the
    /// entry behind a damaged chunk, until the group has that chunk no more. Bounds, terms and vote are as they were.
    pub fn corrupt(&self) -> Option<u64> {
        self.cell.lock().corrupt()
    }

    /// The bounds of the log, everything enqueued included.
    pub fn state(&self) -> LogState {
        self.cell.lock().log_state()
    }

    /// Appends entries behind the last. They are readable when the future returns (it waits only
    /// for room in the write queue; who brings new entries waits for [`Db::admit`] before) and durable when `durable` fires. When several appends of a
    /// group are covered by one sync only the newest `durable` is fired; the others are dropped.
    /// A log that never held an entry may begin at any index below `u64::MAX`.
    ///
    /// Fails with [`Error::NotContiguous`] or [`Error::Closed`], and then has written nothing.
    pub async fn append(&self, entries: Vec<Entry>, durable: Durable) -> Result<(), Error> {
        let bytes = entries.iter().map(|e| e.payload.len() + entry::MEMORY_OVERHEAD).sum();
        let permit = self.db.shared.queue.permit(bytes).await?;
        let mut group = self.cell.lock();
        let before = group.tail.bytes();
        let runs = group.append(&entries)?;
        self.db.shared.counters.tail_changed(before, group.tail.bytes());
        let create = group.create();
        let cell = Arc::clone(&self.cell);
        self.db.shared.queue.push(permit, Op::Append { cell, create, entries, runs, durable })?;
        Ok(())
    }

    /// Stores the group's vote; `durable` always fires. Ordered with the appends, but it does not
    /// wait for room as they do: a group has one vote under way, and an election waits for it.
    pub async fn save_vote(&self, vote: Bytes, durable: Durable) -> Result<(), Error> {
        let permit = self.db.shared.queue.unbounded(vote.len());
        let mut group = self.cell.lock();
        group.vote = Some(vote.clone());
        let create = group.create();
        let cell = Arc::clone(&self.cell);
        self.db.shared.queue.push(permit, Op::Vote { cell, create, vote, durable })?;
        Ok(())
    }

    /// The newest vote given to [`Log::save_vote`].
    pub fn vote(&self) -> Option<Bytes> {
        self.cell.lock().vote.clone()
    }

    /// Removes the entries behind `last_kept`, all of them if None; never what is purged. Takes
    /// effect for readers at once and on disk in order, so a removed entry never comes back after
    /// what is appended next is durable.
    pub async fn truncate_after(&self, last_kept: Option<u64>) -> Result<(), Error> {
        let permit = self.db.shared.queue.permit(0).await?;
        let mut group = self.cell.lock();
        let before = group.tail.bytes();
        let Some(cut) = group.truncate(last_kept) else { return Ok(()) };
        self.db.shared.counters.tail_changed(before, group.tail.bytes());
        let cell = Arc::clone(&self.cell);
        self.db.shared.queue.push(permit, Op::Truncate { cell, cut })?;
        Ok(())
    }

    /// Removes the entries up to and including `upto`; the log may end before it and then goes on
    /// behind it. Disk space is freed in the background, by whole generations; what lies in the
    /// generation being written stays until that one ends.
    pub async fn purge(&self, upto: EntryId) -> Result<(), Error> {
        let permit = self.db.shared.queue.permit(0).await?;
        let mut group = self.cell.lock();
        let before = group.tail.bytes();
        let Some(cut) = group.purge(upto) else { return Ok(()) };
        self.db.shared.counters.tail_changed(before, group.tail.bytes());
        let create = group.create();
        let cell = Arc::clone(&self.cell);
        self.db.shared.queue.push(permit, Op::Purge { cell, create, upto, cut })?;
        Ok(())
    }

    /// Replaces the log by a snapshot boundary: drops every entry, all of the group's state and its chunks, except what
    /// `new` keeps, and gives it what `new` has, in one atomic batch. The vote stays. Afterwards `last` and `purged` are
    /// `upto`. `durable` always fires.
    ///
    /// Fails with [`Error::ChunkNotWritten`], if the chunks do not follow on each other, and with [`Error::Closed`]; then
    /// nothing changed.
    pub async fn reset_to(&self, upto: EntryId, new: Reset, durable: Durable) -> Result<(), Error> {
        let Reset { keep, state, chunks } = new;
        let bytes = state.iter().map(|put| put.key.len() + put.value.len()).sum();
        let permit = self.db.shared.queue.permit(bytes).await?;
        let now = chunks.iter().map(|chunk| Chunk::clone(chunk)).collect();
        let now = Chunks::new(self.cell.id, now)?;
        let mut group = self.cell.lock();
        let before = group.tail.bytes();
        group.reset(Some(upto));
        group.exists = true;
        self.db.shared.counters.tail_changed(before, group.tail.bytes());
        let gone = self.set_chunks(&mut group, now);
        let new = chunks.into_iter().map(NewChunk::named).collect();
        let cell = Arc::clone(&self.cell);
        let chunks = ChunkChange { gone, new };
        let op = Op::Reset { cell, upto, keep, state, chunks, durable };
        group.state_sequence = self.db.shared.queue.push(permit, op)?;
        Ok(())
    }

    /// Takes other chunks into the front; gives first offsets and numbers of those it had.
    pub(crate) fn set_chunks(&self, group: &mut Group, now: Chunks) -> Vec<(u64, u64)> {
        self.db.shared.counters.chunks_changed(&group.chunks, &now);
        let before = std::mem::replace(&mut group.chunks, now);
        before.iter().map(|chunk| (chunk.first, chunk.number)).collect()
    }

    /// Entries `[from, to)` in order, at least one if it exists, stopping before payloads exceed
    /// `bytes_max`. Reads the disk unless [`Log::read_cached`] has the answer.
    ///
    /// Fails with [`Error::Purged`] if `from` was purged, and with [`Error::Corrupt`] if the entry there is damaged; those
    /// before it are given first. A log that was never purged and begins
    /// behind `from` is read from its beginning.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>, Error> {
        if let Some(answer) = self.read_cached(from, to, bytes_max) {
            return answer;
        }
        let shared = &self.db.shared;
        self.db.with_rocks(|rocks| read::read(shared, rocks, &self.cell, from, to, bytes_max))?
    }

    /// Gives the payload of the entry at `index` to `take` and returns what comes of it: for who wants little of an entry,
    /// since it is not copied. None: there is no such entry. Reads the disk.
    ///
    /// Fails as [`Log::read`] does.
    pub fn read_one<T>(
        &self,
        index: u64,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        if let Some(answer) = self.read_cached(index, index + 1, 1) {
            return Ok(answer?.first().map(|entry| take(&entry.payload)));
        }
        let shared = &self.db.shared;
        self.db.with_rocks(|rocks| read::one(shared, rocks, &self.cell, index, take))?
    }

    /// Like [`Log::read`] if memory has the answer, which it looks up once; None if it takes the
    /// disk. Never blocks.
    pub fn read_cached(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Option<Result<Vec<Entry>, Error>> {
        read::read_cached(&self.cell.lock(), from, to, bytes_max)
    }

    /// The id of the entry at `index`, also of the newest purged one; None outside the log. Reads
    /// memory only.
    pub fn id_at(&self, index: u64) -> Result<Option<EntryId>, Error> {
        Ok(self.cell.lock().id_at(index))
    }

    /// Live bytes of the log and of the chunks below it on disk, approximately.
    pub fn bytes(&self) -> u64 {
        let group = self.cell.lock();
        group.segments.live_bytes() + group.chunks.bytes()
    }

    /// Changes the replicated state: first the deletes, then the puts. Not synced, but never
    /// durable ahead of what was appended before.
    pub async fn write_state(
        &self,
        puts: Vec<StatePut>,
        deletes: Vec<StateDelete>,
    ) -> Result<(), Error> {
        let put_bytes: usize = puts.iter().map(|put| put.key.len() + put.value.len()).sum();
        let delete_bytes: usize = deletes.iter().map(|del| del.from.len() + del.to.len()).sum();
        let permit = self.db.shared.queue.permit(put_bytes + delete_bytes).await?;
        let mut group = self.cell.lock();
        let create = group.create();
        let cell = Arc::clone(&self.cell);
        let op = Op::State { cell, create, puts, deletes };
        group.state_sequence = self.db.shared.queue.push(permit, op)?;
        Ok(())
    }

    /// A value of the replicated state. May block: on the disk, and until what this group has
    /// queued is written.
    pub fn state_get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        state::get(&self.db, &self.cell, key)
    }

    /// The greatest key at or before `key` whose first byte is `prefix`, with its value. `key` is a
    /// whole key, first byte included. May block, as [`Log::state_get`].
    pub fn state_at_or_before(
        &self,
        prefix: u8,
        key: &[u8],
    ) -> Result<Option<(Vec<u8>, Bytes)>, Error> {
        state::at_or_before(&self.db, &self.cell, prefix, key)
    }

    /// The first `max` values with keys in `[from, to)`, ascending. May block, as
    /// [`Log::state_get`].
    pub fn state_range(
        &self,
        from: &[u8],
        to: &[u8],
        max: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, Error> {
        state::range(&self.db, &self.cell, from, to, max)
    }
}
