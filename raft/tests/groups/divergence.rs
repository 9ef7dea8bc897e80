//! A replica whose machine decides otherwise is found, stops serving, and is rebuilt from the others.

use std::sync::Arc;

use quorate_raft::{Divergence, Role};

use super::cluster::until;
use super::tallies::{GROUP, Tallies};
use super::tally::{Tally, count};

fn wrong_on(wrong: u64) -> impl Fn(u64) -> Tally {
    move |id| Tally { wrong: id == wrong, ..Tally::default() }
}

/// Waits until a replica ends to be rebuilt, and opens it again as its owner would, with a machine that is right.
async fn rebuilt(tallies: &mut Tallies, id: u64) {
    loop {
        let mut failed = tallies.cluster.node(id).node.failed_groups();
        until("the replica ends", || failed.borrow_and_update().contains_key(&GROUP)).await;
        assert_eq!(tallies.divergence(id), Some(Divergence::Rebuilt));
        assert_eq!(tallies.groups[&id].status().role, Role::Stopped);
        let node = Arc::clone(&tallies.cluster.node(id).node);
        tallies.cluster.node(id).spawn(async move { node.close(GROUP).await }).await;
        tallies.open(id).await;
        // Where the others did not have all that it has yet, nothing was erased and it is asked again.
        if tallies.divergence(id).is_none() {
            break;
        }
    }
    tallies.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_follower_is_found_among_many_entries_and_rebuilt() {
    let mut tallies = Tallies::start_with(3, wrong_on(3)).await;
    let leader = tallies.leader().await;
    assert_ne!(leader, 3, "the first in order lead");
    let group = tallies.groups[&leader].clone();
    // More than the distance between two indexes at which states are hashed.
    let mut under_way = Vec::new();
    for n in 0..4200 {
        under_way.push(group.propose(count(n % 50, 10), None).await.unwrap());
    }
    futures::future::join_all(under_way).await;
    rebuilt(&mut tallies, 3).await;
    tallies.counts.extend((0..50).map(|key| (key, 84)));
    for key in 0..50 {
        tallies.count(key, 1).await;
    }
    tallies.agree().await;
    assert!((1..=3).all(|id| tallies.divergence(id).is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_leader_hands_over_before_it_is_rebuilt() {
    let mut tallies = Tallies::start_with(3, wrong_on(1)).await;
    // Whoever leads first, node 1 does then.
    while tallies.leader().await != 1 {
        let leader = tallies.leader().await;
        let group = tallies.groups[&leader].clone();
        let transfer = async move { group.transfer_leader(1).await };
        let _ = tallies.cluster.node(leader).spawn(transfer).await;
    }
    assert_eq!(tallies.apply(count(5, 0)).await, 2, "it answers what is wrong");
    until("it is found and leads no more", || {
        tallies.divergence(1).is_some() && !tallies.groups[&1].leadership().borrow().ready
    })
    .await;
    let leader = tallies.leader().await;
    assert_ne!(leader, 1);
    rebuilt(&mut tallies, 1).await;
    assert_eq!(tallies.apply(count(5, 0)).await, 2, "now it is");
    tallies.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_while_another_replica_is_away() {
    let mut tallies = Tallies::start_with(5, wrong_on(5)).await;
    tallies.apply(count(1, 0)).await;
    tallies.agree_among(&[1, 2, 3, 4]).await;
    tallies.kill(4);
    tallies.apply(count(1, 0)).await;
    until("the wrong one is told", || tallies.divergence(5) == Some(Divergence::Wrong)).await;

    // It remembers, and takes entries.
    tallies.kill(5);
    tallies.back(5).await;
    assert_eq!(tallies.divergence(5), Some(Divergence::Wrong));
    tallies.apply(count(1, 0)).await;
    let written = tallies.written;
    let group = tallies.groups[&5].clone();
    until("it has the entry", || group.status().last_index >= Some(written)).await;
    assert!(!tallies.cluster.node(5).node.failed_groups().borrow().contains_key(&GROUP));

    tallies.back(4).await;
    rebuilt(&mut tallies, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_the_group_stops_and_nothing_is_deleted() {
    let mut tallies = Tallies::start_with(2, wrong_on(2)).await;
    tallies.apply(count(1, 0)).await;
    until("both are told", || {
        [1, 2].iter().all(|id| tallies.divergence(*id) == Some(Divergence::NoMajority))
    })
    .await;
    for (id, group) in &tallies.groups {
        assert!(!group.leadership().borrow().ready);
        assert!(group.propose(count(1, 0), None).await.is_err());
        assert_eq!(group.status().applied_index, Some(tallies.written));
        assert!(tallies.cluster.node(*id).node.failed_groups().borrow().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_wrong_replicas_are_rebuilt_one_after_the_other() {
    let wrong = |id| Tally { wrong: id >= 4, ..Tally::default() };
    let mut tallies = Tallies::start_with(5, wrong).await;
    while tallies.leader().await >= 4 {
        let leader = tallies.leader().await;
        let group = tallies.groups[&leader].clone();
        let transfer = async move { group.transfer_leader(1).await };
        let _ = tallies.cluster.node(leader).spawn(transfer).await;
    }
    tallies.apply(count(1, 0)).await;
    for id in [4, 5] {
        rebuilt(&mut tallies, id).await;
    }
    assert!((1..=5).all(|id| tallies.divergence(id).is_none()));
}
