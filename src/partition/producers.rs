//! What a partition remembers of idempotent producers (KIP-98), and what it makes of their batches.
//!
//! Judged when the entry is applied, never before: with up to five batches of a producer in flight only
//! the order of the log says which sequence number is next. Duplicates are looked for first, so that
//! the retry of a batch whose answer was lost gets that answer, whoever leads by now.
//!
//! Producers are keyed state, by id, so their number is bounded by the disk and not by memory, and nobody is forgotten
//! because others came. A producer is forgotten by log time alone: one that was silent too long counts as none wherever it
//! is read, and its place is freed later (`forget.rs`). Only while a transaction of it is open is it never forgotten
//! (`machine/transactions.rs`).
//!
//! A marker ends a transaction and may raise the producer's epoch, as it does for every transaction in KIP-890 part 2; then
//! its sequence begins anew. With the same epoch the sequence goes on.
//!
//! The numbers here are constants and not settings because replicas that disagree about them would
//! disagree about offsets.

use bytes::Bytes;
use quorate_raft::Keyed;
use quorate_storage::mutant;

use super::codec::{CodecError, Reader, Writer};
use crate::record::Header;

/// Batches remembered: a client may have five in flight with idempotence on.
const BATCHES: usize = 5;
/// A producer silent for a day of log time is forgotten; it may then continue with any sequence.
const EXPIRATION_MS: i64 = 86_400_000;
/// Sequence numbers go from 2^31 - 1 on to 0.
const SEQUENCES: i64 = 1 << 31;
/// Half the circle: what lies further back cannot be told from what lies ahead.
const BEHIND_MAX: u32 = 1 << 30;
/// First byte of the keys of producers.
const PRODUCER: u8 = b'p';
/// A batch as bytes.
const BATCH_BYTES: usize = 24;
/// A producer as bytes, its batches aside.
const PRODUCER_BYTES: usize = 36;

/// What is remembered of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Producer {
    epoch: i16,
    /// Log time of the last batch or marker.
    seen_ms: i64,
    /// The time that the last batch or marker carried, milliseconds since 1970.
    timestamp: i64,
    /// How many sequence numbers up to the last are in the log without a gap, up to [`BEHIND_MAX`].
    unbroken: u32,
    /// The number of the last transaction that ended here; 0: none has.
    ended: u64,
    /// Of the last marker; -1: there was none.
    coordinator_epoch: i32,
    /// Without a batch of its epoch: whether the first one has to begin at 0.
    begins_at_zero: bool,
    batches: Batches,
}

/// The last batches of a producer's epoch, oldest first; the rest is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Batches {
    all: [Batch; BATCHES],
    count: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Batch {
    first: i32,
    last: i32,
    stored: Stored,
}

/// Where a batch went, for answering its duplicates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) base_offset: i64,
    /// -1 when the batch kept its producer's time.
    pub(super) log_append_time: i64,
}

/// A batch's claim to its place in its producer's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) first: i32,
    pub(super) last: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    /// It is in the log already, there.
    Duplicate(Stored),
    /// It is in the log already, and where is not remembered.
    Outdated,
    /// Batches before it are missing.
    OutOfOrder {
        expected: i32,
    },
    /// A newer instance of the producer has taken over.
    Fenced {
        current: i16,
    },
}

/// Returns where a producer is in the keyed state.
pub(super) fn key(producer_id: i64) -> Bytes {
    // Ids are never negative, so the order of keys is that of ids.
    Bytes::from([&[PRODUCER], &producer_id.to_be_bytes()[..]].concat())
}

/// Returns the producer a key of the keyed state belongs to; `None` if it is not a producer's.
pub(super) fn id_of(key: &[u8]) -> Option<i64> {
    let id = key.strip_prefix(&[PRODUCER])?;
    Some(i64::from_be_bytes(id.try_into().ok()?))
}

