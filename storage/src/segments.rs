//! Which generation holds which part of a group's log.
//!
//! A segment is a run of indexes in one generation. The keys found in a generation mean nothing by
//! themselves: an entry exists only if a segment names it, which is how purged, truncated and moved
//! entries vanish without being deleted one by one.
//!
//! Two rules make recovery possible without reading data. A *sealed* segment carries its end in its
//! record. The one *open* segment of a group, always its last and always in the generation being
//! written, does not; its end is the greatest key of the group in that generation, so whoever cuts
//! the log there must delete the keys behind the cut in the same batch.

use std::collections::VecDeque;

/// Indexes `[first, end)` lie in `generation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub first: u64,
    pub end: u64,
    /// Bytes of all of `[first, end)`, purged entries included; an estimate after a cut.
    pub bytes: u64,
    pub generation: u32,
    pub open: bool,
}

const _: () = assert!(size_of::<Segment>() == 32, "a segment per 64 KiB must stay cheap");

/// Bytes of a segment's record: generation u32, end u64 (0 = open), bytes u64.
pub(crate) const RECORD: usize = 4 + 8 + 8;

impl Segment {
    pub fn encode(&self) -> [u8; RECORD] {
        let mut value = [0; RECORD];
        let end = if self.open { 0 } else { self.end };
        value[..4].copy_from_slice(&self.generation.to_be_bytes());
        value[4..12].copy_from_slice(&end.to_be_bytes());
        value[12..].copy_from_slice(&self.bytes.to_be_bytes());
        value
    }

    /// An open segment decodes with `end == first`; the caller finds the end.
    pub fn decode(first: u64, value: &[u8]) -> Option<Segment> {
        if value.len() != RECORD {
            return None;
        }
        let generation = u32::from_be_bytes(value[..4].try_into().ok()?);
        let end = u64::from_be_bytes(value[4..12].try_into().ok()?);
        let bytes = u64::from_be_bytes(value[12..].try_into().ok()?);
        let open = end == 0;
        Some(Segment { first, end: if open { first } else { end }, bytes, generation, open })
    }

    /// The share of the bytes that lies in `[from, to)`.
    pub fn share(&self, from: u64, to: u64) -> u64 {
        let (from, to) = (from.max(self.first), to.min(self.end));
        if from >= to {
            return 0;
        }
        let part = u128::from(self.bytes) * u128::from(to - from);
        (part / u128::from(self.end - self.first)) as u64
    }

    fn live(&self, start: u64) -> u64 {
        self.share(start, self.end)
    }
}

/// A segment before and after a change, for the accounting and the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub before: Segment,
    pub after: Option<Segment>,
    /// Live bytes lost.
    pub freed: u64,
}

/// The segments of one group in index order, without gaps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segments {
    list: VecDeque<Segment>,
    /// First index that is not purged, as far as the writer has come.
    start: u64,
    total: u64,
    /// The newest generation that holds keys of the group, purged ones included.
    newest: Option<u32>,
}

impl Segments {
    pub fn from_sorted(list: VecDeque<Segment>, start: u64) -> Segments {
        let total = list.iter().map(|segment| segment.bytes).sum();
        let newest = list.iter().map(|segment| segment.generation).max();
        Segments { list, start, total, newest }
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.list.iter()
    }

    /// Live bytes; only the first segment can be purged in part.
    pub fn live_bytes(&self) -> u64 {
        let purged = self.list.front().map_or(0, |front| front.bytes - front.live(self.start));
        self.total - purged
    }

    /// Whether keys of the group may lie in this generation, the newest one.
    pub fn has_keys_in(&self, generation: u32) -> bool {
        self.newest == Some(generation)
    }

    /// Live bytes of one segment of this group.
    pub fn live_of(&self, segment: &Segment) -> u64 {
        segment.live(self.start)
    }

    /// Takes in `count` entries from `first` on, written to `generation`; gives the new segment if
    /// this begins one.
    pub fn append(
        &mut self,
        generation: u32,
        first: u64,
        count: u64,
        bytes: u64,
    ) -> Option<Segment> {
        self.total += bytes;
        self.newest = Some(generation);
        if let Some(last) = self.list.back_mut()
            && last.open
            && last.generation == generation
        {
            last.end += count;
            last.bytes += bytes;
            return None;
        }
        let segment = Segment { first, end: first + count, bytes, generation, open: true };
        if self.list.is_empty() {
            self.start = self.start.max(first);
        }
        self.list.push_back(segment);
        Some(segment)
    }

    /// Ends the open segment, because its generation ends; gives it sealed.
    pub fn seal(&mut self) -> Option<Segment> {
        let last = self.list.back_mut().filter(|segment| segment.open)?;
        last.open = false;
        Some(*last)
    }

    /// Forgets `[end, ..)`, newest segment first.
    pub fn truncate(&mut self, end: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some(last) = self.list.back_mut().filter(|segment| segment.end > end) {
            let before = *last;
            let freed_from = end.max(self.start);
            let freed = before.share(freed_from, before.end);
            // What is left must hold something live, or a later map could not tell its start.
            let after = (before.first.max(self.start) < end).then(|| Segment {
                end,
                bytes: before.share(before.first, end),
                ..before
            });
            match after {
                Some(kept) => *last = kept,
                None => drop(self.list.pop_back()),
            }
            self.total -= before.bytes - after.map_or(0, |kept| kept.bytes);
            changes.push(Change { before, after, freed });
        }
        changes
    }

    /// Moves the start of the log to `start`. A segment purged in part stays as it is.
    pub fn purge(&mut self, start: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        let old_start = self.start;
        self.start = self.start.max(start);
        while let Some(&before) = self.list.front().filter(|segment| segment.end <= self.start) {
            self.list.pop_front();
            self.total -= before.bytes;
            changes.push(Change { before, after: None, freed: before.live(old_start) });
        }
        if let Some(&before) = self.list.front().filter(|segment| segment.first < self.start) {
            let freed = before.live(old_start) - before.live(self.start);
            changes.push(Change { before, after: Some(before), freed });
        }
        if self.list.is_empty() {
            self.list.shrink_to_fit();
        }
        changes
    }

    /// Forgets everything; the log goes on at `start`.
    pub fn clear(&mut self, start: u64) -> Vec<Change> {
        let old_start = self.start;
        self.start = start;
        self.total = 0;
        std::mem::take(&mut self.list)
            .into_iter()
            .map(|before| Change { before, after: None, freed: before.live(old_start) })
            .collect()
    }

    /// The parts of `[from, to)` and where they lie, at most `max` of them, in index order.
    pub fn plan(&self, from: u64, to: u64, max: usize) -> Vec<(u32, u64, u64)> {
        let at = self.list.partition_point(|segment| segment.end <= from);
        self.list
            .range(at..)
            .take_while(|segment| segment.first < to)
            .take(max)
            .map(|s| (s.generation, s.first.max(from), s.end.min(to)))
            .collect()
    }

    /// The live part of the first segment that lies in `generation`.
    pub fn live_in(&self, generation: u32) -> Option<(u64, u64)> {
        let found = self.list.iter().find(|segment| segment.generation == generation)?;
        Some((found.first.max(self.start), found.end))
    }
}

mod relocate;
pub(crate) use relocate::Relocation;

#[cfg(test)]
mod tests;
