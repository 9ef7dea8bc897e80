//! `skipped-above-log-start`: a consumer goes over records that were removed, and over no others.
//!
//! Where nothing is removed every offset that is left out is a defect (`poll-skip`). Here each that is left out has to
//! lie below the log start that the very answer tells which goes over it.

use std::collections::BTreeMap;

use super::super::answers::{Answer, answers, reads};
use crate::checker::Findings;
use crate::history::{Body, Kind, Op, Process};

/// The next offset of each key that a process reads.
type Positions = BTreeMap<i64, i64>;

pub fn check(history: &[Op], found: &mut Findings) {
    let mut processes: BTreeMap<Process, Positions> = BTreeMap::new();
    for op in history.iter().filter(|op| op.kind == Kind::Ok) {
        let positions = processes.entry(op.process).or_default();
        match &op.body {
            Body::Assign(keys) => {
                let anew = op.extra.contains_key("seek-to-beginning?");
                let kept = |key: &i64| positions.get(key).filter(|_| !anew).copied().unwrap_or(0);
                *positions = keys.iter().map(|key| (*key, kept(key))).collect();
            }
            Body::Poll(mops) => {
                let read: Vec<(i64, i64)> = reads(mops).map(|(key, at, _)| (key, at)).collect();
                // Without an answer's word for it nobody knows what was removed.
                for (key, at) in &read {
                    if let Some(position) = positions.get_mut(key).filter(|_| unsaid(op, *key)) {
                        *position = at + 1;
                    }
                }
                for answer in answers(op) {
                    let of_key = read.iter().filter(|(key, _)| *key == answer.key);
                    follow(op, positions, &answer, of_key.map(|(_, at)| *at), found);
                }
            }
            _ => {}
        }
    }
}

fn unsaid(op: &Op, key: i64) -> bool {
    answers(op).iter().all(|answer| answer.key != key)
}

/// One partition's part of a poll: the offsets that were read, then where the consumer goes on.
fn follow(
    op: &Op,
    positions: &mut Positions,
    answer: &Answer,
    read: impl Iterator<Item = i64>,
    found: &mut Findings,
) {
    let position = positions.entry(answer.key).or_insert(0);
    for at in read.map(|at| (at, at + 1)).chain([(answer.next, answer.next)]) {
        let (reached, next) = at;
        if reached > (*position).max(answer.start) {
            let (key, from, start) = (answer.key, *position, answer.start);
            let case = || format!("key {key}: from {from} to {reached}, the log starts at {start}");
            found.invalid("skipped-above-log-start", case, [op.index]);
        }
        *position = next;
    }
}
