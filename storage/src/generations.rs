//! The generations of the log and how much of each is still needed.
//!
//! ```text
//!   written ──▶ current ──▶ sealed ──┬─ no segment left ──────────▶ dead ──▶ files deleted
//!                  ▲                 └─ little of it is live ─┐
//!                  └────────── rewritten: the live rest ◀─────┘
//! ```
//!
//! A generation is one memtable's worth of entries of all groups. When no segment of any group
//! lies in it, it is dead and its files can go; when little of it is live, the rest is
//! rewritten (see `rewrite`). Whether it is dead is counted exactly, in segments; the bytes are
//! estimates and only decide what is worth rewriting. Which groups have something in a generation
//! is kept as well, so that what is left in it is found without asking every group.

use std::collections::{BTreeMap, BTreeSet};

use crate::GroupId;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Bytes written to it; known when it is sealed.
    pub total: u64,
    pub live: u64,
    /// Segments of all groups that lie in it.
    pub segments: u64,
    /// Every group with a segment in it, and some that had one. None twice: of two pieces of a group
    /// in one move the second would be planned on a map that the first changes.
    pub groups: BTreeSet<GroupId>,
}

impl Generation {
    /// A segment of a group begins in it.
    pub fn begin(&mut self, group: GroupId) {
        self.segments += 1;
        self.groups.insert(group);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Generations {
    current: u32,
    table: BTreeMap<u32, Generation>,
    /// Sealed generations that lost their last segment since `take_dead`.
    dead: Vec<u32>,
}

impl Generations {
    /// Begins with the generations found on disk, all sealed; `current` is a new number.
    pub fn new(current: u32, mut table: BTreeMap<u32, Generation>) -> Generations {
        let dead =
            table.iter().filter(|(_, g)| g.segments == 0).map(|(&number, _)| number).collect();
        table.insert(current, Generation::default());
        Generations { current, table, dead }
    }

    /// The generation being written.
    pub fn current(&self) -> u32 {
        self.current
    }

    /// Bytes written to the current generation.
    pub fn current_bytes(&self) -> u64 {
        self.table.get(&self.current).map_or(0, |generation| generation.total)
    }

    /// Bytes of the current generation that nobody needs any more.
    pub fn current_dead_bytes(&self) -> u64 {
        self.table.get(&self.current).map_or(0, |it| it.total.saturating_sub(it.live))
    }

    pub fn count(&self) -> usize {
        self.table.len()
    }

    pub fn live_bytes(&self) -> u64 {
        self.table.values().map(|generation| generation.live).sum()
    }

    /// Whether entries of it may be needed; numbers to come count as known.
    pub fn is_known(&self, number: u32) -> bool {
        number >= self.current || self.table.contains_key(&number)
    }

    /// Entries were written to the current generation.
    pub fn wrote(&mut self, bytes: u64) {
        let current = self.current;
        self.table.entry(current).or_default().total += bytes;
    }

    /// A segment of a group begins in a generation.
    pub fn begin(&mut self, number: u32, group: GroupId) {
        self.table.entry(number).or_default().begin(group);
    }

    pub fn add(&mut self, number: u32, live: u64) {
        self.table.entry(number).or_default().live += live;
    }

    /// Takes out a group that may have a segment in this generation; see [`Generation::groups`].
    pub fn take_group(&mut self, number: u32) -> Option<GroupId> {
        self.table.get_mut(&number)?.groups.pop_first()
    }

    /// A group that was taken out still has a segment there.
    pub fn return_group(&mut self, number: u32, group: GroupId) {
        if let Some(generation) = self.table.get_mut(&number) {
            generation.groups.insert(group);
        }
    }

    pub fn remove(&mut self, number: u32, segments: u64, live: u64) {
        let Some(generation) = self.table.get_mut(&number) else { return };
        generation.segments -= segments;
        generation.live = generation.live.saturating_sub(live);
        if segments > 0 && generation.segments == 0 && number != self.current {
            self.dead.push(number);
        }
    }

    /// The current generation is complete and the next one begins.
    pub fn switch(&mut self) {
        let sealed = self.current;
        if self.table.get(&sealed).is_none_or(|generation| generation.segments == 0) {
            self.dead.push(sealed);
        }
        self.current += 1;
        self.table.insert(self.current, Generation::default());
    }

    /// Generations that died since the last call.
    pub fn take_dead(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.dead)
    }

    /// The files of these generations are gone.
    pub fn forget(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.table.remove(number);
        }
    }

    /// The sealed generation with the smallest live share, if that is below `percent`; not one of those in which nothing
    /// can be moved.
    pub fn worst(&self, percent: u32, unmovable: &BTreeSet<u32>) -> Option<u32> {
        self.table
            .range(..self.current)
            .filter(|(number, g)| g.segments > 0 && g.total > 0 && !unmovable.contains(number))
            .map(|(&number, g)| (u128::from(g.live) * 100 / u128::from(g.total), number))
            .filter(|&(share, _)| share < u128::from(percent))
            .min()
            .map(|(_, number)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_disk(list: &[(u32, u64, u64, u64)]) -> BTreeMap<u32, Generation> {
        let entry = |&(number, total, live, segments)| {
            (number, Generation { total, live, segments, groups: BTreeSet::new() })
        };
        list.iter().map(entry).collect()
    }

    #[test]
    fn a_generation_dies_with_its_last_segment_once_it_is_sealed() {
        let mut generations = Generations::new(3, on_disk(&[(1, 100, 50, 2), (2, 100, 0, 0)]));
        assert_eq!(generations.take_dead(), vec![2]);
        generations.remove(1, 1, 30);
        assert_eq!(generations.take_dead(), vec![]);
        generations.remove(1, 1, 20);
        assert_eq!(generations.take_dead(), vec![1]);
        generations.begin(3, GroupId(1));
        generations.add(3, 10);
        generations.remove(3, 1, 10);
        assert_eq!(generations.take_dead(), vec![], "the current one can come back to life");
        generations.switch();
        assert_eq!((generations.current(), generations.take_dead()), (4, vec![3]));
        assert!(generations.is_known(3) && generations.is_known(9));
        generations.forget(&[1, 2, 3]);
        assert!(!generations.is_known(3));
        assert_eq!(generations.count(), 1);
    }

    #[test]
    fn what_is_left_is_looked_for_where_least_is_live() {
        let table = on_disk(&[(1, 100, 24, 1), (2, 100, 10, 1), (3, 100, 80, 1), (4, 100, 0, 0)]);
        let mut generations = Generations::new(5, table);
        generations.wrote(100);
        generations.begin(5, GroupId(1));
        generations.add(5, 1);
        assert_eq!(generations.current_dead_bytes(), 99);
        let none = BTreeSet::new();
        assert_eq!(generations.worst(25, &none), Some(2));
        assert_eq!(generations.worst(25, &BTreeSet::from([2])), Some(1));
        generations.remove(2, 1, 10);
        assert_eq!(generations.worst(25, &none), Some(1));
        assert_eq!(generations.worst(24, &none), None);
        assert_eq!(generations.worst(0, &none), None);
    }
}
