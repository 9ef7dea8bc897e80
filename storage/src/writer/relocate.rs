//! The writer's part in a move: the map decides what of it is still wanted.

use rocksdb::WriteBatch;

use super::Writer;
use crate::counters::add;
use crate::keys::{self, Kind};
use crate::moves::{Move, Moved, Piece};

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
