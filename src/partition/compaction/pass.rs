//! One replica's compaction of its partition, as far as was decided.
//!
//! ```text
//!   log start   marked              end            decided       high watermark
//!       │ tail, no key twice │ dirty │ dirty, later  │ may not      │
//!       ├────────────────────┼───────┼───────────────┼──────────────┤
//!       │                    └─ keys and offsets in memory
//!       └─ rewritten without what those keys supersede ─┘
//! ```
//!
//! First the keys of what is dirty go into a map of fixed size; where that is full the pass ends, and another one goes on
//! there. Then everything before the end is gone through in order: chunks that lose nothing stay, others are written
//! anew, and what is still in the log moves to the tail without what it loses. Chunks are replaced a few at a time, in
//! ascending order, so the space it takes besides is that of two chunks, and a crash leaves each as it was or as it is to
//! be. Ascending also keeps what a tombstone stands for from coming back: the tombstone goes after what it deleted.
//!
//! All transactions with a batch before the end have ended. The batches of those that were aborted go wherever they are met,
//! and their keys are not taken in; so wherever a marker goes, nothing is left of what it is about.
//!
//! The last batch before the end stays, if need be without records, so that a reader who waits behind what is gone gets on.

use std::cell::RefCell;
use std::ops::ControlFlow;

use quorate_storage::{Log, NewChunk, mutant};

use super::offset_map::{Full, OffsetMap, Part, Secret};
use super::progress::Progress;
use super::{CompactError, Goal};
use crate::partition::aborted::AbortedRows;
use crate::partition::machine::View;
use crate::partition::position::{Place, Position};
use crate::partition::records::StoredRecords;
use crate::partition::tail::{Description, Mark, Tail, TailBatch, to_signed};
use crate::partition::tail_writer::TailWriter;
use crate::record::{Compacted, Header, Projection, Record, Records, compacted, without_records};

/// Bytes read from a chunk at once.
const READ_BYTES: usize = 256 * 1024;
/// A chunk that is smaller than this share of a full one is joined with its neighbour.
const SMALL_SHARE: u64 = 4;

/// Puts chunks in the place of others; blocks until that is durable. False if the tail is another by now.
pub(super) type Swap<'a> =
    dyn Fn(&Tail, std::ops::Range<usize>, Vec<NewChunk>) -> Result<bool, CompactError> + 'a;

/// What a pass works with. Blocks for the disk.
pub(super) struct Pass<'a> {
    pub(super) log: &'a Log,
    pub(super) view: &'a View,
    pub(super) goal: Goal,
    /// What the map of keys may take.
    pub(super) map_bytes: usize,
    /// By which keys are told apart.
    pub(super) secret: Secret,
    pub(super) swap: &'a Swap<'a>,
    pub(super) progress: &'a Progress<'a>,
    /// Which transactions were aborted.
    pub(super) aborted: &'a RefCell<AbortedRows>,
}

/// What is gone through next.
struct Plan {
    map: OffsetMap,
    /// All before it was gone through by the pass before.
    from: i64,
    end: Position,
}

/// What is left of a batch, and whether there is a tombstone in it.
struct Left {
    batch: Option<TailBatch>,
    changed: bool,
    tombstones: bool,
    /// Bytes it had.
    of: usize,
}

/// Chunks that are about to be replaced by what is being written.
struct Group {
    begin: usize,
    mark: Mark,
    writer: TailWriter,
}

