//! When to look at each group that has entries without a checkpoint.
//!
//! A load often begins on all groups at once. Were all looked at when the same time has passed, their
//! checkpoints would be one burst, again and again; so each group has its own place in the period.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_storage::GroupId;
use tokio::time::Instant;

use crate::checkpoint::QUIET;

/// Groups by the time of their next look.
#[derive(Debug, Default)]
pub(super) struct Looks(BTreeSet<(Instant, GroupId)>);

impl Looks {
    /// Has a group looked at between one and two periods from now. Not for one that is here.
    pub fn add(&mut self, group: GroupId, now: Instant) {
        self.0.insert((now + QUIET + place(group), group));
    }

    /// Takes out the groups whose time has come.
    pub fn take_due(&mut self, now: Instant) -> Vec<GroupId> {
        let later = self.0.split_off(&(now, GroupId(u64::MAX)));
        std::mem::replace(&mut self.0, later).into_iter().map(|(_, group)| group).collect()
    }
}

/// A time within the period that is each group's own (Fibonacci hashing).
fn place(group: GroupId) -> Duration {
    let hash = group.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    QUIET.mul_f64(hash as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_begin_together_are_looked_at_one_after_the_other() {
        let now = Instant::now();
        let mut looks = Looks::default();
        (0..10_000).for_each(|group| looks.add(GroupId(group), now));
        assert!(looks.take_due(now + QUIET - Duration::from_millis(1)).is_empty());
        let seconds = QUIET.as_secs();
        let counts: Vec<usize> = (1..=seconds + 1)
            .map(|second| looks.take_due(now + QUIET + Duration::from_secs(second)).len())
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), 10_000);
        let most = counts.iter().copied().max().unwrap();
        assert!(most <= 10_000 / seconds as usize * 11 / 10, "{counts:?}");
    }
}
