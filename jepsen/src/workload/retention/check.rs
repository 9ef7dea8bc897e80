//! What removal of records may not do: `lost-above-log-start`, `log-start-lost`, `read-below-log-start`, and what
//! `skips` finds.
//!
//! That the log start does not regress from answer to answer is checked for every workload.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::checker::{Finding, Findings};
use crate::history::{Body, Edn, Kind, Mop, Op, Sent};

use super::super::answers::{Answer, answers, reads};
use super::skips;

/// The highest log start told, by key and leader epoch.
type Starts = BTreeMap<i64, BTreeMap<i64, i64>>;

pub fn check(history: &[Op]) -> Vec<Finding> {
    let mut found = Findings::default();
    skips::check(history, &mut found);
    let mut starts = Starts::new();
    // What had been told when a poll began.
    let mut open: HashMap<_, Starts> = HashMap::new();
    let mut sent: BTreeMap<(i64, i64), (i64, u64)> = BTreeMap::new();
    let mut read: BTreeSet<(i64, i64)> = BTreeSet::new();
    let mut deleted: BTreeMap<i64, (i64, u64)> = BTreeMap::new();
    for op in history {
        match (&op.body, op.kind) {
            (Body::Poll(_), Kind::Invoke) => drop(open.insert(op.process, starts.clone())),
            (Body::Poll(mops), _) => {
                let known = open.remove(&op.process).unwrap_or_default();
                let answers = answers(op);
                below(op.index, mops, &answers, &known, &mut found);
                for answer in answers {
                    let most =
                        starts.entry(answer.key).or_default().entry(answer.epoch).or_default();
                    *most = answer.start.max(*most);
                }
                if op.kind == Kind::Ok {
                    read.extend(reads(mops).map(|(key, _, value)| (key, value)));
                }
            }
            (Body::Send(mops), Kind::Ok) => {
                for mop in mops {
                    if let Mop::Send { key, value, sent: Sent::At(offset) } = mop {
                        sent.insert((*key, *value), (*offset, op.index));
                    }
                }
            }
            (Body::Other(f, Edn::Vector(pair)), Kind::Ok) if f == "delete-records" => {
                if let [Edn::Integer(key), Edn::Integer(low)] = pair[..] {
                    let most = deleted.entry(key).or_insert((low, op.index));
                    if low > most.0 {
                        *most = (low, op.index);
                    }
                }
            }
            _ => {}
        }
    }
    let last: BTreeMap<i64, i64> = starts
        .iter()
        .map(|(key, epochs)| (*key, epochs.values().copied().max().unwrap_or(0)))
        .collect();
    for (key, (low, op)) in &deleted {
        let start = last.get(key).copied().unwrap_or(0);
        if start < *low {
            let case = || {
                format!("key {key}: deleted before {low}, but in the end the log starts at {start}")
            };
            found.invalid("log-start-lost", case, [*op]);
        }
    }
    for ((key, value), (offset, op)) in &sent {
        let start = last.get(key).copied().unwrap_or(0);
        if *offset >= start && !read.contains(&(*key, *value)) {
            let case = || {
                format!("key {key}: value {value} at {offset} is gone, the log starts at {start}")
            };
            found.invalid("lost-above-log-start", case, [*op]);
        }
    }
    found.finish()
}

/// Nothing below a log start is served by a leader of the same or a later epoch that is asked after it was told.
fn below(op: u64, mops: &[Mop], answers: &[Answer], known: &Starts, found: &mut Findings) {
    for (key, offset, value) in reads(mops) {
        let Some(answer) = answers.iter().find(|answer| answer.key == key) else { continue };
        let epochs = known.get(&key).into_iter().flat_map(|epochs| epochs.range(..=answer.epoch));
        let start = epochs.map(|(_, start)| *start).max().unwrap_or(0);
        if offset < start {
            let case = || {
                format!(
                    "key {key}: value {value} at {offset} was read after the log started at {start}"
                )
            };
            found.invalid("read-below-log-start", case, [op]);
        }
    }
}

#[cfg(test)]
mod tests;