impl Pass<'_> {
    /// Compacts up to the goal.
    pub(super) fn run(&self) -> Result<(), CompactError> {
        loop {
            let mark = Tail::of(self.log)?.mark()?;
            if self.goal.is_reached_by(mark) || self.view.start.offset >= self.goal.upto.offset {
                return Ok(());
            }
            let from = mark.upto.max(self.view.start.offset).min(self.goal.upto.offset);
            self.pass(from)?;
        }
    }

    /// Takes the replica on from where it is compacted to, as far as memory allows.
    fn pass(&self, from: i64) -> Result<(), CompactError> {
        let parts = (0..16).map(|doublings| 1 << doublings);
        for of in parts {
            if self.pass_in_parts(from, of)? {
                return Ok(());
            }
        }
        Err(CompactError::TooManyKeys)
    }

    /// Goes over it once for each share of the keys; false if one does not fit into memory.
    fn pass_in_parts(&self, from: i64, of: u32) -> Result<bool, CompactError> {
        let Some(plan) = self.plan(from, Part { number: 0, of })? else { return Ok(false) };
        let end = plan.end;
        self.rewrite(&plan)?;
        drop(plan);
        for number in 1..of {
            let Some(map) = self.keys(from, end, Part { number, of })? else { return Ok(false) };
            self.rewrite(&Plan { map, from, end })?;
        }
        Ok(true)
    }

    /// Takes in the keys from `from` on: to the goal or, if they are too many, to where an entry ends. None if not even one
    /// entry's fit.
    fn plan(&self, from: i64, part: Part) -> Result<Option<Plan>, CompactError> {
        let bytes = if from < self.goal.upto.offset { self.map_bytes } else { 0 };
        let (mut map, mut end) = (OffsetMap::new(bytes, part, self.secret), None);
        let filled = self.each_dirty(from, self.goal.upto, |at, batch| {
            if end.is_none_or(|end: Position| at.place.index > end.place.index) {
                // Of parts each goes over one entry.
                if part != Part::WHOLE && end.is_some_and(|end| end.offset > from) {
                    return Ok(ControlFlow::Break(()));
                }
                end = Some(Position { place: Place::of_entry(at.place.index), ..at });
            }
            match self.take_keys(&mut map, batch)? {
                Ok(()) => Ok(ControlFlow::Continue(())),
                Err(Full) => Ok(ControlFlow::Break(())),
            }
        })?;
        let end = match filled {
            ControlFlow::Continue(()) => Some(self.goal.upto),
            ControlFlow::Break(()) => end.filter(|end| end.offset > from),
        };
        Ok(end.map(|end| Plan { map, from, end }))
    }

    /// Takes in the keys between two places; none if they do not fit.
    fn keys(
        &self,
        from: i64,
        end: Position,
        part: Part,
    ) -> Result<Option<OffsetMap>, CompactError> {
        let mut map = OffsetMap::new(self.map_bytes, part, self.secret);
        let filled = self.each_dirty(from, end, |_, batch| {
            Ok(match self.take_keys(&mut map, batch)? {
                Ok(()) => ControlFlow::Continue(()),
                Err(Full) => ControlFlow::Break(()),
            })
        })?;
        Ok(filled.is_continue().then_some(map))
    }

    /// Goes through the batches from `from` to `end`, until told to break.
    fn each_dirty(
        &self,
        from: i64,
        end: Position,
        mut take: impl FnMut(Position, &TailBatch) -> Result<ControlFlow<()>, CompactError>,
    ) -> Result<ControlFlow<()>, CompactError> {
        if from >= end.offset {
            return Ok(ControlFlow::Continue(()));
        }
        let mut records = StoredRecords::new(self.log, self.view, from, end.place.index)?;
        while let Some((at, value)) = records.next()? {
            if at.offset >= end.offset {
                break;
            }
            self.progress.read(value.len())?;
            let batch = TailBatch::decode(at.offset, &value)?;
            if take(at, &batch)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Goes through all before the end of the plan.
    fn rewrite(&self, plan: &Plan) -> Result<(), CompactError> {
        let mark = self.mark_after(plan);
        let (mut tail, mut at) = (Tail::of(self.log)?, 0);
        let mut group: Option<Group> = None;
        while let Some(chunk) = tail.chunks().get(at) {
            if to_signed(chunk.first) >= plan.end.offset {
                break;
            }
            let is_last = to_signed(chunk.end) >= plan.end.offset;
            let is_joined = is_last || group.is_some() || self.is_small_with_next(&tail, at);
            if !is_joined && !self.loses(plan, &tail, at)? {
                at += 1;
                continue;
            }
            let description = Description::of(chunk)?;
            let writing = group.get_or_insert_with(|| Group::new(self.log, at, description));
            writing.mark = writing.mark.max(description.mark);
            self.copy(plan, &tail, at, &mut writing.writer)?;
            at += 1;
            if is_last || writing.writer.open_bytes() as u64 >= self.small_bytes() {
                let Some(done) = group.take() else { continue };
                let last = if is_last { done.mark.max(mark) } else { done.mark };
                let begin = done.begin;
                let new = done.writer.finish_marked(description.end, last)?;
                let count = new.len();
                self.replace(&tail, begin..at, new)?;
                (tail, at) = (Tail::of(self.log)?, begin + count);
            }
            if is_last {
                return Ok(());
            }
        }
        self.move_from_log(plan, mark, tail, group)
    }

    /// Moves what is left of the log before the end of the plan to the tail, behind what is being written.
    fn move_from_log(
        &self,
        plan: &Plan,
        mark: Mark,
        mut tail: Tail,
        group: Option<Group>,
    ) -> Result<(), CompactError> {
        let begin = tail.end().unwrap_or(self.view.start);
        if begin.offset < self.view.start.offset {
            // What it would go behind is trimmed, and still given to others until the next checkpoint.
            return Err(CompactError::Changed);
        }
        let behind = tail.chunks().len();
        let mut gone = group.as_ref().map_or(behind, |group| group.begin)..behind;
        let (mut writer, old) = match group {
            Some(group) => (group.writer, group.mark),
            None => (TailWriter::from(self.log, begin), Mark::default()),
        };
        let end = plan.end.place.index;
        let mut records = StoredRecords::new(self.log, self.view, begin.offset, end)?;
        while let Some((at, value)) = records.next()? {
            self.progress.read(value.len())?;
            let batch = TailBatch::decode(at.offset, &value)?;
            put(&mut writer, self.left(plan, batch)?, self.progress)?;
            let done = writer.take_done();
            if !done.is_empty() {
                let count = tail.chunks().len() - gone.len() + done.len();
                self.replace(&tail, gone, done)?;
                (tail, gone) = (Tail::of(self.log)?, count..count);
            }
        }
        let new = writer.finish_marked(records.end(), old.max(mark))?;
        if new.is_empty() {
            return Err(CompactError::Changed);
        }
        self.replace(&tail, gone, new)
    }

    /// How far it is compacted once this plan is carried out.
    fn mark_after(&self, plan: &Plan) -> Mark {
        if !plan.map.part().is_last() {
            return Mark::default();
        }
        let upto = plan.end.offset;
        Mark { upto, tombstones_upto: self.goal.tombstones_upto.min(upto) }
    }

    fn replace(
        &self,
        seen: &Tail,
        gone: std::ops::Range<usize>,
        new: Vec<NewChunk>,
    ) -> Result<(), CompactError> {
        if (self.swap)(seen, gone, new)? { Ok(()) } else { Err(CompactError::Changed) }
    }

    fn small_bytes(&self) -> u64 {
        self.log.chunk_bytes() / SMALL_SHARE
    }

    fn is_small_with_next(&self, tail: &Tail, at: usize) -> bool {
        let small = self.small_bytes();
        let is_small = |at: usize| tail.chunks().get(at).is_some_and(|it| it.bytes < small);
        is_small(at) && is_small(at + 1)
    }

    /// Whether a chunk has anything that goes. Stops reading where it has.
    fn loses(&self, plan: &Plan, tail: &Tail, at: usize) -> Result<bool, CompactError> {
        let description = Description::of(&tail.chunks()[at])?;
        let has_expired =
            description.tombstones && description.start.offset < self.goal.tombstones_upto;
        let is_done = description.end.offset <= plan.from;
        if plan.map.is_empty() && !has_expired && is_done {
            return Ok(false);
        }
        let mut loses = false;
        self.each_of(tail, at, |batch| {
            loses = self.left(plan, batch)?.changed;
            Ok(if loses { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(loses)
    }

    fn copy(
        &self,
        plan: &Plan,
        tail: &Tail,
        at: usize,
        writer: &mut TailWriter,
    ) -> Result<(), CompactError> {
        self.each_of(tail, at, |batch| {
            put(writer, self.left(plan, batch)?, self.progress)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Goes through the batches of a chunk, until told to break.
    fn each_of(
        &self,
        tail: &Tail,
        at: usize,
        mut take: impl FnMut(TailBatch) -> Result<ControlFlow<()>, CompactError>,
    ) -> Result<(), CompactError> {
        let chunk = &tail.chunks()[at];
        let mut from = chunk.first;
        while from < chunk.end {
            let part = self.log.read_chunk(tail.chunks(), from, READ_BYTES)?;
            for (offset, value) in part.records {
                self.progress.read(value.len())?;
                if take(TailBatch::decode(to_signed(offset), &value)?)?.is_break() {
                    return Ok(());
                }
            }
            from = part.next;
        }
        Ok(())
    }

    /// Returns what stays of a batch.
    fn left(&self, plan: &Plan, batch: TailBatch) -> Result<Left, CompactError> {
        let header = Header::parse(batch.bytes());
        let header = header.ok_or(CompactError::damaged("a batch has no header"))?;
        let (base, of) = (batch.at.offset, batch.bytes().len());
        let end_offset = base + i64::from(header.last_offset_delta) + 1;
        let is_last = end_offset >= plan.end.offset;
        if header.is_control() || base >= plan.end.offset {
            let is_over = base < self.goal.tombstones_upto && plan.map.part().is_last() && !is_last;
            let batch = (!is_over).then_some(batch);
            return Ok(Left { batch, changed: is_over, tombstones: true, of });
        }
        let mut tombstones = false;
        let keep = |record: &Record| {
            let stays = self.stays(plan, base + i64::from(record.offset_delta), record);
            tombstones |= stays && record.value_bytes < 0;
            stays
        };
        let left = if header.record_count > 0 && self.is_aborted(&header, &batch)? {
            Compacted::Nothing
        } else {
            compacted(batch.bytes(), keep)?
        };
        let (batch, changed) = match left {
            Compacted::Whole if header.record_count > 0 || is_last => (Some(batch), false),
            Compacted::Rest(bytes) => (Some(batch.with(bytes)), true),
            Compacted::Nothing if is_last => {
                let bytes = without_records(batch.bytes())?;
                (Some(batch.with(bytes)), true)
            }
            Compacted::Whole | Compacted::Nothing => (None, true),
        };
        Ok(Left { batch, changed, tombstones, of })
    }

    fn is_aborted(&self, header: &Header, batch: &TailBatch) -> Result<bool, CompactError> {
        if !header.is_transactional() || !self.view.has_aborted {
            return Ok(false);
        }
        let at = batch.at;
        let row = self.aborted.borrow_mut().of(header.producer_id, at.offset, at.place)?;
        Ok(row.is_some())
    }

    fn take_keys(
        &self,
        map: &mut OffsetMap,
        batch: &TailBatch,
    ) -> Result<Result<(), Full>, CompactError> {
        let header = Header::parse(batch.bytes());
        let header = header.ok_or(CompactError::damaged("a batch has no header"))?;
        if header.is_control() || self.is_aborted(&header, batch)? {
            return Ok(Ok(()));
        }
        for record in Records::open(batch.bytes(), Projection::Keys)? {
            let record = record?;
            let offset = batch.at.offset + i64::from(record.offset_delta);
            if let Some(key) = &record.key
                && map.put(key, offset).is_err()
            {
                return Ok(Err(Full));
            }
        }
        Ok(Ok(()))
    }

    /// Whether a record stays. One without a key cannot be superseded, and is of no use in a compacted topic; there may be
    /// some from before it was one.
    fn stays(&self, plan: &Plan, offset: i64, record: &Record) -> bool {
        if offset >= plan.end.offset {
            return true;
        }
        let Some(key) = &record.key else { return false };
        if let Some(newest) = plan.map.newest(key) {
            if mutant::on("newest-compacted-away") && newest == offset && offset % 64 == 7 {
                return false;
            }
            if newest > offset {
                return false;
            }
        }
        let early = mutant::on("tombstone-dropped-early");
        let is_over = early || offset < self.goal.tombstones_upto;
        !(record.value_bytes < 0 && is_over && plan.map.part().is_last())
    }
}

impl Group {
    fn new(log: &Log, begin: usize, description: Description) -> Self {
        let writer = TailWriter::from(log, description.start);
        Self { begin, mark: Mark::default(), writer }
    }
}

fn put(writer: &mut TailWriter, left: Left, progress: &Progress<'_>) -> Result<(), CompactError> {
    progress.wrote(left.batch.as_ref().map_or(0, |batch| batch.bytes().len()), left.of);
    if let Some(batch) = left.batch {
        let value = batch.encode();
        writer.put_known(batch.at.offset, &value, left.tombstones)?;
    }
    Ok(())
}
