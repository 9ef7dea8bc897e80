//! Generated histories are valid, and each kind of damage done to them is found, whatever the seed.
#![expect(clippy::ptr_arg, reason = "all damages have one type, and some add operations")]

use std::time::Duration;

use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert, prop_assert_eq, proptest};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{Options, Verdict, finding, generated, queue, verdict};
use crate::checker::{Finding, SubVia, WriteOrder, list_offsets, model_only};
use crate::history::{Body, Edn, Kind, Mop, Op, Sent, int, keyword};

/// Enough steps for every damage to find something to damage.
const STEPS: usize = 600;

fn judge(history: &[Op]) -> Vec<Finding> {
    let mut findings = queue(history, &Options::default());
    findings.extend(list_offsets(history, Duration::from_secs(20)));
    findings
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_a_correct_system_shows_is_valid(seed in any::<u64>()) {
        let history = generated::valid(seed, STEPS);
        let findings = judge(&history);
        prop_assert_eq!(verdict(&findings), Verdict::Valid, "{:#?}", findings);
        let jepsen = model_only(&history, SubVia::Assign, WriteOrder::Off);
        prop_assert_eq!(verdict(&jepsen), Verdict::Valid, "{:#?}", jepsen);
    }

    #[test]
    fn every_damage_is_found(seed in any::<u64>()) {
        for (name, damage) in DAMAGES {
            let mut history = generated::valid(seed, STEPS);
            let mut random = StdRng::seed_from_u64(seed);
            let expected = damage(&mut history, &mut random);
            let findings = judge(&history);
            let found = finding(&findings, expected);
            prop_assert!(
                found.is_some_and(|finding| finding.verdict == Verdict::Invalid),
                "{} did not show as {}: {:#?}", name, expected, findings
            );
        }
    }
}

/// Damages a history and says which anomaly that is, at least.
type Damage = fn(&mut Vec<Op>, &mut StdRng) -> &'static str;

const DAMAGES: &[(&str, Damage)] = &[
    ("an acknowledged value that nobody reads", unread),
    ("a value from nowhere", phantom),
    ("two values that changed places for one reader", conflict),
    ("a record twice in the log", duplicate),
    ("a failed write that is there", aborted),
    ("two records in the wrong order in one poll", reorder),
    ("a record left out of a poll", skip),
    ("a poll answered twice", repeat),
    ("a log that contradicts real time", exchange),
    ("a value read before it is sent", too_early),
    ("an offset that holds nothing", hole),
    ("a record beyond the high watermark", uncommitted),
    ("a high watermark that goes back", regress),
    ("two leaders in one epoch", split),
    ("damaged bytes", corrupt),
    ("a replica with other bytes", diverge),
    ("a batch written twice", rewrite),
    ("an end of a partition from before", stale),
];

/// The completed sends that succeeded: operation, key, value, offset.
fn acknowledged(history: &[Op]) -> Vec<(usize, i64, i64, i64)> {
    let sends = history.iter().enumerate().filter(|(_, op)| op.kind == Kind::Ok);
    sends
        .filter_map(|(index, op)| match op.mops() {
            [Mop::Send { key, value, sent: Sent::At(offset) }] => {
                Some((index, *key, *value, *offset))
            }
            _ => None,
        })
        .collect()
}

fn any_acknowledged(history: &[Op], random: &mut StdRng) -> (usize, i64, i64, i64) {
    *acknowledged(history).choose(random).expect("some send succeeded")
}

/// What an operation read of a key, if it is a poll that read of it.
fn records(op: &mut Op, key: i64) -> Option<&mut Vec<(i64, i64)>> {
    match &mut op.body {
        Body::Poll(mops) => match &mut mops[..] {
            [Mop::Poll(Some(read))] => read.get_mut(&key),
            _ => None,
        },
        _ => None,
    }
}

/// The read of everything at the end.
fn last_poll(history: &mut [Op], key: i64) -> &mut Vec<(i64, i64)> {
    let polls = history.iter_mut().rev().filter_map(|op| records(op, key));
    polls.into_iter().next().expect("a poll at the end")
}

/// Some key with at least three records.
fn some_key(history: &mut [Op]) -> i64 {
    let mut keys = generated::KEYS;
    keys.find(|key| last_poll(history, *key).len() >= 3).expect("a key that is used")
}

fn unread(history: &mut Vec<Op>, random: &mut StdRng) -> &'static str {
    let (_, key, value, _) = any_acknowledged(history, random);
    for records in history.iter_mut().filter_map(|op| records(op, key)) {
        records.retain(|(_, other)| *other != value);
    }
    "unseen"
}

