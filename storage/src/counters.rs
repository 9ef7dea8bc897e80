//! What the store counts about itself, and the snapshot of it for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::chunks::Chunks;

/// A snapshot of the store's counters. Those said to count do so since the store was opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// Counts entries appended.
    pub entries_appended: u64,
    /// Counts payload bytes appended.
    pub bytes_appended: u64,
    /// Counts batches written.
    pub batches: u64,
    /// Counts fsyncs of the write-ahead log.
    pub syncs: u64,
    /// Sum of the time the fsyncs took.
    pub sync_time: Duration,
    /// The longest fsync.
    pub sync_time_max: Duration,
    /// Bytes accepted and not written yet.
    pub queue_bytes: u64,
    /// Batches written and not synced yet.
    pub unsynced_batches: u64,
    /// Generations that hold entries, the one being written included.
    pub generations: u64,
    /// Counts generations whose files were dropped.
    pub generations_dropped: u64,
    /// Counts bytes rewritten out of old generations.
    pub bytes_rewritten: u64,
    /// Counts groups that were looked at when a generation was rewritten.
    pub rewrite_groups_examined: u64,
    /// Bytes of entries that are neither purged nor truncated.
    pub live_bytes: u64,
    /// Bytes of the chunks that groups have.
    pub chunk_bytes: u64,
    /// Bytes of the data directory, refreshed every few seconds.
    pub disk_bytes: u64,
    /// Bytes of entries kept in memory.
    pub cache_bytes: u64,
    /// Bytes that are free on the disk.
    pub free_bytes: u64,
    /// Bytes set aside for opening on a full disk.
    pub ballast_bytes: u64,
    /// The disk is short of space.
    pub low_space: bool,
    /// Tables are behind, so new entries are held back.
    pub behind: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub entries_appended: AtomicU64,
    pub bytes_appended: AtomicU64,
    pub batches: AtomicU64,
    pub syncs: AtomicU64,
    pub sync_nanos: AtomicU64,
    pub sync_nanos_max: AtomicU64,
    pub generations_dropped: AtomicU64,
    pub bytes_rewritten: AtomicU64,
    pub rewrite_groups_examined: AtomicU64,
    /// Bytes written to the write-ahead log since the generation began.
    pub logged_bytes: AtomicU64,
    pub chunk_bytes: AtomicU64,
    pub disk_bytes: AtomicU64,
    pub cache_bytes: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

pub(crate) fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    pub fn synced(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(&self.syncs, 1);
        add(&self.sync_nanos, nanos);
        self.sync_nanos_max.fetch_max(nanos, Ordering::Relaxed);
    }

    /// A group has these chunks instead of those.
    pub fn chunks_changed(&self, before: &Chunks, after: &Chunks) {
        add(&self.chunk_bytes, after.bytes());
        self.chunk_bytes.fetch_sub(before.bytes(), Ordering::Relaxed);
    }

    /// Moves the cache's byte count from what a group's tail had to what it has.
    pub fn tail_changed(&self, before: usize, after: usize) {
        if after >= before {
            add(&self.cache_bytes, (after - before) as u64);
        } else {
            self.cache_bytes.fetch_sub((before - after) as u64, Ordering::Relaxed);
        }
    }
}
