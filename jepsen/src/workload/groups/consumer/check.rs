//! What a coordinator that assigns may not do: give a partition to a member while another certainly has it, or count epochs
//! back for one that did not begin anew.
//!
//! A member that was told of a partition has it from the moment it knows until it begins to say that it does not (any more),
//! leaves or begins anew; and in any case no longer than a session after it was last heard, for then the coordinator may take
//! it for gone. So two such times may never overlap.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::SESSION;
use crate::checker::{Finding, Findings, Verdict};
use crate::history::{Body, Edn, Kind, Op, Process, keyword};

/// Fewer joins show nothing.
const JOINS_MIN: usize = 6;

/// What a member certainly has.
#[derive(Default)]
struct Holds {
    /// Since when, and by which operation.
    since: BTreeMap<String, (u64, u64)>,
    /// Nobody may take it for gone before.
    until: u64,
    epoch: i64,
}

/// A time in which a member certainly had a partition.
struct Held {
    from: u64,
    to: u64,
    member: String,
    op: u64,
}

#[derive(Default)]
struct Checker {
    members: HashMap<String, Holds>,
    /// When the operation under way of a process began.
    begun: HashMap<Process, u64>,
    held: BTreeMap<String, Vec<Held>>,
    joins: usize,
    found: Findings,
}

pub fn check(history: &[Op]) -> Vec<Finding> {
    let mut checker = Checker::default();
    for op in history {
        let Body::Other(f, value) = &op.body else { continue };
        if !matches!(f.as_str(), "join" | "heartbeat" | "leave") {
            continue;
        }
        let Some(Edn::String(member)) = field(value, "member") else { continue };
        match op.kind {
            Kind::Invoke => checker.says(op, member, f, &parts(value)),
            Kind::Ok if f != "leave" => checker.told(op, member, f, value),
            Kind::Ok | Kind::Fail | Kind::Info => {}
        }
    }
    let everybody: Vec<String> = checker.members.keys().cloned().collect();
    for member in everybody {
        checker.end(&member, u64::MAX, |_| true);
    }
    checker.overlaps();
    let Checker { joins, mut found, .. } = checker;
    if joins < JOINS_MIN {
        found.add("few-joins", Verdict::Unknown, || format!("{joins} joins"), []);
    }
    found.finish()
}

impl Checker {
    /// It begins to say what it has; what it does not name it has no more.
    fn says(&mut self, op: &Op, member: &str, f: &str, names: &BTreeSet<String>) {
        self.begun.insert(op.process, op.time);
        let begins_anew = f != "heartbeat";
        self.end(member, op.time, |part| begins_anew || !names.contains(part));
        if begins_anew && let Some(holds) = self.members.get_mut(member) {
            holds.epoch = 0;
        }
    }

    /// It was heard, and knows what it has.
    fn told(&mut self, op: &Op, member: &str, f: &str, value: &Edn) {
        self.joins += usize::from(f == "join");
        let begun = self.begun.remove(&op.process).unwrap_or(op.time);
        let (names, epoch) = (parts(value), number(value, "epoch"));
        // Between the end of the last time and now it may have been taken for gone.
        let lapsed = self.members.get(member).is_some_and(|holds| holds.until < begun);
        self.end(member, begun, |part| lapsed || !names.contains(part));
        let holds = self.members.entry(member.to_owned()).or_default();
        if epoch < holds.epoch {
            let case = || format!("{member}: epoch {epoch} after {}", holds.epoch);
            self.found.invalid("epoch-went-back", case, [op.index]);
        }
        holds.epoch = epoch;
        holds.until = begun + u64::try_from(SESSION.as_nanos()).unwrap_or(u64::MAX);
        for name in names {
            holds.since.entry(name).or_insert((op.time, op.index));
        }
    }

    /// A member has some of its partitions no longer than until `at`.
    fn end(&mut self, member: &str, at: u64, which: impl Fn(&str) -> bool) {
        let Some(holds) = self.members.get_mut(member) else { return };
        let to = at.min(holds.until);
        let ended: Vec<String> = holds.since.keys().filter(|it| which(it)).cloned().collect();
        for part in ended {
            let Some((from, op)) = holds.since.remove(&part) else { continue };
            if from < to {
                let held = Held { from, to, member: member.to_owned(), op };
                self.held.entry(part).or_default().push(held);
            }
        }
    }

