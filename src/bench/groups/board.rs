//! What the members of a group have been told, and whether that is the whole of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::terminal::Failure;

/// A group that is not stable after so long will not be.
const PATIENCE: Duration = Duration::from_secs(120);

/// By member its generation and part.
type Told = BTreeMap<u64, (i32, Vec<i32>)>;

/// One group's.
pub(super) struct Board(watch::Sender<Told>);

impl Board {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Told::new()))
    }

    /// A member was told its part.
    pub(super) fn tell(&self, member: u64, generation: i32, part: &[i32]) {
        self.0.send_modify(|told| {
            told.insert(member, (generation, part.to_vec()));
        });
    }

    /// A member has nothing any more.
    pub(super) fn remove(&self, member: u64) {
        self.0.send_modify(|told| {
            told.remove(&member);
        });
    }

    /// Waits until so many members have the whole topic among them, in one generation after that one. Returns it.
    pub(super) async fn stable(
        &self,
        members: usize,
        partitions: usize,
        after: i32,
    ) -> Result<i32, Failure> {
        let mut seen = self.0.subscribe();
        let found = |told: &Told| whole(told, members, partitions).filter(|found| *found > after);
        if let Ok(Ok(told)) = timeout(PATIENCE, seen.wait_for(|told| found(told).is_some())).await {
            return Ok(found(&told).unwrap_or(after));
        }
        let told = self.0.borrow();
        let generations: BTreeSet<i32> = told.values().map(|it| it.0).collect();
        let given: usize = told.values().map(|it| it.1.len()).sum();
        Err(Failure::error(format!(
            "after {} s, {} of {members} members have {given} of {partitions} partitions, in generations {generations:?} \
             where one after {after} is due",
            PATIENCE.as_secs(),
            told.len(),
        )))
    }
}

/// The generation in which so many members have all partitions, each one of them.
fn whole(told: &Told, members: usize, partitions: usize) -> Option<i32> {
    let (generation, _) = told.values().next()?;
    let given: usize = told.values().map(|(_, part)| part.len()).sum();
    let all: BTreeSet<i32> = told.values().flat_map(|(_, part)| part).copied().collect();
    let is_one = told.values().all(|it| it.0 == *generation);
    (told.len() == members && is_one && all.len() == partitions && given == partitions)
        .then_some(*generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_stable_when_its_members_have_every_partition_once_in_one_generation() {
        let told = |members: &[(i32, &[i32])]| -> Told {
            (0..).zip(members.iter().map(|(it, part)| (*it, part.to_vec()))).collect()
        };
        assert_eq!(whole(&told(&[(3, &[0, 1]), (3, &[2])]), 2, 3), Some(3));
        assert_eq!(whole(&told(&[(3, &[0, 1]), (3, &[2]), (3, &[])]), 3, 3), Some(3));
        for unstable in [
            told(&[(3, &[0, 1, 2])]),
            told(&[(3, &[0, 1]), (4, &[2])]),
            told(&[(3, &[0, 1]), (3, &[1, 2])]),
            told(&[(3, &[0, 1]), (3, &[1])]),
            told(&[(3, &[0]), (3, &[2])]),
        ] {
            assert_eq!(whole(&unstable, 2, 3), None, "{unstable:?}");
        }
    }
}
