//! Transactions that are open in a partition, and how they end (KIP-98, KIP-890).
//!
//! The coordinator of a transactional id gives each transaction a number; of two of a producer the later has the greater one.
//! A batch says its transaction's number, and so does a marker, and what becomes of them is decided here, when they are applied:
//!
//! | | the producer's last ended number is at least that | another one is open | it is open | none is open |
//! |---|---|---|---|---|
//! | batch | refused | refused | joins | opens it |
//! | marker | nothing, it has ended | refused | ends it | noted as ended |
//!
//! So a batch that comes late, twice or out of order does no harm, and markers may be sent again by anybody at any time.
//! What is open is in memory and in checkpoints, bounded; what was aborted is keyed state (`aborted.rs`).

use std::collections::BTreeMap;

use quorate_raft::Effects;
use quorate_storage::mutant;

use super::{BatchReply, NotInTransaction, PartitionMachine, Refusal};
use crate::partition::aborted::Aborted;
use crate::partition::attachments::Attachments;
use crate::partition::codec::{CodecError, Reader, Writer};
use crate::partition::command::Batch;
use crate::partition::position::Position;
use crate::partition::producers::{self, Producer, Stored};
use crate::record::Header;

/// Transactions that are open in a partition at most: half a megabyte of a checkpoint.
const OPEN_MAX: usize = 10_000;
/// One of them as bytes.
const OPEN_BYTES: usize = 54;

/// A transaction that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::partition) struct Open {
    pub(in crate::partition) epoch: i16,
    pub(in crate::partition) number: u64,
    /// Its first batch.
    pub(in crate::partition) first: Position,
    /// Since when, in log time.
    pub(in crate::partition) since_ms: i64,
}

/// See the file's header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::partition) struct Transactions {
    /// By producer, which has one at most.
    open: BTreeMap<i64, Open>,
    /// Their producers by their first offset.
    by_offset: BTreeMap<i64, i64>,
}

impl Transactions {
    pub(in crate::partition) fn get(&self, producer_id: i64) -> Option<&Open> {
        self.open.get(&producer_id)
    }

    /// Returns them by their first offset, with their producers.
    pub(in crate::partition) fn all(&self) -> impl Iterator<Item = (i64, &Open)> {
        self.by_offset.values().filter_map(|id| Some((*id, self.open.get(id)?)))
    }

    pub(in crate::partition) fn len(&self) -> usize {
        self.open.len()
    }

    fn begin(&mut self, producer_id: i64, open: Open) {
        self.by_offset.insert(open.first.offset, producer_id);
        self.open.insert(producer_id, open);
    }

    fn end(&mut self, producer_id: i64) -> Option<Open> {
        let open = self.open.remove(&producer_id)?;
        self.by_offset.remove(&open.first.offset);
        Some(open)
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.count(self.open.len());
        for (producer_id, open) in &self.open {
            writer.i64(*producer_id);
            writer.i16(open.epoch);
            writer.u64(open.number);
            open.first.encode(writer);
            writer.i64(open.since_ms);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut transactions = Self::default();
        let mut before = -1;
        for _ in 0..reader.count(OPEN_MAX, OPEN_BYTES)? {
            let (producer_id, epoch, number) = (reader.i64()?, reader.i16()?, reader.u64()?);
            let (first, since_ms) = (Position::decode(reader)?, reader.i64()?);
            if producer_id <= before || transactions.by_offset.contains_key(&first.offset) {
                return Err(CodecError::Range("the order of open transactions"));
            }
            before = producer_id;
            transactions.begin(producer_id, Open { epoch, number, first, since_ms });
        }
        Ok(transactions)
    }
}

impl PartitionMachine {
    /// Returns the first offset of which it is not known yet whether it will be visible (KIP-98): that of the oldest
    /// transaction that is open, or of what is kept of it; the high watermark if none is.
    pub fn last_stable_offset(&self) -> i64 {
        let Some(first) = self.undecided() else { return self.end.offset };
        let stable = first.offset.max(self.log_start);
        if mutant::on("lso-one-too-far") { (stable + 1).min(self.end.offset) } else { stable }
    }

    /// Returns the bytes of all batches ever below the last stable offset, or of those that are trimmed.
    pub(in crate::partition) fn bytes_stable(&self) -> u64 {
        self.undecided().map_or(self.end.bytes, |first| first.bytes.max(self.start.bytes))
    }

    /// Returns where the oldest transaction begins that is open.
    pub(in crate::partition) fn undecided(&self) -> Option<Position> {
        self.transactions.all().next().map(|(_, open)| open.first)
    }

    /// Returns the transactions that are open.
    pub(in crate::partition) fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// Returns the number of the transaction that a producer's batch belongs to, if that is known here.
    pub(in crate::partition) fn transaction_of(&self, producer_id: i64, epoch: i16) -> Option<u64> {
        let writer = self.last_writer(producer_id);
        if mutant::on("old-epoch-let-in") && writer.is_some_and(|it| it.epoch() > epoch) {
            return Some(0);
        }
        if let Some(open) = self.transactions.get(producer_id) {
            return (open.epoch == epoch).then_some(open.number);
        }
        let noted = self.noted.get(producer_id, epoch)?;
        writer.is_none_or(|writer| writer.ended() < noted).then_some(noted)
    }

