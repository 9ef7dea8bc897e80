//! The records of a partition as a replica that fell behind is given them, see [`quorate_raft::Records`].
//!
//! ```text
//!  sender                                       receiver
//!    rows of streams     'n'          ──▶         written as they are, and kept by the reset
//!    points and blocks   'o' 'p' 'q'  ──▶         the same
//!    batches      'r' offset behind   ──▶         chunks, unseen until the checkpoint is installed with them
//! ```
//!
//! Both ends go by the machine in the checkpoint: what is sent lies between its log start and its last entry, wherever the
//! sender has it. Rows and points are the same on every replica, so those that come early do no harm to a receiver that still
//! serves its old log: no reader goes by any beyond what its own machine knows.
//!
//! Compaction leaves gaps between batches, so each is sent with where the one before it ends. It must not come between two
//! pages: an early page might have what a tombstone deletes, and a later one not have the tombstone any more. So a sender
//! goes by the tail it began with, and where that is changed the view is broken.

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_raft::{
    DecodeError, IncomingRecords, Machine, OutgoingRecords, Page, Records, RecordsError,
};
use quorate_storage::{Chunks, Log, NewChunk, StateDelete, StatePut, mutant};

use super::index;
use super::machine::{PartitionMachine, View};
use super::records::StoredRecords;
use super::stream_index::{self, Row};
use super::tail::Tail;
use super::tail_writer::TailWriter;

/// First byte of a batch's key, above those of points; the rest is its offset and where the batch before it ends. A page of
/// batches ends at the offset behind the last.
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
        let (log, reading) = (log.clone(), Mutex::new(None));
        let tail = Tail::of(&log).map_err(failed)?;
        // What superseded some of them would be behind the checkpoint, and its last may be among those.
        if tail.end().is_some_and(|end| end.offset > view.end.offset) {
            return Err(failed("the records were compacted beyond the checkpoint"));
        }
        Ok(Box::new(Outgoing { chunks: tail.chunks().clone(), log, view, reading }))
    }

    fn incoming(
        &self,
        log: &Log,
        machine: &[u8],
    ) -> Result<Box<dyn IncomingRecords>, RecordsError> {
        let view = view(machine)?;
        Ok(Box::new(Incoming { writer: TailWriter::from(log, view.start), view }))
    }

    fn kept_state(&self) -> StateDelete {
        StateDelete { from: stream_index::begin(), to: index::all().to }
    }
}

/// What a sender sends.
struct Outgoing {
    log: Log,
    view: View,
    /// The tail when it began.
    chunks: Chunks,
    /// Where the page before ended.
    reading: Mutex<Option<StoredRecords>>,
}

impl OutgoingRecords for Outgoing {
    fn page(&self, after: Option<&[u8]>, bytes: usize) -> Result<Page, RecordsError> {
        if let Some([BATCH, offset @ ..]) = after {
            let offset: [u8; 8] = offset.try_into().map_err(|_| failed("no offset"))?;
            return self.batches(i64::from_be_bytes(offset), bytes);
        }
        if after.is_none_or(stream_index::is_row) {
            return self.rows(after, bytes);
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
    /// Rows of streams, those aside whose records are trimmed.
    fn rows(&self, after: Option<&[u8]>, bytes: usize) -> Result<Page, RecordsError> {
        let max = (bytes / POINT_BYTES).max(1);
        let from = after.map_or_else(stream_index::begin, |after| [after, &[0]].concat());
        let rows = self.log.state_range(&from, stream_index::END, max).map_err(failed)?;
        let last = rows.last().filter(|_| rows.len() == max);
        let upto = last.map_or_else(|| key(stream_index::END), |(row, _)| key(row));
        let mut pairs = Vec::with_capacity(rows.len());
        for (row, value) in rows {
            if Row::decode(&value).map_err(failed)?.offset >= self.view.log_start {
                pairs.push((row.into(), value));
            }
        }
        Ok(Page { pairs, upto: Some(upto) })
    }

    /// That nothing was compacted since it began, though some may be trimmed. What was read before is of no use otherwise.
    fn check_tail(&self) -> Result<(), RecordsError> {
        let now = self.log.chunks();
        let mut begun = self.chunks.iter();
        if now.is_same(&self.chunks) || now.iter().all(|chunk| begun.any(|it| it == chunk)) {
            return Ok(());
        }
        Err(failed("the records were compacted meanwhile"))
    }

    /// Batches from the one that holds `offset` on.
    fn batches(&self, offset: i64, bytes: usize) -> Result<Page, RecordsError> {
        let known = self.reading.lock().take().filter(|it| it.end().offset == offset);
        let mut reading = match known {
            Some(reading) => reading,
            None => StoredRecords::new(&self.log, &self.view, offset, u64::MAX).map_err(failed)?,
        };
        let (mut pairs, mut size, mut behind) = (Vec::new(), 0, offset);
        while size < bytes {
            let Some((at, value)) = reading.next().map_err(failed)? else {
                self.check_tail()?;
                return Ok(Page { pairs, upto: None });
            };
            size += value.len();
            pairs.push((key(&[&batch_key(at.offset)[..], &behind.to_be_bytes()].concat()), value));
            behind = reading.end().offset;
        }
        self.check_tail()?;
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

    /// `behind`: where the batch before it ends.
    fn put_batch(&mut self, offset: i64, behind: i64, value: &Bytes) -> Result<(), RecordsError> {
        let next = self.next_offset();
        if behind != next && !mutant::on("record-left-out") {
            return Err(failed(format!(
                "a batch behind offset {behind} comes where {next} was due"
            )));
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
        if let [BATCH, rest @ ..] = &key[..] {
            let (offset, behind) = rest.split_first_chunk().ok_or_else(|| failed("no offset"))?;
            let behind = behind.try_into().map_err(|_| failed("not behind any offset"))?;
            let (offset, behind) = (i64::from_be_bytes(*offset), i64::from_be_bytes(behind));
            if mutant::on("record-left-out") && offset % 8 == 5 {
                return Ok(None);
            }
            self.put_batch(offset, behind, &value)?;
            return Ok(None);
        }
        let put = StatePut { key: key.to_vec(), value };
        if stream_index::is_row(key) {
            stream_index::check(&put).map_err(failed)?;
            return Ok((!mutant::on("version-lost-at-snapshot")).then_some(put));
        }
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
