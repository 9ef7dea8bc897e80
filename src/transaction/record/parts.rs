//! What a transaction is in: partitions, and coordinators of consumer groups.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Partitions of one transaction.
const PARTITIONS_MAX: usize = 20_000;

/// Something that a transaction is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Part {
    Partition(Uuid, i32),
    /// Offsets of groups, by the number of their coordinator.
    Offsets(u32),
}

/// All that a transaction is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parts {
    topics: BTreeMap<Uuid, BTreeSet<i32>>,
    /// Partitions of all topics.
    count: u32,
    coordinators: BTreeSet<u32>,
}

impl Parts {
    pub(crate) fn contains(&self, part: &Part) -> bool {
        match part {
            Part::Partition(topic, partition) => {
                self.topics.get(topic).is_some_and(|known| known.contains(partition))
            }
            Part::Offsets(coordinator) => self.coordinators.contains(coordinator),
        }
    }

    pub(crate) fn has_room_for(&self, added: &[Part]) -> bool {
        (self.count as usize).saturating_add(added.len()) <= PARTITIONS_MAX
    }

    pub(crate) fn insert(&mut self, part: Part) {
        match part {
            Part::Partition(topic, partition) => {
                let is_new = self.topics.entry(topic).or_default().insert(partition);
                self.count = self.count.saturating_add(u32::from(is_new));
            }
            Part::Offsets(coordinator) => drop(self.coordinators.insert(coordinator)),
        }
    }

    /// How many partitions and coordinators.
    pub(crate) fn len(&self) -> u32 {
        let coordinators = u32::try_from(self.coordinators.len()).unwrap_or(u32::MAX);
        self.count.saturating_add(coordinators)
    }

    pub(crate) fn partitions(&self) -> Vec<(Uuid, i32)> {
        let each = |(topic, numbers): (&Uuid, &BTreeSet<i32>)| {
            let topic = *topic;
            numbers.iter().map(move |number| (topic, *number)).collect::<Vec<_>>()
        };
        self.topics.iter().flat_map(each).collect()
    }

    pub(crate) fn all(&self) -> Vec<Part> {
        let partitions = self.partitions().into_iter();
        let partitions = partitions.map(|(topic, number)| Part::Partition(topic, number));
        partitions.chain(self.coordinators.iter().copied().map(Part::Offsets)).collect()
    }
}
