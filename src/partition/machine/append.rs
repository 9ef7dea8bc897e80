//! What becomes of a batch: first whether it is in the log already, then whether it may be.
//!
//! The order matters. A retry of what was appended is answered as it was, whatever has become of its conditions since: it
//! has made them untrue itself. Then conditions are judged on the state before the batch, and a batch that is refused
//! leaves nothing behind: no offset, no sequence number of its producer, no version of a key. What belongs to a transaction is
//! judged by that as well, and so is what ends one (`transactions.rs`).

use quorate_raft::{Effects, Keyed};
use quorate_storage::mutant;

use super::streams::Before;
use super::{BatchReply, Newest, OpenSpan, PartitionMachine, Refusal, Reply};
use crate::partition::attachments::{Attachments, Idempotency};
use crate::partition::command::Batch;
use crate::partition::index::Point;
use crate::partition::keyed_rows::Once;
use crate::partition::level::Rules;
use crate::partition::position::Place;
use crate::partition::producers::{self, Producer, Sequence, Stored, Verdict};

impl PartitionMachine {
    /// Each batch of an entry is judged by itself, on what those before it have left.
    pub(super) fn append_all(
        &mut self,
        wall_ms: i64,
        batches: &[(Batch, Attachments)],
        effects: &mut Effects,
    ) -> Reply {
        let count = u32::try_from(batches.len()).expect("the decoder bounds the batches");
        let mut replies = Vec::with_capacity(batches.len());
        for (batch, attachments) in batches {
            self.open.passed = self.open.passed.saturating_add(1);
            let next = self.end.place.next(count);
            replies.push(self.append(wall_ms, (batch, attachments), next, effects));
            self.end.place = next;
        }
        Reply::Appended(replies)
    }

    /// `next`: the place behind the batch.
    fn append(
        &mut self,
        wall_ms: i64,
        (batch, attachments): (&Batch, &Attachments),
        next: Place,
        effects: &mut Effects,
    ) -> BatchReply {
        let appended = if batch.header.is_control() {
            self.mark(wall_ms, batch, attachments, effects)
        } else {
            self.append_data(wall_ms, batch, attachments, effects)
        };
        appended.unwrap_or_else(|reply| {
            self.rejected.push(self.end.place, next, effects);
            reply
        })
    }

    /// `Err` if it takes no offset.
    fn append_data(
        &mut self,
        wall_ms: i64,
        batch: &Batch,
        attachments: &Attachments,
        effects: &mut Effects,
    ) -> Result<BatchReply, BatchReply> {
        let refused = |refusal| Err(BatchReply::Refused(refusal));
        let claim = Sequence::of(&batch.header);
        let before = claim.and_then(|it| producers::stored_in(&effects.keyed, it.producer_id));
        let known = before.as_ref().zip(claim);
        let known = known.filter(|(it, claim)| !self.is_forgotten(claim.producer_id, it));
        let known = known.map(|(producer, _)| producer);
        let verdict = claim.map_or(Verdict::Accept, |claim| claim.judge(known));
        if mutant::on("retry-answered-as-conflict")
            && let Err(refusal) = self.judge(attachments, &effects.keyed)
        {
            return refused(refusal);
        }
        match verdict {
            Verdict::Accept | Verdict::OutOfOrder { .. } => {}
            Verdict::Duplicate(stored) => return Err(self.stored(stored, -1, true)),
            Verdict::Outdated => return refused(Refusal::DuplicateSequence),
            Verdict::Fenced { .. } if mutant::on("old-epoch-let-in") => {
                let (stored, version) = self.accept(wall_ms, batch, attachments, effects);
                return Ok(self.stored(stored, version, false));
            }
            Verdict::Fenced { current } => {
                return refused(Refusal::InvalidProducerEpoch { current });
            }
        }
        if let Err(refusal) = self.judge_transaction(&batch.header, attachments, known) {
            return refused(refusal);
        }
        if let Verdict::OutOfOrder { expected } = verdict {
            return refused(Refusal::OutOfOrderSequence { expected });
        }
        match self.judge_once(attachments, effects) {
            Ok(None) => {
                let at = self.end;
                let (stored, version) = self.accept(wall_ms, batch, attachments, effects);
                if let Some(claim) = claim {
                    self.remember(batch, &claim, before, stored, &mut effects.keyed);
                }
                if let Some(number) = attachments.transaction {
                    self.join(&batch.header, number, at);
                }
                Ok(self.stored(stored, version, false))
            }
            Ok(Some(once)) => Err(self.stored(once.stored, once.version, true)),
            Err(refusal) => {
                if mutant::on("refused-batch-takes-sequence")
                    && let Some(claim) = claim
                {
                    self.remember(batch, &claim, before, Stored::default(), &mut effects.keyed);
                }
                refused(refusal)
            }
        }
    }

