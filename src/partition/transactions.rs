//! Transactions as a partition sees them: which are open, where they end, and which were aborted.
//!
//! What becomes of a batch or a marker is decided when it is applied (`machine/transactions.rs`). Here is what is asked of a
//! replica beside that, and how a leader writes markers.

use std::cmp::Reverse;

use bytes::Bytes;

use super::accumulator::{ENTRY_BYTES, Sent};
use super::attachments::Attachments;
use super::command::FRAME_OVERHEAD;
use super::disk::on_disk;
use super::machine::{NotInTransaction, Refusal};
use super::producers::{self, Producer};
use super::walk::WalkError;
use super::{AppendError, Partition, ReadError};
use crate::record::EndMarker;

/// Producers that are read at once.
const PAGE: usize = 1024;

/// A transaction that is open in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTransaction {
    pub producer_id: i64,
    pub epoch: i16,
    /// Given by the coordinator: of two transactions of a producer the later has the greater.
    pub number: u64,
    /// Of its first record here.
    pub first_offset: i64,
    /// For how long it has been open, in milliseconds of log time.
    pub open_ms: i64,
}

/// The end of a transaction in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    pub producer_id: i64,
    pub epoch: i16,
    /// Which transaction ends; `None` for whichever is open, as an operator asks.
    pub number: Option<u64>,
    pub commit: bool,
    pub coordinator_epoch: i32,
}

/// An aborted transaction of which records are among those that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

/// What a partition remembers of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub epoch: i16,
    /// Of its epoch; -1: it has written nothing since that began, as far as is known.
    pub last_sequence: i32,
    /// Milliseconds since 1970 of the last batch or marker; -1: not known.
    pub last_timestamp: i64,
    /// Of the last marker; -1: there was none.
    pub coordinator_epoch: i32,
    /// -1: none is open.
    pub transaction_start_offset: i64,
}

impl Partition {
    /// Returns the number of the transaction that a batch of this producer belongs to, if that is known here: it is open,
    /// or was [`Partition::note_transaction`]d and has not ended here since. Should it have ended all the same, the batch is
    /// refused with [`NotInTransaction::Ended`], and the number is not known any more.
    pub fn transaction_of(&self, producer_id: i64, epoch: i16) -> Option<u64> {
        self.group.machine().transaction_of(producer_id, epoch)
    }

    /// Notes what the coordinator has said of a producer's transaction.
    pub fn note_transaction(&self, producer_id: i64, epoch: i16, number: u64) {
        self.group.machine().note_transaction(producer_id, epoch, number);
    }

    /// Ends a transaction here: appends its marker. Returns once that is committed and applied; a transaction that has
    /// ended already is left as it is, and that is no error.
    ///
    /// Not bounded in time by itself. If dropped the outcome is unknown; asking again is harmless. Also where the disk is
    /// short of space: what is open keeps more of it from being freed than a marker takes.
    ///
    /// # Errors
    /// Those of [`Partition::append`]. [`Refusal::InvalidProducerEpoch`] if the producer has a later epoch;
    /// [`Refusal::Transaction`] if another transaction of it is open or, where the marker names none, if none is.
    pub async fn end_transaction(&self, marker: Marker) -> Result<(), AppendError> {
        let term = self.fence()?;
        let number = match marker.number {
            Some(number) => number,
            None => self.open_number(&marker).map_err(AppendError::Refused)?,
        };
        // What is applied is committed, so this holds whoever leads by now.
        if self.group.machine().has_ended(marker.producer_id, number) {
            return Ok(());
        }
        let Marker { producer_id, epoch, commit, coordinator_epoch, .. } = marker;
        let now_ms = self.clock.now_ms();
        let batch = EndMarker { commit, coordinator_epoch }.batch(producer_id, epoch, now_ms);
        let attachments = Attachments { transaction: Some(number), ..Attachments::default() };
        let attachments = attachments.encoded();
        let bytes = FRAME_OVERHEAD + batch.len() + attachments.len();
        let room = self.group.reserve(bytes, Some(term)).await;
        let room = room.map_err(|error| self.proposer.append_error(&error))?;
        let sent = Sent { bytes: &batch, attachments: &attachments, entry_bytes: ENTRY_BYTES };
        let outcome = self.proposer.add(term, now_ms, sent, room)?;
        // The entry was given up while its outcome was open, as when the replica is closed.
        outcome.await.unwrap_or(Err(AppendError::Indeterminate)).map(|_| ())
    }

