//! The log of a group as the consensus core wants it.
//!
//! The core awaits these calls inside its loop, so only the vote waits for the disk (Raft § 5.2: a
//! vote must be durable before it is answered). An append returns once the entries are readable and
//! reports durability through its callback; truncation and purging are queued in order behind it.
//! The committed index is not stored at all: after a restart it is learned from the leader.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use quorate_storage::{EntryId, Log, mutant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep;

use crate::codec::{decode_vote, encode_vote};
use crate::error::{DecodeError, is_corrupt, storage_failed};
use crate::platform::spawn_blocking;
use crate::transport::credits::{self, Reads, StreamRoom};
use crate::types::{Entry, LogId, TypeConfig, Vote, entry_id, from_stored, log_id, to_stored};

/// Bytes read from the log at a time when entries are applied or scanned.
const SCAN_BYTES: usize = 1 << 20;

/// Pause of a follower's stream before it is tried again to send it what is damaged here.
const CORRUPT_PAUSE: Duration = Duration::from_millis(200);

/// Log storage of one group.
pub(crate) struct LogStore {
    log: Log,
    reader: Reader,
}

/// Reader of one group's log; each replication stream has one.
#[derive(Clone)]
pub(crate) struct Reader {
    log: Log,
    /// Byte target of one append request.
    append_bytes: usize,
    /// Places of the node for groups that apply what is no longer in memory.
    replays: Arc<Semaphore>,
}

impl LogStore {
    pub fn new(log: Log, append_bytes: usize, replays: Arc<Semaphore>) -> Self {
        Self { reader: Reader { log: log.clone(), append_bytes, replays }, log }
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Reader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.log.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(log_id),
            last_log_id: state.last.map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if mutant::on("vote-not-persisted") {
            return Ok(());
        }
        let (durable, done) = oneshot::channel();
        let durable = Box::new(move || signal(durable));
        self.log.save_vote(encode_vote(vote), durable).await.map_err(storage_failed)?;
        done.await.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the database is closed"))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(to_stored).collect();
        let durable = Box::new(move || callback.io_completed(Ok(())));
        self.log.append(entries, durable).await.map_err(storage_failed)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.log.truncate_after(last.map(|id| id.index)).await.map_err(storage_failed)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.log.purge(entry_id(&upto)).await.map_err(storage_failed)
    }
}

impl Reader {
    /// Entries from `from`, at least one if there is one, off the async workers if it needs the disk.
    async fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>, io::Error> {
        let stored = match self.log.read_cached(from, to, bytes_max) {
            Some(cached) => cached,
            None => {
                let log = self.log.clone();
                spawn_blocking(move || log.read(from, to, bytes_max)).await
            }
        };
        decoded(stored)
    }

    /// Entries for an append request, read once there is room for them on the way to the peer. One
    /// entry that turns out larger than expected is let go of and read again with room for it.
    async fn read_into(
        &self,
        room: &StreamRoom,
        from: u64,
        to: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let most = room.target(self.append_bytes);
        let cached = self.log.read_cached(from, to, most);
        let from_disk = cached.is_none();
        if let Some(stored) = cached {
            let entries = decoded(stored)?;
            if room.try_keep(&entries) {
                return Ok(entries);
            }
        }
        let mut bytes = most;
        loop {
            let taken = room.take(bytes, from_disk).await;
            let entries = self.read(from, to, most).await?;
            let needed = credits::size(&entries);
            if entries.len() > 1 || needed <= bytes {
                room.keep(taken, &entries);
                return Ok(entries);
            }
            bytes = needed;
        }
    }

    /// An empty read is right behind the last entry only. Anywhere else it is a hole, and applying
    /// what comes after it would silently make this replica differ.
    fn check_end(&self, index: u64) -> Result<(), io::Error> {
        let state = self.log.state();
        if state.last.is_none_or(|last| last.index < index) {
            Ok(())
        } else {
            Err(corrupt(DecodeError(format!("entry {index} is missing in {state:?}"))))
        }
    }

    fn id_at(&self, index: u64) -> Result<EntryId, io::Error> {
        let found = self.log.id_at(index).map_err(storage_failed)?;
        found.ok_or_else(|| corrupt(DecodeError(format!("no entry at index {index}"))))
    }
}