fn phantom(history: &mut Vec<Op>, _: &mut StdRng) -> &'static str {
    let key = some_key(history);
    last_poll(history, key).push((1_000_000, 1_000_000));
    "phantom"
}

fn conflict(history: &mut Vec<Op>, random: &mut StdRng) -> &'static str {
    let (_, key, value, offset) = any_acknowledged(history, random);
    let end = last_poll(history, key).iter().find(|(_, other)| *other != value).copied();
    let (_, other) = end.unwrap_or((0, value + 1_000_000));
    for record in last_poll(history, key).iter_mut().filter(|(at, _)| *at == offset) {
        record.1 = other;
    }
    "inconsistent-offsets"
}

fn duplicate(history: &mut Vec<Op>, random: &mut StdRng) -> &'static str {
    let (_, key, value, _) = any_acknowledged(history, random);
    let end = last_poll(history, key).len() as i64;
    last_poll(history, key).push((end, value));
    "duplicate"
}

fn aborted(history: &mut Vec<Op>, random: &mut StdRng) -> &'static str {
    let (index, ..) = any_acknowledged(history, random);
    history[index].kind = Kind::Fail;
    "G1a"
}

fn reorder(history: &mut Vec<Op>, random: &mut StdRng) -> &'static str {
    let key = some_key(history);
    let records = last_poll(history, key);
    let at = random.random_range(1..records.len());
    records.swap(at - 1, at);
    "int-nonmonotonic-poll"
}

fn skip(history: &mut Vec<Op>, _: &mut StdRng) -> &'static str {
    // Of a value that is known to be there all the same.
    let key = some_key(history);
    let known: Vec<i64> = acknowledged(history)
        .into_iter()
        .filter(|(_, other, ..)| *other == key)
        .map(|(.., offset)| offset)
        .collect();
    let records = last_poll(history, key);
    let middle = records[1..records.len() - 1].iter().position(|(at, _)| known.contains(at));
    match middle {
        Some(at) => {
            records.remove(at + 1);
            "int-poll-skip"
        }
        None => {
            records.remove(1);
            "offset-gap"
        }
    }
}

fn repeat(history: &mut Vec<Op>, _: &mut StdRng) -> &'static str {
    let last = history.iter().rposition(|op| matches!(op.body, Body::Poll(_))).expect("a poll");
    let mut again = [history[last].clone(), history[last].clone()];
    again[0].kind = Kind::Invoke;
    again[0].body = Body::Poll(vec![Mop::Poll(None)]);
    history.splice(last + 1..last + 1, again);
    for (index, op) in history.iter_mut().enumerate() {
        op.index = index as u64;
    }
    "nonmonotonic-poll"
}

/// The first and the last value of a key change places, for everybody.
fn exchange(history: &mut Vec<Op>, _: &mut StdRng) -> &'static str {
    let key = some_key(history);
    let sends = acknowledged(history);
    let mut of_key = sends.iter().filter(|(_, other, ..)| *other == key);
    let first = *of_key.next().expect("a send");
    let last = *of_key.next_back().expect("another send");
    for op in history.iter_mut() {
        if let Some(records) = records(op, key) {
            for (offset, value) in records {
                if *offset == first.3 {
                    *value = last.2;
                } else if *offset == last.3 {
                    *value = first.2;
                }
            }
        }
    }
    for ((index, ..), (.., offset)) in [(first, last), (last, first)] {
        if let Body::Send(mops) = &mut history[index].body
            && let Mop::Send { sent, .. } = &mut mops[0]
        {
            *sent = Sent::At(offset);
        }
    }
    "realtime-order"
}

/// The read of everything moves to the beginning.
fn too_early(history: &mut Vec<Op>, _: &mut StdRng) -> &'static str {
    let last = history.iter().rposition(|op| matches!(op.body, Body::Poll(_))).expect("a poll");
    let poll: Vec<Op> = history.drain(last - 1..=last).collect();
    history.splice(0..0, poll);
    for (index, op) in history.iter_mut().enumerate() {
        op.index = index as u64;
    }
    "read-before-send"
}

