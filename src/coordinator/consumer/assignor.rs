//! Who is to read what: the assignors that a coordinator knows (KIP-848).
//!
//! `uniform` gives everybody as many partitions as anybody else, give or take one, as far as subscriptions allow, and moves
//! as few as that takes. `range` gives each member a run of neighbouring partitions of each topic, the same run in topics of
//! as many partitions that the same members read, so that what belongs together is read together.
//!
//! Pure, and the same wherever it runs; what comes of it is written down, so that it may change all the same.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::coordinator::record::Parts;

/// Their names; the first is the one for groups whose members ask for none.
pub const ASSIGNORS: [&str; 2] = [Assignor::Uniform.name(), Assignor::Range.name()];

/// See the file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Assignor {
    Uniform,
    Range,
}

/// A member as an assignor sees it.
#[derive(Debug, Clone)]
pub(super) struct Subscriber<'a> {
    pub(super) id: &'a str,
    pub(super) instance_id: Option<&'a str>,
    /// The topics it reads, and of how many partitions they are.
    pub(super) topics: BTreeMap<Uuid, i32>,
    /// What it was to read so far.
    pub(super) target: &'a Parts,
}

impl Assignor {
    /// The one for groups whose members ask for none.
    pub(super) const DEFAULT: Self = Self::Uniform;
    const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Assigns every partition that somebody reads to one who does; one part for each member, in their order.
    pub(super) fn assign(self, members: &[Subscriber<'_>]) -> Vec<Parts> {
        match self {
            Self::Uniform => uniform(members),
            Self::Range => range(members),
        }
    }
}

/// The topics somebody reads, with their partitions and their readers.
fn topics(members: &[Subscriber<'_>]) -> BTreeMap<Uuid, (i32, Vec<usize>)> {
    let mut topics: BTreeMap<Uuid, (i32, Vec<usize>)> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        for (topic, partitions) in &member.topics {
            topics.entry(*topic).or_insert((*partitions, Vec::new())).1.push(index);
        }
    }
    topics
}

fn range(members: &[Subscriber<'_>]) -> Vec<Parts> {
    let mut parts = vec![Parts::new(); members.len()];
    for (topic, (partitions, mut readers)) in topics(members) {
        // Static members first and by what they keep over a restart, so that their parts stay as well.
        readers.sort_by_key(|index| {
            let member = &members[*index];
            (member.instance_id.is_none(), member.instance_id.unwrap_or(member.id))
        });
        let (partitions, count) = (usize::try_from(partitions).unwrap_or(0), readers.len());
        let mut next = 0;
        for (place, reader) in readers.into_iter().enumerate() {
            let length = partitions / count + usize::from(place < partitions % count);
            if length > 0 {
                let run = (next..next + length).filter_map(|it| i32::try_from(it).ok());
                parts[reader].insert(topic, run.collect());
            }
            next += length;
        }
    }
    parts
}

fn uniform(members: &[Subscriber<'_>]) -> Vec<Parts> {
    let topics = topics(members);
    let mut loads = Loads::new(members.len(), &topics);
    let mut free: Vec<(Uuid, BTreeSet<i32>)> = Vec::new();
    for (topic, (partitions, readers)) in &topics {
        let mut rest: BTreeSet<i32> = (0..*partitions).collect();
        for reader in readers {
            let Some(had) = members[*reader].target.get(topic) else { continue };
            for partition in had {
                if rest.remove(partition) {
                    loads.give(*reader, *topic, *partition);
                }
            }
        }
        free.push((*topic, rest));
    }
    // Those that few read first: they leave the least choice.
    free.sort_by_key(|(topic, _)| topics[topic].1.len());
    for (topic, rest) in free {
        for partition in rest {
            let Some((_, reader)) = loads.lightest(&topic) else { break };
            loads.give(reader, topic, partition);
        }
    }
    loads.even_out();
    loads.parts
}

/// What members are given, on the way.
struct Loads {
    parts: Vec<Parts>,
    counts: Vec<usize>,
    /// Topics that the same members read are of one class; these members, by load.
    classes: Vec<BTreeSet<(usize, usize)>>,
    class_of: BTreeMap<Uuid, usize>,
    /// The classes that each member is in.
    classes_of: Vec<Vec<usize>>,
    /// All members, by load.
    all: BTreeSet<(usize, usize)>,
}

impl Loads {
    fn new(members: usize, topics: &BTreeMap<Uuid, (i32, Vec<usize>)>) -> Self {
        let mut classes: BTreeMap<&[usize], usize> = BTreeMap::new();
        let mut loads = Self {
            parts: vec![Parts::new(); members],
            counts: vec![0; members],
            classes: Vec::new(),
            class_of: BTreeMap::new(),
            classes_of: vec![Vec::new(); members],
            all: (0..members).map(|member| (0, member)).collect(),
        };
        for (topic, (_, readers)) in topics {
            let class = *classes.entry(readers).or_insert_with(|| {
                let class = loads.classes.len();
                loads.classes.push(readers.iter().map(|member| (0, *member)).collect());
                readers.iter().for_each(|member| loads.classes_of[*member].push(class));
                class
            });
            loads.class_of.insert(*topic, class);
        }
        loads
    }

    /// The reader of a topic that has the least, and how much that is.
    fn lightest(&self, topic: &Uuid) -> Option<(usize, usize)> {
        self.classes[*self.class_of.get(topic)?].first().copied()
    }

    fn give(&mut self, member: usize, topic: Uuid, partition: i32) {
        self.parts[member].entry(topic).or_default().insert(partition);
        self.set(member, self.counts[member] + 1);
    }

    /// Takes a partition of a topic from a member, the last one.
    fn take(&mut self, member: usize, topic: Uuid) -> Option<i32> {
        let partitions = self.parts[member].get_mut(&topic)?;
        let partition = partitions.pop_last()?;
        if partitions.is_empty() {
            self.parts[member].remove(&topic);
        }
        self.set(member, self.counts[member] - 1);
        Some(partition)
    }

    fn set(&mut self, member: usize, load: usize) {
        let before = std::mem::replace(&mut self.counts[member], load);
        let moved = |members: &mut BTreeSet<(usize, usize)>| {
            members.remove(&(before, member));
            members.insert((load, member));
        };
        self.classes_of[member].iter().for_each(|class| moved(&mut self.classes[*class]));
        moved(&mut self.all);
    }

    /// Moves partitions from who has most to who has least, as long as that makes the loads more even; so it ends.
    fn even_out(&mut self) {
        let mut next = self.all.last().copied();
        while let Some((most, giver)) = next {
            let topics = self.parts[giver].keys();
            let takers = topics.filter_map(|topic| Some((self.lightest(topic)?, *topic)));
            match takers.min() {
                Some(((least, taker), topic)) if most >= least + 2 => {
                    if let Some(partition) = self.take(giver, topic) {
                        self.give(taker, topic, partition);
                    }
                    next = self.all.last().copied();
                }
                // To those who read what it has nothing can be given; perhaps somebody with less can give.
                _ => next = self.all.range(..(most, giver)).next_back().copied(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
