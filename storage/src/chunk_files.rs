//! The files of chunks: their numbers, and what becomes of those that nothing names.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::rocks::Rocks;

/// Chunks being written at a time: each has a file open.
pub(crate) const WRITERS_MAX: usize = 64;
/// How the files are called until the store takes them.
pub(crate) const EXTENSION: &str = "chunk";

/// Numbers for chunks, and who writes some.
#[derive(Debug, Default)]
pub(crate) struct ChunkNumbers {
    next: AtomicU64,
    writers: AtomicUsize,
}

impl ChunkNumbers {
    pub fn new(next: u64) -> ChunkNumbers {
        ChunkNumbers { next: AtomicU64::new(next), writers: AtomicUsize::new(0) }
    }

    /// All numbers that were given out are below.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// A number for one more writer; None if there are too many.
    pub fn begin(&self) -> Option<u64> {
        let more = |writers| (writers < WRITERS_MAX).then_some(writers + 1);
        let begun = self.writers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        begun.ok().map(|_| self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A writer has ended.
    pub fn end(&self) {
        self.writers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Drops the chunks that no row names, when the store opens.
pub(crate) fn drop_unnamed(rocks: &Rocks, named: &BTreeSet<u64>) -> Result<(), rocksdb::Error> {
    for number in rocks.chunk_files()?.difference(named) {
        tracing::info!(chunk = number, "dropping a chunk that belongs to no group");
        rocks.drop_chunk(*number)?;
    }
    Ok(())
}

/// Removes what was being written when the process died.
pub(crate) fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