    /// Returns the number of the transaction that a marker without one ends.
    fn open_number(&self, marker: &Marker) -> Result<u64, Refusal> {
        let open = self.group.machine().transactions().get(marker.producer_id).copied();
        let open = open.ok_or(NotInTransaction::NoneOpen)?;
        if open.epoch != marker.epoch {
            return Err(Refusal::InvalidProducerEpoch { current: open.epoch });
        }
        Ok(open.number)
    }

    /// Returns the first offset of which it is not known yet whether it will be visible: the high watermark if no
    /// transaction is open. It never goes back.
    pub fn last_stable_offset(&self) -> i64 {
        self.group.machine().last_stable_offset()
    }

    /// Returns the bytes of all batches below the last stable offset since the partition was created, in the measure of
    /// [`Partition::bytes_end`]: what a read of committed records can find ends there. It only grows.
    pub fn bytes_stable(&self) -> u64 {
        self.group.machine().bytes_stable()
    }

    /// Returns the open transactions, the oldest first.
    pub fn open_transactions(&self) -> Vec<OpenTransaction> {
        let log_ms = self.times(self.clock.now_ms()).log_ms;
        let mut all: Vec<_> = {
            let machine = self.group.machine();
            let all = machine.transactions().all().map(|(producer_id, open)| OpenTransaction {
                producer_id,
                epoch: open.epoch,
                number: open.number,
                first_offset: open.first.offset,
                open_ms: log_ms.saturating_sub(open.since_ms).max(0),
            });
            all.collect()
        };
        all.sort_by_key(|open| (Reverse(open.open_ms), open.first_offset));
        all
    }

    /// Returns producers by id, those behind `after`, so many at most. Reads the disk.
    pub async fn producers(
        &self,
        after: Option<i64>,
        max: usize,
    ) -> Result<Vec<ProducerState>, ReadError> {
        let mut found = Vec::new();
        let mut from = match after {
            None => Some(0),
            Some(after) => after.checked_add(1),
        };
        while let Some(first) = from.filter(|_| found.len() < max) {
            let page = self.producers_from(first.max(0)).await?;
            let last = page.last().map(|(id, _)| *id).filter(|_| page.len() == PAGE);
            from = last.and_then(|last| last.checked_add(1));
            let machine = self.group.machine();
            for (producer_id, producer) in page {
                if found.len() < max && !machine.is_forgotten(producer_id, &producer) {
                    let open = machine.transactions().get(producer_id);
                    found.push(ProducerState {
                        producer_id,
                        epoch: producer.epoch(),
                        last_sequence: producer.last_sequence(),
                        last_timestamp: producer.timestamp(),
                        coordinator_epoch: producer.coordinator_epoch(),
                        transaction_start_offset: open.map_or(-1, |open| open.first.offset),
                    });
                }
            }
        }
        Ok(found)
    }

    async fn producers_from(&self, first: i64) -> Result<Vec<(i64, Producer)>, ReadError> {
        let group = self.group.clone();
        let read = move || -> Result<_, WalkError> {
            let behind = [&producers::key(i64::MAX)[..], &[0]].concat();
            let pairs = group.keyed_range(&producers::key(first), &behind, PAGE)?;
            let read = |(key, row): (Bytes, Bytes)| {
                let id = producers::id_of(&key);
                Ok((id.unwrap_or(-1), Producer::decode(&row)?))
            };
            pairs.into_iter().map(read).collect()
        };
        let found = on_disk(&self.disk_reads, read).await?;
        found.map_err(|error| self.unreadable(error, self.log_start()))
    }
}
