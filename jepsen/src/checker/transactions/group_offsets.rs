//! A group's offsets: what is told of them was sent by a transaction that somebody had asked to commit, and they only grow,
//! since everybody begins where the group is.

use std::collections::BTreeMap;

use super::seen::{Offsets, Seen, Transaction};
use crate::checker::Findings;
use crate::history::Kind;

/// By key and offset, who sent it.
type Senders<'a> = BTreeMap<(i64, i64), Vec<&'a Transaction>>;

pub fn check(seen: &Seen, found: &mut Findings) {
    let mut senders: Senders<'_> = BTreeMap::new();
    for transaction in &seen.transactions {
        for place in &transaction.told.offsets {
            senders.entry(*place).or_default().push(transaction);
        }
    }
    for transaction in &seen.transactions {
        for peek in &transaction.told.peeks {
            let place = (peek.key, peek.offset);
            told(&senders, place, peek.answered_ns, transaction.op, found);
        }
    }
    for fetched in &seen.offsets {
        for (key, offset) in &fetched.offsets {
            told(&senders, (*key, *offset), fetched.answered_ns, fetched.op, found);
        }
        if fetched.stable {
            lost(seen, fetched, found);
        }
    }
    went_back(seen, found);
}

/// Whether an offset that was told was anybody's to tell.
fn told(
    senders: &Senders<'_>,
    (key, offset): (i64, i64),
    answered_ns: i64,
    op: u64,
    found: &mut Findings,
) {
    if offset < 0 {
        return;
    }
    let Some(sent_by) = senders.get(&(key, offset)) else {
        let case = || format!("key {key}: {offset}");
        return found.invalid("offset-of-nobody", case, [op]);
    };
    let is_possible = |it: &&Transaction| {
        let asked = it.commit_sent_ns().is_some_and(|sent| sent < answered_ns);
        it.kind != Kind::Fail && asked
    };
    if !sent_by.iter().any(is_possible) {
        let who = sent_by.first().map(|it| it.who()).unwrap_or_default();
        let ops = sent_by.first().map(|it| it.op).into_iter().chain([op]);
        let case = || format!("key {key}: {offset} of {who}");
        found.invalid("pending-offset-visible", case, ops);
    }
}

/// Who is told that nothing is pending is told of everything that was committed.
fn lost(seen: &Seen, fetched: &Offsets, found: &mut Findings) {
    for transaction in &seen.transactions {
        if transaction.committed_ns().is_none_or(|at| at >= fetched.asked_ns) {
            continue;
        }
        for (key, offset) in &transaction.told.offsets {
            let is = fetched.offsets.get(key).copied().unwrap_or(-1);
            if is < *offset {
                let case = || format!("key {key}: {is}, {offset} by {}", transaction.who());
                found.invalid("group-offset-lost", case, [transaction.op, fetched.op]);
            }
        }
    }
}

fn went_back(seen: &Seen, found: &mut Findings) {
    let mut answered: Vec<&Offsets> = seen.offsets.iter().collect();
    answered.sort_by_key(|it| it.answered_ns);
    let mut asked = seen.offsets.iter().collect::<Vec<_>>();
    asked.sort_by_key(|it| it.asked_ns);
    let mut answered = answered.into_iter().peekable();
    let mut most: BTreeMap<i64, (i64, u64)> = BTreeMap::new();
    for fetched in asked {
        while let Some(before) = answered.next_if(|it| it.answered_ns < fetched.asked_ns) {
            for (key, offset) in &before.offsets {
                let known = most.entry(*key).or_insert((*offset, before.op));
                if *offset > known.0 {
                    *known = (*offset, before.op);
                }
            }
        }
        for (key, (least, by)) in &most {
            let is = fetched.offsets.get(key).copied().unwrap_or(-1);
            if is < *least {
                let case = || format!("key {key}: {is} after {least}");
                found.invalid("group-offset-went-back", case, [*by, fetched.op]);
            }
        }
    }
}
