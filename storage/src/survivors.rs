//! Rewriting what is left of an old generation, so that its space comes back.
//!
//! Groups keep their entries for different times, so a generation can be held by a few slow ones.
//! When less than a quarter of it is live, the background thread copies the rest into the current
//! generation, one piece at a time through the writer's queue. With that bound the copies add at
//! most a third to what is written.

use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};

use rocksdb::WriteBatch;

use crate::counters::add;
use crate::db::Shared;
use crate::group::Cell;
use crate::keys::{self, Kind};
use crate::rocks::Rocks;
use crate::segments::Relocation;
use crate::writer::Writer;
use crate::{entry, fatal};

/// Values are copied in pieces of about this size, so that appends wait for one piece at most.
const PIECE_BYTES: usize = 512 << 10;

/// A piece of a segment with a new home; `end` is exclusive.
pub(crate) struct Move {
    cell: Arc<Cell>,
    from: u32,
    first: u64,
    end: u64,
    values: Vec<Vec<u8>>,
    bytes: u64,
    /// Tells the background thread that the writer is done with it.
    done: SyncSender<()>,
}

/// A move whose batch is about to be written.
pub(crate) struct Moved {
    request: Move,
    relocation: Relocation,
}

/// Copies everything that is live in `generation`. False: the store is closing.
pub(crate) fn rewrite(shared: &Shared, rocks: &Rocks, generation: u32) -> bool {
    for cell in shared.cells.all() {
        let mut next = 0;
        loop {
            let piece = cell.lock().segments.live_in(generation, next);
            let Some((first, end)) = piece else { break };
            let (values, bytes) = read_piece(rocks, &cell, generation, first, end);
            if values.is_empty() {
                // The log changed since the map was asked; what it says now is asked next time.
                break;
            }
            let end = first + values.len() as u64;
            if !submit(shared, &cell, generation, (first, end), values, bytes) {
                return false;
            }
            next = end;
        }
    }
    true
}

fn submit(
    shared: &Shared,
    cell: &Arc<Cell>,
    from: u32,
    (first, end): (u64, u64),
    values: Vec<Vec<u8>>,
    bytes: u64,
) -> bool {
    let (done, finished) = mpsc::sync_channel(1);
    let room = shared.queue.unbounded(usize::try_from(bytes).unwrap_or(usize::MAX));
    let request = Move { cell: Arc::clone(cell), from, first, end, values, bytes, done };
    let pushed = shared.queue.push(room, crate::queue::Op::Move(request));
    pushed.is_ok() && finished.recv().is_ok() && !shared.retire.closing()
}

/// Reads and verifies values from `first` on, up to a piece's size.
fn read_piece(
    rocks: &Rocks,
    cell: &Cell,
    generation: u32,
    first: u64,
    end: u64,
) -> (Vec<Vec<u8>>, u64) {
    let low = keys::entry(generation, cell.id, first);
    let high = keys::entry(generation, cell.id, end);
    let mut values = Vec::new();
    let mut bytes = 0;
    let mut entries = rocks.scan(rocks.log(), &low, &high);
    entries.seek_to_first();
    while let Some((key, value)) = entries.item() {
        let index = first + values.len() as u64;
        if keys::entry_index(key, generation, cell.id) != Some(index) {
            break;
        }
        if entry::verify(cell.id, index, value).is_none() {
            fatal("checksum mismatch", &format!("entry {index} of group {}", cell.id));
        }
        values.push(value.to_vec());
        bytes += entry::stored_bytes(value.len());
        if bytes >= PIECE_BYTES as u64 {
            break;
        }
        entries.next();
    }
    if let Err(error) = entries.status() {
        fatal("cannot read entries to move", &error);
    }
    (values, bytes)
}

impl Writer {
    /// Adds the piece to the batch, if the map still says that it is live where it was read.
    pub fn stage_move(&mut self, request: Move, batch: &mut WriteBatch) -> Option<Moved> {
        let current = self.shared.generations.lock().current();
        let cell = &request.cell;
        let relocation = cell.lock().segments.plan_move(
            request.from,
            current,
            request.first,
            request.end,
            request.bytes,
        )?;
        let (log, meta) = (self.rocks.log(), self.rocks.meta());
        for (index, value) in (request.first..).zip(&request.values) {
            batch.put_cf(log, keys::entry(current, cell.id, index), value);
        }
        for gone in &relocation.gone {
            batch.delete_cf(meta, keys::group(cell.id, Kind::Segment, gone.first));
        }
        for put in &relocation.put {
            batch.put_cf(meta, keys::group(cell.id, Kind::Segment, put.first), put.encode());
        }
        Some(Moved { request, relocation })
    }

    /// The piece is in its new home: readers may go there.
    pub fn finish_move(&mut self, moved: Moved) {
        let Moved { request, relocation } = moved;
        let mut group = request.cell.lock();
        group.version += 1;
        let mut generations = self.shared.generations.lock();
        generations.wrote(request.bytes);
        // First what comes, then what goes: a generation that keeps a part must not look dead.
        for put in &relocation.put {
            generations.add(put.generation, 1, group.segments.live_of(put));
        }
        for gone in &relocation.gone {
            generations.remove(gone.generation, 1, group.segments.live_of(gone));
        }
        drop(generations);
        group.segments.apply_move(&relocation);
        drop(group);
        add(&self.shared.counters.bytes_rewritten, request.bytes);
        // The other side may be closing, then nobody waits.
        let _ = request.done.send(());
    }
}
