//! `duplicate`: a value at two offsets of a partition, though it was sent once.

use std::collections::BTreeMap;

use super::Cases;
use crate::checker::analysis::Analysis;

pub fn check(analysis: &Analysis<'_>, cases: &mut Cases<'_>) {
    for (key, known) in &analysis.keys {
        let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
        for value in known.order.log.values().flatten() {
            *counts.entry(*value).or_default() += 1;
        }
        for (value, _) in counts.into_iter().filter(|(_, count)| *count > 1) {
            let writer = known.writer.get(&value).copied();
            let readers = known.readers.get(&value).into_iter().flatten().copied().take(4);
            let ops = writer.into_iter().chain(readers).map(|position| analysis.index_of(position));
            let case = || {
                let offsets: Vec<i64> = known.order.offsets_of(value).collect();
                format!("key {key} value {value} is at offsets {offsets:?}")
            };
            cases.add("duplicate", case, ops);
        }
    }
}
