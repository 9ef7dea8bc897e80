//! `list-offsets-not-linearizable`: what brokers say about the end of a partition contradicts its sends.
//!
//! For each key the history is searched for an order in which every operation takes effect between its beginning and
//! its end, the end offset being a counter: a send at offset `o` finds the counter at `o` and adds one, a question
//! finds what it was answered. A send that nobody knows the end of may take effect at any later time, or never.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

use crate::checker::analysis::Analysis;
use crate::checker::{Findings, Verdict};
use crate::history::{Body, Edn, Kind, Op};

const NOT_LINEARIZABLE: &str = "list-offsets-not-linearizable";

/// The end of one partition.
#[derive(Clone)]
struct End;

#[derive(Clone, Debug)]
enum Step {
    SendAt(i64),
    /// A send without a known offset: somewhere in the free offsets, or at or beyond the last number.
    SendSomewhere(Arc<BTreeSet<i64>>, i64),
    Ask(i64),
}

impl Model for End {
    type State = i64;
    type Op = Step;
    type Metadata = ();

    fn init() -> i64 {
        0
    }

    fn step(end: &i64, step: &Step) -> (bool, i64) {
        match step {
            Step::SendAt(offset) => (end == offset, end + 1),
            Step::SendSomewhere(free, beyond) => (end >= beyond || free.contains(end), end + 1),
            Step::Ask(answer) => (end == answer, *end),
        }
    }
}

/// An operation of one key, by indexes of the history. One that never ended has no end.
struct Event {
    began: u64,
    ended: Option<u64>,
    step: Step,
}

pub fn list_offsets(history: &[Op], limit: Duration, found: &mut Findings) {
    let analysis = Analysis::of(history);
    for (key, events) in events(&analysis) {
        // A partition nobody asked about is none of this check's business.
        if !events.iter().any(|event| matches!(event.step, Step::Ask(_))) {
            continue;
        }
        let operations: Vec<Operation<End>> = events.iter().map(operation).collect();
        let asked = || events.iter().filter(|event| matches!(event.step, Step::Ask(_)));
        match check_operations_timeout(&operations, limit) {
            CheckResult::Ok => {}
            CheckResult::Illegal => {
                let (case, ops) =
                    contradiction(key, &events).unwrap_or_else(|| subtle(key, &events));
                found.invalid(NOT_LINEARIZABLE, || case, ops);
            }
            CheckResult::Unknown => {
                if let Some((case, ops)) = contradiction(key, &events) {
                    found.invalid(NOT_LINEARIZABLE, || case, ops);
                    continue;
                }
                let case = || {
                    let (all, asked) = (events.len(), asked().count());
                    format!(
                        "key {key}: {all} operations, {asked} of them questions: too many to search"
                    )
                };
                found.add("list-offsets-not-searched", Verdict::Unknown, case, []);
            }
        }
    }
}

fn operation(event: &Event) -> Operation<End> {
    let time = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
    Operation {
        client_id: None,
        call_time: time(event.began),
        return_time: event.ended.map_or(i64::MAX, time),
        op: event.step.clone(),
        metadata: None,
    }
}

fn events(analysis: &Analysis<'_>) -> BTreeMap<i64, Vec<Event>> {
    let mut events: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
    let mut holes: BTreeMap<i64, (Arc<BTreeSet<i64>>, i64)> = BTreeMap::new();
    for (position, op) in analysis.ops.iter().enumerate() {
        let began = analysis.other[position].map_or(op.index, |begin| analysis.index_of(begin));
        if let Some((key, answer)) = answer(op) {
            let ask = Event { began, ended: Some(op.index), step: Step::Ask(answer) };
            events.entry(key).or_default().push(ask);
        }
        if !matches!(op.kind, Kind::Ok | Kind::Info) {
            continue;
        }
        for (key, values) in &analysis.writes[position] {
            for (offset, value) in values {
                let order = analysis.order(*key);
                let step = match offset.or_else(|| order?.offset(*value)) {
                    Some(offset) => Step::SendAt(offset),
                    None => {
                        let holes = holes.entry(*key).or_insert_with(|| free(analysis, *key));
                        Step::SendSomewhere(Arc::clone(&holes.0), holes.1)
                    }
                };
                let known = op.kind == Kind::Ok;
                let ended = known.then_some(op.index);
                events.entry(*key).or_default().push(Event { began, ended, step });
            }
        }
    }
    events
}

/// Offsets of which nobody knows what they hold, and the one behind all that are known.
fn free(analysis: &Analysis<'_>, key: i64) -> (Arc<BTreeSet<i64>>, i64) {
    let log = analysis.order(key).map(|order| &order.log);
    let beyond = log.and_then(|log| log.last_key_value()).map_or(0, |(offset, _)| offset + 1);
    let known = log.map_or(0, |log| log.len() as i64);
    // A log with more holes than records is none of ours; do not list what it lacks.
    if beyond - known > known + 1024 {
        return (Arc::default(), 0);
    }
    let free = (0..beyond).filter(|offset| log.is_none_or(|log| !log.contains_key(offset)));
    (Arc::new(free.collect()), beyond)
}

/// Key and offset of an answered question.
fn answer(op: &Op) -> Option<(i64, i64)> {
    let Body::Other(f, Edn::Vector(pair)) = &op.body else { return None };
    match (f.as_str(), op.kind, &pair[..]) {
        ("list-offsets", Kind::Ok, [Edn::Integer(key), Edn::Integer(offset)]) => {
            Some((*key, *offset))
        }
        _ => None,
    }
}

/// An answer that is too low for what had happened before the question, or too high for what could have happened
/// before the answer. A history may be wrong without one.
fn contradiction(key: i64, events: &[Event]) -> Option<(String, Vec<u64>)> {
    let end_of = |event: &Event| match event.step {
        Step::SendAt(offset) => Some(offset + 1),
        Step::Ask(answer) => Some(answer),
        Step::SendSomewhere(..) => None,
    };
    for event in events {
        let (Step::Ask(answer), Some(ended)) = (&event.step, event.ended) else { continue };
        let before = events.iter().filter(|other| other.ended.is_some_and(|end| end < event.began));
        let least = before.filter_map(|other| Some((end_of(other)?, other.ended?))).max();
        if let Some((least, by)) = least.filter(|(least, _)| answer < least) {
            let case = format!("key {key}: end {answer} was answered when it was at least {least}");
            return Some((case, vec![by, ended]));
        }
        let possible = events
            .iter()
            .filter(|other| other.began < ended && !matches!(other.step, Step::Ask(_)))
            .count();
        if usize::try_from(*answer).is_ok_and(|answer| answer > possible) {
            let case = format!("key {key}: end {answer} was answered, {possible} sends had begun");
            return Some((case, vec![ended]));
        }
    }
    None
}

fn subtle(key: i64, events: &[Event]) -> (String, Vec<u64>) {
    let asked = events.iter().filter(|event| matches!(event.step, Step::Ask(_)));
    let ops = asked.filter_map(|event| event.ended).take(8).collect();
    (format!("key {key}: no order of its {} operations explains the answers", events.len()), ops)
}
