//! What compaction may not do to what transactions wrote: leave out the newest committed value of a name. What was aborted
//! replaces nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::Compacted;
use super::seen::Seen;
use crate::checker::{Findings, Verdict};
use crate::history::Kind;

/// Offset, value and operation.
type Newest = BTreeMap<i64, (i64, i64, u64)>;

pub fn check(seen: &Seen, compacted: &Compacted, found: &mut Findings) {
    let mut gone = 0;
    for key in seen.keys.intersection(&compacted.keys) {
        let Some(log) = seen.log(*key, true) else { continue };
        let mut newest = Newest::new();
        let acked = seen.transactions.iter().filter(|it| it.kind == Kind::Ok).flat_map(|it| {
            let of_key = it.told.writes.iter().filter(|wrote| wrote.key == *key);
            of_key.filter(|wrote| wrote.offset >= 0).map(|wrote| (wrote, it.op))
        });
        // Whoever may have deleted a name may have left nothing of it.
        let unsure = seen.transactions.iter().filter(|it| it.kind == Kind::Info);
        let unsure = unsure.flat_map(|it| &it.told.writes).filter(|wrote| wrote.key == *key);
        let unsure = unsure.filter(|wrote| (compacted.deletes)(wrote.value));
        let unsure: BTreeSet<i64> = unsure.map(|wrote| (compacted.name)(wrote.value)).collect();
        let left: BTreeMap<i64, i64> = log.values.iter().copied().collect();
        for (wrote, op) in acked {
            gone += usize::from(!left.contains_key(&wrote.offset));
            let row = (wrote.offset, wrote.value, op);
            let last = newest.entry((compacted.name)(wrote.value)).or_insert(row);
            *last = row.max(*last);
        }
        let mut last: BTreeMap<i64, i64> = BTreeMap::new();
        for (offset, value) in &left {
            last.insert((compacted.name)(*value), *offset);
        }
        for (name, (offset, value, op)) in newest {
            let is_there = last.get(&name).is_some_and(|at| *at >= offset);
            if !is_there && !(compacted.deletes)(value) && !unsure.contains(&name) {
                let case = || format!("key {key} name {name}: value {value} at offset {offset}");
                found.invalid("newest-lost", case, [op, log.op]);
            }
        }
    }
    let verdict = if gone == 0 { Verdict::Unknown } else { Verdict::Valid };
    let case = || format!("{gone} committed records are gone");
    found.add("compacted", verdict, case, []);
}