/// Returns what the keyed state has of a producer, whether or not it was silent too long.
pub(super) fn stored_in(keyed: &Keyed, producer_id: i64) -> Option<Producer> {
    let bytes = keyed.get(&key(producer_id))?;
    // Going on without would store a batch twice on this replica alone.
    Some(Producer::decode(&bytes).unwrap_or_else(|error| {
        quorate_storage::fatal("read a producer of a partition", &error);
    }))
}

impl Sequence {
    /// Returns the claim of a batch; `None` when its producer is not idempotent.
    pub(super) fn of(header: &Header) -> Option<Self> {
        (header.producer_id >= 0 && header.base_sequence >= 0).then(|| Self {
            producer_id: header.producer_id,
            epoch: header.producer_epoch,
            first: header.base_sequence,
            last: header.last_sequence(),
        })
    }

    /// Returns how many sequence numbers it takes.
    fn len(&self) -> u32 {
        steps(self.first, self.last)
    }

    /// Returns what is to become of a batch, by what is known of its producer.
    pub(super) fn judge(&self, known: Option<&Producer>) -> Verdict {
        if mutant::on("dedup-off") {
            return Verdict::Accept;
        }
        let Some(producer) = known else {
            // Forgotten or new: both look the same, and refusing the former would lose its records.
            return Verdict::Accept;
        };
        if self.epoch < producer.epoch {
            return Verdict::Fenced { current: producer.epoch };
        }
        let expected = if self.epoch > producer.epoch {
            0
        } else if let Some(stored) = producer.find(self) {
            return Verdict::Duplicate(stored);
        } else if producer.has(self) {
            return Verdict::Outdated;
        } else {
            match producer.batches.last() {
                Some(last) => following(last.last),
                None if producer.begins_at_zero => 0,
                // All that is known is that a transaction ended in which it wrote nothing here.
                None => return Verdict::Accept,
            }
        };
        if self.first == expected { Verdict::Accept } else { Verdict::OutOfOrder { expected } }
    }
}

impl Producer {
    /// Returns a producer of which only the epoch is known.
    fn new(epoch: i16) -> Self {
        Self {
            epoch,
            seen_ms: 0,
            timestamp: -1,
            unbroken: 0,
            ended: 0,
            coordinator_epoch: -1,
            begins_at_zero: false,
            batches: Batches::default(),
        }
    }

    /// Returns it with this epoch: another one than before begins at 0.
    fn at(before: Option<Self>, epoch: i16) -> Self {
        match before {
            Some(before) if before.epoch == epoch => before,
            Some(before) => {
                let batches = Batches::default();
                Self { epoch, unbroken: 0, begins_at_zero: true, batches, ..before }
            }
            None => Self::new(epoch),
        }
    }

    /// Returns the producer after a batch of it was accepted. `before`: what was known of it; `timestamp`: the batch's; `log_ms`:
    /// the log time.
    pub(super) fn after(
        before: Option<Self>,
        claim: &Sequence,
        stored: Stored,
        (timestamp, log_ms): (i64, i64),
    ) -> Self {
        let mut producer = Self::at(before, claim.epoch);
        producer.batches.push(Batch { first: claim.first, last: claim.last, stored });
        (producer.timestamp, producer.seen_ms) = (timestamp, log_ms);
        producer.unbroken = producer.unbroken.saturating_add(claim.len()).min(BEHIND_MAX);
        producer
    }

    /// Returns the producer after its transaction `number` ended with a marker of this epoch, or one in which it wrote nothing
    /// here. `timestamp`: the marker's; `log_ms`: the log time.
    pub(super) fn ending(
        before: Option<Self>,
        (epoch, number): (i16, u64),
        coordinator_epoch: i32,
        (timestamp, log_ms): (i64, i64),
    ) -> Self {
        let producer = Self::at(before, epoch);
        Self { ended: number, coordinator_epoch, timestamp, seen_ms: log_ms, ..producer }
    }

    pub(super) fn epoch(&self) -> i16 {
        self.epoch
    }

    /// Returns the number of the last transaction that ended here; 0: none has.
    pub(super) fn ended(&self) -> u64 {
        self.ended
    }