impl RaftLogReader<TypeConfig> for Reader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let mut from = from.max(self.log.state().purged.map_or(0, |purged| purged.index + 1));
        let mut entries = Vec::new();
        while from < to {
            let part = match self.read(from, to, SCAN_BYTES).await {
                // Asked for at the start, to find the members. It is not applied or sent to anybody; at worst the
                // members are older ones, by which a replica with a damaged log does not act.
                Err(error) if is_corrupt(&error) => {
                    vec![Entry::new_blank(log_id(self.id_at(from)?))]
                }
                part => part?,
            };
            let Some(last) = part.last() else { break };
            from = last.log_id.index + 1;
            entries.extend(part);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let read = match Reads::current() {
            None => self.read(start, end, self.append_bytes).await,
            // It is thrown away, and only has to be something.
            Some(Reads::Nobody) => self.read(start, end, 1).await,
            Some(Reads::Stream(room)) => self.read_into(&room, start, end).await,
        };
        match read {
            // Not damage: a leader that was deposed purges what it was about to send. Nothing is
            // an answer; an error would end the process.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            // This replica is about to hand its leadership over, and has nothing to send until then.
            Err(error) if is_corrupt(&error) => {
                sleep(CORRUPT_PAUSE).await;
                Ok(Vec::new())
            }
            read => read,
        }
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        let from = from.max(self.log.state().purged.map_or(0, |purged| purged.index + 1));
        let ready = Vec::new().into_iter();
        let start = Scan { reader: self.clone(), next: from, to, ready, place: None };
        Box::pin(stream::try_unfold(start, Scan::step))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let Some(bytes) = self.log.vote() else { return Ok(None) };
        Ok(Some(decode_vote(bytes).map_err(corrupt)?))
    }

    async fn get_key_log_ids(
        &mut self,
        range: RangeInclusive<LogId>,
    ) -> Result<Vec<LogId>, io::Error> {
        let (mut from, last) = (entry_id(range.start()), entry_id(range.end()));
        let mut ends = Vec::new();
        while from.term != last.term {
            let end = self.last_of_term(from, last.index)?;
            ends.push(log_id(end));
            from = self.id_at(end.index + 1)?;
        }
        ends.push(log_id(last));
        Ok(ends)
    }
}

impl Reader {
    /// Last entry with the term of `from`, by bisection: terms do not decrease along a log.
    fn last_of_term(&self, from: EntryId, beyond: u64) -> Result<EntryId, io::Error> {
        let (mut inside, mut outside) = (from.index, beyond);
        while inside + 1 < outside {
            let middle = inside + (outside - inside) / 2;
            if self.id_at(middle)?.term == from.term { inside = middle } else { outside = middle }
        }
        Ok(EntryId { term: from.term, index: inside })
    }
}

/// Progress of a stream of entries: a batch that was read and what comes after it.
struct Scan {
    reader: Reader,
    next: u64,
    to: u64,
    ready: std::vec::IntoIter<Entry>,
    /// Taken before the first read of the disk and kept to the end: whoever takes the entries may
    /// hold some of them while it asks for more.
    place: Option<OwnedSemaphorePermit>,
}

impl Scan {
    async fn read(&mut self) -> Result<Vec<Entry>, io::Error> {
        if self.place.is_none() {
            if let Some(cached) = self.reader.log.read_cached(self.next, self.to, SCAN_BYTES) {
                return decoded(cached);
            }
            let place = Arc::clone(&self.reader.replays).acquire_owned().await;
            self.place = Some(place.map_err(io::Error::other)?);
        }
        self.reader.read(self.next, self.to, SCAN_BYTES).await
    }

    async fn step(mut self) -> Result<Option<(Entry, Self)>, io::Error> {
        if self.ready.as_slice().is_empty() && self.next < self.to {
            let batch = self.read().await?;
            if batch.is_empty() {
                self.reader.check_end(self.next)?;
            }
            self.next = batch.last().map_or(self.to, |last| last.log_id.index + 1);
            self.ready = batch.into_iter();
        }
        Ok(self.ready.next().map(|entry| (entry, self)))
    }
}

fn decoded(
    stored: Result<Vec<quorate_storage::Entry>, quorate_storage::Error>,
) -> Result<Vec<Entry>, io::Error> {
    let entries = match stored {
        // Not damage: somebody asked too late.
        Err(error @ quorate_storage::Error::Purged { .. }) => {
            return Err(io::Error::new(io::ErrorKind::NotFound, error));
        }
        other => other.map_err(storage_failed)?,
    };
    entries.into_iter().map(|entry| from_stored(entry).map_err(corrupt)).collect()
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

/// Tells a waiter that its write is durable, unless it stopped waiting.
pub(crate) fn signal(waiter: oneshot::Sender<()>) {
    let _ = waiter.send(());
}

/// A log that passed its checksums but does not make sense is a reason to stop as well.
fn corrupt(error: DecodeError) -> io::Error {
    quorate_storage::fatal("a raft group read nonsense from its log", &error)
}

#[cfg(test)]
mod tests;
