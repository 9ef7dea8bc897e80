//! Who votes in the metadata group; pure.
//!
//! Three voters survive the loss of one, and more would make every change of the cluster slower. The
//! group grows from one to three in a single step: with two, the loss of either stops it, which is worse
//! than one. Nothing is ever replaced here: whether a silent voter is gone for good is a person's call.

use std::collections::BTreeSet;

pub(super) const VOTERS: usize = 3;

/// Returns the voters to move to, or `None` when the group is as large as it can be.
///
/// `fit` are the brokers that are live and caught up.
pub(super) fn grow(voters: &BTreeSet<u64>, fit: &BTreeSet<u64>) -> Option<BTreeSet<u64>> {
    if voters.len() >= VOTERS {
        return None;
    }
    let missing = VOTERS - voters.len();
    let newcomers: Vec<u64> = fit.difference(voters).copied().take(missing).collect();
    (newcomers.len() == missing).then(|| voters.iter().copied().chain(newcomers).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    #[test]
    fn one_voter_becomes_three_at_once() {
        assert_eq!(grow(&set(&[1]), &set(&[1])), None);
        assert_eq!(grow(&set(&[1]), &set(&[1, 2])), None);
        assert_eq!(grow(&set(&[1]), &set(&[1, 2, 3, 4])), Some(set(&[1, 2, 3])));
    }

    #[test]
    fn two_voters_are_completed_and_three_are_left_alone_whoever_is_silent() {
        assert_eq!(grow(&set(&[1, 2]), &set(&[1, 2, 5])), Some(set(&[1, 2, 5])));
        assert_eq!(grow(&set(&[1, 2, 3]), &set(&[1, 2, 4, 5])), None);
    }
}
