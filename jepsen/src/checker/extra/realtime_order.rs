//! `realtime-order` and `read-before-send`: a partition's order has to agree with real time.
//!
//! What a send was acknowledged for, or a poll has returned, is in the log; whatever is sent to that key afterwards
//! goes behind it, whoever sends it. And nobody reads a value before somebody begins to send it.

use std::collections::HashMap;

use crate::checker::Findings;
use crate::checker::analysis::Analysis;
use crate::history::{Kind, Mop};

/// The highest offset of a key known to be in the log, and the operation that showed it.
type Highest = (i64, u64);
type Known = HashMap<i64, Highest>;

pub fn check(analysis: &Analysis<'_>, found: &mut Findings) {
    let mut known: Known = HashMap::new();
    // Per completion, what was known of its keys when it began.
    let mut at_begin: HashMap<usize, Vec<(i64, Highest)>> = HashMap::new();
    for (position, op) in analysis.ops.iter().enumerate() {
        if op.kind == Kind::Invoke {
            let Some(completion) = analysis.other[position] else { continue };
            let keys = op.mops().iter().filter_map(|mop| match mop {
                Mop::Send { key, .. } => Some((*key, *known.get(key)?)),
                Mop::Poll(_) => None,
            });
            at_begin.insert(completion, keys.collect());
            continue;
        }
        let began = at_begin.remove(&position).unwrap_or_default();
        sent(analysis, position, &began, found);
        read(analysis, position, found);
        if op.kind == Kind::Ok {
            learn(analysis, position, &mut known);
        }
    }
}

fn learn(analysis: &Analysis<'_>, position: usize, known: &mut Known) {
    let placed = analysis.writes[position].iter().chain(&analysis.reads[position]);
    for (key, values) in placed {
        if let Some(offset) = values.iter().filter_map(|(offset, _)| *offset).max() {
            let best = known.entry(*key).or_insert((offset, analysis.index_of(position)));
            if offset > best.0 {
                *best = (offset, analysis.index_of(position));
            }
        }
    }
}

/// The operation's values, if they are in the log at all, are behind everything known when it began.
fn sent(analysis: &Analysis<'_>, position: usize, began: &[(i64, Highest)], found: &mut Findings) {
    if analysis.ops[position].kind == Kind::Fail {
        return;
    }
    for (key, values) in &analysis.writes[position] {
        let Some((_, (before, shown_by))) = began.iter().find(|(other, _)| other == key) else {
            continue;
        };
        let Some(order) = analysis.order(*key) else { continue };
        for (_, value) in values {
            let Some(offset) = order.offset(*value) else { continue };
            if offset <= *before {
                let case = || {
                    format!(
                        "key {key} value {value} is at offset {offset}, though offset {before} was \
                         known before it began to be sent"
                    )
                };
                found.invalid("realtime-order", case, [*shown_by, analysis.index_of(position)]);
            }
        }
    }
}

fn read(analysis: &Analysis<'_>, position: usize, found: &mut Findings) {
    for (key, values) in &analysis.reads[position] {
        let Some(known) = analysis.key(*key) else { continue };
        for (_, value) in values {
            let Some(writer) = known.writer.get(value) else { continue };
            let began = analysis.other[*writer].unwrap_or(*writer);
            if began > position {
                let case =
                    || format!("key {key} value {value} was read before it began to be sent");
                found.invalid(
                    "read-before-send",
                    case,
                    [analysis.index_of(position), analysis.index_of(began)],
                );
            }
        }
    }
}
