//! Which appended batches took no offset: duplicates, and batches out of their producer's order.
//!
//! They stand in their entries like the others, so whoever counts offsets along the log must know them.
//! Normally there are none or a handful. But a client that only sends nonsense can make many, and they
//! live as long as the log around them; so beyond a bound the oldest move out of memory, in blocks under
//! keys of the group's state, and only a list of the blocks stays.

use std::sync::Arc;

use bytes::Bytes;
use quorate_raft::Effects;
use quorate_storage::{Error as StorageError, Log, StateDelete, StatePut};

use super::codec::{CodecError, Reader, Writer};
use super::position::Place;

/// Runs kept in memory; 64 KiB.
const RUNS_MAX: usize = 2048;
/// Runs of one block.
const BLOCK_RUNS: usize = 1024;
/// A list longer than this would stand for over 10^9 rejected batches still in the log.
const BLOCKS_MAX: usize = 1 << 20;
/// First byte of the keys of blocks; the rest is the first place in it.
const PREFIX: u8 = b'r';
const RUN_BYTES: usize = 24;
/// Blocks kept that moved out last. More never move out with entries that are applied at once: those are 2 MiB at most
/// (of several batches; a larger entry is one batch), and a run takes two batches, the smallest of which has 70 bytes.
const LEAVING_MAX: usize = 16;

/// Places `first..end` of neighbouring rejected batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    first: Place,
    end: Place,
}

type Block = Arc<Vec<Run>>;

/// The rejected batches. A clone costs a few pointers; readers take one and let the machine go on.
#[derive(Debug, Clone, Default)]
pub(super) struct Rejected {
    runs: Arc<Vec<Run>>,
    /// First place of each block that moved out.
    blocks: Arc<Vec<Place>>,
    /// Everything below stands in blocks, the rest in `runs`.
    moved: Place,
    /// The blocks that moved out last: a reader may come before they are written. A cache; in no checkpoint.
    leaving: Arc<Vec<Block>>,
}

/// The runs around one place, good for places below `valid_below`.
#[derive(Debug, Clone)]
pub(super) struct Page {
    runs: Block,
    valid_below: Place,
}

impl Rejected {
    /// Notes that the batch at `place`, the newest, took no offset. `next`: the place behind it.
    pub(super) fn push(&mut self, place: Place, next: Place, effects: &mut Effects) {
        let runs = Arc::make_mut(&mut self.runs);
        match runs.last_mut() {
            Some(last) if last.end == place => last.end = next,
            _ => runs.push(Run { first: place, end: next }),
        }
        if runs.len() > RUNS_MAX {
            let block: Vec<Run> = runs.drain(..BLOCK_RUNS).collect();
            Arc::make_mut(&mut self.blocks).push(block[0].first);
            self.moved = block[BLOCK_RUNS - 1].end;
            effects.puts.push(StatePut { key: key(block[0].first), value: encode_runs(&block) });
            let leaving = Arc::make_mut(&mut self.leaving);
            if leaving.len() == LEAVING_MAX {
                leaving.remove(0);
            }
            leaving.push(Arc::new(block));
        }
    }

    /// Forgets what stands below `place`; a block that reaches over it stays whole.
    pub(super) fn trim(&mut self, place: Place, effects: &mut Effects) {
        if self.runs.first().is_some_and(|run| run.end <= place) {
            Arc::make_mut(&mut self.runs).retain(|run| run.end > place);
        }
        let over = if place >= self.moved {
            self.blocks.len()
        } else {
            self.blocks.partition_point(|first| *first <= place).saturating_sub(1)
        };
        if over > 0 {
            let end = self.blocks.get(over).copied().unwrap_or(self.moved);
            effects.deletes.push(StateDelete { from: key(self.blocks[0]), to: key(end) });
            Arc::make_mut(&mut self.blocks).drain(..over);
        }
    }

