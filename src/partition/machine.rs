//! The replicated state of a partition: a function of its log, nothing else.
//!
//! Applying an entry looks at the command's header and the batch's header and touches no record, so a
//! replica that only follows spends next to nothing here. What grows with the log (points, old rejected
//! entries) leaves as [`Effects`], written behind the entries; what grows with the producers is keyed state; what stays
//! in memory is bounded and goes into checkpoints.
//!
//! Invariant: two machines that applied the same entries encode to the same bytes and emitted the same
//! effects, wherever either was restored from a checkpoint in between.

mod append;
mod checkpoint;
mod cleaned;
mod last_writers;
mod noted;
mod recent;
mod refusal;
mod streams;
mod transactions;

use bytes::Bytes;
use quorate_raft::{Committed, DecodeError, Effects, Keyed, Machine, Records};
use quorate_storage::mutant;

use super::Summary;
use super::aborted;
use super::command::{Clean, Command, Times, Trim};
use super::epochs::{self, Epochs};
use super::index::{self, OpenBlocks, SPAN_BYTES, SPAN_MS, Span};
use super::keyed_rows::{self, Horizon};
use super::level::Rules;
use super::position::{Place, Position};
use super::producers::{self, Producer, Sequence, Stored, Verdict};
use super::rejected::Rejected;
use super::transfer::PartitionRecords;
use last_writers::LastWriters;
use noted::Noted;
use recent::Recent;

pub(super) use cleaned::Cleaned;
pub use refusal::{NotInTransaction, Refusal};
pub(super) use streams::Streams;
pub use streams::Unmet;
pub(super) use transactions::Transactions;

use crate::metadata::{FIRST_LEVEL, check_checkpoint, end_if_unfit};

/// See the file's header.
#[derive(Debug, Default)]
pub struct PartitionMachine {
    /// The feature level the log has reached; 0 stands for the first, at which every group is born.
    level: u16,
    /// First offset that is kept; it may lie inside the batch at `start`.
    log_start: i64,
    /// The batch that holds `log_start`.
    start: Position,
    /// Behind the last applied batch: the next offset and place, and all bytes ever. Between two entries it is where
    /// an entry begins.
    end: Position,
    epochs: Epochs,
    /// How long the partition was led, in milliseconds, as of the last command; it never goes back.
    log_ms: i64,
    /// How many the keyed state has.
    producers: u64,
    rejected: Rejected,
    open: OpenSpan,
    blocks: OpenBlocks,
    /// The first batch with the largest timestamp, for `ListOffsets` -3.
    newest: Option<Newest>,
    cleaned: Cleaned,
    streams: Streams,
    transactions: Transactions,
    /// How many aborted transactions the keyed state has.
    aborted: u64,
    /// A cache; in no checkpoint.
    noted: Noted,
    /// A cache; in no checkpoint.
    recent: Recent,
    /// A cache; in no checkpoint.
    last_writers: LastWriters,
}

/// The span that no point has closed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OpenSpan {
    start: Position,
    /// The wall clock of the command that opened it.
    opened_ms: i64,
    /// What a walk passes since: batches, rejected ones too, and entries without any.
    passed: u32,
    span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) timestamp: i64,
    /// The offset after its batch.
    pub(super) end_offset: i64,
    pub(super) at: Position,
}

/// What came of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An entry of Raft's own; clients know nothing of it.
    Nothing,
    /// What came of each batch, in the order of the entry.
    Appended(Vec<BatchReply>),
    /// The first offset that is kept now.
    Trimmed { log_start: i64 },
}

/// What came of one batch of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchReply {
    /// The batch is in the log. `duplicate`: it was already, under that offset. `version`: that of its first key behind
    /// it; -1 without streams, and for a duplicate where it is not remembered.
    Appended {
        base_offset: i64,
        log_append_time: i64,
        log_start: i64,
        duplicate: bool,
        version: i64,
    },
    /// The batch took no offset.
    Refused(Refusal),
}

/// What a reader needs of the machine, taken in one look.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) log_start: i64,
    pub(super) start: Position,
    pub(super) end: Position,
    /// Where the open span begins: the last point, or the start of the log.
    pub(super) open_start: Position,
    pub(super) open: Span,
    pub(super) rejected: Rejected,
    /// Of the records before this offset some may be gone.
    pub(super) cleaned_upto: i64,
    /// See [`PartitionMachine::last_stable_offset`].
    pub(super) stable: i64,
    /// Whether a transaction was aborted of which a record may be kept.
    pub(super) has_aborted: bool,
}

impl PartitionMachine {
    /// Returns the offset the next batch will get: the high watermark.
    pub fn next_offset(&self) -> i64 {
        self.end.offset
    }

    /// Returns the first offset that is kept.
    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// Returns the feature level the log has reached.
    pub(super) fn level(&self) -> u16 {
        self.level.max(FIRST_LEVEL)
    }

