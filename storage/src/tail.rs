//! The newest entries of one group, kept in memory.
//!
//! They serve two readers at once: replication and apply, which want what was appended a moment ago
//! (possibly not written yet), and consumers at the end of the log. An entry that is not written
//! yet cannot be evicted, so a reader finds every entry either here or on disk.

use std::collections::VecDeque;

use crate::Entry;

/// Memory an entry costs beside its payload.
pub(crate) const ENTRY_OVERHEAD: usize = size_of::<Entry>() + 8;

/// Empty rings above this capacity are given back.
const KEEP_CAPACITY: usize = 64;

#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    /// Contiguous; the last one is the log's last.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// First index of each append the writer has not written yet, in queue order.
    unwritten: VecDeque<u64>,
}

fn cost(entry: &Entry) -> usize {
    entry.payload.len() + ENTRY_OVERHEAD
}

impl Tail {
    /// Index of the first entry held.
    pub fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.id.index)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the entries of one append; the writer answers with [`Tail::written`].
    pub fn push(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        self.unwritten.push_back(first.id.index);
        self.bytes += entries.iter().map(cost).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// The oldest append that was not written yet is written now.
    pub fn written(&mut self) {
        self.unwritten.pop_front();
    }

    /// Drops the oldest written entries: those up to `upto`, or until `bytes_max` is kept.
    pub fn evict(&mut self, upto: u64, bytes_max: usize) {
        let pinned = self.unwritten.iter().min().copied().unwrap_or(u64::MAX);
        while let Some(front) = self.entries.front()
            && front.id.index < pinned
            && (front.id.index <= upto || self.bytes > bytes_max)
        {
            self.bytes -= cost(front);
            self.entries.pop_front();
        }
        self.shrink();
    }

    /// Drops the entries from `end` on.
    pub fn truncate(&mut self, end: u64) {
        while let Some(back) = self.entries.back()
            && back.id.index >= end
        {
            self.bytes -= cost(back);
            self.entries.pop_back();
        }
        self.shrink();
    }

    /// Drops the entries before `start`, written or not: nobody may read them.
    pub fn purge(&mut self, start: u64) {
        while let Some(front) = self.entries.front()
            && front.id.index < start
        {
            self.bytes -= cost(front);
            self.entries.pop_front();
        }
        self.shrink();
    }

    /// Entries `[from, to)` while they fit into `bytes_max`, at least one if `out` is empty.
    /// False: `from` is not here.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize, out: &mut Vec<Entry>) -> bool {
        let Some(skip) = self.first().and_then(|first| from.checked_sub(first)) else {
            return false;
        };
        let Ok(skip) = usize::try_from(skip) else { return false };
        if skip >= self.entries.len() {
            return false;
        }
        let mut left = bytes_max;
        for entry in self.entries.range(skip..) {
            let size = entry.payload.len();
            if entry.id.index >= to || (size > left && !out.is_empty()) {
                break;
            }
            left = left.saturating_sub(size);
            out.push(entry.clone());
        }
        true
    }

    fn shrink(&mut self) {
        if self.entries.is_empty() && self.entries.capacity() > KEEP_CAPACITY {
            self.entries.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{EntryId, EntryKind};

    fn entries(first: u64, count: u64) -> Vec<Entry> {
        (first..first + count)
            .map(|index| Entry {
                id: EntryId { term: 1, index },
                kind: EntryKind::Normal,
                payload: Bytes::from(vec![0; 100]),
            })
            .collect()
    }

    fn indexes(tail: &Tail, from: u64, to: u64, bytes_max: usize) -> Vec<u64> {
        let mut out = Vec::new();
        tail.read(from, to, bytes_max, &mut out);
        out.iter().map(|entry| entry.id.index).collect()
    }

    #[test]
    fn reads_stop_at_the_byte_bound_but_give_at_least_one() {
        let mut tail = Tail::default();
        tail.push(&entries(5, 5));
        assert_eq!(indexes(&tail, 6, 9, 1000), vec![6, 7, 8]);
        assert_eq!(indexes(&tail, 6, 100, 250), vec![6, 7]);
        assert_eq!(indexes(&tail, 6, 100, 0), vec![6]);
        assert!(!tail.read(4, 9, 1000, &mut Vec::new()));
        assert!(!tail.read(10, 12, 1000, &mut Vec::new()));
    }

    #[test]
    fn what_is_not_written_cannot_be_evicted() {
        let mut tail = Tail::default();
        tail.push(&entries(1, 4));
        tail.push(&entries(5, 4));
        tail.evict(100, 0);
        assert_eq!(tail.first(), Some(1));
        tail.written();
        tail.evict(100, 0);
        assert_eq!(tail.first(), Some(5));
        tail.written();
        tail.evict(6, usize::MAX);
        assert_eq!(tail.first(), Some(7));
        tail.evict(0, 0);
        assert_eq!((tail.first(), tail.bytes()), (None, 0));
    }

    #[test]
    fn an_old_write_does_not_release_entries_appended_after_a_truncation() {
        let mut tail = Tail::default();
        tail.push(&entries(1, 10));
        tail.truncate(6);
        tail.push(&entries(6, 3));
        tail.written();
        tail.evict(10, 0);
        assert_eq!(tail.first(), Some(6), "the second append is not written yet");
    }

    #[test]
    fn purging_and_truncating_keep_the_byte_count() {
        let mut tail = Tail::default();
        tail.push(&entries(1, 10));
        tail.purge(4);
        tail.truncate(8);
        assert_eq!(indexes(&tail, 4, 100, usize::MAX), vec![4, 5, 6, 7]);
        assert_eq!(tail.bytes(), 4 * (100 + ENTRY_OVERHEAD));
        tail.purge(100);
        assert_eq!(tail.bytes(), 0);
    }
}
