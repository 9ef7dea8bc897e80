//! `duplicate`: a value at two offsets of a partition, though it was sent once.

use std::collections::BTreeMap;

use super::Cases;
use crate::checker::analysis::{Analysis, Key};

pub fn check(analysis: &Analysis<'_>, cases: &mut Cases<'_>) {
    for (key, known) in &analysis.keys {
        let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
        for value in known.order.log.values().flatten() {
            *counts.entry(*value).or_default() += 1;
        }
        for (value, _) in counts.into_iter().filter(|(_, count)| *count > 1) {
            let writer = known.writer.get(&value).copied();
            let ops = writer.into_iter().chain(witnesses(analysis, *key, known, value));
            let ops = ops.map(|position| analysis.index_of(position));
            let case = || {
                let offsets: Vec<i64> = known.order.offsets_of(value).collect();
                format!("key {key} value {value} is at offsets {offsets:?}")
            };
            cases.add("duplicate", case, ops);
        }
    }
}

/// For each offset of the value, the first operation that read it there.
fn witnesses<'a>(
    analysis: &'a Analysis<'_>,
    key: i64,
    known: &'a Key,
    value: i64,
) -> impl Iterator<Item = usize> + 'a {
    let readers = known.readers.get(&value).map_or(&[][..], Vec::as_slice);
    known.order.offsets_of(value).take(4).filter_map(move |offset| {
        let there = |reader: &&usize| {
            let reads = analysis.reads[**reader].iter().filter(|(other, _)| *other == key);
            reads.flat_map(|(_, values)| values).any(|placed| *placed == (Some(offset), value))
        };
        readers.iter().find(there).copied()
    })
}
