//! Turns requests into records of one batch, and keeps the map in step.
//!
//! The one subtle rule is about cuts in the generation being written: its open segments end at
//! their greatest key (see `segments`), so keys behind a cut are deleted here, in the batch and
//! before whatever is appended next. In older generations the map alone is cut. Purged keys may
//! stay, as long as the log only grows from there; `clear` is for when it does not.

use std::sync::Arc;

use rocksdb::WriteBatch;

use super::Writer;
use crate::counters::add;
use crate::entry;
use crate::failpoint;
use crate::group::{Cell, Cut};
use crate::keys::{self, Kind};
use crate::moves::Moved;
use crate::queue::{Charge, Op};
use crate::recover::encode_id;
use crate::runs::Run;
use crate::segments::Change;
use crate::sync::Callback;
use crate::{Entry, EntryId, GroupId, StateDelete, StatePut};

/// A cut up to this many entries is deleted key by key: range deletions slow down later seeks.
const POINT_DELETES: u64 = 64;

/// A batch being put together and what is to happen around its write.
pub(crate) struct Staged {
    pub batch: WriteBatch,
    pub callbacks: Vec<Callback>,
    /// Groups appended to, with the last index.
    pub appended: Vec<(Arc<Cell>, u64)>,
    pub dropped: Vec<Arc<Cell>>,
    pub moved: Option<Moved>,
    /// The generation to end after the write.
    pub ends: Option<u32>,
    /// Failpoints to pass before and after the write.
    points: Vec<(&'static str, &'static str)>,
}

impl Staged {
    pub fn new(charge: Charge) -> Staged {
        Staged {
            batch: WriteBatch::with_capacity_bytes(charge.bytes()),
            callbacks: Vec::new(),
            appended: Vec::new(),
            dropped: Vec::new(),
            moved: None,
            ends: None,
            points: Vec::new(),
        }
    }

    pub fn before(&self) {
        self.points.iter().for_each(|(before, _)| failpoint::hit(before));
    }

    pub fn after(&self) {
        self.points.iter().for_each(|(_, after)| failpoint::hit(after));
    }
}

impl Writer {
    pub fn stage(&mut self, op: Op, staged: &mut Staged) {
        match op {
            Op::Append { cell, create, entries, runs, durable } => {
                self.create(cell.id, create, staged);
                self.append(&cell, &entries, &runs, staged);
                staged.callbacks.push(Callback::Append(cell.id, durable));
            }
            Op::Vote { cell, create, vote, durable } => {
                staged.points.push(("vote.before", "vote.after"));
                self.create(cell.id, create, staged);
                let key = keys::group(cell.id, Kind::Vote, 0);
                staged.batch.put_cf(self.rocks.meta(), key, &vote);
                staged.callbacks.push(Callback::Always(durable));
            }
            Op::Truncate { cell, cut } => {
                staged.points.push(("truncate.before", "truncate.after"));
                let changes = cell.lock().segments.truncate(cut.at);
                self.apply_changes(cell.id, &changes, cut.at, staged);
                self.finish_cut(cell.id, &cut, staged);
            }
            Op::Purge { cell, create, upto, cut } => {
                staged.points.push(("purge.before", "purge.after"));
                self.create(cell.id, create, staged);
                let changes = cell.lock().segments.purge(cut.at);
                self.forget_segments(cell.id, &changes, staged);
                self.finish_cut(cell.id, &cut, staged);
                self.put_purged(cell.id, upto, staged);
            }
            Op::Reset { cell, upto, keep, state, chunks, durable } => {
                staged.points.push(("reset.before", "reset.after"));
                self.reset(&cell, upto, state, keep, staged);
                self.change_chunks(cell.id, chunks, staged);
                staged.callbacks.push(Callback::Always(durable));
            }
            Op::Chunks { cell, create, change, durable } => {
                staged.points.push(("chunks.before", "chunks.after"));
                self.create(cell.id, create, staged);
                self.change_chunks(cell.id, change, staged);
                staged.callbacks.push(Callback::Always(durable));
            }
            Op::ChunkDamaged { cell, number } => self.note_damaged_chunk(&cell, number, staged),
            Op::State { cell, create, puts, deletes } => {
                staged.points.push(("state.before", "state.after"));
                self.create(cell.id, create, staged);
                self.write_state(cell.id, puts, deletes, staged);
            }
            Op::Drop { cell, chunks, durable } => {
                staged.points.push(("drop.before", "drop.after"));
                self.drop_group(&cell, staged);
                self.retire_chunks(chunks, staged);
                staged.callbacks.push(Callback::Always(durable));
                staged.dropped.push(cell);
            }
            Op::NodePut { key, value, durable } => {
                staged.batch.put_cf(self.rocks.meta(), key, value);
                staged.callbacks.push(Callback::Always(durable));
            }
            Op::Corrupt { cell } => self.note_corrupt(&cell, staged),
            Op::Move(request) => {
                staged.points.push(("move.before", "move.after"));
                staged.moved = Some(self.stage_move(request, &mut staged.batch));
            }
            // Its turn comes when the batch is written, see `Writer::commit`.
            Op::EndGeneration(number) => staged.ends = Some(number),
            Op::ForgetGenerations(numbers) => {
                for &number in &numbers {
                    staged.batch.delete_cf(self.rocks.meta(), keys::generation(number));
                }
                self.shared.generations.lock().forget(&numbers);
            }
        }
    }

