//! Who campaigns when, decided from views alone.

use std::collections::BTreeSet;

use super::*;
use crate::types::{LogId, Vote};
use quorate_storage::EntryId;

fn follower_of(leader: u64, term: u64, voters: &[u64]) -> View {
    View {
        state: ServerState::Follower,
        vote: Vote::new_committed(term, leader),
        configs: vec![voters.iter().copied().collect()],
        learners: BTreeSet::new(),
    }
}

fn at(index: u64) -> Option<LogId> {
    Some(log_id(EntryId { term: 1, index }))
}

fn sees(last: u64, suspect_gone: bool) -> MemberView {
    let vote = Vote::new_committed(1, 1);
    MemberView { vote, leads: false, last: at(last), suspect_gone, willing: true }
}

fn decide_with(me: u64, view: &View, own: u64, views: &[(u64, MemberView)]) -> Decision {
    decide_from(me, view, &[1, 2, 3], at(own), &views.iter().copied().collect())
}

#[test]
fn a_leader_that_only_this_node_misses_is_left_alone() {
    let view = follower_of(1, 1, &[1, 2, 3]);
    let views = [(2, sees(9, true)), (3, sees(9, false))];
    assert_eq!(decide_with(2, &view, 9, &views), Decision::Wait);
}

#[test]
fn when_a_majority_misses_the_leader_the_preferred_survivor_goes_first() {
    let view = follower_of(1, 1, &[1, 2, 3]);
    let views = [(2, sees(9, true)), (3, sees(9, true))];
    assert_eq!(decide_with(2, &view, 9, &views), Decision::Campaign { rank: 0 });
    assert_eq!(decide_with(3, &view, 9, &views), Decision::Campaign { rank: 1 });
}

#[test]
fn the_longer_log_goes_before_the_preferred_order() {
    let view = follower_of(1, 1, &[1, 2, 3]);
    let views = [(2, sees(8, true)), (3, sees(9, true))];
    assert_eq!(decide_with(2, &view, 8, &views), Decision::Campaign { rank: 1 });
    assert_eq!(decide_with(3, &view, 9, &views), Decision::Campaign { rank: 0 });
}

#[test]
fn who_should_not_lead_comes_last_but_comes() {
    let view = follower_of(1, 1, &[1, 2, 3]);
    let drains = MemberView { willing: false, ..sees(9, true) };
    let views = [(2, drains), (3, sees(8, true))];
    assert_eq!(decide_with(2, &view, 9, &views), Decision::Campaign { rank: 1 });
    assert_eq!(decide_with(3, &view, 8, &views), Decision::Campaign { rank: 0 });
    let both = [(2, drains), (3, drains)];
    assert_eq!(decide_with(2, &view, 9, &both), Decision::Campaign { rank: 0 });
}

#[test]
fn a_restarted_leader_that_denies_leading_is_believed_alone() {
    let view = follower_of(1, 1, &[1, 2, 3]);
    let views = [(1, sees(9, false)), (2, sees(9, false))];
    assert_eq!(decide_with(2, &view, 9, &views), Decision::Campaign { rank: 1 });
}

#[test]
fn without_a_majority_of_answers_nobody_campaigns() {
    let mut view = follower_of(1, 1, &[1, 2, 3]);
    view.vote.committed = false;
    assert_eq!(decide_with(2, &view, 9, &[(2, sees(9, false))]), Decision::Wait);
}

#[test]
fn during_a_membership_change_both_majorities_must_miss_the_leader() {
    let mut view = follower_of(1, 1, &[1, 2, 3]);
    view.configs.push(BTreeSet::from([1, 4, 5]));
    let views = [(2, sees(9, true)), (3, sees(9, true)), (4, sees(9, true))];
    assert_eq!(decide_with(2, &view, 9, &views), Decision::Wait);
    let all = [views[0], views[1], views[2], (5, sees(9, true))];
    assert_eq!(decide_with(2, &view, 9, &all), Decision::Campaign { rank: 0 });
}

#[test]
fn a_voter_that_says_it_leads_ends_the_suspicion() {
    let view = follower_of(1, 1, &[1, 2, 3]);
    let leads = MemberView { vote: Vote::new_committed(2, 3), leads: true, ..sees(9, true) };
    let views = [(2, sees(9, true)), (3, leads)];
    assert_eq!(decide_with(2, &view, 9, &views), Decision::Confirmed { leader: 3, term: 2 });
}
