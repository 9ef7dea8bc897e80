//! Whether what brokers said of topics can be true.
//!
//! Changes of one name are linearizable: `topics-not-linearizable` says that no order of them explains the answers and
//! what all brokers list in the end. Lists before the end may be old, for every broker follows at its own pace; but
//! what one broker says never goes back (`topics-regressed`), nobody lists what nobody asked for
//! (`topic-from-nowhere`), an id is of one topic (`topic-id-reused`), and in the end all say the same
//! (`topics-differ`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::list::Row;
use crate::checker::{Finding, Findings, Verdict};
use crate::history::{Body, Edn, Kind, Op, keyword};

mod model;

pub use model::Step;

/// Differences and operations shown of a case.
const SHOWN: usize = 8;

/// A change as the history has it.
#[derive(Clone, Debug)]
pub struct Event {
    pub began: u64,
    /// None if it may take effect at any later time.
    pub ended: Option<u64>,
    pub step: Step,
}

/// What a history says of topics.
#[derive(Default)]
struct Observations {
    events: BTreeMap<String, Vec<Event>>,
    /// Ids given to creators: the topic, and where.
    created: Vec<(String, String, u64)>,
    /// By broker, in the order of their answers: when it was asked, when it answered, the rows.
    lists: BTreeMap<i64, Vec<(u64, u64, Vec<Row>)>>,
    /// The last list of each broker after all changes.
    last: BTreeMap<i64, (u64, u64, Vec<Row>)>,
}

pub fn check(history: &[Op]) -> Vec<Finding> {
    let mut seen = Observations::of(history);
    let mut found = Findings::default();
    differ(&seen, &mut found);
    ids(&seen, &mut found);
    seen.lists.values().for_each(|lists| regressed(lists, &mut found));
    nowhere(&seen, &mut found);
    seen.read_last();
    for (name, events) in &seen.events {
        let (verdict, anomaly) = match model::linearizable(events) {
            Verdict::Valid => continue,
            Verdict::Unknown => (Verdict::Unknown, "topics-not-searched"),
            Verdict::Invalid => (Verdict::Invalid, "topics-not-linearizable"),
        };
        let shown: Vec<String> = events.iter().map(Event::shown).collect();
        let ops = events.iter().map(|event| event.ended.unwrap_or(event.began));
        let case = || format!("{name}: {}", shown.join(", "));
        found.add(anomaly, verdict, case, ops.take(SHOWN));
    }
    found.finish()
}

impl Event {
    fn shown(&self) -> String {
        match self.ended {
            Some(ended) => format!("{}-{ended} {}", self.began, self.step),
            None => format!("{}- {}", self.began, self.step),
        }
    }
}

impl Observations {
    fn of(history: &[Op]) -> Observations {
        let mut seen = Observations::default();
        let mut open: HashMap<_, &Op> = HashMap::new();
        for op in history {
            let Body::Other(f, value) = &op.body else { continue };
            if op.kind == Kind::Invoke {
                open.insert(op.process, op);
                continue;
            }
            let Some(began) = open.remove(&op.process) else { continue };
            match f.as_str() {
                "list-topics" if op.kind == Kind::Ok => seen.list(began.index, op.index, value),
                _ => seen.change(began.index, op, f, value),
            }
        }
        // What never ended may have happened, or may yet.
        for op in open.into_values() {
            if let Body::Other(f, value) = &op.body {
                let info = Op { kind: Kind::Info, ..op.clone() };
                seen.change(op.index, &info, f, value);
            }
        }
        seen
    }

    fn list(&mut self, began: u64, ended: u64, value: &Edn) {
        let Some(broker) = number(value, "broker") else { return };
        let Some(Edn::Vector(rows)) = field(value, "topics") else { return };
        let rows: Vec<Row> = rows.iter().filter_map(row).collect();
        if field(value, "final") == Some(&Edn::Boolean(true)) {
            self.last.insert(broker, (began, ended, rows.clone()));
        }
        self.lists.entry(broker).or_default().push((began, ended, rows));
    }

    fn change(&mut self, began: u64, op: &Op, f: &str, value: &Edn) {
        let (Some(name), Some(count)) = (string(value, "topic"), number(value, "partitions"))
        else {
            return;
        };
        let refused = match op.extra.get("refused") {
            Some(Edn::String(why)) => Some(why.as_str()),
            _ => None,
        };
        let Some(step) = Step::of(f, op.kind, refused, count) else { return };
        let ended = (op.kind != Kind::Info).then_some(op.index);
        if let (Kind::Ok, Some(id)) = (op.kind, string(value, "id")) {
            self.created.push((name.clone(), id, op.index));
        }
        self.events.entry(name).or_default().push(Event { began, ended, step });
    }

