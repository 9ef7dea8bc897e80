//! What a partition remembers of idempotent producers (KIP-98), and what it makes of their batches.
//!
//! Judged when the entry is applied, never before: with up to five batches of a producer in flight only
//! the order of the log says which sequence number is next. Duplicates are looked for first, so that
//! the retry of a batch whose answer was lost gets that answer, whoever leads by now.
//!
//! Memory is bounded, and what goes first is what is missed least. Of the producers that wrote last, the last
//! five batches are known; of the others the last one, so that an older batch that comes again is known to
//! be in the log, though not where; and beyond a bound the longest silent are forgotten. Log time never goes
//! back along the log, so the order of silence is the order of last offsets, and no clock is asked.
//!
//! The numbers here are constants and not settings because replicas that disagree about them would
//! disagree about offsets.

use std::collections::BTreeMap;

use quorate_storage::mutant;

use super::codec::{CodecError, Reader, Writer};
use crate::record::Header;

/// Batches remembered before the last: a client may have five in flight with idempotence on.
const OLDER: usize = 4;
/// A producer silent for a day of log time is forgotten; it may then continue with any sequence.
const EXPIRATION_MS: i64 = 86_400_000;
/// Beyond this many the longest silent is forgotten; about 1.5 MiB.
pub(super) const PRODUCERS_MAX: usize = 16_384;
/// Beyond this many the longest silent is remembered by its last batch alone; about 0.5 MiB more.
const RECENT_MAX: usize = 4096;
/// Sequence numbers go from 2^31 - 1 on to 0.
const SEQUENCES: i64 = 1 << 31;
/// Half the circle: what lies further back cannot be told from what lies ahead.
const BEHIND_MAX: u32 = 1 << 30;
/// A producer as bytes, its older batches aside.
const PRODUCER_BYTES: usize = 47;

/// The producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Producers {
    known: BTreeMap<i64, Producer>,
    /// Producers by the first offset of their last batch: the longest silent first.
    by_silence: BTreeMap<i64, i64>,
    /// Those of them of whom older batches are remembered.
    recent: BTreeMap<i64, i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// Log time of the last batch.
    seen_ms: i64,
    /// How many sequence numbers up to the last are in the log without a gap, up to [`BEHIND_MAX`].
    unbroken: u32,
    last: Batch,
    older: Option<Box<Older>>,
}

/// Batches before the last one, oldest first; at least one, the rest is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Older {
    batches: [Batch; OLDER],
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
}

impl Producers {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn knows(&self, producer_id: i64) -> bool {
        self.known.contains_key(&producer_id)
    }

    /// Returns what is to become of a batch.
    pub(super) fn judge(&self, claim: &Sequence) -> Verdict {
        if mutant::on("dedup-off") {
            return Verdict::Accept;
        }
        let Some(producer) = self.known.get(&claim.producer_id) else {
            // Forgotten or new: both look the same, and refusing the former would lose its records.
            return Verdict::Accept;
        };
        if claim.epoch < producer.epoch {
            return Verdict::Fenced { current: producer.epoch };
        }
        let expected = if claim.epoch > producer.epoch {
            0
        } else if let Some(stored) = producer.find(claim) {
            return Verdict::Duplicate(stored);
        } else if producer.has(claim) {
            return Verdict::Outdated;
        } else {
            following(producer.last.last)
        };
        if claim.first == expected { Verdict::Accept } else { Verdict::OutOfOrder { expected } }
    }

    /// Remembers a batch that was accepted as the newest of the log. `log_ms`: the log time.
    pub(super) fn remember(&mut self, claim: &Sequence, stored: Stored, log_ms: i64) {
        let batch = Batch { first: claim.first, last: claim.last, stored };
        let before = self.known.remove(&claim.producer_id);
        if let Some(before) = &before {
            self.by_silence.remove(&before.last.stored.base_offset);
            self.recent.remove(&before.last.stored.base_offset);
        } else if self.known.len() >= PRODUCERS_MAX {
            self.forget_longest_silent();
        }
        let producer = match before {
            Some(before) if before.epoch == claim.epoch => before.followed_by(batch, claim, log_ms),
            _ => Producer::new(claim, batch, log_ms),
        };
        self.insert(claim.producer_id, producer);
        while self.recent.len() > RECENT_MAX
            && let Some((_, id)) = self.recent.pop_first()
        {
            self.known.entry(id).and_modify(|longest_silent| longest_silent.older = None);
        }
    }

