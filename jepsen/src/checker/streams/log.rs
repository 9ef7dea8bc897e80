//! The logs as consumers read them, put together: which record is where, and what there was before it.

use std::collections::{BTreeMap, HashMap};

use super::seen::{Record, Seen};
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
        for (number, partition) in &mut log.partitions {
            partition.index(*number, found);
            for (offset, record) in &partition.records {
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
            self.keys.entry(record.key.clone()).or_default().push(*offset);
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

    /// Whether there is a record with a tag behind one offset and before another.
    pub fn has_tag_between(&self, tag: &str, after: i64, before: i64) -> bool {
        self.of_tag(tag).iter().any(|at| *at > after && *at < before)
    }
}
