//! Rewriting what is left of an old generation, so that its space comes back.
//!
//! Groups keep their entries for different times, so a generation can be held by a few slow ones.
//! When less than a quarter of it is live, the background thread copies the rest into the current
//! generation, one move at a time through the writer and no faster than `pace` allows. With that
//! bound the copies add at most a third to what is written.

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
use crate::{corrupt, entry, fatal};

/// A move carries about this much, so that appends wait for no more.
const MOVE_BYTES: u64 = 512 << 10;

/// Pieces of several groups on their way to the current generation, at most one of each group.
pub(crate) struct Move {
    from: u32,
    pieces: Vec<Piece>,
    /// Tells the background thread that the writer is done with it.
    done: SyncSender<()>,
}

/// Entries `[first, end)` of a group, as they are stored.
struct Piece {
    cell: Arc<Cell>,
    first: u64,
    end: u64,
    values: Vec<Vec<u8>>,
    bytes: u64,
}

/// Where the map says that entries `[first, end)` of a group are, as long as the group has this version.
struct Place {
    generation: u32,
    first: u64,
    end: u64,
    version: u64,
}

/// A move whose batch is about to be written.
pub(crate) struct Moved {
    pieces: Vec<(Piece, Relocation)>,
    done: SyncSender<()>,
}

/// Moves some of what is live in `generation`; gives its bytes, 0 if nothing could be moved.
pub(crate) fn rewrite(shared: &Shared, rocks: &Rocks, generation: u32) -> u64 {
    let (mut pieces, mut bytes, mut asked) = (Vec::new(), 0, Vec::new());
    while bytes < MOVE_BYTES {
        let Some(group) = shared.generations.lock().take_group(generation) else { break };
        add(&shared.counters.rewrite_groups_examined, 1);
        let Some(cell) = shared.cells.find(group) else { continue };
        let (version, live, damaged) = {
            let group = cell.lock();
            (group.version, group.segments.live_in(generation), group.corrupt.is_some())
        };
        let Some((first, end)) = live else { continue };
        // Also what is not moved now: it may be mended, and is looked for here then.
        asked.push(Arc::clone(&cell));
        if damaged {
            // A damaged log stays where it is, for whoever wants to repair it.
            continue;
        }
        let place = Place { generation, first, end, version };
        if let Some(piece) = read_piece(shared, rocks, cell, &place, MOVE_BYTES - bytes) {
            bytes += piece.bytes;
            pieces.push(piece);
        }
    }
    let moved = !pieces.is_empty() && move_pieces(shared, generation, pieces, bytes);
    for cell in asked {
        if cell.lock().segments.live_in(generation).is_some() {
            shared.generations.lock().return_group(generation, cell.id);
        }
    }
    if moved { bytes } else { 0 }
}

/// Has the writer move the pieces. False: the store is closing.
fn move_pieces(shared: &Shared, from: u32, pieces: Vec<Piece>, bytes: u64) -> bool {
    tracing::debug!(generation = from, bytes, groups = pieces.len(), "rewriting a generation");
    let (done, finished) = mpsc::sync_channel(1);
    let request = Move { from, pieces, done };
    let pushed = shared.queue.push_move(usize::try_from(bytes).unwrap_or(usize::MAX), request);
    pushed.is_ok() && finished.recv().is_ok()
}

/// Reads and verifies entries from `first` on, up to `bytes_max` and at least one. None if the log
/// changed since the map was asked; what it says now is asked next time.
fn read_piece(
    shared: &Shared,
    rocks: &Rocks,
    cell: Arc<Cell>,
    place: &Place,
    bytes_max: u64,
) -> Option<Piece> {
    let Place { generation, first, end, version } = *place;
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
            corrupt::mark(shared, &cell, (version, index), &"its checksum is wrong");
            return None;
        }
        values.push(value.to_vec());
        bytes += entry::stored_bytes(value.len());
        if bytes >= bytes_max {
            break;
        }
        entries.next();
    }
    match entries.status() {
        Ok(()) => {}
        Err(error) if error.kind() == rocksdb::ErrorKind::Corruption => {
            let index = first + values.len() as u64;
            corrupt::mark(shared, &cell, (version, index), &error);
            return None;
        }
        Err(error) => fatal("cannot read entries to move", &error),
    }
    drop(entries);
    let end = first + values.len() as u64;
    (end > first).then_some(Piece { cell, first, end, values, bytes })
}

impl Writer {
    /// Adds to the batch what the map still says is live where it was read.
    pub fn stage_move(&mut self, request: Move, batch: &mut WriteBatch) -> Moved {
        let current = self.shared.generations.lock().current();
        let mut moved = Moved { pieces: Vec::new(), done: request.done };
        let (log, meta) = (self.rocks.log(), self.rocks.meta());
        for piece in request.pieces {
            let Piece { cell, first, end, values, bytes } = &piece;
            let relocation =
                cell.lock().segments.plan_move(request.from, current, *first, *end, *bytes);
            let Some(relocation) = relocation else { continue };
            for (index, value) in (*first..).zip(values) {
                batch.put_cf(log, keys::entry(current, cell.id, index), value);
            }
            for gone in &relocation.gone {
                batch.delete_cf(meta, keys::group(cell.id, Kind::Segment, gone.first));
            }
            for put in &relocation.put {
                batch.put_cf(meta, keys::group(cell.id, Kind::Segment, put.first), put.encode());
            }
            moved.pieces.push((piece, relocation));
        }
        moved
    }

    /// The pieces are in their new home: readers may go there.
    pub fn finish_move(&mut self, moved: Moved) {
        for (piece, relocation) in &moved.pieces {
            let mut group = piece.cell.lock();
            group.version += 1;
            let mut generations = self.shared.generations.lock();
            generations.wrote(piece.bytes);
            // First what comes, then what goes: a generation that keeps a part must not look dead.
            for put in &relocation.put {
                generations.begin(put.generation, piece.cell.id);
                generations.add(put.generation, group.segments.live_of(put));
            }
            for gone in &relocation.gone {
                generations.remove(gone.generation, 1, group.segments.live_of(gone));
            }
            drop(generations);
            group.segments.apply_move(relocation);
            add(&self.shared.counters.bytes_rewritten, piece.bytes);
        }
        // The other side may be closing, then nobody waits.
        let _ = moved.done.send(());
    }
}
