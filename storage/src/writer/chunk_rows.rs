//! The rows that say which chunks a group has.

use std::sync::Arc;

use super::Writer;
use super::stage::Staged;
use crate::GroupId;
use crate::chunks::Chunk;
use crate::group::Cell;
use crate::keys::{self, Kind};
use crate::queue::ChunkChange;
use crate::sync::Callback;

impl Writer {
    pub(super) fn change_chunks(&self, id: GroupId, change: ChunkChange, staged: &mut Staged) {
        let meta = self.rocks.meta();
        for (first, _) in &change.gone {
            staged.batch.delete_cf(meta, keys::group(id, Kind::Chunk, *first));
        }
        change.new.iter().for_each(|chunk| self.put_chunk(id, chunk, staged));
        if !change.new.is_empty() {
            let next = self.shared.chunk_numbers.next();
            staged.batch.put_cf(meta, keys::next_chunk(), next.to_be_bytes());
        }
        self.retire_chunks(change.gone.into_iter().map(|(_, number)| number).collect(), staged);
    }

    pub(super) fn note_damaged_chunk(&self, cell: &Cell, number: u64, staged: &mut Staged) {
        // What is said of it now: it may be gone meanwhile.
        let damaged = cell.lock().chunks.find(number).cloned();
        if let Some(chunk) = damaged {
            self.put_chunk(cell.id, &chunk, staged);
        }
    }

    fn put_chunk(&self, id: GroupId, chunk: &Chunk, staged: &mut Staged) {
        let key = keys::group(id, Kind::Chunk, chunk.first);
        staged.batch.put_cf(self.rocks.meta(), key, chunk.encode());
    }

    /// Has the files dropped once no row names them for good.
    pub(super) fn retire_chunks(&self, numbers: Vec<u64>, staged: &mut Staged) {
        if numbers.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let gone = Box::new(move || shared.retire.add_chunks(numbers));
        staged.callbacks.push(Callback::Always(gone));
    }
}
