//! `producer-sequence`: in the log, the records of an idempotent producer are numbered without a gap and without a
//! repetition, from 0 for each of its epochs, and epochs never go back.
//!
//! A log is noted as `:batches` with `[[base-offset producer-id epoch first-sequence count] ...]` in its order.

use std::collections::HashMap;

use super::{list, number};
use crate::checker::Findings;
use crate::history::{Body, Edn, Op};

/// Sequences are 31 bits and begin at 0 again.
const WRAP: i64 = 1 << 31;

pub fn check(history: &[Op], found: &mut Findings) {
    for op in history {
        let Body::Other(f, value) = &op.body else { continue };
        if f != "batches" {
            continue;
        }
        let key = number(value, "key").unwrap_or(-1);
        let batches = list(super::field(value, "batches"));
        let batches: Option<Vec<Batch>> = batches.iter().map(Batch::of).collect();
        let wrong =
            batches.map_or_else(|| vec!["unreadable".to_owned()], |batches| judge(&batches));
        for wrong in wrong {
            found.invalid("producer-sequence", || format!("key {key}: {wrong}"), [op.index]);
        }
    }
}

#[derive(Clone, Copy)]
struct Batch {
    base: i64,
    producer: i64,
    epoch: i64,
    sequence: i64,
    count: i64,
}

impl Batch {
    fn of(value: &Edn) -> Option<Batch> {
        match list(Some(value)) {
            [
                Edn::Integer(base),
                Edn::Integer(producer),
                Edn::Integer(epoch),
                Edn::Integer(sequence),
                Edn::Integer(count),
            ] => Some(Batch {
                base: *base,
                producer: *producer,
                epoch: *epoch,
                sequence: *sequence,
                count: *count,
            }),
            _ => None,
        }
    }
}

fn judge(batches: &[Batch]) -> Vec<String> {
    let mut wrong = Vec::new();
    // Per producer its epoch and the sequence that is due.
    let mut due: HashMap<i64, (i64, i64)> = HashMap::new();
    // The beginning of the log may have been deleted, and with it the beginnings of producers.
    let whole = batches.first().is_none_or(|batch| batch.base == 0);
    for batch in batches.iter().filter(|batch| batch.producer >= 0) {
        let Batch { base, producer, epoch, sequence, count } = *batch;
        let expected = match due.get(&producer) {
            Some((last, _)) if epoch < *last => {
                wrong
                    .push(format!("offset {base}: producer {producer} epoch {epoch} after {last}"));
                continue;
            }
            Some((last, next)) if epoch == *last => Some(*next),
            None if !whole => None,
            Some(_) | None => Some(0),
        };
        if let Some(expected) = expected
            && expected != sequence
        {
            wrong.push(format!(
                "offset {base}: producer {producer} epoch {epoch} sequence {sequence} where \
                 {expected} is due"
            ));
        }
        due.insert(producer, (epoch, (sequence + count) % WRAP));
    }
    wrong
}
