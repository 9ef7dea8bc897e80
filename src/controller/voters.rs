//! Who votes in the metadata group; pure.
//!
//! Three voters survive the loss of one, and more would make every change of the cluster slower. The
//! group grows from one to three in a single step: with two, the loss of either stops it, which is worse
//! than one. A voter that is merely silent is not replaced: whether it is gone for good is a person's call,
//! which is made by removing the broker. Its place is taken in the same step by a broker that is fit, and
//! otherwise when there is one: the group without it survives no less than the group that counts it.

use std::collections::BTreeSet;

const VOTERS: usize = 3;

/// Returns the voters to move to, or `None` when they are as they should be.
///
/// `fit` are the brokers that are live and caught up. While a change is in its joint phase `voters` are those
/// of both sides, and the result is what finishes it.
pub(super) fn settle(
    voters: &BTreeSet<u64>,
    joint: bool,
    removed: &BTreeSet<u64>,
    fit: &BTreeSet<u64>,
) -> Option<BTreeSet<u64>> {
    let mut target: BTreeSet<u64> = voters.difference(removed).copied().collect();
    let missing = VOTERS.saturating_sub(target.len());
    let fresh = fit.iter().copied().filter(|id| !target.contains(id) && !removed.contains(id));
    let newcomers: Vec<u64> = fresh.take(missing).collect();
    if newcomers.len() == missing {
        target.extend(newcomers);
    }
    ((joint || target != *voters) && !target.is_empty()).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    fn settled(voters: &[u64], removed: &[u64], fit: &[u64]) -> Option<Vec<u64>> {
        let target = settle(&set(voters), false, &set(removed), &set(fit));
        target.map(|target| target.into_iter().collect())
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
        let halfway = |voters: &[u64], removed: &[u64]| {
            settle(&set(voters), true, &set(removed), &set(voters))
        };
        assert_eq!(halfway(&[1, 2, 3], &[]), Some(set(&[1, 2, 3])), "it was growing");
        assert_eq!(halfway(&[1, 2, 3, 4], &[3]), Some(set(&[1, 2, 4])), "3 was being replaced");
        assert_eq!(halfway(&[1, 2, 3], &[3]), Some(set(&[1, 2])), "3 was being dropped");
    }
}
