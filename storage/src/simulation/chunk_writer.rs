//! Writing chunks on a simulated disk, with the interface of the real one.
//!
//! What nobody took stays until the next opening, as after a crash.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::db::Db;
use crate::Error;
use crate::chunks::{Chunk, NewChunk};

/// A chunk being written. Nobody sees it before it is finished.
pub struct ChunkWriter {
    db: Arc<Db>,
    begin: Option<u64>,
    records: BTreeMap<u64, Bytes>,
    bytes: u64,
}

impl fmt::Debug for ChunkWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk of {} records in {} bytes", self.records.len(), self.bytes)
    }
}

impl Db {
    /// Begins a chunk, for whatever group.
    pub fn chunk_writer(self: &Arc<Self>) -> Result<ChunkWriter, Error> {
        Ok(ChunkWriter { db: Arc::clone(self), begin: None, records: BTreeMap::new(), bytes: 0 })
    }
}

impl ChunkWriter {
    /// Has it begin at an offset before its first record.
    pub fn begin_at(&mut self, offset: u64) {
        self.begin = Some(offset);
    }

    /// Adds a record. Offsets increase.
    pub fn put(&mut self, offset: u64, value: &[u8]) -> Result<(), Error> {
        if self.records.last_key_value().is_some_and(|(last, _)| offset <= *last) {
            return Err(Error::ChunkNotWritten(format!("offset {offset} does not increase")));
        }
        self.bytes += value.len() as u64;
        self.records.insert(offset, Bytes::copy_from_slice(value));
        Ok(())
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether it is as large as one should be.
    pub fn is_full(&self) -> bool {
        self.bytes >= self.db.chunk_bytes
    }

    /// Ends it; it is durable when this returns.
    pub fn finish(self, end: u64, index: u64, description: Bytes) -> Result<NewChunk, Error> {
        let first = self.records.first_key_value().map(|(first, _)| *first);
        let first = first.ok_or_else(|| Error::ChunkNotWritten("it has no record".to_owned()))?;
        let first = self.begin.unwrap_or(first);
        let records = Arc::new(self.records);
        let number = self.db.change(|inner| {
            inner.chunk_numbers += 1;
            inner.chunks.insert(inner.chunk_numbers, records);
            inner.chunk_numbers
        })?;
        let bytes = self.bytes;
        let chunk = Chunk { number, first, end, bytes, index, description, damaged: false };
        Ok(NewChunk::new(chunk, Box::new(|_| {})))
    }
}
