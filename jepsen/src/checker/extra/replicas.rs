//! `replicas-differ`: once all is healed, the replicas of a partition have to hold the same bytes. Each is made
//! leader in turn and read, and noted as `:replica` with the hash of its log between `:log-start` and `:end`.

use std::collections::BTreeMap;

use super::{field, number};
use crate::checker::Findings;
use crate::history::{Body, Edn, Op};

pub fn check(history: &[Op], found: &mut Findings) {
    // Per key the first replica seen.
    let mut first: BTreeMap<i64, (u64, Replica<'_>)> = BTreeMap::new();
    for op in history {
        let Body::Other(f, value) = &op.body else { continue };
        if f != "replica" {
            continue;
        }
        let Some((key, replica)) = replica(value) else { continue };
        let (index, other) = first.entry(key).or_insert((op.index, replica));
        if (other.start, other.end, other.hash) != (replica.start, replica.end, replica.hash) {
            let case = || format!("key {key}: {}; {}", other.shown(), replica.shown());
            found.invalid("replicas-differ", case, [*index, op.index]);
        }
    }
}

#[derive(Clone, Copy)]
struct Replica<'a> {
    broker: i64,
    start: i64,
    end: i64,
    hash: &'a Edn,
}

impl Replica<'_> {
    fn shown(&self) -> String {
        format!("broker {} has [{}, {}) with hash {}", self.broker, self.start, self.end, self.hash)
    }
}

fn replica(value: &Edn) -> Option<(i64, Replica<'_>)> {
    let replica = Replica {
        broker: number(value, "broker")?,
        start: number(value, "log-start")?,
        end: number(value, "end")?,
        hash: field(value, "hash")?,
    };
    Some((number(value, "key")?, replica))
}