/// A value in the middle that nobody read, and whose send was indeterminate.
fn hole(history: &mut Vec<Op>, _: &mut StdRng) -> &'static str {
    let key = some_key(history);
    let (_, value) = last_poll(history, key)[1];
    for op in history.iter_mut() {
        if let Some(records) = records(op, key) {
            records.retain(|(_, other)| *other != value);
        }
        let sent =
            op.mops().iter().any(|mop| matches!(mop, Mop::Send { value: v, .. } if *v == value));
        if sent && op.kind != Kind::Invoke {
            op.kind = Kind::Info;
            op.body = Body::Send(vec![Mop::Send { key, value, sent: Sent::Plain }]);
        }
    }
    "offset-gap"
}

/// What a field of the answers about a key that were noted becomes, the last operation first.
fn alter(history: &mut [Op], name: &str, new: impl Fn(i64, i64) -> Option<i64>) {
    for op in history.iter_mut().rev() {
        let Some(Edn::Vector(answers)) = op.extra.get_mut("fetched") else { continue };
        for answer in answers {
            let Edn::Map(answer) = answer else { continue };
            let Some(Edn::Integer(next)) = answer.get(&keyword("next")).cloned() else { continue };
            let Some(Edn::Integer(old)) = answer.get(&keyword(name)).cloned() else { continue };
            if let Some(new) = new(old, next) {
                answer.insert(keyword(name), int(new));
                return;
            }
        }
    }
    panic!("no answer to alter");
}

fn uncommitted(history: &mut Vec<Op>, _: &mut StdRng) -> &'static str {
    alter(history, "high-watermark", |_, next| (next > 0).then(|| next - 1));
    "read-past-high-watermark"
}

fn regress(history: &mut Vec<Op>, _: &mut StdRng) -> &'static str {
    let first = history.iter_mut().position(|op| op.extra.contains_key("fetched"));
    let first = first.expect("a poll");
    alter(&mut history[..=first], "high-watermark", |_, _| Some(1_000_000));
    "high-watermark-regressed"
}

fn split(history: &mut Vec<Op>, _: &mut StdRng) -> &'static str {
    let last = history.iter().rposition(|op| op.extra.contains_key("fetched")).expect("a poll");
    let mut other = history[last].clone();
    alter(std::slice::from_mut(&mut other), "broker", |old, _| Some(old % 3 + 1));
    let Some(Edn::Vector(more)) = other.extra.remove("fetched") else { panic!("answers") };
    let Some(Edn::Vector(answers)) = history[last].extra.get_mut("fetched") else {
        panic!("answers")
    };
    answers.extend(more);
    "two-leaders"
}

fn corrupt(history: &mut Vec<Op>, _: &mut StdRng) -> &'static str {
    let poll = history.iter_mut().rev().find(|op| matches!(op.body, Body::Poll(_)));
    let list = Edn::Vector(vec![Edn::Vector(vec![int(1), int(0), Edn::Nil])]);
    poll.expect("a poll").extra.insert("corrupt".to_owned(), list);
    "corrupt"
}

/// The value of the nemesis' last operation of this name.
fn noted<'a>(history: &'a mut [Op], name: &str) -> &'a mut Edn {
    let mut noted = history.iter_mut().rev().filter_map(|op| match &mut op.body {
        Body::Other(f, value) if f == name => Some(value),
        _ => None,
    });
    noted.next().expect("it was noted")
}

fn diverge(history: &mut Vec<Op>, _: &mut StdRng) -> &'static str {
    let Edn::Map(replica) = noted(history, "replica") else { panic!("a map") };
    let batches = replica.get_mut(&keyword("batches"));
    let Some(Edn::Vector(batches)) = batches else { panic!("a vector") };
    let Some(Edn::Vector(batch)) = batches.last_mut() else { panic!("a batch") };
    batch[2] = int(-1);
    "replicas-differ"
}

fn rewrite(history: &mut Vec<Op>, _: &mut StdRng) -> &'static str {
    let Edn::Map(log) = noted(history, "batches") else { panic!("a map") };
    let Some(Edn::Vector(batches)) = log.get_mut(&keyword("batches")) else { panic!("a vector") };
    let again = batches.last().cloned().expect("a batch");
    batches.push(again);
    "producer-sequence"
}

fn stale(history: &mut Vec<Op>, random: &mut StdRng) -> &'static str {
    let (_, key, ..) = any_acknowledged(history, random);
    let process = crate::history::Process::Client(1_000_000);
    for (kind, offset) in [(Kind::Invoke, Edn::Nil), (Kind::Ok, int(0))] {
        let value = Edn::Vector(vec![int(key), offset]);
        let body = Body::Other("list-offsets".to_owned(), value);
        let index = history.len() as u64;
        history.push(Op { index, time: index, process, kind, body, extra: Default::default() });
    }
    "list-offsets-not-linearizable"
}