    /// Notes what a coordinator has said of a producer's transaction.
    pub(in crate::partition) fn note_transaction(&self, producer_id: i64, epoch: i16, number: u64) {
        self.noted.note(producer_id, epoch, number);
    }

    /// Returns whether it is known, from what was applied not long ago, that the transaction has ended.
    pub(in crate::partition) fn has_ended(&self, producer_id: i64, number: u64) -> bool {
        self.last_writer(producer_id).is_some_and(|writer| writer.ended() >= number)
    }

    /// Returns whether a producer counts as none: it was silent too long, and has no transaction open.
    pub(in crate::partition) fn is_forgotten(&self, producer_id: i64, stored: &Producer) -> bool {
        stored.is_forgotten(self.log_ms) && self.transactions.get(producer_id).is_none()
    }

    /// Judges whether a data batch belongs to what is open of its producer. `known`: what is remembered of that.
    pub(super) fn judge_transaction(
        &self,
        header: &Header,
        attachments: &Attachments,
        known: Option<&Producer>,
    ) -> Result<(), Refusal> {
        let open = self.transactions.get(header.producer_id);
        let number = match attachments.transaction.filter(|_| header.is_transactional()) {
            Some(number) if header.is_idempotent() => number,
            _ if header.is_transactional() || attachments.transaction.is_some() => {
                return Err(NotInTransaction::Unnamed.into());
            }
            _ if open.is_some() => return Err(NotInTransaction::Outside.into()),
            _ => return Ok(()),
        };
        if self.streams.on {
            return Err(Refusal::NotTransactional { what: "a topic with streams" });
        }
        if attachments.is_conditional() {
            return Err(Refusal::NotTransactional { what: "a batch with conditions" });
        }
        match open {
            Some(open) if number > open.number => {
                Err(NotInTransaction::OtherOpen { number: open.number }.into())
            }
            Some(open) if number == open.number && header.producer_epoch != open.epoch => {
                Err(Refusal::InvalidProducerEpoch { current: open.epoch })
            }
            Some(open) if number == open.number => Ok(()),
            Some(_) => Err(NotInTransaction::Ended.into()),
            None if known.map_or(0, Producer::ended) >= number => {
                self.noted.ended(header.producer_id, number);
                Err(NotInTransaction::Ended.into())
            }
            None if self.transactions.len() >= OPEN_MAX => {
                Err(NotInTransaction::TooMany { max: OPEN_MAX }.into())
            }
            None => Ok(()),
        }
    }

    /// Opens the transaction of a batch that was accepted at `first`, unless it is open.
    pub(super) fn join(&mut self, header: &Header, number: u64, first: Position) {
        if self.transactions.get(header.producer_id).is_none() {
            let (epoch, since_ms) = (header.producer_epoch, self.log_ms);
            self.transactions.begin(header.producer_id, Open { epoch, number, first, since_ms });
        }
    }

    /// Ends a transaction. `Err` if the marker takes no offset.
    pub(super) fn mark(
        &mut self,
        wall_ms: i64,
        batch: &Batch,
        attachments: &Attachments,
        effects: &mut Effects,
    ) -> Result<BatchReply, BatchReply> {
        let (id, epoch) = (batch.header.producer_id, batch.header.producer_epoch);
        let refused = |refusal: Refusal| Err(BatchReply::Refused(refusal));
        let (Some(marker), Some(number)) = (batch.marker, attachments.transaction) else {
            return refused(NotInTransaction::Unnamed.into());
        };
        let before = producers::stored_in(&effects.keyed, id);
        let is_new = before.is_none();
        let known = before.filter(|producer| !self.is_forgotten(id, producer));
        if known.as_ref().map_or(0, Producer::ended) >= number {
            let nowhere = Stored { base_offset: -1, log_append_time: -1 };
            return Err(self.stored(nowhere, -1, true));
        }
        let open = self.transactions.get(id);
        if let Some(Open { number, .. }) = open.filter(|open| open.number != number).copied() {
            return refused(NotInTransaction::OtherOpen { number }.into());
        }
        let current = known.as_ref().map(Producer::epoch).filter(|current| epoch < *current);
        if let Some(current) = current.filter(|_| !mutant::on("old-epoch-let-in")) {
            return refused(Refusal::InvalidProducerEpoch { current });
        }
        let at = self.end;
        let stored = self.append_batch(wall_ms, batch, effects);
        if let Some(open) = self.transactions.end(id)
            && !marker.commit
            && !mutant::on("aborted-rows-forgotten")
        {
            let (first_offset, marker_offset) = (open.first.offset, at.offset);
            Aborted { first_offset, marker_offset }.store(&mut effects.keyed, id, at.place);
            self.aborted += 1;
        }
        self.producers += u64::from(is_new);
        let seen = (batch.header.max_timestamp, self.log_ms);
        let producer = Producer::ending(known, (epoch, number), marker.coordinator_epoch, seen);
        effects.keyed.put(&producers::key(id), producer.encode());
        self.last_writers.note(id, at.offset, producer);
        self.noted.ended(id, number);
        Ok(self.stored(stored, -1, false))
    }
}
