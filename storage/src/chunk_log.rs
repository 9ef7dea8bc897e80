//! The chunks of a group, as its handle gives them.

use std::ops::Range;
use std::sync::Arc;

use crate::chunk_writer::ChunkWriter;
use crate::chunks::{Chunk, ChunkRecords, Chunks, NewChunk};
use crate::group::Group;
use crate::log::Log;
use crate::queue::{ChunkChange, Op, WritePermit};
use crate::{Durable, Error, chunk_read};

impl Log {
    /// The group's chunks, in order.
    pub fn chunks(&self) -> Chunks {
        self.cell.lock().chunks.clone()
    }

    /// Puts new chunks in the place of some, in one write: `gone` are places in `seen`. `durable` fires when that is
    /// durable; the files of those that go are dropped then.
    ///
    /// Nothing changes, and false is returned, if the chunks are not as `seen` any more, or if the log begins behind where
    /// the new ones end: then who wrote them saw another log.
    ///
    /// Fails with [`Error::ChunkNotWritten`] if there would be a gap, and with [`Error::Closed`]; then nothing changed.
    pub async fn change_chunks(
        &self,
        seen: &Chunks,
        gone: Range<usize>,
        new: Vec<NewChunk>,
        durable: Durable,
    ) -> Result<bool, Error> {
        let permit = self.db.shared.queue.permit(0).await?;
        let mut group = self.cell.lock();
        let start = group.start();
        let is_behind = |last: &NewChunk| gone.end == seen.len() && last.index < start;
        if !group.chunks.is_same(seen) || new.last().is_some_and(is_behind) {
            return Ok(false);
        }
        self.splice(permit, &mut group, gone, new, durable)?;
        Ok(true)
    }

    /// Puts new chunks in the place of all that there are, in one write. `durable` fires when that is durable.
    ///
    /// Fails with [`Error::ChunkNotWritten`] if they do not follow on each other, and with [`Error::Closed`]; then nothing
    /// changed.
    pub async fn replace_chunks(&self, new: Vec<NewChunk>, durable: Durable) -> Result<(), Error> {
        let permit = self.db.shared.queue.permit(0).await?;
        let mut group = self.cell.lock();
        let all = 0..group.chunks.len();
        self.splice(permit, &mut group, all, new, durable)
    }

    fn splice(
        &self,
        permit: WritePermit<'_>,
        group: &mut Group,
        gone: Range<usize>,
        new: Vec<NewChunk>,
        durable: Durable,
    ) -> Result<(), Error> {
        let added: Vec<Chunk> = new.iter().map(|chunk| Chunk::clone(chunk)).collect();
        let seen = group.chunks.clone();
        let now = seen.spliced(self.cell.id, gone.clone(), &added)?;
        self.set_chunks(group, now);
        let change = ChunkChange {
            gone: seen[gone].iter().map(|chunk| (chunk.first, chunk.number)).collect(),
            new: new.into_iter().map(NewChunk::named).collect(),
        };
        let create = group.create();
        let cell = Arc::clone(&self.cell);
        self.db.shared.queue.push(permit, Op::Chunks { cell, create, change, durable })?;
        Ok(())
    }

    /// Records of one of `chunks`: from the last one at or before `from` on, while their values fit into `bytes_max`, at
    /// least one. Empty behind the last chunk. Reads the disk.
    ///
    /// Fails with [`Error::ChunkDropped`] if the group does not have the chunk any more and its file is gone, and with
    /// [`Error::CorruptChunk`].
    pub fn read_chunk(
        &self,
        chunks: &Chunks,
        from: u64,
        bytes_max: usize,
    ) -> Result<ChunkRecords, Error> {
        let shared = &self.db.shared;
        let what = (from, bytes_max);
        self.db.with_rocks(|rocks| chunk_read::read(shared, rocks, &self.cell, chunks, what))?
    }

    /// Bytes of records after which a chunk of this store is full.
    pub fn chunk_bytes(&self) -> u64 {
        self.db.shared.options.chunk_bytes
    }

    /// Begins a chunk on the store this is a log of, see [`Db::chunk_writer`].
    pub fn chunk_writer(&self) -> Result<ChunkWriter, Error> {
        self.db.chunk_writer()
    }
}
