//! `poll-skip` and `nonmonotonic-poll`: from one operation of a process to its next that reads the same key, values
//! are left out, or it goes back or repeats.
//!
//! A new assignment forgets the keys that are not in it. Reads of an operation that did not succeed are looked at and
//! do not move the process: it has to rewind.

use std::collections::BTreeMap;

use super::Cases;
use crate::checker::analysis::Analysis;
use crate::checker::few;
use crate::history::{Body, Kind, Process};

pub fn check(analysis: &Analysis<'_>, cases: &mut Cases<'_>) {
    // Per process and key, the operation that read it last.
    let mut last: BTreeMap<Process, BTreeMap<i64, usize>> = BTreeMap::new();
    for (position, op) in analysis.ops.iter().enumerate() {
        match &op.body {
            Body::Assign(keys) | Body::Subscribe(keys) => {
                if matches!(op.kind, Kind::Ok | Kind::Info) {
                    last.entry(op.process).or_default().retain(|key, _| keys.contains(key));
                }
            }
            Body::Poll(_) | Body::Txn(_) => {
                let last = last.entry(op.process).or_default();
                for (key, _) in &analysis.reads[position] {
                    if let Some(before) = last.get(key) {
                        compare(analysis, *key, *before, position, cases);
                    }
                    if op.kind == Kind::Ok {
                        last.insert(*key, position);
                    }
                }
            }
            _ => {}
        }
    }
}

fn compare(
    analysis: &Analysis<'_>,
    key: i64,
    before: usize,
    position: usize,
    cases: &mut Cases<'_>,
) {
    let Some(order) = analysis.order(key) else { return };
    let first = read_of(analysis, before, key).last().map(|(_, value)| *value);
    let second = read_of(analysis, position, key).first().map(|(_, value)| *value);
    let delta = order.delta(first, second);
    let (Some(first), Some(second)) = (first, second) else { return };
    let ops = [analysis.index_of(before), analysis.index_of(position)];
    if delta > 1 {
        let case = || {
            let skipped = few(order.between(first, second));
            format!("key {key}: a process went from {first} to {second}, {skipped} left out")
        };
        cases.add("poll-skip", case, ops);
    } else if delta < 1 {
        let case =
            || format!("key {key}: a process went from {first} to {second}, {} back", -delta);
        cases.add("nonmonotonic-poll", case, ops);
    }
}

fn read_of<'a>(analysis: &'a Analysis<'_>, position: usize, key: i64) -> &'a [(Option<i64>, i64)] {
    let reads = analysis.reads[position].iter().find(|(other, _)| *other == key);
    reads.map_or(&[], |(_, values)| &values[..])
}
