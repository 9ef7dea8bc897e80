//! `lost-write`: a committed value that nobody read, though somebody read past it.
//!
//! Whoever has read a key up to some place must have read everything before it. How far that is follows from the
//! *first* place of each value that was read, and a value is missing only if its *last* place is before: so it
//! stays true in a log with duplicates and conflicts.

use std::collections::{BTreeMap, HashMap};

use super::Cases;
use crate::checker::analysis::{Analysis, Key};

pub fn check(analysis: &Analysis<'_>, cases: &mut Cases<'_>) {
    for (key, known) in &analysis.keys {
        let places = Places::of(known);
        let Some(bound) =
            known.read.iter().filter_map(|value| places.first.get(value)).copied().max()
        else {
            continue;
        };
        for (index, values) in places.last.range(..=bound) {
            for value in values.iter().filter(|value| !known.read.contains(value)) {
                let Some(writer) = known.writer.get(value) else { continue };
                if !analysis.must_have_committed(*writer) {
                    continue;
                }
                let past = places.last.range(bound..).flat_map(|(_, values)| values);
                let reader = past.filter_map(|value| known.readers.get(value)?.first()).next();
                let ops = [Some(writer), reader].into_iter().flatten();
                let case = || {
                    let offsets: Vec<i64> = known.order.offsets_of(*value).collect();
                    format!(
                        "key {key} value {value} (offset {offsets:?}, index {index}) was never read, \
                         though somebody read up to index {bound}"
                    )
                };
                cases.add("lost-write", case, ops.map(|position| analysis.index_of(*position)));
            }
        }
    }
}

/// Where values are, by index.
struct Places {
    first: HashMap<i64, usize>,
    /// Values by the index at which they appear last.
    last: BTreeMap<usize, Vec<i64>>,
}

impl Places {
    fn of(key: &Key) -> Places {
        let mut first = HashMap::new();
        let mut latest = BTreeMap::new();
        for (index, values) in key.order.log.values().enumerate() {
            for value in values {
                first.entry(*value).or_insert(index);
                latest.insert(*value, index);
            }
        }
        let mut last: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        for (value, index) in latest {
            last.entry(index).or_default().push(value);
        }
        Places { first, last }
    }
}
