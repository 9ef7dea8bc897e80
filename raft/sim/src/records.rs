//! The entries that a ledger still needs, as records: with the feature `keyed` a replica that fell behind is given them
//! beside its snapshot, and must have every one of them afterwards, in its log or in chunks below it.
//!
//! ```text
//!  key:    index u64
//!  value:  term u64 │ kind u8 │ payload
//! ```

use bytes::{Buf, BufMut, Bytes};
use quorate_raft::{IncomingRecords, Machine, OutgoingRecords, Page, Records, RecordsError};
use quorate_storage::{
    ChunkWriter, Entry, EntryId, EntryKind, Log, NewChunk, StateDelete, StatePut,
};

use crate::ledger::{Ledger, Request, effect, effects};

/// Records of ledgers.
#[derive(Debug)]
pub struct LedgerRecords;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 12;

impl Records for LedgerRecords {
    fn outgoing(
        &self,
        log: &Log,
        machine: &[u8],
    ) -> Result<Box<dyn OutgoingRecords>, RecordsError> {
        let (from, to) = bounds(machine)?;
        Ok(Box::new(Outgoing { log: log.clone(), from, to }))
    }

    fn incoming(
        &self,
        log: &Log,
        machine: &[u8],
    ) -> Result<Box<dyn IncomingRecords>, RecordsError> {
        let (next, to) = bounds(machine)?;
        let (log, machine) = (log.clone(), Ledger::decode(machine).map_err(failed)?);
        Ok(Box::new(Incoming { log, machine, next, to, writing: None, done: Vec::new() }))
    }

    fn kept_state(&self) -> StateDelete {
        effects()
    }
}

/// The first index that is needed, and the one behind the last.
fn bounds(machine: &[u8]) -> Result<(u64, u64), RecordsError> {
    let machine = Ledger::decode(machine).map_err(failed)?;
    let to = machine.applied.map_or(0, |applied| applied + 1);
    Ok((machine.needed_from().min(to), to))
}

struct Outgoing {
    log: Log,
    from: u64,
    to: u64,
}

impl OutgoingRecords for Outgoing {
    fn page(&self, after: Option<&[u8]>, bytes: usize) -> Result<Page, RecordsError> {
        let after = after.map(|mut key| key.get_u64() + 1);
        let (mut next, mut size, mut pairs) = (after.unwrap_or(self.from), 0, Vec::new());
        while next < self.to && size < bytes {
            for (index, value) in read(&self.log, next, self.to)? {
                size += value.len();
                pairs.push((key(index), value));
                next = index + 1;
            }
        }
        let upto = (next < self.to).then(|| key(next - 1));
        Ok(Page { pairs, upto })
    }
}

/// Some records from an index on, one at least, wherever they are.
fn read(log: &Log, from: u64, to: u64) -> Result<Vec<(u64, Bytes)>, RecordsError> {
    let chunks = log.chunks();
    let found = if chunks.last().is_some_and(|last| from < last.end) {
        let records = log.read_chunk(&chunks, from, READ_BYTES).map_err(failed)?.records;
        records.into_iter().filter(|(index, _)| (from..to).contains(index)).collect()
    } else {
        let entries = log.read(from, to, READ_BYTES).map_err(failed)?;
        entries.into_iter().map(|entry| (entry.id.index, value(&entry))).collect::<Vec<_>>()
    };
    match found.first() {
        Some((first, _)) if *first == from => Ok(found),
        other => Err(failed(format!("at index {from} there is {other:?}"))),
    }
}

struct Incoming {
    log: Log,
    /// What it is to be, whose effects come with its entries.
    machine: Ledger,
    next: u64,
    to: u64,
    writing: Option<ChunkWriter>,
    done: Vec<NewChunk>,
}

impl IncomingRecords for Incoming {
    fn put(&mut self, key: &Bytes, value: Bytes) -> Result<Option<StatePut>, RecordsError> {
        let index = (&key[..]).get_u64();
        if index != self.next {
            return Err(failed(format!("index {index} comes where {} was due", self.next)));
        }
        if self.writing.as_ref().is_some_and(ChunkWriter::is_full) {
            self.end_chunk()?;
        }
        let writing = match self.writing.take() {
            Some(writing) => writing,
            None => self.log.chunk_writer().map_err(failed)?,
        };
        self.writing.insert(writing).put(index, &value).map_err(failed)?;
        self.next = index + 1;
        Ok(self.effect(&entry(index, value)))
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<NewChunk>, RecordsError> {
        if self.next != self.to {
            return Err(failed(format!("they end at {}, not at {}", self.next, self.to)));
        }
        self.end_chunk()?;
        Ok(self.done)
    }
}

impl Incoming {
    /// What applying the entry has left beside the log, unless a later one has replaced it.
    fn effect(&self, entry: &Entry) -> Option<StatePut> {
        let Some(Request::Note { client, .. }) = Request::decode(&entry.payload) else {
            return None;
        };
        let index = entry.id.index;
        let is_last = self.machine.clients.get(&client).is_some_and(|done| done.index == index);
        is_last.then(|| effect(client, index))
    }

    fn end_chunk(&mut self) -> Result<(), RecordsError> {
        if let Some(writing) = self.writing.take() {
            let chunk = writing.finish(self.next, self.next, Bytes::new());
            self.done.push(chunk.map_err(failed)?);
        }
        Ok(())
    }
}

fn key(index: u64) -> Bytes {
    Bytes::copy_from_slice(&index.to_be_bytes())
}

fn value(entry: &Entry) -> Bytes {
    let mut out = Vec::with_capacity(9 + entry.payload.len());
    out.put_u64(entry.id.term);
    out.put_u8(match entry.kind {
        EntryKind::Blank => 0,
        EntryKind::Normal => 1,
        EntryKind::Membership => 2,
    });
    out.extend_from_slice(&entry.payload);
    out.into()
}

fn entry(index: u64, mut value: Bytes) -> Entry {
    let id = EntryId { term: value.get_u64(), index };
    let kind = match value.get_u8() {
        0 => EntryKind::Blank,
        1 => EntryKind::Normal,
        _ => EntryKind::Membership,
    };
    Entry { id, kind, payload: value }
}

/// What is missing of the records that a machine needs, in words; looks at what there should be only.
pub fn missing(log: &Log, machine: &Ledger) -> Option<String> {
    let purged = log.state().purged?.index;
    let from = machine.needed_from();
    if purged < from || !Ledger::KEYED {
        return None;
    }
    let chunks = log.chunks();
    let is_there = |(first, last): (&quorate_storage::Chunk, &quorate_storage::Chunk)| {
        first.first <= from && last.end > purged
    };
    if chunks.first().zip(chunks.last()).is_some_and(is_there) {
        return None;
    }
    Some(format!("records from {from} on are needed, purged is {purged}, there are {chunks:?}"))
}

/// Reads all records that a machine needs.
pub fn all(log: &Log, machine: &Ledger) -> Result<Vec<Entry>, RecordsError> {
    let (mut next, to) = bounds(&machine.encode())?;
    // A log that was never purged may begin with index 1.
    next = next.max(u64::from(log.state().purged.is_none()));
    let mut records = Vec::new();
    while next < to && Ledger::KEYED {
        for (index, value) in read(log, next, to)? {
            records.push(entry(index, value));
            next = index + 1;
        }
    }
    Ok(records)
}

fn failed(error: impl std::fmt::Display) -> RecordsError {
    RecordsError(error.to_string())
}
