//! The versions of each key as a counter, and the search for an order of its operations that explains them.
//!
//! It takes what clients were told, and the log only for batches of which nobody was told anything: one that is there
//! took effect at some time since it was sent, one that is not never did. So it finds what `sights` finds of versions,
//! with a search that somebody else wrote.

use std::collections::BTreeMap;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

use super::log::Log;
use super::seen::{Append, Outcome, Seen, Why};
use crate::checker::{Findings, Verdict};

/// Operations shown of a case.
const SHOWN: usize = 8;

/// The version of one key.
#[derive(Clone)]
struct Version;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// From the first to the last version.
    Appended(i64, i64),
    Is(i64),
}

impl Model for Version {
    type State = i64;
    type Op = Step;
    type Metadata = ();

    fn init() -> i64 {
        0
    }

    fn step(version: &i64, step: &Step) -> (bool, i64) {
        match step {
            Step::Appended(first, last) => (version + 1 == *first, *last),
            Step::Is(told) => (version == told, *version),
        }
    }
}

/// An operation of one key.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub began: u64,
    /// None if it may have taken effect at any later time.
    pub ended: Option<u64>,
    pub step: Step,
}

pub fn check(seen: &Seen, log: &Log, limit: Duration, found: &mut Findings) {
    for ((partition, key), mut events) in events(seen, log) {
        events.sort_by_key(|event| event.began);
        let (name, verdict) = match linearizable(&events, limit) {
            Verdict::Valid => continue,
            Verdict::Unknown => ("versions-not-searched", Verdict::Unknown),
            Verdict::Invalid => ("versions-not-linearizable", Verdict::Invalid),
        };
        let case = || {
            let shown: Vec<String> = events.iter().take(SHOWN).map(Event::shown).collect();
            let (all, shown) = (events.len(), shown.join(", "));
            format!("{key} of partition {partition}, {all} operations: {shown}")
        };
        let ops: Vec<u64> = events.iter().map(|event| event.began).take(SHOWN).collect();
        found.add(name, verdict, case, ops);
    }
}

/// Whether some order of the events explains them all.
pub fn linearizable(events: &[Event], limit: Duration) -> Verdict {
    let time = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
    let operation = |event: &Event| Operation::<Version> {
        client_id: None,
        call_time: time(event.began),
        return_time: event.ended.map_or(i64::MAX, time),
        op: event.step,
        metadata: None,
    };
    let operations: Vec<_> = events.iter().map(operation).collect();
    match check_operations_timeout(&operations, limit) {
        CheckResult::Ok => Verdict::Valid,
        CheckResult::Illegal => Verdict::Invalid,
        CheckResult::Unknown => Verdict::Unknown,
    }
}

impl Event {
    fn shown(&self) -> String {
        let ended = self.ended.map_or(String::new(), |ended| ended.to_string());
        format!("{}-{ended} {:?}", self.began, self.step)
    }
}

/// By partition and key; those with nothing to order are left out.
fn events<'a>(seen: &'a Seen, log: &Log) -> BTreeMap<(i64, &'a str), Vec<Event>> {
    let mut events: BTreeMap<(i64, &str), Vec<Event>> = BTreeMap::new();
    for append in &seen.appends {
        let partition = append.batch.partition;
        for (key, event) in of_append(append, log) {
            events.entry((partition, key)).or_default().push(event);
        }
    }
    for look in seen.looks.iter().filter(|it| it.is_linearizable) {
        let of_key = events.entry((look.partition, &look.key)).or_default();
        let (began, ended) = (look.began, Some(look.ended));
        of_key.push(Event { began, ended, step: Step::Is(look.version) });
    }
    let tells = |event: &Event| matches!(event.step, Step::Is(_));
    events.retain(|_, events| events.len() > 1 || events.iter().any(tells));
    events
}

fn of_append<'a>(append: &'a Append, log: &Log) -> Vec<(&'a str, Event)> {
    let (began, ended) = (append.began, Some(append.ended));
    let rows = &append.batch.rows;
    if let Outcome::Conflict(it) = &append.outcome {
        let is_version = [Why::Version, Why::Closed].contains(&it.why);
        let step = Step::Is(it.current);
        let told = append.about(it).filter(|_| is_version);
        return told.map(|key| (key, Event { began, ended, step })).into_iter().collect();
    }
    let (told, ended) = match &append.outcome {
        Outcome::Acked { versions, .. } => (*versions, ended),
        Outcome::Unknown => (None, None),
        _ => return Vec::new(),
    };
    let mut of_keys: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for row in rows {
        let Some(version) = log.version(row.id) else { continue };
        let range = of_keys.entry(&row.key).or_insert((version, version));
        range.1 = version;
    }
    if let (Some(told), Some(row)) = (told, rows.first()) {
        of_keys.insert(&row.key, told);
    }
    let event = |(first, last)| Event { began, ended, step: Step::Appended(first, last) };
    of_keys.into_iter().map(|(key, range)| (key, event(range))).collect()
}
