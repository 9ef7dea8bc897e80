//! `nonmonotonic-send`: a process sent to a key, then sent to it again, and the second value is not behind the first.

use std::collections::BTreeMap;

use super::Cases;
use crate::checker::analysis::Analysis;
use crate::history::{Body, Kind, Process};

pub fn check(analysis: &Analysis<'_>, cases: &mut Cases<'_>) {
    // Per process and key, the operation that sent to it last and the last value it sent.
    let mut last: BTreeMap<Process, BTreeMap<i64, (usize, i64)>> = BTreeMap::new();
    for (position, op) in analysis.ops.iter().enumerate() {
        if !matches!(op.kind, Kind::Ok | Kind::Info) {
            continue;
        }
        let last = last.entry(op.process).or_default();
        if let Body::Assign(keys) | Body::Subscribe(keys) = &op.body {
            last.retain(|key, _| keys.contains(key));
        }
        for (key, values) in &analysis.writes[position] {
            let (Some((_, first)), Some((_, end))) = (values.first(), values.last()) else {
                continue;
            };
            let before = last.insert(*key, (position, *end));
            let (Some((before, sent)), Some(order)) = (before, analysis.order(*key)) else {
                continue;
            };
            if order.delta(Some(sent), Some(*first)) < 1 {
                let case = || {
                    format!("key {key}: a process sent {sent}, then {first}, which is before it")
                };
                cases.add(
                    "nonmonotonic-send",
                    case,
                    [analysis.index_of(before), analysis.index_of(position)],
                );
            }
        }
    }
}
