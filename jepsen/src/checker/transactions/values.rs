//! Values: who may see them when, whether those of a transaction are visible together, and whether what was acknowledged is
//! in the log, once and where that was said.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::seen::{Seen, Transaction};
use crate::checker::Findings;
use crate::history::Kind;

/// What consumers were shown, at any time.
pub fn read(seen: &Seen, found: &mut Findings) {
    for sight in &seen.sights {
        let (key, value) = (sight.key, sight.value);
        let Some((transaction, _)) = seen.writer(key, value) else {
            let case = || format!("key {key} value {value} at offset {}", sight.offset);
            found.invalid("value-from-nowhere", case, [sight.op]);
            continue;
        };
        if !sight.committed {
            continue;
        }
        let place = || format!("key {key} value {value} of {}", transaction.who());
        if transaction.kind == Kind::Fail {
            found.invalid("aborted-read", place, [transaction.op, sight.op]);
        } else if transaction.commit_sent_ns().is_none_or(|sent| sent > sight.done_ns) {
            found.invalid("read-before-commit", place, [transaction.op, sight.op]);
        }
    }
}

/// What is visible of each transaction in the end.
pub fn torn(seen: &Seen, found: &mut Findings) {
    let mut visible: HashMap<i64, HashSet<i64>> = HashMap::new();
    for key in &seen.keys {
        let Some(log) = seen.log(*key, true) else { continue };
        visible.insert(*key, log.values.iter().map(|(_, value)| *value).collect());
    }
    for transaction in &seen.transactions {
        if transaction.kind == Kind::Fail || transaction.is_unended() {
            continue;
        }
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        for wrote in &transaction.told.writes {
            let place = (wrote.key, wrote.value);
            match visible.get(&wrote.key).filter(|_| !seen.compacted.contains(&wrote.key)) {
                Some(values) if values.contains(&wrote.value) => there.push(place),
                Some(_) => missing.push(place),
                None => {}
            }
        }
        judge(transaction, &there, &missing, found);
    }
}

fn judge(
    transaction: &Transaction,
    there: &[(i64, i64)],
    missing: &[(i64, i64)],
    found: &mut Findings,
) {
    if missing.is_empty() {
        return;
    }
    let who = transaction.who();
    if !there.is_empty() {
        let case = || format!("{who}: {} are visible, {} are not", all(there), all(missing));
        found.invalid("torn-transaction", case, [transaction.op]);
    } else if transaction.kind == Kind::Ok {
        let case = || format!("{who}: nothing of {} is visible", all(missing));
        found.invalid("transaction-lost", case, [transaction.op]);
    }
}

fn all(places: &[(i64, i64)]) -> String {
    let places = places.iter().map(|(key, value)| format!("key {key} value {value}"));
    places.collect::<Vec<_>>().join(", ")
}

/// What is in the logs in the end, aborted or not.
pub fn stored(seen: &Seen, found: &mut Findings) {
    for key in &seen.keys {
        let Some(log) = seen.log(*key, false) else { continue };
        let mut places: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (offset, value) in &log.values {
            places.entry(*value).or_default().push(*offset);
        }
        for (value, offsets) in places.iter().filter(|(_, offsets)| offsets.len() > 1) {
            let case = || format!("key {key} value {value} at offsets {offsets:?}");
            found.invalid("stored-twice", case, [log.op]);
        }
        let acked = seen.transactions.iter().flat_map(|transaction| {
            let of_key = transaction.told.writes.iter().filter(|wrote| wrote.key == *key);
            of_key.filter(|wrote| wrote.acked_ns >= 0).map(|wrote| (transaction.op, wrote))
        });
        for (op, wrote) in acked {
            let (value, offset) = (wrote.value, wrote.offset);
            match places.get(&value) {
                Some(offsets) if offset < 0 || offsets.contains(&offset) => {}
                Some(offsets) => {
                    let case =
                        || format!("key {key} value {value} is at {offsets:?}, {offset} was told");
                    found.invalid("value-moved", case, [op, log.op]);
                }
                None if seen.compacted.contains(key) => {}
                None => {
                    let case = || format!("key {key} value {value}, told to be at {offset}");
                    found.invalid("write-lost", case, [op, log.op]);
                }
            }
        }
    }
}