    /// Returns the coordinator's epoch of the last marker; -1: there was none.
    pub(super) fn coordinator_epoch(&self) -> i32 {
        self.coordinator_epoch
    }

    /// Returns the time that its last batch or marker carried.
    pub(super) fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// Returns the last sequence number of its epoch; -1: it has none.
    pub(super) fn last_sequence(&self) -> i32 {
        self.batches.last().map_or(-1, |batch| batch.last)
    }

    /// Returns whether it was silent too long at log time `log_ms`, and so counts as none.
    pub(super) fn is_forgotten(&self, log_ms: i64) -> bool {
        log_ms.saturating_sub(self.seen_ms) > EXPIRATION_MS
    }

    fn find(&self, claim: &Sequence) -> Option<Stored> {
        let same = |batch: &&Batch| batch.first == claim.first && batch.last == claim.last;
        self.batches.known().iter().rev().find(same).map(|batch| batch.stored)
    }

    /// Returns whether all of the batch is in the log for certain.
    fn has(&self, claim: &Sequence) -> bool {
        let Some(last) = self.batches.last() else { return false };
        let behind = steps(claim.first, last.last);
        claim.len() <= behind && behind <= self.unbroken
    }

    pub(super) fn encode(&self) -> Bytes {
        let bytes = PRODUCER_BYTES + self.batches.count * BATCH_BYTES;
        let mut writer = Writer::with_capacity(bytes);
        writer.i16(self.epoch);
        writer.i64(self.seen_ms);
        writer.i64(self.timestamp);
        writer.u32(self.unbroken);
        writer.u64(self.ended);
        writer.i32(self.coordinator_epoch);
        writer.u8(u8::from(self.begins_at_zero));
        writer.u8(u8::try_from(self.batches.count).expect("at most five"));
        self.batches.known().iter().for_each(|batch| batch.encode(&mut writer));
        writer.finish().into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let reader = &mut Reader::new(bytes);
        let (epoch, seen_ms, timestamp) = (reader.i16()?, reader.i64()?, reader.i64()?);
        let (unbroken, ended, coordinator_epoch) = (reader.u32()?, reader.u64()?, reader.i32()?);
        let (begins_at_zero, count) = (reader.u8()?, usize::from(reader.u8()?));
        if count > BATCHES || unbroken > BEHIND_MAX || begins_at_zero > 1 {
            return Err(CodecError::Range("a producer's batches"));
        }
        let begins_at_zero = begins_at_zero == 1;
        let mut batches = Batches { count, ..Batches::default() };
        for batch in &mut batches.all[..count] {
            *batch = Batch::decode(reader)?;
        }
        reader.end()?;
        Ok(Self {
            epoch,
            seen_ms,
            timestamp,
            unbroken,
            ended,
            coordinator_epoch,
            begins_at_zero,
            batches,
        })
    }
}

impl Batches {
    fn known(&self) -> &[Batch] {
        &self.all[..self.count]
    }

    fn last(&self) -> Option<&Batch> {
        self.known().last()
    }

    fn push(&mut self, batch: Batch) {
        if self.count == BATCHES {
            self.all.rotate_left(1);
            self.count -= 1;
        }
        self.all[self.count] = batch;
        self.count += 1;
    }
}

impl Batch {
    fn encode(&self, writer: &mut Writer) {
        writer.i32(self.first);
        writer.i32(self.last);
        writer.i64(self.stored.base_offset);
        writer.i64(self.stored.log_append_time);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (first, last) = (reader.i32()?, reader.i32()?);
        let stored = Stored { base_offset: reader.i64()?, log_append_time: reader.i64()? };
        Ok(Self { first, last, stored })
    }
}

/// Returns the sequence number after `sequence`; after `i32::MAX` comes 0.
fn following(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

/// Returns how many sequence numbers `first..=last` are, going round the end.
fn steps(first: i32, last: i32) -> u32 {
    let steps = (i64::from(last) - i64::from(first)).rem_euclid(SEQUENCES) + 1;
    u32::try_from(steps).expect("at most 2^31")
}

#[cfg(test)]
mod tests;
