//! Rewriting what is left of an old generation, so that its space comes back.
//!
//! Groups keep their entries for different times, so a generation can be held by a few slow ones.
//! When less than a quarter of it is live, the background thread copies the rest into the current
//! generation, one move at a time through the writer and no faster than `pace` allows. With that
//! bound the copies add at most a third to what is written.

use std::sync::Arc;
use std::sync::mpsc;

use crate::counters::add;
use crate::group::Cell;
use crate::moves::{Move, Piece};
use crate::rocks::Rocks;
use crate::shared::Shared;
use crate::{corrupt, entry, fatal, keys};

/// A move carries about this much, so that appends wait for no more.
const MOVE_BYTES: u64 = 512 << 10;

/// Where the map says that entries `[first, end)` of a group are, as long as the group has this version.
struct Place {
    generation: u32,
    first: u64,
    end: u64,
    version: u64,
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