    fn overlaps(&mut self) {
        for (part, held) in &mut self.held {
            held.sort_by_key(|it| it.from);
            for (at, one) in held.iter().enumerate() {
                let later = held[at + 1..].iter().take_while(|other| other.from < one.to);
                for other in later.filter(|other| other.member != one.member) {
                    let case = || format!("{part} was with {} and {}", one.member, other.member);
                    self.found.invalid("assignment-overlap", case, [one.op, other.op]);
                }
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

fn number(value: &Edn, name: &str) -> i64 {
    match field(value, name) {
        Some(Edn::Integer(number)) => *number,
        _ => -1,
    }
}

fn parts(value: &Edn) -> BTreeSet<String> {
    let Some(Edn::Vector(list)) = field(value, "parts") else { return BTreeSet::new() };
    let name = |it: &Edn| if let Edn::String(name) = it { Some(name.clone()) } else { None };
    list.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{int, map, text};

    const MS: u64 = 1_000_000;

    #[derive(Default)]
    struct History(Vec<Op>);

    impl History {
        /// An operation that takes 10 ms; what it says to have, and what it is told.
        fn done(&mut self, at_ms: u64, f: &str, member: &str, said: &[&str], told: (i64, &[&str])) {
            let value = |epoch: i64, parts: &[&str]| {
                let parts = Edn::Vector(parts.iter().map(|it| text(*it)).collect());
                map([("member", text(member)), ("epoch", int(epoch)), ("parts", parts)])
            };
            let process = Process::Client(i64::from(member.as_bytes()[0]));
            let steps = [
                (Kind::Invoke, at_ms, value(0, said)),
                (Kind::Ok, at_ms + 10, value(told.0, told.1)),
            ];
            for (kind, ms, value) in steps {
                let body = Body::Other(f.to_owned(), value);
                let (index, extra) = (self.0.len() as u64, BTreeMap::new());
                self.0.push(Op { index, time: ms * MS, process, kind, body, extra });
            }
        }

        fn anomalies(&self) -> Vec<String> {
            let mut ops = self.0.clone();
            ops.sort_by_key(|op| op.time);
            let found = check(&ops).into_iter().filter(|it| it.verdict == Verdict::Invalid);
            found.map(|finding| finding.anomaly).collect()
        }
    }

    /// Two share, and the one that is to give back does so when it says that it has.
    fn good() -> History {
        let mut history = History::default();
        history.done(0, "join", "a", &[], (1, &["p", "q"]));
        history.done(100, "join", "b", &[], (2, &[]));
        history.done(300, "heartbeat", "a", &["p", "q"], (1, &["p"]));
        history.done(600, "heartbeat", "a", &["p"], (2, &["p"]));
        history.done(620, "heartbeat", "b", &[], (2, &["q"]));
        history
    }

    #[test]
    fn a_partition_that_is_given_back_first_may_be_given_on() {
        assert!(good().anomalies().is_empty());
        let mut silent = good();
        // Nobody heard of it for a session.
        silent.done(2_700, "heartbeat", "b", &["q"], (3, &["p", "q"]));
        assert!(silent.anomalies().is_empty());
        let mut left = good();
        left.done(700, "leave", "a", &[], (0, &[]));
        left.done(701, "heartbeat", "b", &["q"], (3, &["p", "q"]));
        assert!(left.anomalies().is_empty());
    }

    #[test]
    fn one_that_somebody_still_has_may_not() {
        let mut early = good();
        early.done(1_000, "heartbeat", "b", &["q"], (2, &["p", "q"]));
        assert_eq!(early.anomalies(), ["assignment-overlap"]);
        let mut back = good();
        back.done(1_000, "heartbeat", "b", &["q"], (1, &["q"]));
        assert_eq!(back.anomalies(), ["epoch-went-back"]);
    }
}
