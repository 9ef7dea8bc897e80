//! Who votes in a group that the cluster places by itself: the metadata group and internal groups; pure.
//!
//! Three voters survive the loss of one, and more would make every change slower. The
//! group grows from one to three in a single step: with two, the loss of either stops it, which is worse
//! than one. A voter that is merely silent is not replaced: whether it is gone for good is a person's call,
//! which is made by removing the broker. Its place is taken in the same step by a broker that is fit, and
//! otherwise when there is one: the group without it survives no less than the group that counts it.
//!
//! Voters stand on as many racks as there are: a newcomer is taken from the least crowded one (there the one that carries
//! least), and where two
//! share a rack while a fit broker has one of its own, one of the two gives its vote to that broker.

use std::collections::BTreeSet;

use crate::metadata::{INTERNAL_REPLICAS as VOTERS, Image};

/// What is decided from.
#[derive(Clone, Copy)]
pub(super) struct Situation<'a> {
    /// While a change is in its joint phase those of both sides.
    pub(super) voters: &'a BTreeSet<u64>,
    pub(super) joint: bool,
    /// The leader, or who should be, which keeps its vote where another can go.
    pub(super) leader: u64,
    pub(super) removed: &'a BTreeSet<u64>,
    /// The brokers that could take a vote: they are live, and caught up where they follow already.
    pub(super) fit: &'a BTreeSet<u64>,
}

/// What is known of brokers.
pub(super) trait Brokers {
    /// Returns where a broker stands, if that is known.
    fn rack(&self, id: u64) -> Option<&str>;

    /// Returns what a broker carries, where that counts.
    fn load(&self, id: u64) -> u64;
}

impl Brokers for Image {
    fn rack(&self, id: u64) -> Option<&str> {
        self.brokers.get(&id).and_then(|broker| broker.rack.as_deref())
    }

    fn load(&self, id: u64) -> u64 {
        self.load.get(&id).map_or(0, |load| load.replicas)
    }
}

/// Returns the voters to move to, or `None` when they are as they should be. While a change is in its joint
/// phase the result is what finishes it.
pub(super) fn settle(now: Situation<'_>, brokers: &impl Brokers) -> Option<BTreeSet<u64>> {
    let Situation { voters, joint, removed, fit, .. } = now;
    let mut target: BTreeSet<u64> = voters.difference(removed).copied().collect();
    let mut full = target.clone();
    while full.len() < VOTERS {
        let fresh = fit.iter().copied().filter(|id| !full.contains(id) && !removed.contains(id));
        let cost = |id: &u64| (neighbours(&full, *id, brokers), brokers.load(*id), *id);
        let Some(next) = fresh.min_by_key(cost) else { break };
        full.insert(next);
    }
    if full.len() >= VOTERS {
        target = full;
    }
    // An exchange that was cut off in its joint phase has one too many.
    while target.len() > VOTERS {
        let others = target.iter().copied().filter(|id| *id != now.leader);
        let crowd = |id: &u64| (!fit.contains(id), neighbours(&target, *id, brokers), *id);
        let Some(leaving) = others.max_by_key(crowd) else { break };
        target.remove(&leaving);
    }
    if !joint && target == *voters {
        return spread(now, brokers);
    }
    ((joint || target != *voters) && !target.is_empty()).then_some(target)
}

/// Returns voters that stand on one more rack, if one exchange gives that.
fn spread(now: Situation<'_>, brokers: &impl Brokers) -> Option<BTreeSet<u64>> {
    let Situation { voters, leader, removed, fit, .. } = now;
    // Who is silent may be gone; that is no time to move a vote.
    if voters.len() != VOTERS || !voters.is_subset(fit) {
        return None;
    }
    let alone = |id: &u64| brokers.rack(*id).is_some() && neighbours(voters, *id, brokers) == 0;
    let fresh = fit.difference(voters).copied().filter(|id| !removed.contains(id));
    let newcomer = fresh.filter(alone).min_by_key(|id| (brokers.load(*id), *id))?;
    let crowded = voters.iter().copied().filter(|id| neighbours(voters, *id, brokers) > 0);
    let leaving =
        crowded.max_by_key(|id| (neighbours(voters, *id, brokers), *id != leader, *id))?;
    Some(voters.iter().copied().filter(|id| *id != leaving).chain([newcomer]).collect())
}

