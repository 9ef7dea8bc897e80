//! What is in memory of one group: a few hundred bytes, its tail and its map.
//!
//! The state has a front and a back. The front (`last`, `purged`, `runs`, `tail`, `vote`) is what
//! callers see and changes when they enqueue; the back (`segments`) is what is on disk and changes
//! when the writer gets there. Between the two, everything a reader may ask for is in the tail.

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use crate::chunks::Chunks;
use crate::runs::{Run, Runs};
use crate::segments::Segments;
use crate::tail::Tail;
use crate::{Entry, EntryId, Error, GroupId, LogState};

/// One group's state, shared by its handles, the writer and the background thread.
#[derive(Debug)]
pub(crate) struct Cell {
    pub id: GroupId,
    state: Mutex<Group>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    /// Something of the group is on disk or on its way there.
    pub exists: bool,
    pub vote: Option<Bytes>,
    pub purged: Option<EntryId>,
    pub last: Option<EntryId>,
    pub runs: Runs,
    pub tail: Tail,
    pub segments: Segments,
    /// Changes whenever an entry a reader may be looking at moves or goes.
    pub version: u64,
    /// Sequence number of the newest queued change of the replicated state.
    pub state_sequence: u64,
    /// An entry that is damaged on disk, as far as the log still contains it.
    pub corrupt: Option<u64>,
    /// Records below the log.
    pub chunks: Chunks,
}

const _: () = assert!(size_of::<Group>() <= 312, "a broker holds thousands of groups");

impl Cell {
    pub fn new(id: GroupId, group: Group) -> Cell {
        Cell { id, state: Mutex::new(group) }
    }

    pub fn lock(&self) -> MutexGuard<'_, Group> {
        self.state.lock()
    }
}

/// What a truncation or purge asks of the writer.
#[derive(Debug)]
pub(crate) struct Cut {
    /// First index kept (purge) or first index gone (truncation).
    pub at: u64,
    /// Term runs whose records must go.
    pub runs: Vec<u64>,
    /// The cut takes the damaged entry with it.
    pub healed: bool,
}

impl Group {
    pub fn log_state(&self) -> LogState {
        LogState { purged: self.purged, last: self.last }
    }

    /// First index of the log. A log that was never purged may begin anywhere.
    pub fn start(&self) -> u64 {
        match self.purged {
            Some(id) => id.index + 1,
            None => self.runs.first().unwrap_or(0),
        }
    }

    /// First index behind the log.
    pub fn end(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    /// True the first time something is written for the group.
    pub fn create(&mut self) -> bool {
        !std::mem::replace(&mut self.exists, true)
    }

    /// Takes the entries into the front; gives the term runs they begin.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Vec<Run>, Error> {
        let mut expected = self.last.map(|id| id.index + 1);
        for entry in entries {
            let found = entry.id.index;
            let wanted = expected.unwrap_or(found);
            if found != wanted || found == u64::MAX {
                return Err(Error::NotContiguous { expected: wanted, found });
            }
            expected = Some(found + 1);
        }
        let runs = entries.iter().filter_map(|e| self.runs.push(e.id.index, e.id.term)).collect();
        self.last = entries.last().map(|entry| entry.id).or(self.last);
        self.tail.push(entries);
        Ok(runs)
    }

    /// Cuts the log behind `last_kept`; None if there is nothing behind it.
    pub fn truncate(&mut self, last_kept: Option<u64>) -> Option<Cut> {
        let end = last_kept.map_or(0, |index| index.saturating_add(1)).max(self.start());
        if end >= self.end() {
            return None;
        }
        self.version += 1;
        let healed = self.heal(|corrupt| corrupt >= end);
        let runs = self.runs.truncate(end);
        self.tail.truncate(end);
        self.last = match end.checked_sub(1) {
            Some(index) if end > self.start() => {
                self.runs.term_at(index).map(|term| EntryId { term, index })
            }
            _ => self.purged,
        };
        Some(Cut { at: end, runs, healed })
    }

    /// Forgets the damaged entry if it is one of those that go.
    fn heal(&mut self, goes: impl Fn(u64) -> bool) -> bool {
        self.corrupt.take_if(|corrupt| goes(*corrupt)).is_some()
    }

    /// Forgets everything up to `upto`; None if that is purged already.
    pub fn purge(&mut self, upto: EntryId) -> Option<Cut> {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return None;
        }
        self.version += 1;
        self.purged = Some(upto);
        let at = upto.index + 1;
        let healed = self.heal(|corrupt| corrupt < at);
        let runs = if at >= self.end() { self.runs.clear() } else { self.runs.purge(at) };
        if at >= self.end() {
            self.last = Some(upto);
        }
        self.tail.purge(at);
        Some(Cut { at, runs, healed })
    }

    /// The damaged entry, or the entry behind the damaged chunk.
    pub fn corrupt(&self) -> Option<u64> {
        self.corrupt.or_else(|| self.chunks.damaged())
    }

    /// Forgets the log; it goes on behind `upto`, or from nothing. The chunks are the caller's.
    pub fn reset(&mut self, upto: Option<EntryId>) {
        self.version += 1;
        self.purged = upto;
        self.last = upto;
        self.corrupt = None;
        self.runs.clear();
        self.tail.purge(u64::MAX);
    }

    /// The id of an index, from the runs alone.
    pub fn id_at(&self, index: u64) -> Option<EntryId> {
        if let Some(purged) = self.purged.filter(|purged| purged.index >= index) {
            return (purged.index == index).then_some(purged);
        }
        if index >= self.end() {
            return None;
        }
        self.runs.term_at(index).map(|term| EntryId { term, index })
    }
}

#[cfg(test)]
mod tests;
