//! The logs as consumers read them, put together: which record is where, and what there was before it.

use std::collections::{BTreeMap, HashMap};

use super::batch::Content;
use super::nameless;
use super::seen::{Event, NAMELESS, Record, Seen, State};
use crate::checker::Findings;

/// See the module.
#[derive(Default)]
pub struct Log {
    pub partitions: BTreeMap<i64, Partition>,
    /// Where each value is, the first place if there are several.
    places: HashMap<i64, (i64, i64)>,
    is_read: bool,
}

#[derive(Default)]
pub struct Partition {
    /// By offset.
    pub records: BTreeMap<i64, Record>,
    /// Offsets of the records of a key: that of version n is at n - 1.
    keys: HashMap<String, Vec<i64>>,
    /// Versions of the tombstones of a key.
    tombstones: HashMap<String, Vec<i64>>,
    tags: HashMap<String, Vec<i64>>,
    /// All before this may be gone in the end.
    pub start: i64,
    /// Behind the last record.
    pub end: i64,
}

impl Log {
    pub fn of(seen: &Seen, found: &mut Findings) -> Log {
        let mut log = Log::default();
        let mut read: BTreeMap<i64, bool> = BTreeMap::new();
        for consumed in &seen.consumed {
            let number = consumed.partition;
            *read.entry(number).or_default() |= consumed.is_final;
            let partition = log.partitions.entry(number).or_default();
            partition.start = partition.start.max(consumed.start);
            for record in &consumed.records {
                let known =
                    partition.records.entry(record.offset).or_insert_with(|| record.clone());
                if known != record {
                    let case = || format!("partition {number}: {known:?} and {record:?}");
                    found.invalid("log-differs", case, [consumed.ended]);
                }
            }
        }
        log.is_read = !read.is_empty() && read.values().all(|is_final| *is_final);
        nameless::name(seen, &mut log.partitions);
        for (number, partition) in &mut log.partitions {
            partition.index(*number, found);
            for (offset, record) in partition.records.iter().filter(|(_, it)| it.id != NAMELESS) {
                let (other, before) = *log.places.entry(record.id).or_insert((*number, *offset));
                if (other, before) != (*number, *offset) {
                    let case = || {
                        let id = record.id;
                        format!("{id} is at {other}/{before} and at {number}/{offset}")
                    };
                    found.invalid("append-doubled", case, []);
                }
            }
        }
        log
    }

    /// Whether all partitions were read to their ends when all was over.
    pub fn is_read(&self) -> bool {
        self.is_read
    }

    /// Partition and offset of a value.
    pub fn place(&self, id: i64) -> Option<(i64, i64)> {
        self.places.get(&id).copied()
    }

    /// The version that a value is of its key.
    pub fn version(&self, id: i64) -> Option<i64> {
        let (number, offset) = self.place(id)?;
        let partition = self.partitions.get(&number)?;
        Some(partition.version_before(&partition.records.get(&offset)?.key, offset) + 1)
    }
}

impl Partition {
    fn index(&mut self, number: i64, found: &mut Findings) {
        for (offset, record) in &self.records {
            if *offset != self.end {
                let case =
                    || format!("partition {number}: {} is followed by {offset}", self.end - 1);
                found.invalid("log-gap", case, []);
            }
            self.end = offset + 1;
            let of_key = self.keys.entry(record.key.clone()).or_default();
            let last = of_key.last().and_then(|last| self.records.get(last));
            if last.is_some_and(|it| it.content == Content::Close) {
                let case = || format!("partition {number}: {record:?} is behind {last:?}");
                found.invalid("appended-after-close", case, []);
            }
            of_key.push(*offset);
            if record.content != Content::Event {
                let version = i64::try_from(of_key.len()).unwrap_or(i64::MAX);
                self.tombstones.entry(record.key.clone()).or_default().push(version);
            }
            for tag in &record.tags {
                self.tags.entry(tag.clone()).or_default().push(*offset);
            }
        }
    }

    pub fn of_key(&self, key: &str) -> &[i64] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    pub fn of_tag(&self, tag: &str) -> &[i64] {
        self.tags.get(tag).map_or(&[], Vec::as_slice)
    }

    /// The version that a key has just before an offset.
    pub fn version_before(&self, key: &str, offset: i64) -> i64 {
        let before = self.of_key(key).partition_point(|at| *at < offset);
        i64::try_from(before).unwrap_or(i64::MAX)
    }

    /// The record that is a version of a key.
    pub fn of_version(&self, key: &str, version: i64) -> Option<&Record> {
        let place = usize::try_from(version.checked_sub(1)?).ok()?;
        self.records.get(self.of_key(key).get(place)?)
    }

    /// The last tombstone of a key that has come to a version; 0 if it has none.
    pub fn hidden_at(&self, key: &str, version: i64) -> i64 {
        let tombstones = self.tombstones.get(key).map_or(&[][..], Vec::as_slice);
        let before = tombstones.partition_point(|at| *at <= version);
        before.checked_sub(1).map_or(0, |last| tombstones[last])
    }

    /// What a key is while it has a version; nothing if it never had that.
    pub fn state_at(&self, key: &str, version: i64) -> Option<State> {
        if version == 0 {
            return Some(State::Unknown);
        }
        Some(match self.of_version(key, version)?.content {
            Content::Event => State::Visible,
            Content::Tombstone => State::Deleted,
            Content::Close => State::Closed,
        })
    }

    /// Whether a record that somebody was sent is there as it was sent.
    pub fn has(&self, event: &Event) -> bool {
        let record = event.offset.and_then(|offset| self.records.get(&offset));
        record
            .is_some_and(|it| it.content == event.content && event.id.is_none_or(|id| id == it.id))
    }

    /// Whether a key has something to show while it has a version.
    pub fn is_visible_at(&self, key: &str, version: i64) -> bool {
        self.state_at(key, version) == Some(State::Visible)
    }

    /// Whether there is a record with a tag behind one offset and before another.
    pub fn has_tag_between(&self, tag: &str, after: i64, before: i64) -> bool {
        self.of_tag(tag).iter().any(|at| *at > after && *at < before)
    }
}
