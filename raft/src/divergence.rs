//! Which replica is wrong, when two that applied the same entries hold different states.
//!
//! ```text
//!  index        0 ......... 4096 ........ 8192 ......      each replica hashes its state at the same indexes
//!  replica 1    ............ a31c ........ 77e0            the leader asks for what they noted
//!  replica 2    ............ a31c ........ 77e0
//!  replica 3    ............ a31c ........ 09f5            wrong, whether it leads or not
//! ```
//!
//! The log is agreed on by consensus, what each replica makes of it is not: a defect, a bit that flipped in memory, a release that
//! decides otherwise, and a replica answers something else for ever, with nobody to notice. So states are compared.
//! What a majority of the voters holds is right: it is what clients were told by most leaders. Without such a majority
//! nobody is, and whoever went on could only add to the damage.
//!
//! Everything here is pure; `compare.rs` asks and acts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A state is hashed after every so many entries.
const EVERY: u64 = if cfg!(feature = "simulation") { 64 } else { 4096 };
/// Hashes that are remembered. A leader asks far more often than these many are noted, or catches the next.
const REMEMBERED: usize = 16;

/// Whether the state after this entry is hashed. Groups that are written to alike do it at different times.
pub(crate) fn is_hashed(group: u64, index: u64) -> bool {
    index % EVERY == (group.wrapping_mul(0x9e37_79b9)) % EVERY
}

/// The hashes a replica noted, by index.
#[derive(Debug, Default)]
pub(crate) struct Hashes(VecDeque<(u64, u64)>);

impl Hashes {
    pub fn note(&mut self, hashes: impl IntoIterator<Item = (u64, u64)>) {
        for (index, hash) in hashes {
            self.0.retain(|(other, _)| *other < index);
            self.0.push_back((index, hash));
            if self.0.len() > REMEMBERED {
                self.0.pop_front();
            }
        }
    }

    pub fn all(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }
}

/// What the hashes of one index say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A majority holds the same, and nobody who answered anything else.
    Agreed,
    /// A majority holds the same, these do not.
    Wrong(BTreeSet<u64>),
    /// No majority can hold the same, whatever those say who did not answer.
    NoMajority,
    /// Too few answered.
    Unknown,
}

/// Judges the hashes of one index. `configs`: one set of voters, or two during a change; who is in none may be wrong
/// but is not asked who is right.
///
/// During a change a majority of one set is enough as long as no majority of the other can hold anything else: with two
/// voters there is no majority as soon as they differ.
pub(crate) fn judge(configs: &[BTreeSet<u64>], hashes: &BTreeMap<u64, u64>) -> Verdict {
    if configs.is_empty() {
        return Verdict::Unknown;
    }
    let count = |voters: &BTreeSet<u64>, held: &dyn Fn(Option<&u64>) -> bool| {
        voters.iter().filter(|id| held(hashes.get(id))).count() > voters.len() / 2
    };
    let holds = |voters, hash: &u64| count(voters, &|held| held == Some(hash));
    let may_hold = |voters, hash: &u64| count(voters, &|held| held.is_none_or(|it| it == hash));
    // Those who did not answer may also hold yet another state.
    let silent = |voters| count(voters, &|held| held.is_none());
    let different: BTreeSet<u64> = hashes.values().copied().collect();
    let contested = |voters, hash: &u64| {
        silent(voters) || different.iter().any(|other| other != hash && may_hold(voters, other))
    };
    let is_right = |hash: &&u64| {
        configs.iter().any(|voters| holds(voters, hash))
            && configs.iter().all(|voters| holds(voters, hash) || !contested(voters, hash))
    };
    if let Some(right) = different.iter().find(is_right) {
        let others = hashes.iter().filter(|(_, hash)| *hash != right);
        let wrong: BTreeSet<u64> = others.map(|(id, _)| *id).collect();
        // A voter alone agrees with itself.
        let alone = configs.iter().all(|voters| voters.len() == 1);
        return if wrong.is_empty() {
            Verdict::Agreed
        } else if alone {
            Verdict::NoMajority
        } else {
            Verdict::Wrong(wrong)
        };
    }
    let may_be_right = |hash: &u64| {
        let lost = |voters| different.iter().any(|other| other != hash && holds(voters, other));
        configs.iter().any(|voters| may_hold(voters, hash)) && !configs.iter().any(lost)
    };
    if configs.iter().all(|voters| !silent(voters)) && !different.iter().any(may_be_right) {
        Verdict::NoMajority
    } else {
        Verdict::Unknown
    }
}

/// What a replica was told of its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divergence {
    /// It differs from that of a majority. The replica votes and takes entries, but neither leads nor serves, until it is
    /// rebuilt from the others.
    Wrong,
    /// The same, or its log is damaged on disk, and it is being rebuilt from the others.
    Rebuilt,
    /// There is no majority that holds the same state. The group has stopped, nothing is deleted, and an operator has to
    /// look.
    NoMajority,
}

