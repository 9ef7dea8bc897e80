//! Whether what brokers said of configs can be true.
//!
//! A change is whole or not at all (`configs-torn`), nobody sees what nobody asked for (`config-from-nowhere`), and in the
//! end all brokers say the same (`configs-differ`) and nothing older than a change that was acknowledged (`config-lost`).
//! Before the end a broker may be behind the others, but what it says never goes back (`config-regressed`), also not behind
//! a change that was made through it. That is asked of Kafka's protocol alone: a broker that starts serves it when it has caught
//! up, and HTTP at once, so that one can see how it is.
//!
//! No value is given twice, so the order of two changes is known where one was acknowledged before the other began, or where
//! one broker showed one after the other.

use std::collections::{BTreeMap, HashMap};

use crate::checker::{Finding, Findings, Verdict};
use crate::history::{Body, Edn, Kind, Op, keyword};

/// Fewer acknowledged changes show nothing.
const CHANGES_MIN: usize = 20;
/// What a topic has that nobody changed.
const DEFAULT: i64 = -1;

/// A change as the history has it.
#[derive(Clone, Copy)]
struct Change {
    began: u64,
    /// When it was acknowledged.
    acked: Option<u64>,
    /// It certainly was not made.
    refused: bool,
}

/// That a broker had a value, or a newer one.
#[derive(Clone, Copy)]
struct Seen {
    began: u64,
    ended: u64,
    value: i64,
    /// It said so by Kafka's protocol, and so had no newer one.
    is_read: bool,
}

/// What a history says of one topic.
#[derive(Default)]
struct Topic {
    changes: BTreeMap<i64, Change>,
    /// By broker, in the order of their answers.
    seen: BTreeMap<i64, Vec<Seen>>,
    /// The last thing that each broker said after all changes.
    last: BTreeMap<i64, Seen>,
}

pub fn check(history: &[Op]) -> Vec<Finding> {
    let mut found = Findings::default();
    let topics = topics(history, &mut found);
    for (name, topic) in &topics {
        topic.nowhere(name, &mut found);
        topic.regressed(name, &mut found);
        topic.end(name, &mut found);
    }
    let acked = |topic: &Topic| topic.changes.values().filter(|it| it.acked.is_some()).count();
    let acked: usize = topics.values().map(acked).sum();
    if acked < CHANGES_MIN {
        let case = || format!("{acked} changes were acknowledged, {CHANGES_MIN} are the least");
        found.add("few-changes", Verdict::Unknown, case, []);
    }
    found.finish()
}

fn topics(history: &[Op], found: &mut Findings) -> BTreeMap<String, Topic> {
    let (mut topics, mut open) = (BTreeMap::<String, Topic>::new(), HashMap::new());
    for op in history {
        let Body::Other(f, value) = &op.body else { continue };
        let (Some(name), Some(broker)) = (string(value, "topic"), number(value, "broker")) else {
            continue;
        };
        let topic = topics.entry(name).or_default();
        if op.kind == Kind::Invoke {
            open.insert(op.process, op.index);
        }
        match (f.as_str(), op.kind) {
            ("change-configs", Kind::Invoke) => {
                let change = Change { began: op.index, acked: None, refused: false };
                topic.changes.extend(number(value, "value").map(|value| (value, change)));
            }
            ("change-configs", kind) => {
                let Some(began) = open.remove(&op.process) else { continue };
                topic.changed(broker, began, op, kind, value);
            }
            ("read-configs", Kind::Ok) => {
                let Some(began) = open.remove(&op.process) else { continue };
                topic.read(broker, began, op, value, found);
            }
            _ => {}
        }
    }
    topics
}

impl Topic {
    fn changed(&mut self, broker: i64, began: u64, op: &Op, kind: Kind, value: &Edn) {
        let Some(value) = number(value, "value") else { return };
        let Some(change) = self.changes.get_mut(&value) else { return };
        change.refused = kind == Kind::Fail;
        if kind == Kind::Ok {
            change.acked = Some(op.index);
            let seen = Seen { began, ended: op.index, value, is_read: false };
            self.seen.entry(broker).or_default().push(seen);
        }
    }

    fn read(&mut self, broker: i64, began: u64, op: &Op, value: &Edn, found: &mut Findings) {
        let Some(Edn::Vector(values)) = field(value, "values") else { return };
        let [Edn::Integer(one), Edn::Integer(other)] = values[..] else { return };
        if one != other {
            let case = || format!("broker {broker}: one has value {one}, the other {other}");
            found.invalid("configs-torn", case, [op.index]);
        }
        let is_read = string(value, "via").as_deref() == Some("kafka");
        let seen = Seen { began, ended: op.index, value: one, is_read };
        self.seen.entry(broker).or_default().push(seen);
        if field(value, "final") == Some(&Edn::Boolean(true)) {
            self.last.insert(broker, seen);
        }
    }

    fn nowhere(&self, name: &str, found: &mut Findings) {
        for (broker, seen) in
            self.seen.iter().flat_map(|(at, all)| all.iter().map(move |it| (at, it)))
        {
            let change = self.changes.get(&seen.value);
            let is_asked = change.is_some_and(|it| it.began < seen.ended && !it.refused);
            if seen.value != DEFAULT && !is_asked {
                let case = || format!("{name} at broker {broker}: nobody made it {}", seen.value);
                found.invalid("config-from-nowhere", case, [seen.ended]);
            }
        }
    }

    /// Whether one value was certainly there before the other.
    fn is_older(&self, one: i64, other: i64) -> bool {
        let Some(other) = self.changes.get(&other) else { return false };
        let acked = self.changes.get(&one).and_then(|one| one.acked);
        one == DEFAULT || acked.is_some_and(|acked| acked < other.began)
    }

    fn regressed(&self, name: &str, found: &mut Findings) {
        for (broker, all) in &self.seen {
            for now in all.iter().filter(|it| it.is_read) {
                let earlier = || all.iter().filter(|it| it.ended < now.began);
                let newer = earlier().find(|before| {
                    let is_back = before.is_read
                        && before.value != now.value
                        && earlier().any(|it| {
                            it.is_read && it.value == now.value && it.ended < before.began
                        });
                    is_back || self.is_older(now.value, before.value)
                });
                if let Some(newer) = newer {
                    let case = || {
                        format!("{name} at broker {broker}: {} after {}", now.value, newer.value)
                    };
                    found.invalid("config-regressed", case, [newer.ended, now.ended]);
                }
            }
        }
    }

    fn end(&self, name: &str, found: &mut Findings) {
        let Some((first, one)) = self.last.first_key_value() else {
            let case = || format!("no broker told the configs of {name} after all changes");
            return found.add("configs-unread", Verdict::Unknown, case, []);
        };
        for (broker, other) in &self.last {
            if other.value != one.value {
                let case = || {
                    let (one, other) = (one.value, other.value);
                    format!("{name}: {one} at broker {first}, {other} at broker {broker}")
                };
                found.invalid("configs-differ", case, [one.ended, other.ended]);
            }
        }
        let acked = self.changes.iter().filter(|(_, it)| it.acked.is_some());
        for (value, change) in acked {
            if self.is_older(one.value, *value) {
                let case = || format!("{name}: {value} was acknowledged, {} is there", one.value);
                found.invalid("config-lost", case, [change.began, one.ended]);
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

#[cfg(test)]
mod tests;
