//! The records that go beside a checkpoint to a replica which was not shown their entries.
//!
//! ```text
//!  sender                                           receiver
//!    OutgoingRecords::new(log, checkpoint)            IncomingRecords::new(log, checkpoint)
//!      points(after, ..)   ── key, value ──▶            written as they are, and kept by the reset
//!      next()              ── offset, value ──▶         put(offset, value): chunks, unseen
//!                                                       finish() ──▶ with the checkpoint, in one write
//! ```
//!
//! Both ends go by the machine in the checkpoint: what is sent lies between its log start and its last entry, wherever the
//! sender has it. Records are data here, never applied. Points are the same on every replica, so those that come early do no
//! harm to a receiver that still serves its old log: no reader goes by points beyond what its own machine knows.

use bytes::Bytes;
use quorate_raft::{DecodeError, Machine};
use quorate_storage::{Log, NewChunk, StateDelete, StatePut};

use super::index;
use super::machine::{PartitionMachine, View};
use super::records::StoredRecords;
use super::tail_writer::TailWriter;

/// What a sender sends. Blocks for the disk.
pub struct OutgoingRecords {
    log: Log,
    view: View,
    records: StoredRecords,
}

/// What a receiver has got. Blocks for the disk. Dropped, it leaves nothing.
pub struct IncomingRecords {
    writer: TailWriter,
    view: View,
}

/// The records of a checkpoint cannot be given or taken; nothing changed.
#[derive(Debug, thiserror::Error)]
#[error("the records beside a checkpoint: {0}")]
pub struct TransferError(String);

impl OutgoingRecords {
    /// Returns what lies before the checkpoint with this machine, from the batch that holds `from` on; 0 for all.
    ///
    /// # Errors
    /// The machine's bytes, or what is here, are not readable.
    pub fn new(log: &Log, machine: &[u8], from: i64) -> Result<Self, TransferError> {
        let view = view(machine)?;
        let records = StoredRecords::new(log, &view, from, u64::MAX).map_err(failed)?;
        Ok(Self { log: log.clone(), view, records })
    }

    /// Returns the first `max` points behind the key `after`; none when there are no more.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn points(&self, after: Option<&[u8]>, max: usize) -> Result<Vec<StatePut>, TransferError> {
        let bounds = (self.view.start.offset, self.view.open_start.offset);
        index::stored(&self.log, bounds, after, max).map_err(failed)
    }

    /// Returns the next batch: its first offset, and what stands in a chunk.
    ///
    /// # Errors
    /// It cannot be read; also when it was trimmed since the checkpoint: then a newer one is to be sent.
    #[expect(clippy::should_implement_trait, reason = "it fails for good at the first error")]
    pub fn next(&mut self) -> Result<Option<(i64, Bytes)>, TransferError> {
        let next = self.records.next().map_err(failed)?;
        Ok(next.map(|(at, value)| (at.offset, value)))
    }
}

impl IncomingRecords {
    /// Begins to take what belongs to the checkpoint with this machine.
    ///
    /// # Errors
    /// The machine's bytes are not readable.
    pub fn new(log: &Log, machine: &[u8]) -> Result<Self, TransferError> {
        Ok(Self { writer: TailWriter::new(log), view: view(machine)? })
    }

    /// The part of the state with points, to be kept by the reset.
    pub fn kept_state() -> StateDelete {
        index::all()
    }

    /// Returns where to go on: the offset behind the last batch that was put.
    pub fn next_offset(&self) -> i64 {
        self.writer.next_offset().unwrap_or(self.view.start.offset)
    }

    /// Adds the next batch.
    ///
    /// # Errors
    /// It is not one, or not the next; or the disk. The whole is of no use then.
    pub fn put(&mut self, offset: i64, value: &Bytes) -> Result<(), TransferError> {
        if self.writer.next_offset().is_none() && offset > self.view.start.offset {
            let start = self.view.start.offset;
            return Err(failed(format!("they begin at offset {offset}, the log at {start}")));
        }
        self.writer.put(offset, value).map_err(failed)
    }

    /// Returns the chunks, durable and unseen, for [`Log::reset_with_chunks`].
    ///
    /// # Errors
    /// Records are missing, or the disk.
    pub fn finish(self) -> Result<Vec<NewChunk>, TransferError> {
        let (next, end) = (self.next_offset(), self.view.end);
        if next != end.offset {
            return Err(failed(format!("they end at offset {next}, the log at {}", end.offset)));
        }
        self.writer.finish(end).map_err(failed)
    }
}

fn view(machine: &[u8]) -> Result<View, TransferError> {
    let machine = PartitionMachine::decode(machine);
    Ok(machine.map_err(|DecodeError(reason)| failed(reason))?.view())
}

fn failed(error: impl std::fmt::Display) -> TransferError {
    TransferError(error.to_string())
}
