//! Fences: once an instance was given an id, nothing is taken of those that had it before; and once a partition has taken
//! something in an epoch, nothing more in a lower one.
//!
//! What was sent before may have been taken, whenever it is answered. So it counts when a value was sent first.

use std::collections::HashMap;

use super::seen::{Seen, Transaction};
use super::told::{Answer, Wrote};
use crate::checker::{Findings, Verdict};

/// A lower epoch is over from this time on, by this operation.
struct Fence {
    epoch: i64,
    at_ns: i64,
    op: u64,
}

#[derive(Default)]
struct Fences {
    /// By producer.
    ids: HashMap<i64, Vec<Fence>>,
    /// By producer and key.
    keys: HashMap<(i64, i64), Vec<Fence>>,
}

impl Fences {
    fn of(seen: &Seen) -> Fences {
        let mut fences = Fences::default();
        for init in &seen.inits {
            let fence = Fence { epoch: init.epoch, at_ns: init.done_ns, op: init.op };
            fences.ids.entry(init.producer).or_default().push(fence);
        }
        for transaction in &seen.transactions {
            for wrote in transaction.told.writes.iter().filter(|wrote| wrote.acked_ns >= 0) {
                let fence = Fence { epoch: wrote.epoch, at_ns: wrote.acked_ns, op: transaction.op };
                let place = (transaction.told.producer, wrote.key);
                fences.keys.entry(place).or_default().push(fence);
            }
        }
        fences
    }

    /// The operation that had ended an epoch of an id when something was sent.
    fn id(&self, producer: i64, epoch: i64, sent_ns: i64) -> Option<u64> {
        over(self.ids.get(&producer), epoch, sent_ns)
    }

    fn write(&self, producer: i64, wrote: &Wrote) -> Option<u64> {
        let of_key = self.keys.get(&(producer, wrote.key));
        let by_id = self.id(producer, wrote.epoch, wrote.sent_ns);
        by_id.or_else(|| over(of_key, wrote.epoch, wrote.sent_ns))
    }
}

fn over(fences: Option<&Vec<Fence>>, epoch: i64, sent_ns: i64) -> Option<u64> {
    let over = |fence: &&Fence| fence.epoch > epoch && fence.at_ns < sent_ns;
    Some(fences?.iter().find(over)?.op)
}

/// Writes that were sent after their epoch was over.
pub fn tried(seen: &Seen) -> usize {
    let fences = Fences::of(seen);
    let of = |transaction: &Transaction| {
        let producer = transaction.told.producer;
        let fenced = |wrote: &&Wrote| fences.write(producer, wrote).is_some();
        transaction.told.writes.iter().filter(fenced).count()
    };
    seen.transactions.iter().map(of).sum()
}

pub fn check(seen: &Seen, found: &mut Findings) {
    let fences = Fences::of(seen);
    for transaction in &seen.transactions {
        let told = &transaction.told;
        for wrote in told.writes.iter().filter(|wrote| wrote.acked_ns >= 0) {
            let Some(by) = fences.write(told.producer, wrote) else { continue };
            let case = || {
                let Wrote { key, value, epoch, .. } = wrote;
                format!("key {key} value {value} in epoch {epoch} of {}", transaction.who())
            };
            found.invalid("fenced-acknowledged", case, [by, transaction.op]);
        }
        let commit = told.ends.iter().find(|end| end.commit);
        let is_done = transaction.committed_ns().is_some();
        if let Some(first) = commit.filter(|_| is_done)
            && let Some(by) = fences.id(told.producer, told.epoch, first.sent_ns)
        {
            found.invalid("fenced-committed", || transaction.who(), [by, transaction.op]);
        }
    }
    for sight in &seen.sights {
        let Some((transaction, wrote)) = seen.writer(sight.key, sight.value) else { continue };
        let Some(by) = fences.write(transaction.told.producer, wrote) else { continue };
        let case = || {
            let (key, value) = (sight.key, sight.value);
            format!("key {key} value {value} at offset {} of {}", sight.offset, transaction.who())
        };
        found.invalid("fenced-visible", case, [by, transaction.op, sight.op]);
    }
    let refused = |it: &&Transaction| it.told.ends.iter().any(|end| end.answer == Answer::Refused);
    let count = seen.transactions.iter().filter(refused).count();
    if count > 0 {
        let case = || format!("{count} transactions could not be ended by who had begun them");
        found.add("ends-refused", Verdict::Valid, case, []);
    }
}