    /// Returns the runs around `place`. Reads the disk only for what moved out.
    pub(super) fn page(&self, place: Place, log: &Log) -> Result<Page, RejectedError> {
        if place >= self.moved {
            return Ok(self.page_in_memory());
        }
        let next = self.blocks.partition_point(|first| *first <= place);
        let valid_below = self.blocks.get(next).copied().unwrap_or(self.moved);
        let Some(first) = next.checked_sub(1).map(|at| self.blocks[at]) else {
            return Ok(Page { runs: Arc::default(), valid_below });
        };
        if let Some(runs) = self.leaving.iter().find(|block| block[0].first == first) {
            return Ok(Page { runs: Arc::clone(runs), valid_below });
        }
        let bytes =
            log.state_get(&key(first))?.ok_or(RejectedError::Missing { index: first.index })?;
        let runs = Arc::new(decode_runs(&mut Reader::new(&bytes))?);
        Ok(Page { runs, valid_below })
    }

    /// Returns the runs that did not move out.
    pub(super) fn page_in_memory(&self) -> Page {
        let valid_below = Place { index: u64::MAX, sub: u32::MAX };
        Page { runs: Arc::clone(&self.runs), valid_below }
    }

    /// Returns whether looking at `place` may read the disk.
    pub(super) fn needs_disk(&self, place: Place) -> bool {
        place < self.moved && self.leaving.first().is_none_or(|block| place < block[0].first)
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.bytes(&encode_runs(&self.runs));
        writer.count(self.blocks.len());
        for first in self.blocks.iter() {
            first.encode(writer);
        }
        self.moved.encode(writer);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let runs = Arc::new(decode_runs(reader)?);
        let mut blocks = Vec::new();
        for _ in 0..reader.count(BLOCKS_MAX, 12)? {
            blocks.push(Place::decode(reader)?);
        }
        let moved = Place::decode(reader)?;
        Ok(Self { runs, blocks: Arc::new(blocks), moved, leaving: Arc::default() })
    }
}

impl Page {
    /// Returns whether the page says anything of `place`.
    pub(super) fn covers(&self, place: Place) -> bool {
        place < self.valid_below
    }

    /// Returns where the run of rejected batches around `place` ends; `None` when it is not rejected.
    pub(super) fn skip(&self, place: Place) -> Option<Place> {
        let at = self.runs.partition_point(|run| run.end <= place);
        self.runs.get(at).filter(|run| run.first <= place).map(|run| run.end)
    }
}

fn key(first: Place) -> Vec<u8> {
    let mut writer = Writer::with_capacity(13);
    writer.u8(PREFIX);
    first.encode(&mut writer);
    writer.finish()
}

fn encode_runs(runs: &[Run]) -> Bytes {
    let mut writer = Writer::with_capacity(4 + runs.len() * RUN_BYTES);
    writer.count(runs.len());
    for run in runs {
        run.first.encode(&mut writer);
        run.end.encode(&mut writer);
    }
    Bytes::from(writer.finish())
}

fn decode_runs(reader: &mut Reader<'_>) -> Result<Vec<Run>, CodecError> {
    let count = reader.count(RUNS_MAX, RUN_BYTES)?;
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        runs.push(Run { first: Place::decode(reader)?, end: Place::decode(reader)? });
    }
    let increasing = runs.windows(2).all(|two| two[0].end < two[1].first);
    let real = runs.iter().all(|run| run.first < run.end);
    if increasing && real {
        Ok(runs)
    } else {
        Err(CodecError::Range("the order of rejected batches"))
    }
}

/// The rejected batches cannot be looked up; the state beside the log does not fit it.
#[derive(Debug, thiserror::Error)]
pub(super) enum RejectedError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the block of rejected batches from index {index} is missing")]
    Missing { index: u64 },
    #[error("a block of rejected batches is damaged")]
    Damaged(#[from] CodecError),
}

#[cfg(test)]
mod tests;
