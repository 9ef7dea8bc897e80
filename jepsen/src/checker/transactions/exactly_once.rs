//! Consume, transform, produce: each input that the group has gone over was made into exactly one output.
//!
//! An input is made into another output with every attempt, of which at most one is committed together with the offset
//! behind it.

use std::collections::{BTreeMap, HashMap};

use super::seen::Seen;
use super::told::Derived;
use crate::checker::{Findings, Verdict};

/// Which input each output that is visible in the end was made of, and by which operation.
fn outputs(seen: &Seen) -> Vec<(Derived, u64)> {
    let mut derives: HashMap<(i64, i64), (Derived, u64)> = HashMap::new();
    for transaction in &seen.transactions {
        for derived in &transaction.told.derives {
            derives.insert((derived.key, derived.value), (*derived, transaction.op));
        }
    }
    let logs = seen.keys.iter().filter_map(|key| Some((*key, seen.log(*key, true)?)));
    let values = logs.flat_map(|(key, log)| log.values.iter().map(move |(_, it)| (key, *it)));
    values.filter_map(|place| derives.get(&place).copied()).collect()
}

/// How many inputs were made into outputs.
pub fn derived(seen: &Seen) -> usize {
    outputs(seen).len()
}

pub fn check(seen: &Seen, found: &mut Findings) {
    let outputs = outputs(seen);
    let mut of_input: BTreeMap<(i64, i64), (Derived, u64)> = BTreeMap::new();
    for (derived, op) in &outputs {
        let input = (derived.from_key, derived.from_offset);
        if let Some((other, first)) = of_input.insert(input, (*derived, *op)) {
            let case = || {
                let at = |it: &Derived| format!("key {} value {}", it.key, it.value);
                let (one, another) = (at(&other), at(derived));
                format!("key {} offset {}: {one} and {another}", input.0, input.1)
            };
            found.invalid("derived-twice", case, [first, *op]);
        }
    }
    let last = seen.offsets.iter().rfind(|it| it.last && it.stable);
    let mut sources: Vec<i64> = seen
        .transactions
        .iter()
        .flat_map(|transaction| transaction.told.derives.iter().map(|it| it.from_key))
        .collect();
    sources.sort_unstable();
    sources.dedup();
    for key in sources {
        let Some(inputs) = seen.log(key, true) else { continue };
        let inputs: BTreeMap<i64, i64> = inputs.values.iter().copied().collect();
        for (derived, op) in of_input.range((key, i64::MIN)..=(key, i64::MAX)).map(|(_, it)| it) {
            if inputs.get(&derived.from_offset) != Some(&derived.from_value) {
                let (at, value) = (derived.from_offset, derived.from_value);
                let case = || format!("key {key} value {value} is not at offset {at}");
                found.invalid("derived-from-nothing", case, [*op]);
            }
        }
        let Some(last) = last else {
            let case = || format!("the group's offset of key {key}");
            found.add("group-offsets-unread", Verdict::Unknown, case, []);
            continue;
        };
        let next = last.offsets.get(&key).copied().unwrap_or(-1);
        for (offset, value) in inputs.range(..next.max(0)) {
            if !of_input.contains_key(&(key, *offset)) {
                let case = || {
                    format!("key {key} value {value} at offset {offset}, the group is at {next}")
                };
                found.invalid("not-derived", case, [last.op]);
            }
        }
        for ((_, offset), (_, op)) in of_input.range((key, next)..=(key, i64::MAX)) {
            let case = || format!("key {key} offset {offset}, the group is at {next}");
            found.invalid("derived-beyond-offset", case, [*op, last.op]);
        }
    }
}