/// How many others of `of` stand on the rack of a broker.
fn neighbours(of: &BTreeSet<u64>, id: u64, brokers: &impl Brokers) -> usize {
    let Some(own) = brokers.rack(id) else { return 0 };
    of.iter().filter(|other| **other != id && brokers.rack(**other) == Some(own)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Brokers that carry nothing.
    struct Racks<'a>(&'a [(u64, &'static str)]);

    impl Brokers for Racks<'_> {
        fn rack(&self, id: u64) -> Option<&str> {
            self.0.iter().find(|(broker, _)| *broker == id).map(|(_, rack)| *rack)
        }

        fn load(&self, _: u64) -> u64 {
            0
        }
    }

    fn set(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    fn decided(
        voters: &[u64],
        joint: bool,
        removed: &[u64],
        fit: &[u64],
        racks: &[(u64, &'static str)],
    ) -> Option<Vec<u64>> {
        let (voters, removed, fit) = (&set(voters), &set(removed), &set(fit));
        let target = settle(Situation { voters, joint, leader: 1, removed, fit }, &Racks(racks));
        target.map(|target| target.into_iter().collect())
    }

    fn settled(voters: &[u64], removed: &[u64], fit: &[u64]) -> Option<Vec<u64>> {
        decided(voters, false, removed, fit, &[])
    }

    #[test]
    fn newcomers_are_taken_from_other_racks() {
        let racks = [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "c")];
        let fit = [1, 2, 3, 4, 5];
        assert_eq!(decided(&[1], false, &[], &fit, &racks), Some(vec![1, 4, 5]));
        assert_eq!(decided(&[1, 4], false, &[], &fit, &racks), Some(vec![1, 4, 5]));
        assert_eq!(decided(&[1, 4, 5], false, &[5], &fit[..4], &racks), Some(vec![1, 2, 4]));
        assert_eq!(decided(&[1, 4, 5], false, &[], &fit, &racks), None);
    }

    #[test]
    fn a_vote_moves_to_a_rack_that_has_none() {
        let racks = [(1, "a"), (2, "a"), (3, "b"), (4, "c"), (5, "c")];
        assert_eq!(decided(&[1, 2, 3], false, &[], &[1, 2, 3, 4, 5], &racks), Some(vec![1, 3, 4]));
        // Not while a voter is silent, nor to a broker that is, nor where nothing is gained.
        assert_eq!(decided(&[1, 2, 3], false, &[], &[1, 2, 4, 5], &racks), None);
        assert_eq!(decided(&[1, 2, 3], false, &[], &[1, 2, 3], &racks), None);
        assert_eq!(decided(&[1, 3, 4], false, &[], &[1, 2, 3, 4, 5], &racks), None);
        // A broker without a rack is no better than the one it would replace.
        assert_eq!(decided(&[1, 2, 3], false, &[], &[1, 2, 3, 6], &racks), None);
        // The leader of a crowded rack stays.
        let racks = [(1, "b"), (2, "a"), (3, "b"), (4, "c")];
        assert_eq!(decided(&[1, 2, 3], false, &[], &[1, 2, 3, 4], &racks), Some(vec![1, 2, 4]));
    }

    #[test]
    fn one_voter_becomes_three_at_once() {
        assert_eq!(settled(&[1], &[], &[1]), None);
        assert_eq!(settled(&[1], &[], &[1, 2]), None);
        assert_eq!(settled(&[1], &[], &[1, 2, 3, 4]), Some(vec![1, 2, 3]));
    }

    #[test]
    fn two_voters_are_completed_and_three_are_left_alone_whoever_is_silent() {
        assert_eq!(settled(&[1, 2], &[], &[1, 2, 5]), Some(vec![1, 2, 5]));
        assert_eq!(settled(&[1, 2, 3], &[], &[1, 2, 4, 5]), None);
    }

    #[test]
    fn a_removed_voter_is_replaced_or_at_least_dropped() {
        assert_eq!(settled(&[1, 2, 3], &[3], &[1, 2, 4, 5]), Some(vec![1, 2, 4]));
        assert_eq!(settled(&[1, 2, 3], &[3], &[1, 2]), Some(vec![1, 2]));
        // Two would be worse than one.
        assert_eq!(settled(&[1, 2, 3], &[2, 3], &[1, 4]), Some(vec![1]));
        assert_eq!(settled(&[1, 2, 4], &[3], &[1, 2, 4]), None);
    }

    #[test]
    fn a_group_is_never_left_without_voters() {
        assert_eq!(settled(&[1], &[1], &[]), None);
        assert_eq!(settled(&[1], &[1], &[2, 3, 4]), Some(vec![2, 3, 4]));
    }

    #[test]
    fn a_change_found_halfway_is_finished() {
        let halfway = |voters: &[u64], removed: &[u64]| decided(voters, true, removed, voters, &[]);
        assert_eq!(halfway(&[1, 2, 3], &[]), Some(vec![1, 2, 3]), "it was growing");
        assert_eq!(halfway(&[1, 2, 3, 4], &[3]), Some(vec![1, 2, 4]), "3 was being replaced");
        assert_eq!(halfway(&[1, 2, 3], &[3]), Some(vec![1, 2]), "3 was being dropped");
    }
}
