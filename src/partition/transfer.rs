//! The records of a partition as a replica that fell behind is given them, see [`quorate_raft::Records`].
//!
//! ```text
//!  sender                                       receiver
//!    points and blocks   'o' 'p' 'q'  ──▶         written as they are, and kept by the reset
//!    batches             'r' offset   ──▶         chunks, unseen until the checkpoint is installed with them
//! ```
//!
//! Both ends go by the machine in the checkpoint: what is sent lies between its log start and its last entry, wherever the
//! sender has it. Points are the same on every replica, so those that come early do no harm to a receiver that still serves
//! its old log: no reader goes by points beyond what its own machine knows.

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_raft::{
    DecodeError, IncomingRecords, Machine, OutgoingRecords, Page, Records, RecordsError,
};
use quorate_storage::{Log, NewChunk, StateDelete, StatePut, mutant};

use super::index;
use super::machine::{PartitionMachine, View};
use super::records::StoredRecords;
use super::tail_writer::TailWriter;

/// First byte of a batch's key, above those of points; the rest is its offset. A page of batches ends at the offset behind
/// the last.
const BATCH: u8 = b'r';
/// A point or block takes about this much.
const POINT_BYTES: usize = 64;

/// Records of partitions.
#[derive(Debug)]
pub(super) struct PartitionRecords;

impl Records for PartitionRecords {
    fn outgoing(
        &self,
        log: &Log,
        machine: &[u8],
    ) -> Result<Box<dyn OutgoingRecords>, RecordsError> {
        let view = view(machine)?;
        Ok(Box::new(Outgoing { log: log.clone(), view, reading: Mutex::new(None) }))
    }

    fn incoming(
        &self,
        log: &Log,
        machine: &[u8],
    ) -> Result<Box<dyn IncomingRecords>, RecordsError> {
        Ok(Box::new(Incoming { writer: TailWriter::new(log), view: view(machine)? }))
    }

    fn kept_state(&self) -> StateDelete {
        index::all()
    }
}

/// What a sender sends.
struct Outgoing {
    log: Log,
    view: View,
    /// Where the page before ended.
    reading: Mutex<Option<StoredRecords>>,
}

impl OutgoingRecords for Outgoing {
    fn page(&self, after: Option<&[u8]>, bytes: usize) -> Result<Page, RecordsError> {
        if let Some([BATCH, offset @ ..]) = after {
            let offset: [u8; 8] = offset.try_into().map_err(|_| failed("no offset"))?;
            return self.batches(i64::from_be_bytes(offset), bytes);
        }
        let max = (bytes / POINT_BYTES).max(1);
        let bounds = (self.view.start.offset, self.view.open_start.offset);
        let points = index::stored(&self.log, bounds, after, max).map_err(failed)?;
        let last = points.last().filter(|_| points.len() == max);
        let upto = last.map_or_else(|| batch_key(self.view.start.offset), |put| key(&put.key));
        let pairs = points.into_iter().map(|put| (put.key.into(), put.value)).collect();
        Ok(Page { pairs, upto: Some(upto) })
    }
}

impl Outgoing {
    /// Batches from the one that holds `offset` on.
    fn batches(&self, offset: i64, bytes: usize) -> Result<Page, RecordsError> {
        let known = self.reading.lock().take().filter(|it| it.end().offset == offset);
        let mut reading = match known {
            Some(reading) => reading,
            None => StoredRecords::new(&self.log, &self.view, offset, u64::MAX).map_err(failed)?,
        };
        let (mut pairs, mut size) = (Vec::new(), 0);
        while size < bytes {
            let Some((at, value)) = reading.next().map_err(failed)? else {
                return Ok(Page { pairs, upto: None });
            };
            size += value.len();
            pairs.push((batch_key(at.offset), value));
        }
        let upto = Some(batch_key(reading.end().offset));
        *self.reading.lock() = Some(reading);
        Ok(Page { pairs, upto })
    }
}

/// What a receiver has got.
struct Incoming {
    writer: TailWriter,
    view: View,
}

impl Incoming {
    /// Where to go on: the offset behind the last batch that was put.
    fn next_offset(&self) -> i64 {
        self.writer.next_offset().unwrap_or(self.view.start.offset)
    }

    fn put_batch(&mut self, offset: i64, value: &Bytes) -> Result<(), RecordsError> {
        let (next, is_first) = (self.next_offset(), self.writer.next_offset().is_none());
        // The first may begin before the log does, which then begins inside of it.
        let follows = offset == next || (is_first && offset < next);
        if !follows && !mutant::on("record-left-out") {
            return Err(failed(format!("a batch at offset {offset} comes where {next} was due")));
        }
        self.writer.put(offset, value).map_err(failed)?;
        if self.next_offset() <= self.view.start.offset {
            return Err(failed(format!("the batch at offset {offset} ends before the log begins")));
        }
        Ok(())
    }
}

impl IncomingRecords for Incoming {
    fn put(&mut self, key: &Bytes, value: Bytes) -> Result<Option<StatePut>, RecordsError> {
        if let [BATCH, offset @ ..] = &key[..] {
            let offset: [u8; 8] = offset.try_into().map_err(|_| failed("no offset"))?;
            let offset = i64::from_be_bytes(offset);
            if mutant::on("record-left-out") && offset % 8 == 5 {
                return Ok(None);
            }
            self.put_batch(offset, &value)?;
            return Ok(None);
        }
        let put = StatePut { key: key.to_vec(), value };
        index::check(&put).map_err(failed)?;
        Ok(Some(put))
    }

    fn finish(self: Box<Self>) -> Result<Vec<NewChunk>, RecordsError> {
        let (next, end) = (self.next_offset(), self.view.end);
        if next != end.offset {
            return Err(failed(format!("they end at offset {next}, the log at {}", end.offset)));
        }
        self.writer.finish(end).map_err(failed)
    }
}

fn batch_key(offset: i64) -> Bytes {
    key(&[&[BATCH][..], &offset.to_be_bytes()].concat())
}

fn key(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn view(machine: &[u8]) -> Result<View, RecordsError> {
    let machine = PartitionMachine::decode(machine);
    Ok(machine.map_err(|DecodeError(reason)| failed(reason))?.view())
}

fn failed(error: impl std::fmt::Display) -> RecordsError {
    RecordsError(error.to_string())
}
