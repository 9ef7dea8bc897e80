//! Writing chunks: beside the store, which takes each as it is once it is whole.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use rocksdb::{Options as RocksOptions, SstFileWriter};

use crate::chunk_files::{EXTENSION, WRITERS_MAX};
use crate::chunks::{self, Chunk, NewChunk};
use crate::db::Db;
use crate::{Error, failpoint, keys, rocks};

static OPTIONS: LazyLock<RocksOptions> = LazyLock::new(rocks::chunk_writer_options);

/// A chunk being written. Nobody sees it before it is finished, and its file goes if it is dropped before.
///
/// All of its methods block for the disk.
pub struct ChunkWriter {
    db: Arc<Db>,
    file: SstFileWriter<'static>,
    path: PathBuf,
    number: u64,
    /// Where it begins, if not with its first record.
    begin: Option<u64>,
    /// First and last offset.
    offsets: Option<(u64, u64)>,
    bytes: u64,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for ChunkWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, offsets, bytes, .. } = self;
        write!(f, "chunk {number} with offsets {offsets:?} in {bytes} bytes")
    }
}

impl Db {
    /// Begins a chunk, for whatever group.
    ///
    /// Fails with [`Error::ChunkNotWritten`], also when too many are being written or the disk is short of space: try again
    /// later.
    pub fn chunk_writer(self: &Arc<Self>) -> Result<ChunkWriter, Error> {
        if self.low_on_space() {
            return Err(not_written("the disk is short of space"));
        }
        let number = self.shared.chunk_numbers.begin().ok_or_else(|| {
            Error::ChunkNotWritten(format!("{WRITERS_MAX} are being written, try again later"))
        })?;
        let path = self.shared.dir.join(format!("{number:06}.{EXTENSION}"));
        let file = SstFileWriter::create(&OPTIONS);
        let writer = ChunkWriter {
            db: Arc::clone(self),
            file,
            path,
            number,
            begin: None,
            offsets: None,
            bytes: 0,
            scratch: Vec::new(),
        };
        writer.file.open(&writer.path).map_err(not_written)?;
        Ok(writer)
    }
}

impl ChunkWriter {
    /// Has it begin at an offset before its first record: it stands for those between too.
    pub fn begin_at(&mut self, offset: u64) {
        self.begin = Some(offset);
    }

    /// Adds a record. Offsets increase.
    ///
    /// Fails with [`Error::ChunkNotWritten`]; the chunk is of no use then.
    pub fn put(&mut self, offset: u64, value: &[u8]) -> Result<(), Error> {
        let (first, last) = self.offsets.unwrap_or((offset, offset));
        if self.offsets.is_some() && offset <= last {
            return Err(not_written(format!("offset {offset} is not above {last}")));
        }
        chunks::encode_record(self.number, offset, value, &mut self.scratch);
        let key = keys::record(self.number, offset);
        self.file.put(key, &self.scratch).map_err(not_written)?;
        self.offsets = Some((first, offset));
        self.bytes += (key.len() + self.scratch.len()) as u64;
        Ok(())
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_none()
    }

    /// Whether it is as large as one should be.
    pub fn is_full(&self) -> bool {
        self.bytes >= self.db.shared.options.chunk_bytes
    }

    /// Ends it: `end` is the offset behind its records, `index` the first log entry whose records are behind it. It is
    /// durable when this returns, and seen once a group has it.
    ///
    /// Fails with [`Error::ChunkNotWritten`], also for an empty one, and with [`Error::Closed`].
    pub fn finish(mut self, end: u64, index: u64, description: Bytes) -> Result<NewChunk, Error> {
        let (first, last) = self.offsets.ok_or_else(|| not_written("it has no record"))?;
        let begin = self.begin.unwrap_or(first);
        if first < begin || end <= last {
            let held = format!("it is for offsets {begin} to {end}, but holds {first} to {last}");
            return Err(not_written(held));
        }
        failpoint::hit("chunk.finish");
        self.file.finish().map_err(not_written)?;
        let bytes = fs::metadata(&self.path).map_err(not_written)?.len();
        failpoint::hit("chunk.written");
        self.db.with_rocks(|rocks| rocks.take_chunk(&self.path))?.map_err(not_written)?;
        failpoint::hit("chunk.taken");
        let number = self.number;
        let first = begin;
        let chunk = Chunk { number, first, end, bytes, index, description, damaged: false };
        let shared = Arc::clone(&self.db.shared);
        let unnamed = move |number| shared.retire.add_chunks(vec![number]);
        Ok(NewChunk::new(chunk, Box::new(unnamed)))
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        self.db.shared.chunk_numbers.end();
        // Not there if the store took it; else the next opening removes it.
        drop(fs::remove_file(&self.path));
    }
}

fn not_written(error: impl std::fmt::Display) -> Error {
    Error::ChunkNotWritten(error.to_string())
}