    /// What all brokers say in the end is what there is.
    fn read_last(&mut self) {
        for (name, events) in &mut self.events {
            for (began, ended, rows) in self.last.values() {
                let count = rows.iter().find(|row| row.0 == *name).map(|row| row.2);
                events.push(Event { began: *began, ended: Some(*ended), step: Step::Read(count) });
            }
        }
    }
}

fn differ(seen: &Observations, found: &mut Findings) {
    if seen.last.is_empty() && !seen.events.is_empty() {
        let case = || "no broker told its topics after all changes".to_owned();
        found.add("topics-unread", Verdict::Unknown, case, []);
    }
    let Some((first, (_, at, rows))) = seen.last.first_key_value() else { return };
    for (broker, (_, ended, other)) in &seen.last {
        let (one, two): (BTreeSet<&Row>, BTreeSet<&Row>) =
            (rows.iter().collect(), other.iter().collect());
        let differences: Vec<_> = one.symmetric_difference(&two).take(SHOWN).collect();
        if !differences.is_empty() {
            let case =
                || format!("brokers {first} and {broker} differ in the end: {differences:?}");
            found.invalid("topics-differ", case, [*at, *ended]);
        }
    }
}

/// Every creation has an id of its own, and an id has one name.
fn ids(seen: &Observations, found: &mut Findings) {
    let mut given: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for (name, id, at) in &seen.created {
        if let Some((other, before)) = given.insert(id, (name, *at)) {
            let case = || format!("id {id} was given to {other} and to {name}");
            found.invalid("topic-id-reused", case, [before, *at]);
        }
    }
    for (_, ended, rows) in seen.lists.values().flatten() {
        for (name, id, _) in rows {
            let (other, before) = *given.entry(id).or_insert((name, *ended));
            if other != name {
                let case = || format!("id {id} is of {other} and of {name}");
                found.invalid("topic-id-reused", case, [before, *ended]);
            }
        }
    }
}

/// Of lists of one broker, each asked for after the other's answer: what has gone stays away, and topics do not shrink.
fn regressed(lists: &[(u64, u64, Vec<Row>)], found: &mut Findings) {
    let mut known: BTreeMap<&str, (i64, u64)> = BTreeMap::new();
    let mut gone: BTreeMap<&str, u64> = BTreeMap::new();
    let mut answered = 0;
    for (began, ended, rows) in lists {
        // Lists that overlap say nothing about each other.
        if *began < answered {
            continue;
        }
        answered = *ended;
        let now: BTreeSet<&str> = rows.iter().map(|row| row.1.as_str()).collect();
        for id in known.keys().filter(|id| !now.contains(*id)) {
            gone.entry(id).or_insert(*ended);
        }
        for (name, id, count) in rows {
            if let Some(before) = gone.get(id.as_str()) {
                let case = || format!("{name} with id {id} had gone and is there again");
                found.invalid("topics-regressed", case, [*before, *ended]);
            }
            let (most, before) = known.entry(id).or_insert((*count, *ended));
            if count < most {
                let case = || format!("{name} had {most} partitions and has {count}");
                found.invalid("topics-regressed", case, [*before, *ended]);
            }
            (*most, *before) = ((*most).max(*count), *ended);
        }
    }
}

/// A listed topic was asked for before, with as many partitions.
fn nowhere(seen: &Observations, found: &mut Findings) {
    for (_, ended, rows) in seen.lists.values().flatten() {
        for (name, _, count) in rows {
            let events = seen.events.get(name).map_or(&[][..], Vec::as_slice);
            let asked =
                events.iter().any(|event| event.began < *ended && event.step.asks_for(*count));
            if !asked {
                let case = || format!("nobody asked for {name} with {count} partitions");
                found.invalid("topic-from-nowhere", case, [*ended]);
            }
        }
    }
}

fn field<'a>(value: &'a Edn, name: &str) -> Option<&'a Edn> {
    match value {
        Edn::Map(map) => map.get(&keyword(name)),
        _ => None,
    }
}

fn number(value: &Edn, name: &str) -> Option<i64> {
    match field(value, name)? {
        Edn::Integer(number) => Some(*number),
        _ => None,
    }
}

fn string(value: &Edn, name: &str) -> Option<String> {
    match field(value, name)? {
        Edn::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn row(value: &Edn) -> Option<Row> {
    match value {
        Edn::Vector(fields) => match &fields[..] {
            [Edn::String(name), Edn::String(id), Edn::Integer(count)] => {
                Some((name.clone(), id.clone(), *count))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
