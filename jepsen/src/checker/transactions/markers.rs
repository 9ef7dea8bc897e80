//! Markers: between the records of two transactions of a producer stands the end of the first, it is the one that was asked
//! for, and the same in every partition.

use std::collections::BTreeMap;

use super::seen::{Ended, Seen};
use crate::checker::Findings;
use crate::history::Kind;

/// What a log has of a producer, by offset.
enum Event {
    /// A value of the transaction at this place.
    Value(usize),
    End(Ended),
}

pub fn check(seen: &Seen, found: &mut Findings) {
    // How each transaction was ended, by the first partition that says so.
    let mut ends: BTreeMap<usize, (i64, bool)> = BTreeMap::new();
    for key in seen.keys.difference(&seen.compacted) {
        for (producer, events) in events(seen, *key) {
            let mut open: Option<usize> = None;
            for event in events.into_values() {
                match event {
                    Event::Value(place) => {
                        if let Some(before) = open.filter(|before| *before != place) {
                            missing(seen, *key, before, place, found);
                        }
                        open = Some(place);
                    }
                    Event::End(ended) => {
                        if let Some(place) = open.take() {
                            end(seen, *key, place, &ended, found);
                            agree(seen, *key, place, &ended, &mut ends, found);
                        }
                    }
                }
            }
            if let Some(place) = open {
                let transaction = &seen.transactions[place];
                let case = || format!("key {key}, producer {producer}: {}", transaction.who());
                found.invalid("transaction-hangs", case, [transaction.op]);
            }
        }
    }
}

/// By producer and offset.
fn events(seen: &Seen, key: i64) -> BTreeMap<i64, BTreeMap<i64, Event>> {
    let mut events: BTreeMap<i64, BTreeMap<i64, Event>> = BTreeMap::new();
    let Some(log) = seen.log(key, false) else { return events };
    for (offset, value) in &log.values {
        let Some((place, _)) = seen.writers.get(&(key, *value)) else { continue };
        let producer = seen.transactions[*place].told.producer;
        events.entry(producer).or_default().insert(*offset, Event::Value(*place));
    }
    for ended in &log.markers {
        let of_producer = events.entry(ended.producer).or_default();
        of_producer.insert(ended.offset, Event::End(*ended));
    }
    events
}

fn missing(seen: &Seen, key: i64, before: usize, after: usize, found: &mut Findings) {
    let (before, after) = (&seen.transactions[before], &seen.transactions[after]);
    let case = || format!("key {key}: {}, then {}", before.who(), after.who());
    found.invalid("marker-missing", case, [before.op, after.op]);
}

/// Whether a transaction was ended as was asked.
fn end(seen: &Seen, key: i64, place: usize, ended: &Ended, found: &mut Findings) {
    let transaction = &seen.transactions[place];
    let how = |commit| if commit { "committed" } else { "aborted" };
    let wrong = match transaction.kind {
        Kind::Ok => !ended.commit,
        Kind::Fail => ended.commit,
        Kind::Info | Kind::Invoke => false,
    };
    let at = ended.offset;
    if wrong {
        let case =
            || format!("key {key} offset {at}: {} is {}", transaction.who(), how(ended.commit));
        found.invalid("marker-wrong", case, [transaction.op]);
    }
    if ended.epoch < transaction.told.epoch {
        let case =
            || format!("key {key} offset {at}: epoch {}, {}", ended.epoch, transaction.who());
        found.invalid("marker-of-old-epoch", case, [transaction.op]);
    }
}

/// Whether all partitions say the same of it.
fn agree(
    seen: &Seen,
    key: i64,
    place: usize,
    ended: &Ended,
    ends: &mut BTreeMap<usize, (i64, bool)>,
    found: &mut Findings,
) {
    let (first, commit) = *ends.entry(place).or_insert((key, ended.commit));
    if commit != ended.commit {
        let transaction = &seen.transactions[place];
        let case = || format!("{}: keys {first} and {key} end it differently", transaction.who());
        found.invalid("torn-transaction", case, [transaction.op]);
    }
}
