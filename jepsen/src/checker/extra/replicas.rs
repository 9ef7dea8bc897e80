//! `replicas-differ`: once all is healed, the replicas of a partition have to hold the same bytes. Each is made
//! leader in turn and read, and noted as `:replica` with `[base-offset count hash]` of each of its `:batches`, which lie
//! between `:log-start` and `:end`.
//!
//! They are read one after the other, and retention goes on meanwhile: a log may begin later than it did when another
//! replica was read, never earlier, and what both still had has to be the same.

use std::collections::BTreeMap;

use super::{field, list, number};
use crate::checker::Findings;
use crate::history::{Body, Edn, Op};

pub fn check(history: &[Op], found: &mut Findings) {
    // Per key the replica that was read last.
    let mut last: BTreeMap<i64, (u64, Replica<'_>)> = BTreeMap::new();
    for op in history {
        let Body::Other(f, value) = &op.body else { continue };
        if f != "replica" {
            continue;
        }
        let Some((key, replica)) = replica(value) else { continue };
        if let Some((index, before)) = last.insert(key, (op.index, replica))
            && let Some(difference) = difference(&before, &replica)
        {
            let case =
                || format!("key {key}: {difference}; {}; {}", before.shown(), replica.shown());
            found.invalid("replicas-differ", case, [index, op.index]);
        }
    }
}

#[derive(Clone, Copy)]
struct Replica<'a> {
    broker: i64,
    start: i64,
    end: i64,
    batches: &'a [Edn],
}

/// In what a replica differs from one that was read before.
fn difference(before: &Replica<'_>, now: &Replica<'_>) -> Option<String> {
    if before.end != now.end {
        return Some("they end at different offsets".to_owned());
    }
    if now.start < before.start {
        return Some("what one had removed another has later".to_owned());
    }
    let (mut one, mut other) = (before.from(now.start), now.from(now.start));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => {
                let shown = |batch: Option<&Edn>| batch.map_or("nothing".into(), Edn::to_string);
                return Some(format!("one has {}, another {}", shown(one), shown(other)));
            }
        }
    }
}

impl<'a> Replica<'a> {
    fn shown(&self) -> String {
        format!("broker {} has [{}, {})", self.broker, self.start, self.end)
    }

    /// Batches that reach beyond an offset.
    fn from(&self, start: i64) -> impl Iterator<Item = &'a Edn> {
        let reaches = move |batch: &&Edn| match list(Some(batch)) {
            [Edn::Integer(base), Edn::Integer(count), ..] => base + count > start,
            _ => true,
        };
        self.batches.iter().filter(reaches)
    }
}

fn replica(value: &Edn) -> Option<(i64, Replica<'_>)> {
    let replica = Replica {
        broker: number(value, "broker")?,
        start: number(value, "log-start")?,
        end: number(value, "end")?,
        batches: list(field(value, "batches")),
    };
    Some((number(value, "key")?, replica))
}
