//! What a coordinator may not do: give a partition to two members of a generation, count generations back, take a commit of
//! a generation that is over, or lose one that it acknowledged.
//!
//! Members commit only what they have read, and begin where the group has committed, so what is committed of a partition
//! only grows. An offset that is fetched is therefore no lower than any acknowledged before, and one that somebody sent.

use std::collections::{BTreeMap, HashMap};

use crate::checker::{Finding, Findings, Verdict};
use crate::history::{Body, Edn, Kind, Op, Process, keyword};

/// Fewer acknowledged commits, or generations, show nothing.
const COMMITS_MIN: usize = 20;
const GENERATIONS_MIN: i64 = 3;

/// What was certain when an operation began.
#[derive(Clone, Default)]
struct Known {
    generation: i64,
    committed: BTreeMap<i64, (i64, u64)>,
}

#[derive(Default)]
struct Checker {
    known: Known,
    open: HashMap<Process, Known>,
    /// The highest offset that anybody sent, by key.
    sent: BTreeMap<i64, i64>,
    owners: BTreeMap<(i64, i64), (String, u64)>,
    /// By generation and member, what the one that assigns has told.
    parts: BTreeMap<(i64, String), (Vec<i64>, u64)>,
    commits: usize,
    found: Findings,
}

pub fn check(history: &[Op]) -> Vec<Finding> {
    judge(history, GENERATIONS_MIN, |_| true)
}

/// Of these only what concerns offsets, whoever assigns.
pub fn offsets(history: &[Op]) -> Vec<Finding> {
    judge(history, 0, |f| matches!(f, "commit" | "fetch-offsets"))
}

fn judge(history: &[Op], generations_min: i64, minded: fn(&str) -> bool) -> Vec<Finding> {
    let mut checker = Checker::default();
    for op in history {
        let Body::Other(f, value) = &op.body else { continue };
        if minded(f) {
            checker.step(op, f, value);
        }
    }
    let Checker { known, commits, mut found, .. } = checker;
    if commits < COMMITS_MIN || known.generation < generations_min {
        let case = || format!("{commits} commits in {} generations", known.generation);
        found.add("few-commits", Verdict::Unknown, case, []);
    }
    found.finish()
}

impl Checker {
    fn step(&mut self, op: &Op, f: &str, value: &Edn) {
        if op.kind == Kind::Invoke {
            if f == "sync" {
                self.dealt(op, value);
            }
            if f == "commit" {
                for (key, offset) in pairs(field(value, "offsets")) {
                    let most = self.sent.entry(key).or_default();
                    *most = offset.max(*most);
                }
            }
            self.open.insert(op.process, self.known.clone());
            return;
        }
        let before = self.open.remove(&op.process).unwrap_or_default();
        if op.kind != Kind::Ok {
            return;
        }
        match f {
            "join" => self.joined(op, number(value, "generation"), &before),
            "sync" => self.synced(op, value),
            "commit" => self.committed(op, value, &before),
            "fetch-offsets" => self.fetched(op, value, &before),
            _ => {}
        }
    }

    fn joined(&mut self, op: &Op, generation: i64, before: &Known) {
        if generation < before.generation {
            let case = || format!("generation {generation} after {}", before.generation);
            self.found.invalid("generation-went-back", case, [op.index]);
        }
        self.known.generation = self.known.generation.max(generation);
    }

    /// What the one that assigns tells.
    fn dealt(&mut self, op: &Op, value: &Edn) {
        let generation = number(value, "generation");
        for part in list(field(value, "parts")) {
            let Edn::Vector(part) = part else { continue };
            let [Edn::String(member), keys] = &part[..] else { continue };
            let keys = numbers(Some(keys));
            let told = self.parts.entry((generation, member.clone()));
            let (dealt, first) = told.or_insert_with(|| (keys.clone(), op.index));
            if *dealt != keys {
                let case =
                    || format!("{member} in generation {generation}: {dealt:?} and {keys:?}");
                self.found.invalid("dealt-twice", case, [*first, op.index]);
            }
        }
    }

    fn synced(&mut self, op: &Op, value: &Edn) {
        let generation = number(value, "generation");
        let Some(Edn::String(member)) = field(value, "member") else { return };
        let keys = numbers(field(value, "keys"));
        if let Some((dealt, first)) = self.parts.get(&(generation, member.clone()))
            && *dealt != keys
        {
            let case = || format!("{member} in generation {generation}: {keys:?}, not {dealt:?}");
            self.found.invalid("wrong-part", case, [*first, op.index]);
        }
        for key in keys {
            let owner = self.owners.entry((generation, key));
            let (owner, first) = owner.or_insert_with(|| (member.clone(), op.index));
            if owner != member {
                let case = || format!("key {key} in generation {generation}: {owner} and {member}");
                self.found.invalid("assignment-overlap", case, [*first, op.index]);
            }
        }
    }

    fn committed(&mut self, op: &Op, value: &Edn, before: &Known) {
        self.commits += usize::from(pairs(field(value, "offsets")).next().is_some());
        // Of the consumer protocol each member has an epoch of its own.
        let generation = field(value, "generation").map(|_| number(value, "generation"));
        if let Some(generation) = generation.filter(|it| *it < before.generation) {
            let case = || format!("of generation {generation} in {}", before.generation);
            self.found.invalid("commit-of-old-generation", case, [op.index]);
        }
        for (key, offset) in pairs(field(value, "offsets")) {
            let most = self.known.committed.entry(key).or_insert((offset, op.index));
            if offset > most.0 {
                *most = (offset, op.index);
            }
        }
    }

    fn fetched(&mut self, op: &Op, value: &Edn, before: &Known) {
        let fetched: BTreeMap<i64, i64> = pairs(Some(value)).collect();
        for (key, (least, commit)) in &before.committed {
            let offset = fetched.get(key).copied().unwrap_or(-1);
            if offset < *least {
                let case = || format!("key {key}: {offset} was fetched, {least} was committed");
                self.found.invalid("commit-lost", case, [*commit, op.index]);
            }
        }
        for (key, offset) in fetched {
            let most = self.sent.get(&key).copied().unwrap_or(-1);
            if offset > most {
                let case = || format!("key {key}: {offset} was fetched, {most} is the most sent");
                self.found.invalid("commit-of-nobody", case, [op.index]);
            }
        }
    }
}

pub fn field<'a>(map: &'a Edn, name: &str) -> Option<&'a Edn> {
    match map {
        Edn::Map(map) => map.get(&keyword(name)),
        _ => None,
    }
}

fn number(map: &Edn, name: &str) -> i64 {
    match field(map, name) {
        Some(Edn::Integer(number)) => *number,
        _ => -1,
    }
}

fn list(value: Option<&Edn>) -> &[Edn] {
    match value {
        Some(Edn::Vector(list)) => list,
        _ => &[],
    }
}

fn numbers(value: Option<&Edn>) -> Vec<i64> {
    let number = |it: &Edn| if let Edn::Integer(number) = it { Some(*number) } else { None };
    list(value).iter().filter_map(number).collect()
}

pub fn pairs(value: Option<&Edn>) -> impl Iterator<Item = (i64, i64)> + '_ {
    list(value).iter().filter_map(|pair| match pair {
        Edn::Vector(pair) => match pair[..] {
            [Edn::Integer(key), Edn::Integer(offset)] => Some((key, offset)),
            _ => None,
        },
        _ => None,
    })
}

#[cfg(test)]
mod tests;
