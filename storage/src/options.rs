//! Sizes and bounds of the store, with defaults for three brokers on one small machine.
//!
//! The memory a broker can use for storage is about
//! `generation_bytes x 3` (the memtable being filled and up to two being flushed)
//! `+ tail_cache_bytes + block_cache_bytes + queue_bytes + 8 x batch_bytes`:
//! at most 64 x 3 + 64 + 32 + 32 + 8 = about 330 MiB by default, and a few MiB when idle and fresh,
//! because all of it is allocated on demand.
//!
//! A generation is the unit in which disk space is freed and in which one group's entries lie
//! together: with `g` active groups a cold read finds `generation_bytes / g` bytes in one place.
//! 64 MiB suits up to about 500 active groups; use 256 MiB up to 2,000 and more beyond.

use std::time::Duration;

use crate::Error;
use crate::space::Watermarks;

/// Options of [`Db::open`](crate::Db::open). All sizes are bytes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Log bytes after which the next generation begins. Allowed 64 KiB to 4 GiB.
    pub generation_bytes: u64,
    /// Time after which a generation that holds anything ends, however small it is; one of which
    /// half is dead ends after a twenty-fourth of it. Allowed 24 ms to 365 days.
    pub generation_age: Duration,
    /// The writer merges requests into one batch up to this size. Allowed 4 KiB to 64 MiB.
    pub batch_bytes: usize,
    /// Bytes that may wait for the writer before callers wait. Allowed 64 KiB to 2 GiB.
    pub queue_bytes: usize,
    /// Batches written but not yet synced. Allowed 1 to 64.
    pub outstanding_batches: usize,
    /// Newest entries kept in memory, all groups together.
    pub tail_cache_bytes: usize,
    /// Newest entries kept in memory, one group.
    pub tail_cache_group_bytes: usize,
    /// RocksDB's cache of uncompressed blocks, indexes included.
    pub block_cache_bytes: usize,
    /// Survivors of a generation are rewritten when less than this share of it, in percent, is
    /// live. Allowed 0 (never) to 90.
    pub rewrite_below_percent: u32,
    /// Bytes of records after which a chunk is full. Allowed 4 KiB to 1 GiB. It is synced as a whole, which others feel.
    pub chunk_bytes: u64,
    /// Flush and compact past the page cache where the file system can (measured: 40 % less CPU).
    pub direct_io: bool,
    /// Size of RocksDB's manifest at which it begins another. It is read as a whole when the store opens.
    pub manifest_bytes: usize,
    /// Files RocksDB keeps open; 0 takes half of the process's limit.
    pub max_open_files: i32,
    /// Threads for flushes and compactions, a quarter of them for flushes. Allowed 1 to 64.
    pub background_jobs: i32,
    /// Free bytes of the disk below which it is short of space; 0 is never.
    pub free_bytes_low: u64,
    /// Free bytes at which a disk that was short of space no longer is.
    pub free_bytes_resume: u64,
    /// Bytes set aside for opening on a full disk; 0 for none.
    pub ballast_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            generation_bytes: 64 << 20,
            generation_age: Duration::from_secs(24 * 3600),
            batch_bytes: 1 << 20,
            queue_bytes: 32 << 20,
            outstanding_batches: 8,
            tail_cache_bytes: 64 << 20,
            tail_cache_group_bytes: 4 << 20,
            block_cache_bytes: 32 << 20,
            rewrite_below_percent: 25,
            chunk_bytes: 32 << 20,
            direct_io: true,
            manifest_bytes: 64 << 20,
            max_open_files: 0,
            background_jobs: 8,
            free_bytes_low: 0,
            free_bytes_resume: 0,
            ballast_bytes: 0,
        }
    }
}

impl Options {
    pub(crate) fn watermarks(&self) -> Watermarks {
        Watermarks { low: self.free_bytes_low, resume: self.free_bytes_resume }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let check = |name, value: u64, low: u64, high: u64, allowed| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(Error::Option { name, value, allowed })
            }
        };
        let generation = self.generation_bytes;
        check("generation_bytes", generation, 64 << 10, 4 << 30, "64 KiB to 4 GiB")?;
        let age = u64::try_from(self.generation_age.as_millis()).unwrap_or(u64::MAX);
        check("generation_age", age, 24, 365 * 86_400_000, "24 ms to 365 days")?;
        check("batch_bytes", self.batch_bytes as u64, 4 << 10, 64 << 20, "4 KiB to 64 MiB")?;
        check("queue_bytes", self.queue_bytes as u64, 64 << 10, 2 << 30, "64 KiB to 2 GiB")?;
        check("outstanding_batches", self.outstanding_batches as u64, 1, 64, "1 to 64")?;
        check("chunk_bytes", self.chunk_bytes, 4 << 10, 1 << 30, "4 KiB to 1 GiB")?;
        check("rewrite_below_percent", self.rewrite_below_percent.into(), 0, 90, "0 to 90")?;
        check("background_jobs", self.background_jobs as u64, 1, 64, "1 to 64")
    }
}
