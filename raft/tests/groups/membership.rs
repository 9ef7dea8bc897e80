//! Voters come and go, also when a node restarts in the middle.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{Error, GroupOptions, Role, TransportLimits};
use quorate_storage::GroupId;

use super::cluster::{Cluster, until};
use super::ledger::Ledger;

/// Drives a change to its end as a reconciler would: asks whoever leads, again after any error.
async fn drive(cluster: &Cluster, group: u64, target: &[u64]) {
    let wanted: BTreeSet<u64> = target.iter().copied().collect();
    until_async(|| async {
        let leader = cluster.leader(group).await;
        let replica = cluster.group(leader, group).clone();
        let target = wanted.clone();
        let change = async move {
            let changed = replica.change_voters(target);
            tokio::time::timeout(Duration::from_secs(5), changed).await
        };
        matches!(cluster.node(leader).spawn(change).await, Ok(Ok(())))
    })
    .await;
}

async fn until_async<F: Future<Output = bool>>(mut done: impl FnMut() -> F) {
    for _ in 0..200 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the change never completed");
}

fn voters(cluster: &Cluster, on: u64, group: u64) -> Vec<u64> {
    cluster.group(on, group).status().voters
}

#[tokio::test(flavor = "multi_thread")]
async fn one_voter_becomes_three_and_a_replica_is_replaced() {
    let mut cluster = Cluster::start(4).await;
    cluster.create(1, &[1]).await;
    for _ in 0..30 {
        cluster.write_bytes(1, Bytes::from(vec![b'N'; 10_000])).await;
    }
    cluster.open(2, 1, &[1, 2, 3]).await;
    cluster.open(3, 1, &[1, 2, 3]).await;
    drive(&cluster, 1, &[1, 2, 3]).await;
    let last = cluster.write(1, "three").await;
    cluster.agree(1, &[1, 2, 3], last).await;

    cluster.open(4, 1, &[2, 3, 4]).await;
    cluster.leader(1).await;
    drive(&cluster, 1, &[2, 3, 4]).await;
    let leader = cluster.leader_among(1, &[2, 3, 4]).await;
    assert_eq!(voters(&cluster, leader, 1), [2, 3, 4]);
    let last = cluster.write_on(leader, 1, "without the first").await;
    cluster.agree(1, &[2, 3, 4], last).await;
    let node = std::sync::Arc::clone(&cluster.node(1).node);
    node.delete(GroupId(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_cut_off_by_a_restart_is_finished_by_asking_again() {
    let limits =
        TransportLimits { catch_up_bytes_per_second: 3 << 20, ..TransportLimits::default() };
    let mut cluster = Cluster::start_with(4, limits).await;
    cluster.create(1, &[1, 2, 3]).await;
    for _ in 0..80 {
        cluster.write_bytes(1, Bytes::from(vec![b'N'; 100_000])).await;
    }
    cluster.open(4, 1, &[1, 2, 4]).await;
    let leader = cluster.leader_among(1, &[1, 2, 3]).await;
    let group = cluster.group(leader, 1).clone();
    let change = cluster.node(leader).in_runtime(|_| {
        tokio::spawn(async move { group.change_voters(BTreeSet::from([1, 2, 4])).await })
    });
    until("the new replica receives the log", || {
        cluster.group(4, 1).status().last_index.is_some_and(|last| last > 5)
    })
    .await;
    cluster.kill(leader);
    assert!(!matches!(change.await, Ok(Ok(()))), "the change was not over");
    cluster.start_node(leader).await;
    cluster.open(leader, 1, &[1, 2, 4]).await;
    drive(&cluster, 1, &[1, 2, 4]).await;
    let leader = cluster.leader_among(1, &[1, 2, 4]).await;
    assert_eq!(voters(&cluster, leader, 1), [1, 2, 4]);
    let last = cluster.write_on(leader, 1, "end").await;
    cluster.agree(1, &[1, 2, 4], last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn learners_follow_without_a_vote_and_a_group_that_keeps_them_does() {
    let mut cluster = Cluster::start(3).await;
    for (group, keep_learners) in [(4, true), (5, false)] {
        for id in 1..=3 {
            let options =
                GroupOptions { preferred: vec![1], keep_learners, ..GroupOptions::default() };
            cluster.open_with(id, group, options).await.unwrap();
        }
        cluster.group(1, group).initialize([1].into()).await.unwrap();
        cluster.leader(group).await;
        let replica = cluster.group(1, group).clone();
        replica.add_learner(2).await.unwrap();
        replica.add_learner(3).await.unwrap();
        replica.add_learner(3).await.unwrap();
        let last = cluster.write(group, "seen by learners").await;
        cluster.agree(group, &[1, 2, 3], last).await;
        replica.change_voters(BTreeSet::from([1])).await.unwrap();
    }
    assert_eq!(cluster.group(1, 4).status().learners, [2, 3]);
    assert_eq!(cluster.group(1, 5).status().learners, Vec::<u64>::new());
    cluster.group(1, 4).remove_learner(3).await.unwrap();
    assert_eq!(cluster.group(1, 4).status().learners, [2]);
    let refused = cluster.group(1, 4).remove_learner(1).await;
    assert!(matches!(refused, Err(Error::Refused(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_to_a_dead_node_is_given_up_and_can_be_asked_for_again() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[1, 2]).await;
    let last = cluster.write(1, "before").await;
    cluster.kill(3);
    let leader = cluster.leader(1).await;
    let group = cluster.group(leader, 1).clone();
    let change = async move { group.change_voters(BTreeSet::from([1, 2, 3])).await };
    let change = cluster.node(leader).spawn(change);
    let change = tokio::time::timeout(Duration::from_secs(25), change).await;
    assert!(matches!(change, Ok(Err(Error::Timeout(_)))), "{change:?}");
    cluster.start_node(3).await;
    cluster.open(3, 1, &[1, 2]).await;
    drive(&cluster, 1, &[1, 2, 3]).await;
    cluster.agree(1, &[1, 2, 3], last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_made_anew_does_not_vote_for_who_lacks_what_it_had() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[2, 1, 3]).await;
    let last = cluster.write(1, "seen by all").await;
    cluster.agree(1, &[1, 2, 3], last).await;
    cluster.kill(3);
    drive(&cluster, 1, &[2]).await;
    let leader = cluster.leader_among(1, &[2]).await;
    cluster.write_on(leader, 1, "without the others").await;
    let node = std::sync::Arc::clone(&cluster.node(1).node);
    cluster.nodes.get_mut(&1).unwrap().groups.clear();
    node.delete(GroupId(1)).await.unwrap();
    cluster.open(1, 1, &[2, 1, 3]).await;

    // Node 3 goes by the old voters, of which it and node 1 would be a majority.
    cluster.kill(2);
    cluster.start_node(3).await;
    cluster.open(3, 1, &[2, 1, 3]).await;
    let term = cluster.group(3, 1).status().term;
    until("node 3 asked for votes and asked again", || {
        let status = cluster.group(3, 1).status();
        assert_ne!(status.role, Role::Leader, "elected by a replica that forgot");
        status.term > term + 1
    })
    .await;
    cluster.start_node(2).await;
    cluster.open(2, 1, &[2, 1, 3]).await;
    assert_eq!(cluster.leader_among(1, &[2, 3]).await, 2);
    until("nothing is lost", || cluster.group(2, 1).machine().count == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_attempts_to_open_a_group_one_succeeds_and_both_end() {
    let cluster = Cluster::start(1).await;
    let node = std::sync::Arc::clone(&cluster.node(1).node);
    let both = async move {
        let open = || node.open(GroupId(1), Ledger::default(), vec![1]);
        tokio::join!(open(), open())
    };
    let opened = cluster.node(1).spawn(both);
    let opened = tokio::time::timeout(Duration::from_secs(10), opened).await;
    let (first, second) = opened.expect("neither waits for the other for ever");
    assert!(first.is_ok());
    assert!(matches!(second, Err(Error::AlreadyOpen(GroupId(1)))));
}
