//! Which append entries took no offset: duplicates, and batches out of their producer's order.
//!
//! They stand in the log like the others, so whoever counts offsets along the log must know them.
//! Normally there are none or a handful. But a client that only sends nonsense can make many, and they
//! live as long as the log around them; so beyond a bound the oldest move out of memory, in blocks under
//! keys of the group's state, and only a list of the blocks stays.

use std::sync::Arc;

use bytes::Bytes;
use quorate_raft::Effects;
use quorate_storage::{Error as StorageError, Log, StateDelete, StatePut};

use super::codec::{CodecError, Reader, Writer};

/// Runs kept in memory; 32 KiB.
const RUNS_MAX: usize = 2048;
/// Runs of one block.
const BLOCK_RUNS: usize = 1024;
/// A list longer than this would stand for over 10^9 rejected entries still in the log.
const BLOCKS_MAX: usize = 1 << 20;
/// First byte of the keys of blocks; the rest is the first index in it.
const PREFIX: u8 = b'r';
const RUN_BYTES: usize = 16;

/// Indexes `first..end` of neighbouring rejected entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    first: u64,
    end: u64,
}

/// The rejected entries. A clone costs a few pointers; readers take one and let the machine go on.
#[derive(Debug, Clone, Default)]
pub(super) struct Rejected {
    runs: Arc<Vec<Run>>,
    /// First index of each block that moved out.
    blocks: Arc<Vec<u64>>,
    /// Everything below stands in blocks, the rest in `runs`.
    moved: u64,
    /// The block that moved out last: a reader may come before it is written. The next moves out a thousand
    /// entries later, and by then the effects of these entries were written. A cache; in no checkpoint.
    leaving: Arc<Vec<Run>>,
}

/// The runs around one index, good for indexes below `valid_below`.
#[derive(Debug, Clone)]
pub(super) struct Page {
    runs: Arc<Vec<Run>>,
    valid_below: u64,
}

impl Rejected {
    /// Notes that the entry at `index`, the newest, took no offset.
    pub(super) fn push(&mut self, index: u64, effects: &mut Effects) {
        let runs = Arc::make_mut(&mut self.runs);
        match runs.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            _ => runs.push(Run { first: index, end: index + 1 }),
        }
        if runs.len() > RUNS_MAX {
            let block: Vec<Run> = runs.drain(..BLOCK_RUNS).collect();
            Arc::make_mut(&mut self.blocks).push(block[0].first);
            self.moved = block[BLOCK_RUNS - 1].end;
            effects.puts.push(StatePut { key: key(block[0].first), value: encode_runs(&block) });
            self.leaving = Arc::new(block);
        }
    }

    /// Forgets what stands below `index`; a block that reaches over it stays whole.
    pub(super) fn trim(&mut self, index: u64, effects: &mut Effects) {
        if self.runs.first().is_some_and(|run| run.end <= index) {
            Arc::make_mut(&mut self.runs).retain(|run| run.end > index);
        }
        let over = if index >= self.moved {
            self.blocks.len()
        } else {
            self.blocks.partition_point(|first| *first <= index).saturating_sub(1)
        };
        if over > 0 {
            let end = self.blocks.get(over).copied().unwrap_or(self.moved);
            effects.deletes.push(StateDelete { from: key(self.blocks[0]), to: key(end) });
            Arc::make_mut(&mut self.blocks).drain(..over);
        }
    }

    /// Returns the runs around `index`. Reads the disk only for entries that moved out.
    pub(super) fn page(&self, index: u64, log: &Log) -> Result<Page, RejectedError> {
        if index >= self.moved {
            return Ok(Page { runs: Arc::clone(&self.runs), valid_below: u64::MAX });
        }
        let next = self.blocks.partition_point(|first| *first <= index);
        let valid_below = self.blocks.get(next).copied().unwrap_or(self.moved);
        let Some(first) = next.checked_sub(1).map(|at| self.blocks[at]) else {
            return Ok(Page { runs: Arc::default(), valid_below });
        };
        if self.is_leaving(first) {
            return Ok(Page { runs: Arc::clone(&self.leaving), valid_below });
        }
        let bytes = log.state_get(&key(first))?.ok_or(RejectedError::Missing { first })?;
        let runs = Arc::new(decode_runs(&mut Reader::new(&bytes))?);
        Ok(Page { runs, valid_below })
    }

    /// Returns whether looking at `index` may read the disk.
    pub(super) fn needs_disk(&self, index: u64) -> bool {
        index < self.moved && self.leaving.first().is_none_or(|run| index < run.first)
    }

    fn is_leaving(&self, first: u64) -> bool {
        self.leaving.first().is_some_and(|run| run.first == first)
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.bytes(&encode_runs(&self.runs));
        writer.count(self.blocks.len());
        for first in self.blocks.iter() {
            writer.u64(*first);
        }
        writer.u64(self.moved);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let runs = Arc::new(decode_runs(reader)?);
        let mut blocks = Vec::new();
        for _ in 0..reader.count(BLOCKS_MAX, 8)? {
            blocks.push(reader.u64()?);
        }
        let moved = reader.u64()?;
        Ok(Self { runs, blocks: Arc::new(blocks), moved, leaving: Arc::default() })
    }
}

impl Page {
    /// Returns whether the page says anything of `index`.
    pub(super) fn covers(&self, index: u64) -> bool {
        index < self.valid_below
    }

    /// Returns where the run of rejected entries around `index` ends; `None` when it is not rejected.
    pub(super) fn skip(&self, index: u64) -> Option<u64> {
        let at = self.runs.partition_point(|run| run.end <= index);
        self.runs.get(at).filter(|run| run.first <= index).map(|run| run.end)
    }
}

fn key(first: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(9);
    key.push(PREFIX);
    key.extend_from_slice(&first.to_be_bytes());
    key
}

fn encode_runs(runs: &[Run]) -> Bytes {
    let mut writer = Writer::with_capacity(4 + runs.len() * RUN_BYTES);
    writer.count(runs.len());
    for run in runs {
        writer.u64(run.first);
        writer.u64(run.end);
    }
    Bytes::from(writer.finish())
}

fn decode_runs(reader: &mut Reader<'_>) -> Result<Vec<Run>, CodecError> {
    let count = reader.count(RUNS_MAX, RUN_BYTES)?;
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        runs.push(Run { first: reader.u64()?, end: reader.u64()? });
    }
    let increasing = runs.windows(2).all(|two| two[0].end < two[1].first);
    let real = runs.iter().all(|run| run.first < run.end);
    if increasing && real {
        Ok(runs)
    } else {
        Err(CodecError::Range("the order of rejected entries"))
    }
}

/// The rejected entries cannot be looked up; the state beside the log does not fit it.
#[derive(Debug, thiserror::Error)]
pub(super) enum RejectedError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the block of rejected entries from index {first} is missing")]
    Missing { first: u64 },
    #[error("a block of rejected entries is damaged")]
    Damaged(#[from] CodecError),
}

#[cfg(test)]
mod tests;
