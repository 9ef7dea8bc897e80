//! What a partition remembers of idempotent producers (KIP-98), and what it makes of their batches.
//!
//! Judged when the entry is applied, never before: with up to five batches of a producer in flight only
//! the order of the log says which sequence number is next. Duplicates are looked for first, so that
//! the retry of a batch whose answer was lost gets that answer, whoever leads by now.
//!
//! The numbers here are constants and not settings because replicas that disagree about them would
//! disagree about offsets.

use std::collections::BTreeMap;

use quorate_storage::mutant;

use super::codec::{CodecError, Reader, Writer};
use crate::record::Header;

/// Batches remembered per producer: as many as a client may have in flight with idempotence on.
const BATCHES: usize = 5;
/// A producer silent for a day is forgotten; it may then continue with any sequence.
const EXPIRATION_MS: i64 = 86_400_000;
/// How often that is looked for, as the times of commands tell it.
const SWEEP_MS: i64 = 600_000;
/// Beyond this many the longest silent are forgotten: under 1 MiB of memory and of checkpoint.
pub(super) const PRODUCERS_MAX: usize = 4096;
/// How many go at once, so that finding the oldest is paid for rarely.
const EVICTED: usize = PRODUCERS_MAX / 16;

/// The producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Producers {
    known: BTreeMap<i64, Producer>,
    swept_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// Oldest first; at least one, the rest is the default.
    batches: [Batch; BATCHES],
    count: usize,
    seen_ms: i64,
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
        } else {
            following(producer.newest().last)
        };
        if claim.first == expected { Verdict::Accept } else { Verdict::OutOfOrder { expected } }
    }

    /// Remembers a batch that was accepted.
    pub(super) fn remember(&mut self, claim: &Sequence, stored: Stored, now_ms: i64) {
        let batch = Batch { first: claim.first, last: claim.last, stored };
        match self.known.get_mut(&claim.producer_id) {
            Some(producer) if producer.epoch == claim.epoch => producer.push(batch, now_ms),
            Some(producer) => *producer = Producer::new(claim.epoch, batch, now_ms),
            None => {
                if self.known.len() >= PRODUCERS_MAX {
                    self.evict();
                }
                self.known.insert(claim.producer_id, Producer::new(claim.epoch, batch, now_ms));
            }
        }
    }

    /// Forgets the producers that were silent too long at `now_ms`; looks only every ten minutes.
    pub(super) fn sweep(&mut self, now_ms: i64) {
        // A clock that went back, as a new leader's may, starts the ten minutes anew.
        if (0..SWEEP_MS).contains(&now_ms.saturating_sub(self.swept_ms)) {
            return;
        }
        self.swept_ms = now_ms;
        self.known.retain(|_, producer| now_ms.saturating_sub(producer.seen_ms) <= EXPIRATION_MS);
    }

    /// Order of silence is order of the last batch's offset: no two are equal and no clock is asked.
    fn evict(&mut self) {
        let mut by_silence: Vec<(i64, i64)> = self
            .known
            .iter()
            .map(|(id, producer)| (producer.newest().stored.base_offset, *id))
            .collect();
        by_silence.select_nth_unstable(EVICTED - 1);
        for (_, id) in &by_silence[..EVICTED] {
            self.known.remove(id);
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.i64(self.swept_ms);
        writer.count(self.known.len());
        for (id, producer) in &self.known {
            writer.i64(*id);
            producer.encode(writer);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let swept_ms = reader.i64()?;
        let mut known = BTreeMap::new();
        for _ in 0..reader.count(PRODUCERS_MAX, 19)? {
            known.insert(reader.i64()?, Producer::decode(reader)?);
        }
        Ok(Self { known, swept_ms })
    }
}

impl Producer {
    fn new(epoch: i16, batch: Batch, now_ms: i64) -> Self {
        let mut batches = [Batch::default(); BATCHES];
        batches[0] = batch;
        Self { epoch, batches, count: 1, seen_ms: now_ms }
    }

    fn remembered(&self) -> &[Batch] {
        &self.batches[..self.count]
    }

    fn newest(&self) -> &Batch {
        &self.batches[self.count - 1]
    }

    fn find(&self, claim: &Sequence) -> Option<Stored> {
        let same = |batch: &&Batch| batch.first == claim.first && batch.last == claim.last;
        self.remembered().iter().rev().find(same).map(|batch| batch.stored)
    }

    fn push(&mut self, batch: Batch, now_ms: i64) {
        if self.count == BATCHES {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        self.batches[self.count] = batch;
        self.count += 1;
        self.seen_ms = now_ms;
    }

    fn encode(&self, writer: &mut Writer) {
        writer.i16(self.epoch);
        writer.i64(self.seen_ms);
        writer.u8(u8::try_from(self.count).expect("at most five"));
        for batch in self.remembered() {
            writer.i32(batch.first);
            writer.i32(batch.last);
            writer.i64(batch.stored.base_offset);
            writer.i64(batch.stored.log_append_time);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let epoch = reader.i16()?;
        let seen_ms = reader.i64()?;
        let count = usize::from(reader.u8()?);
        if !(1..=BATCHES).contains(&count) {
            return Err(CodecError::Range("a producer's batches"));
        }
        let mut batches = [Batch::default(); BATCHES];
        for batch in &mut batches[..count] {
            *batch = Batch {
                first: reader.i32()?,
                last: reader.i32()?,
                stored: Stored { base_offset: reader.i64()?, log_append_time: reader.i64()? },
            };
        }
        Ok(Self { epoch, batches, count, seen_ms })
    }
}

/// Returns the sequence number after `sequence`; after `i32::MAX` comes 0.
fn following(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

#[cfg(test)]
mod tests;