    /// Judges what came beside a batch: `Some` if it was carried out before, under its idempotency key.
    fn judge_once(
        &self,
        attachments: &Attachments,
        effects: &Effects,
    ) -> Result<Option<Once>, Refusal> {
        if let Some(Idempotency { key, fingerprint }) = &attachments.idempotency
            && let Some(once) = Once::stored_in(&effects.keyed, key)
            && !once.is_over(self.log_ms)
        {
            let is_same = once.fingerprint == *fingerprint;
            return if is_same { Ok(Some(once)) } else { Err(Refusal::IdempotencyKeyReused) };
        }
        self.judge(attachments, &effects.keyed).map(|()| None)
    }

    fn judge(&self, attachments: &Attachments, keyed: &Keyed) -> Result<(), Refusal> {
        let before = Before { end: self.end.offset, log_start: self.log_start };
        let keys = attachments.stream_keys.as_ref();
        self.streams.judge(keys, &attachments.conditions, before, keyed)
    }

    /// `before`: what was stored of it, before this batch.
    fn remember(
        &mut self,
        batch: &Batch,
        claim: &Sequence,
        before: Option<Producer>,
        stored: Stored,
        keyed: &mut Keyed,
    ) {
        self.producers += u64::from(before.is_none());
        let known = before.filter(|producer| !self.is_forgotten(claim.producer_id, producer));
        let seen = (batch.header.max_timestamp, self.log_ms);
        let producer = Producer::after(known, claim, stored, seen);
        keyed.put(&producers::key(claim.producer_id), producer.encode());
        self.last_writers.note(claim.producer_id, stored.base_offset, producer);
    }

    /// Appends a batch, counts its keys and remembers its request. Returns where it went, and the version of its first key.
    fn accept(
        &mut self,
        wall_ms: i64,
        batch: &Batch,
        attachments: &Attachments,
        effects: &mut Effects,
    ) -> (Stored, i64) {
        let place = self.end.place;
        let stored = self.append_batch(wall_ms, batch, effects);
        let keys = attachments.stream_keys.as_ref().filter(|_| self.streams.on);
        let at = (stored.base_offset, place);
        let version = keys.map_or(-1, |keys| self.streams.appended(keys, at, effects));
        if let Some(Idempotency { key, fingerprint }) = &attachments.idempotency {
            let (at_ms, fingerprint) = (self.log_ms, *fingerprint);
            Once { at_ms, fingerprint, stored, version }.store(&mut effects.keyed, key);
        }
        (stored, version)
    }

    pub(super) fn append_batch(
        &mut self,
        wall_ms: i64,
        batch: &Batch,
        effects: &mut Effects,
    ) -> Stored {
        let at = self.end;
        if self.start.offset == at.offset {
            // Nothing before it is kept, so a log that begins later than this has all the same records.
            self.start = at;
        }
        if self.open.is_empty(at) {
            // Only ever the first: what Raft wrote before it need not be walked again.
            self.open = OpenSpan::starting(at, wall_ms);
        } else if self.open.is_full(at, wall_ms, Rules::of(self.level)) {
            let closed = Point { at, span: self.open.span };
            effects.puts.push(closed.put());
            effects.puts.extend(self.blocks.add(&closed));
            self.open = OpenSpan::starting(at, wall_ms);
        }
        // Nobody looks for a marker by its time: what is found is a record.
        let is_control = batch.header.is_control();
        let timestamp = if is_control { i64::MIN } else { batch.header.max_timestamp };
        self.cleaned.appended(wall_ms);
        self.open.span.add(timestamp, wall_ms);
        self.end.offset = at
            .offset
            .checked_add(batch.offsets())
            .expect("offsets last 290,000 years at a million records a second");
        self.end.bytes += batch.size;
        if !is_control && self.newest.is_none_or(|newest| timestamp > newest.timestamp) {
            self.newest = Some(Newest { timestamp, end_offset: self.end.offset, at });
        }
        self.recent.push(at);
        Stored { base_offset: at.offset, log_append_time: batch.log_append_time() }
    }

    pub(super) fn stored(&self, stored: Stored, version: i64, duplicate: bool) -> BatchReply {
        BatchReply::Appended {
            base_offset: stored.base_offset,
            log_append_time: stored.log_append_time,
            log_start: self.log_start,
            duplicate,
            version,
        }
    }
}
