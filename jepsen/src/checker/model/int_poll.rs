//! `int-poll-skip` and `int-nonmonotonic-poll`: within one operation, the values read of a key leave one out, or go
//! back or repeat. What a rebalance of that key excuses is not reported.

use super::Cases;
use crate::checker::analysis::Analysis;
use crate::checker::few;
use crate::history::{Edn, Op, keyword};

pub fn check(analysis: &Analysis<'_>, cases: &mut Cases<'_>) {
    for (position, reads) in analysis.reads.iter().enumerate() {
        if reads.is_empty() {
            continue;
        }
        let op = analysis.ops[position];
        let rebalanced = rebalanced(op);
        for (key, values) in reads.iter().filter(|(key, _)| !rebalanced.contains(key)) {
            let Some(order) = analysis.order(*key) else { continue };
            for pair in values.windows(2) {
                let (first, second) = (pair[0].1, pair[1].1);
                let delta = order.delta(Some(first), Some(second));
                if delta > 1 {
                    let case = || {
                        let skipped = few(order.between(first, second));
                        format!("key {key}: {second} follows {first}, {skipped} left out")
                    };
                    cases.add("int-poll-skip", case, [op.index]);
                } else if delta < 1 {
                    let case = || format!("key {key}: {second} follows {first}, {} back", -delta);
                    cases.add("int-nonmonotonic-poll", case, [op.index]);
                }
            }
        }
    }
}

/// Keys that came or went while the operation ran.
fn rebalanced(op: &Op) -> Vec<i64> {
    let Some(Edn::Vector(events)) = op.extra.get("rebalance-log") else { return Vec::new() };
    let mut keys = Vec::new();
    for event in events {
        let Edn::Map(event) = event else { continue };
        let Some(Edn::Vector(list) | Edn::List(list)) = event.get(&keyword("keys")) else {
            continue;
        };
        keys.extend(list.iter().filter_map(|key| match key {
            Edn::Integer(key) => Some(*key),
            _ => None,
        }));
    }
    keys
}
