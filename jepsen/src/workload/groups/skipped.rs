//! Whether a group goes over records: what is below an offset that a member commits, or is told to go on from, somebody has
//! read before.
//!
//! Logs begin at 0 and are dense, and members move on by reading alone; so what was read of a partition has no gap below.

use std::collections::{BTreeMap, BTreeSet};

use super::check::pairs;
use crate::checker::{Finding, Findings};
use crate::history::{Body, Edn, Kind, Mop, Op};

/// What was read of a partition.
#[derive(Default)]
struct Read {
    /// Everything below it.
    below: i64,
    /// Beyond a gap.
    beyond: BTreeSet<i64>,
}

impl Read {
    fn add(&mut self, offset: i64) {
        if offset < self.below {
            return;
        }
        self.beyond.insert(offset);
        while self.beyond.remove(&self.below) {
            self.below += 1;
        }
    }
}

pub fn check(history: &[Op]) -> Vec<Finding> {
    let (mut read, mut found) = (BTreeMap::<i64, Read>::new(), Findings::default());
    for op in history {
        match (op.kind, &op.body) {
            (Kind::Ok, Body::Poll(mops)) => mops.iter().for_each(|mop| take(&mut read, mop)),
            (Kind::Invoke, Body::Other(f, value)) if f == "commit" => {
                judge(op, "is committed", field(value), &read, &mut found);
            }
            (Kind::Ok, Body::Other(f, value)) if f == "fetch-offsets" => {
                judge(op, "was committed", Some(value), &read, &mut found);
            }
            _ => {}
        }
    }
    found.finish()
}

fn take(read: &mut BTreeMap<i64, Read>, mop: &Mop) {
    let Mop::Poll(Some(records)) = mop else { return };
    for (key, records) in records {
        let of_key = read.entry(*key).or_default();
        records.iter().for_each(|(offset, _)| of_key.add(*offset));
    }
}

fn judge(
    op: &Op,
    how: &str,
    offsets: Option<&Edn>,
    read: &BTreeMap<i64, Read>,
    found: &mut Findings,
) {
    for (key, offset) in pairs(offsets) {
        let below = read.get(&key).map_or(0, |it| it.below);
        if offset > below {
            let case = || format!("key {key}: {offset} {how}, nobody has read {below}");
            found.invalid("group-skip", case, [op.index]);
        }
    }
}

fn field(value: &Edn) -> Option<&Edn> {
    super::check::field(value, "offsets")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Process, int, map};

    fn op(kind: Kind, body: Body) -> Op {
        let process = Process::Client(0);
        Op { index: 0, time: 0, process, kind, body, extra: BTreeMap::new() }
    }

    fn poll(offsets: &[i64]) -> Op {
        let records = offsets.iter().map(|offset| (*offset, 100 + offset)).collect();
        op(Kind::Ok, Body::Poll(vec![Mop::Poll(Some(BTreeMap::from([(7, records)])))]))
    }

    fn offsets(offset: i64) -> Edn {
        Edn::Vector(vec![Edn::Vector(vec![int(7), int(offset)])])
    }

    fn commit(offset: i64) -> Op {
        let value = map([("offsets", offsets(offset))]);
        op(Kind::Invoke, Body::Other("commit".to_owned(), value))
    }

    fn fetched(offset: i64) -> Op {
        op(Kind::Ok, Body::Other("fetch-offsets".to_owned(), offsets(offset)))
    }

    fn is_valid(history: &[Op]) -> bool {
        check(history).is_empty()
    }

    #[test]
    fn what_was_read_in_any_order_and_by_anybody_may_be_committed() {
        assert!(is_valid(&[fetched(-1), poll(&[0, 1]), commit(2), fetched(2)]));
        assert!(is_valid(&[poll(&[2]), poll(&[0, 1]), commit(3), fetched(1), poll(&[1])]));
    }

    #[test]
    fn a_record_that_nobody_has_read_is_not_gone_over() {
        assert!(!is_valid(&[poll(&[0, 2]), commit(3)]));
        assert!(!is_valid(&[poll(&[1, 2]), commit(3)]));
        assert!(!is_valid(&[poll(&[0]), fetched(2)]));
        assert!(!is_valid(&[commit(3), poll(&[0, 1, 2])]));
    }
}