    fn note_corrupt(&self, cell: &Cell, staged: &mut Staged) {
        // What is said of it now: it may have been cut off meanwhile.
        let corrupt = cell.lock().corrupt;
        if let Some(index) = corrupt {
            let key = keys::group(cell.id, Kind::Corrupt, 0);
            staged.batch.put_cf(self.rocks.meta(), key, index.to_be_bytes());
        }
    }

    fn create(&self, group: GroupId, create: bool, staged: &mut Staged) {
        if create {
            staged.batch.put_cf(self.rocks.meta(), keys::group(group, Kind::Exists, 0), []);
        }
    }

    fn append(&mut self, cell: &Arc<Cell>, entries: &[Entry], runs: &[Run], staged: &mut Staged) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let payload: usize = entries.iter().map(|entry| entry.payload.len()).sum();
        let count = entries.len() as u64;
        let bytes = count * entry::stored_bytes(entry::HEADER) + payload as u64;
        let generation = {
            let mut generations = self.shared.generations.lock();
            generations.wrote(bytes);
            generations.current()
        };
        let begun = cell.lock().segments.append(generation, first.id.index, count, bytes);
        {
            let mut generations = self.shared.generations.lock();
            generations.add(generation, bytes);
            begun.inspect(|_| generations.begin(generation, cell.id));
        }
        let (log, meta) = (self.rocks.log(), self.rocks.meta());
        if let Some(segment) = begun {
            let key = keys::group(cell.id, Kind::Segment, segment.first);
            staged.batch.put_cf(meta, key, segment.encode());
            self.active.push(Arc::downgrade(cell));
        }
        for run in runs {
            let key = keys::group(cell.id, Kind::Run, run.first);
            staged.batch.put_cf(meta, key, run.term.to_be_bytes());
        }
        for entry in entries {
            self.scratch.clear();
            entry::encode(cell.id, entry, &mut self.scratch);
            let key = keys::entry(generation, cell.id, entry.id.index);
            staged.batch.put_cf(log, key, &self.scratch);
        }
        add(&self.shared.counters.entries_appended, count);
        add(&self.shared.counters.bytes_appended, payload as u64);
        staged.appended.push((Arc::clone(cell), last.id.index));
    }

    /// Brings records, keys and accounting in line with a cut of the map at `from`.
    fn apply_changes(&self, id: GroupId, changes: &[Change], from: u64, staged: &mut Staged) {
        let current = self.shared.generations.lock().current();
        for change in changes {
            let before = change.before;
            if before.generation == current {
                self.delete_keys(id, current, before.first.max(from), before.end, staged);
            }
            if let Some(kept) = change.after.filter(|kept| !kept.open) {
                let key = keys::group(id, Kind::Segment, kept.first);
                staged.batch.put_cf(self.rocks.meta(), key, kept.encode());
            }
        }
        self.forget_segments(id, changes, staged);
    }

    fn forget_segments(&self, id: GroupId, changes: &[Change], staged: &mut Staged) {
        let mut generations = self.shared.generations.lock();
        for change in changes {
            let gone = change.after.is_none();
            if gone {
                let key = keys::group(id, Kind::Segment, change.before.first);
                staged.batch.delete_cf(self.rocks.meta(), key);
            }
            generations.remove(change.before.generation, u64::from(gone), change.freed);
        }
    }

    fn delete_keys(&self, id: GroupId, generation: u32, from: u64, to: u64, staged: &mut Staged) {
        let log = self.rocks.log();
        if to - from <= POINT_DELETES {
            for index in from..to {
                staged.batch.delete_cf(log, keys::entry(generation, id, index));
            }
        } else {
            let (low, high) = (keys::entry(generation, id, from), keys::entry(generation, id, to));
            staged.batch.delete_range_cf(log, low, high);
        }
    }

    /// Deletes the records of what a cut took with it.
    fn finish_cut(&self, id: GroupId, cut: &Cut, staged: &mut Staged) {
        if cut.healed {
            staged.batch.delete_cf(self.rocks.meta(), keys::group(id, Kind::Corrupt, 0));
        }
        for &first in &cut.runs {
            staged.batch.delete_cf(self.rocks.meta(), keys::group(id, Kind::Run, first));
        }
    }

    fn put_purged(&self, id: GroupId, upto: EntryId, staged: &mut Staged) {
        let key = keys::group(id, Kind::Purged, 0);
        staged.batch.put_cf(self.rocks.meta(), key, encode_id(upto));
    }

    fn reset(
        &self,
        cell: &Cell,
        upto: EntryId,
        state: Vec<StatePut>,
        keep: Vec<StateDelete>,
        staged: &mut Staged,
    ) {
        let id = cell.id;
        self.create(id, true, staged);
        self.clear(cell, upto.index + 1, staged);
        // Segments and what is behind them are the last kinds of a group's records; the vote stays.
        let (_, end) = keys::group_bounds(id);
        let segments = keys::group(id, Kind::Segment, 0);
        staged.batch.delete_range_cf(self.rocks.meta(), segments, end);
        self.put_purged(id, upto, staged);
        self.delete_state_except(id, keep, staged);
        self.write_state(id, state, Vec::new(), staged);
    }

    fn drop_group(&self, cell: &Cell, staged: &mut Staged) {
        let id = cell.id;
        self.clear(cell, 0, staged);
        let (low, high) = keys::group_bounds(id);
        staged.batch.delete_range_cf(self.rocks.meta(), low, high);
        self.delete_state(id, staged);
    }

    /// Forgets the whole log, which may then go on at a lower index than it had before. So also the
    /// keys that were purged must go from the generation being written.
    fn clear(&self, cell: &Cell, start: u64, staged: &mut Staged) {
        let current = self.shared.generations.lock().current();
        let (changes, keys_left) = {
            let segments = &mut cell.lock().segments;
            (segments.clear(start), segments.has_keys_in(current))
        };
        self.forget_segments(cell.id, &changes, staged);
        if keys_left {
            self.delete_keys(cell.id, current, 0, u64::MAX, staged);
        }
    }

    fn delete_state(&self, id: GroupId, staged: &mut Staged) {
        let (low, high) = keys::state_bounds(id);
        staged.batch.delete_range_cf(self.rocks.state(), low, high);
    }

    fn delete_state_except(&self, id: GroupId, mut keep: Vec<StateDelete>, staged: &mut Staged) {
        keep.sort_unstable_by(|one, other| one.from.cmp(&other.from));
        let (low, high) = keys::state_bounds(id);
        let mut from = low.to_vec();
        for kept in keep {
            let (begin, end) = (keys::state(id, &kept.from), keys::state(id, &kept.to));
            if from < begin {
                staged.batch.delete_range_cf(self.rocks.state(), &from, &begin);
            }
            from = from.max(end);
        }
        staged.batch.delete_range_cf(self.rocks.state(), &from[..], &high[..]);
    }

    fn write_state(
        &self,
        id: GroupId,
        puts: Vec<StatePut>,
        deletes: Vec<StateDelete>,
        staged: &mut Staged,
    ) {
        let column = self.rocks.state();
        for delete in deletes.iter().filter(|delete| delete.from < delete.to) {
            if delete.is_one_key() {
                staged.batch.delete_cf(column, keys::state(id, &delete.from));
                continue;
            }
            let (low, high) = (keys::state(id, &delete.from), keys::state(id, &delete.to));
            staged.batch.delete_range_cf(column, low, high);
        }
        for put in puts {
            staged.batch.put_cf(column, keys::state(id, &put.key), &put.value);
        }
    }
}