    /// Returns which epoch each kept offset was written under.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Returns what an operator sees.
    pub fn summary(&self) -> Summary {
        Summary {
            log_start: self.log_start,
            high_watermark: self.end.offset,
            bytes: self.end.bytes - self.start.bytes,
            leader_epoch: self.epochs.latest(),
            producers: self.producers,
            last_stable_offset: self.last_stable_offset(),
            open_transactions: self.transactions.len() as u64,
            oldest_transaction_ms: self.oldest_transaction_ms(self.log_ms),
            aborted_transactions: self.aborted,
        }
    }

    /// Returns for how long the transaction has been open that is so the longest, at this log time.
    pub(super) fn oldest_transaction_ms(&self, log_ms: i64) -> Option<i64> {
        let since = self.transactions.all().map(|(_, open)| open.since_ms).min()?;
        Some(log_ms.saturating_sub(since))
    }

    /// Returns how long the partition was led, in milliseconds, as of the last command.
    pub(super) fn log_ms(&self) -> i64 {
        self.log_ms
    }

    /// Returns whether a gap in this producer's sequence numbers would be noticed for certain: it wrote not long ago.
    pub fn knows_producer(&self, producer_id: i64) -> bool {
        self.last_writer(producer_id).is_some()
    }

    fn last_writer(&self, producer_id: i64) -> Option<&Producer> {
        let writer = self.last_writers.get(producer_id)?;
        (!self.is_forgotten(producer_id, writer)).then_some(writer)
    }

    /// Returns where a batch stands that is in the log already, if its producer wrote not long ago.
    pub(super) fn duplicate(&self, claim: &Sequence) -> Option<Stored> {
        match claim.judge(self.last_writer(claim.producer_id)) {
            Verdict::Duplicate(stored) => Some(stored),
            Verdict::Accept
            | Verdict::Outdated
            | Verdict::OutOfOrder { .. }
            | Verdict::Fenced { .. } => None,
        }
    }

    pub(super) fn view(&self) -> View {
        View {
            log_start: self.log_start,
            start: self.start,
            end: self.end,
            open_start: self.open.start,
            open: self.open.span,
            rejected: self.rejected.clone(),
            cleaned_upto: self.cleaned.upto.offset,
            stable: self.last_stable_offset(),
            has_aborted: self.aborted > 0,
        }
    }

    /// Returns what was decided about compaction.
    pub(super) fn cleaned(&self) -> &Cleaned {
        &self.cleaned
    }

    /// Returns the batch that holds `offset`, or the first of its entry, if it is among the last few.
    pub(super) fn recent(&self, offset: i64) -> Option<Position> {
        self.recent.holding(offset).filter(|_| offset < self.end.offset)
    }

    /// Returns the bytes of all batches ever.
    pub(super) fn bytes_end(&self) -> u64 {
        self.end.bytes
    }

    /// Returns the bytes of all batches before the one that holds `offset`, or a little less when it is not among the
    /// last few.
    pub(super) fn bytes_before(&self, offset: i64) -> u64 {
        if offset >= self.end.offset {
            return self.end.bytes;
        }
        let known = self.recent(offset);
        known.unwrap_or_else(|| self.start.nearer(self.open.start, offset)).bytes
    }

    /// Returns the batch with the largest timestamp, while any of it is kept.
    pub(super) fn newest(&self) -> Option<Newest> {
        self.newest.filter(|newest| newest.end_offset > self.log_start)
    }

    /// Log time passes.
    fn pass(&mut self, times: Times) {
        self.log_ms = if mutant::on("clock-expiry") {
            times.wall_ms
        } else {
            // Of two that were under way at once the later may carry less, were its leader's clock read first.
            self.log_ms.max(times.log_ms)
        };
    }

    /// Frees those of the keys whose values are over.
    fn forget(&mut self, keys: &[Bytes], keyed: &mut Keyed) {
        let horizon = self.horizon();
        for key in keys {
            if let Some(id) = producers::id_of(key) {
                let stored = producers::stored_in(keyed, id);
                if stored.is_some_and(|producer| self.is_forgotten(id, &producer)) {
                    keyed.remove(key);
                    self.producers -= 1;
                }
            } else if aborted::is_key(key) {
                if keyed.get(key).is_some_and(|row| aborted::is_over(&row, self.log_start)) {
                    keyed.remove(key);
                    self.aborted -= 1;
                }
            } else if keyed.get(key).is_some_and(|value| keyed_rows::is_over(key, &value, horizon))
            {
                keyed.remove(key);
            }
        }
    }

    /// Returns what is over by now.
    pub(super) fn horizon(&self) -> Horizon {
        let generation = if self.streams.on { self.streams.generation } else { 0 };
        Horizon { generation, log_start: self.log_start, log_ms: self.log_ms }
    }

    /// Returns the streams it has.
    pub(super) fn streams(&self) -> &Streams {
        &self.streams
    }

    fn clean(&mut self, clean: &Clean) -> Reply {
        // Only ever false for a command that no broker of ours proposes.
        let sane = clean.upto.place.sub == 0
            && clean.upto.offset <= self.end.offset
            && clean.upto.place <= self.end.place
            && clean.upto.bytes <= self.end.bytes
            && self.undecided().is_none_or(|first| clean.upto.offset <= first.offset);
        if sane {
            self.cleaned.decide(clean, self.log_ms, clean.upto.offset == self.end.offset);
        }
        Reply::Nothing
    }