    /// Forgets the producers that were silent too long at log time `log_ms`.
    pub(super) fn expire(&mut self, log_ms: i64) {
        while let Some(id) = self.by_silence.first_entry().map(|first| *first.get()) {
            let seen_ms = self.known.get(&id).map_or(i64::MIN, |producer| producer.seen_ms);
            if log_ms.saturating_sub(seen_ms) <= EXPIRATION_MS {
                break;
            }
            self.forget_longest_silent();
        }
    }

    fn forget_longest_silent(&mut self) {
        if let Some((offset, id)) = self.by_silence.pop_first() {
            self.recent.remove(&offset);
            self.known.remove(&id);
        }
    }

    fn insert(&mut self, id: i64, producer: Producer) {
        let offset = producer.last.stored.base_offset;
        self.by_silence.insert(offset, id);
        if producer.older.is_some() {
            self.recent.insert(offset, id);
        }
        self.known.insert(id, producer);
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.count(self.known.len());
        for (id, producer) in &self.known {
            writer.i64(*id);
            producer.encode(writer);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut producers = Self::default();
        let count = reader.count(PRODUCERS_MAX, PRODUCER_BYTES)?;
        for _ in 0..count {
            producers.insert(reader.i64()?, Producer::decode(reader)?);
        }
        let whole = producers.known.len() == count && producers.by_silence.len() == count;
        if whole && producers.recent.len() <= RECENT_MAX {
            Ok(producers)
        } else {
            Err(CodecError::Range("the producers' offsets"))
        }
    }

    /// Bytes of all producers in a checkpoint, about.
    pub(super) fn encoded_bytes(&self) -> usize {
        self.known.len() * PRODUCER_BYTES + self.recent.len() * OLDER * 24
    }
}

impl Producer {
    fn new(claim: &Sequence, last: Batch, log_ms: i64) -> Self {
        let unbroken = claim.len().min(BEHIND_MAX);
        Self { epoch: claim.epoch, seen_ms: log_ms, unbroken, last, older: None }
    }

    fn followed_by(mut self, next: Batch, claim: &Sequence, log_ms: i64) -> Self {
        self.older.get_or_insert_default().push(self.last);
        self.last = next;
        self.seen_ms = log_ms;
        self.unbroken = self.unbroken.saturating_add(claim.len()).min(BEHIND_MAX);
        self
    }

    fn find(&self, claim: &Sequence) -> Option<Stored> {
        let older = self.older.as_ref().map_or(&[][..], |older| &older.batches[..older.count]);
        let mut known = older.iter().chain([&self.last]).rev();
        let same = |batch: &&Batch| batch.first == claim.first && batch.last == claim.last;
        known.find(same).map(|batch| batch.stored)
    }

    /// Returns whether all of the batch is in the log for certain.
    fn has(&self, claim: &Sequence) -> bool {
        let behind = steps(claim.first, self.last.last);
        claim.len() <= behind && behind <= self.unbroken
    }

    fn encode(&self, writer: &mut Writer) {
        writer.i16(self.epoch);
        writer.i64(self.seen_ms);
        writer.u32(self.unbroken);
        self.last.encode(writer);
        let older = self.older.as_ref().map_or(&[][..], |older| &older.batches[..older.count]);
        writer.u8(u8::try_from(older.len()).expect("at most four"));
        for batch in older {
            batch.encode(writer);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (epoch, seen_ms, unbroken) = (reader.i16()?, reader.i64()?, reader.u32()?);
        let last = Batch::decode(reader)?;
        let count = usize::from(reader.u8()?);
        if count > OLDER || unbroken > BEHIND_MAX {
            return Err(CodecError::Range("a producer's batches"));
        }
        let mut older = Older { count, ..Older::default() };
        for batch in &mut older.batches[..count] {
            *batch = Batch::decode(reader)?;
        }
        let older = (count > 0).then(|| Box::new(older));
        Ok(Self { epoch, seen_ms, unbroken, last, older })
    }
}

impl Older {
    fn push(&mut self, batch: Batch) {
        if self.count == OLDER {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        self.batches[self.count] = batch;
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