impl Divergence {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Wrong => 1,
            Self::Rebuilt => 2,
            Self::NoMajority => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Wrong, Self::Rebuilt, Self::NoMajority].into_iter().find(|it| it.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(configs: &[&[u64]], hashes: &[(u64, u64)]) -> Verdict {
        let configs: Vec<_> = configs.iter().map(|it| it.iter().copied().collect()).collect();
        judge(&configs, &hashes.iter().copied().collect())
    }

    fn wrong(nodes: &[u64]) -> Verdict {
        Verdict::Wrong(nodes.iter().copied().collect())
    }

    #[test]
    fn the_minority_is_wrong_whoever_it_is() {
        let three: &[&[u64]] = &[&[1, 2, 3]];
        assert_eq!(judged(three, &[(1, 7), (2, 7), (3, 7)]), Verdict::Agreed);
        assert_eq!(judged(three, &[(1, 7), (2, 7)]), Verdict::Agreed);
        assert_eq!(judged(three, &[(1, 7), (2, 7), (3, 8)]), wrong(&[3]));
        assert_eq!(judged(three, &[(1, 8), (2, 7), (3, 7)]), wrong(&[1]));
        assert_eq!(
            judged(&[&[1, 2, 3, 4, 5]], &[(1, 8), (2, 7), (3, 7), (4, 7), (5, 9)]),
            wrong(&[1, 5])
        );
        assert_eq!(judged(&[&[1]], &[(1, 7)]), Verdict::Agreed);
    }

    #[test]
    fn learners_may_be_wrong_and_do_not_decide() {
        let three: &[&[u64]] = &[&[1, 2, 3]];
        assert_eq!(judged(three, &[(1, 7), (2, 7), (9, 8)]), wrong(&[9]));
        assert_eq!(judged(three, &[(1, 7), (8, 8), (9, 8)]), Verdict::Unknown);
        assert_eq!(judged(&[&[1]], &[(1, 7), (8, 8)]), Verdict::NoMajority, "1 may be wrong");
    }

    #[test]
    fn nobody_is_wrong_before_a_majority_agrees() {
        let three: &[&[u64]] = &[&[1, 2, 3]];
        assert_eq!(judged(three, &[]), Verdict::Unknown);
        assert_eq!(judged(three, &[(1, 7)]), Verdict::Unknown);
        assert_eq!(judged(three, &[(1, 7), (2, 8)]), Verdict::Unknown, "the third decides");
        assert_eq!(judged(three, &[(1, 7), (2, 8), (3, 9)]), Verdict::NoMajority);
        assert_eq!(judged(&[&[1, 2]], &[(1, 7), (2, 8)]), Verdict::NoMajority);
        assert_eq!(
            judged(&[&[1, 2, 3, 4]], &[(1, 7), (2, 7), (3, 8), (4, 8)]),
            Verdict::NoMajority
        );
        assert_eq!(judged(&[], &[(1, 7)]), Verdict::Unknown);
    }

    #[test]
    fn during_a_change_both_majorities_have_to_agree() {
        let change: &[&[u64]] = &[&[1, 2, 3], &[3, 4, 5]];
        assert_eq!(judged(change, &[(1, 7), (2, 7), (3, 7), (4, 8)]), Verdict::Unknown);
        assert_eq!(judged(change, &[(1, 7), (2, 7), (3, 7), (4, 8), (5, 7)]), wrong(&[4]));
        assert_eq!(judged(change, &[(1, 7), (2, 7), (3, 7), (4, 8), (5, 8)]), Verdict::NoMajority);
        let with_two: &[&[u64]] = &[&[1, 2, 3], &[1, 3]];
        assert_eq!(judged(with_two, &[(1, 8), (2, 7), (3, 7)]), wrong(&[1]));
        assert_eq!(judged(with_two, &[(1, 8), (3, 7)]), Verdict::Unknown);
        let to_one: &[&[u64]] = &[&[1, 2, 3], &[3]];
        assert_eq!(judged(to_one, &[(1, 8), (2, 7), (3, 7)]), wrong(&[1]));
    }

    #[test]
    fn the_newest_hashes_are_remembered_and_a_replay_notes_its_own() {
        let mut hashes = Hashes::default();
        hashes.note((0..40).map(|n| (n * 10, n)));
        assert_eq!(hashes.all().count(), REMEMBERED);
        assert_eq!(hashes.all().last(), Some((390, 39)));
        hashes.note([(380, 1)]);
        assert_eq!(hashes.all().last(), Some((380, 1)));
    }

    #[test]
    fn groups_hash_at_different_indexes_and_every_one_does() {
        let at = |group| (0..EVERY).filter(|index| is_hashed(group, *index)).collect::<Vec<_>>();
        for group in 0..100 {
            assert_eq!(at(group).len(), 1, "group {group}");
        }
        assert_ne!(at(1), at(2));
    }
}