    fn trim(&mut self, trim: &Trim, effects: &mut Effects) -> Reply {
        // Two leaders may have asked, in either order; and an empty log still sheds its blank entries.
        let forward = (trim.log_start, trim.start.place) > (self.log_start, self.start.place)
            && trim.start.place >= self.start.place;
        // Only ever false for a command that no broker of ours proposes.
        let sane = trim.start.offset <= trim.log_start
            && trim.log_start <= self.end.offset
            && trim.start.place <= self.end.place
            && (self.start.bytes..=self.end.bytes).contains(&trim.start.bytes);
        if forward && sane {
            if trim.start.offset > self.start.offset {
                effects.deletes.extend(index::deletes(self.start, trim.start));
            }
            self.log_start = trim.log_start;
            self.start = trim.start;
            self.epochs.trim(trim.log_start);
            self.rejected.trim(trim.start.place, effects);
            self.recent.trim(trim.start.offset);
        }
        Reply::Trimmed { log_start: self.log_start }
    }
}

impl Machine for PartitionMachine {
    const FORMAT: u32 = checkpoint::VERSION as u32;

    type Reply = Reply;

    const KEYED: bool = true;

    fn needs(entry: Committed<'_>) -> Vec<Bytes> {
        // What cannot be decoded ends the process when it is applied.
        let command = entry.payload.and_then(|payload| Command::decode(payload).ok());
        command.map_or_else(Vec::new, |command| command.needs(entry.index))
    }

    fn apply(&mut self, entry: Committed<'_>, effects: &mut Effects) -> Reply {
        self.end.place = Place::of_entry(entry.index);
        self.epochs.observe(epochs::of_term(entry.term), self.end.offset);
        let reply = match entry.payload.map(Command::decode) {
            None => {
                self.open.passed = self.open.passed.saturating_add(1);
                Reply::Nothing
            }
            Some(Ok(Command::Append { times, batches })) => {
                self.pass(times);
                self.append_all(times.wall_ms, &batches, effects)
            }
            Some(Ok(Command::Trim { times, trim })) => {
                self.open.passed = self.open.passed.saturating_add(1);
                self.pass(times);
                self.trim(&trim, effects)
            }
            Some(Ok(Command::SetLevel { times, level })) => {
                self.open.passed = self.open.passed.saturating_add(1);
                self.pass(times);
                self.level = self.level.max(level);
                end_if_unfit(level);
                Reply::Nothing
            }
            Some(Ok(Command::Forget { times, keys })) => {
                self.open.passed = self.open.passed.saturating_add(1);
                self.pass(times);
                self.forget(&keys, &mut effects.keyed);
                Reply::Nothing
            }
            Some(Ok(Command::SetStreams { times, on })) => {
                self.open.passed = self.open.passed.saturating_add(1);
                self.pass(times);
                self.streams.set(on, (self.log_start, self.end.offset), effects);
                Reply::Nothing
            }
            Some(Ok(Command::CountOld { times, old })) => {
                self.open.passed = self.open.passed.saturating_add(1);
                self.pass(times);
                self.streams.count(&old, effects);
                Reply::Nothing
            }
            Some(Ok(Command::Clean { times, clean })) => {
                self.open.passed = self.open.passed.saturating_add(1);
                self.pass(times);
                self.clean(&clean)
            }
            // Going on would make this replica's offsets differ from the others' for ever.
            Some(Err(error)) => quorate_storage::fatal("apply an entry of a partition", &error),
        };
        self.end.place = Place::of_entry(entry.index + 1);
        reply
    }

    fn records() -> Option<&'static dyn Records> {
        Some(&PartitionRecords)
    }

    fn encode(&self) -> Vec<u8> {
        checkpoint::encode(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let machine = checkpoint::decode(bytes).map_err(|error| DecodeError(error.to_string()))?;
        check_checkpoint(machine.level).map_err(|error| DecodeError(error.to_string()))?;
        Ok(machine)
    }

    fn needed_from(&self) -> u64 {
        self.start.place.index
    }
}

impl OpenSpan {
    fn starting(start: Position, wall_ms: i64) -> Self {
        // The batch that opens it is the first to pass.
        Self { start, opened_ms: wall_ms, passed: 1, span: Span::EMPTY }
    }

    fn is_empty(&self, end: Position) -> bool {
        end.offset == self.start.offset
    }

    /// Returns whether a batch at `end` should begin the next span.
    fn is_full(&self, end: Position, wall_ms: i64, rules: Rules) -> bool {
        end.bytes - self.start.bytes >= SPAN_BYTES
            || self.passed > rules.span_batches
            // Also when a clock was set back: a span too many costs a point, one too long keeps old records.
            || wall_ms.abs_diff(self.opened_ms) >= SPAN_MS.unsigned_abs()
    }
}

impl Default for OpenSpan {
    fn default() -> Self {
        Self { start: Position::default(), opened_ms: 0, passed: 0, span: Span::EMPTY }
    }
}

#[cfg(test)]
mod tests;
