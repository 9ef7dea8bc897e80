//! Entries reach every replica, in order, and survive restarts.

use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{Outcome, ProposeError, Role, TransportLimits};
use quorate_storage::GroupId;

use super::cluster::{Cluster, until};
use super::ledger::note;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_replicate_and_agree() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[1, 2, 3]).await;
    let leader = cluster.leader(1).await;
    let group = cluster.group(leader, 1).clone();
    let mut pending = Vec::new();
    for number in 0..500 {
        pending.push(group.propose(note(&number.to_string()), None).await.unwrap());
    }
    let mut before = 0;
    for (number, outcome) in pending.into_iter().enumerate() {
        let Outcome::Applied { reply, index, .. } = outcome.await else { panic!("not applied") };
        assert_eq!(reply, number as u64 + 1, "the order of the calls is the order of the log");
        assert!(index > before);
        before = index;
    }
    cluster.agree(1, &[1, 2, 3], before).await;
    group.read_barrier().await.unwrap();
    let follower = if leader == 1 { 2 } else { 1 };
    let refused = cluster.group(follower, 1).propose(note("x"), None).await.unwrap_err();
    assert_eq!(refused, ProposeError::NotLeader { leader: Some(leader) });
    assert!(cluster.group(follower, 1).read_barrier().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_fenced_to_another_term_is_refused() {
    let mut cluster = Cluster::start(1).await;
    cluster.create(1, &[1]).await;
    cluster.leader(1).await;
    let group = cluster.group(1, 1);
    let term = group.leadership().borrow().term;
    assert!(matches!(
        group.propose(note("x"), Some(term + 1)).await,
        Err(ProposeError::NotLeader { .. })
    ));
    let outcome = group.propose(note("x"), Some(term)).await.unwrap().await;
    assert!(matches!(outcome, Outcome::Applied { reply: 1, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_catches_up_and_a_restart_of_all_loses_nothing() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(7, &[1, 2, 3]).await;
    let leader = cluster.leader(7).await;
    let away = (1..=3).find(|id| *id != leader).unwrap();
    cluster.kill(away);
    for number in 0..50 {
        cluster.write_bytes(7, Bytes::from(vec![b'N'; 20_000 + number])).await;
    }
    cluster.start_node(away).await;
    cluster.open(away, 7, &[1, 2, 3]).await;
    let last = cluster.write(7, "after").await;
    cluster.agree(7, &[1, 2, 3], last).await;

    for id in 1..=3 {
        cluster.kill(id);
    }
    for id in 1..=3 {
        cluster.start_node(id).await;
        cluster.open(id, 7, &[1, 2, 3]).await;
    }
    let last = cluster.write(7, "again").await;
    cluster.agree(7, &[1, 2, 3], last).await;
    assert_eq!(cluster.group(1, 7).machine().count, 52);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_replays_only_what_no_checkpoint_covers() {
    let mut cluster = Cluster::start(1).await;
    cluster.create(1, &[1]).await;
    for _ in 0..40 {
        cluster.write_bytes(1, Bytes::from(vec![b'N'; 100_000])).await;
    }
    let last = cluster.write(1, "last").await;
    cluster.stop(1).await;
    cluster.start_node(1).await;
    let loaded = cluster.node(1).db.log(GroupId(1)).state_at_or_before(0, &[0, b'd']).unwrap();
    assert!(loaded.is_some(), "a checkpoint was written after a megabyte");
    cluster.open(1, 1, &[1]).await;
    cluster.agree(1, &[1], last).await;
    assert_eq!(cluster.group(1, 1).machine().count, 41);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_flight_are_bounded_and_room_comes_back() {
    let limits = TransportLimits {
        group_inflight_bytes: 10_000,
        propose_wait: Duration::from_millis(50),
        ..TransportLimits::default()
    };
    let mut cluster = Cluster::start_with(3, limits).await;
    cluster.create(1, &[1, 2, 3]).await;
    let leader = cluster.leader(1).await;
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.node(id).node.close(GroupId(1)).await;
    }
    let group = cluster.group(leader, 1).clone();
    let mut waiting = Vec::new();
    let refused = loop {
        match group.propose(Bytes::from(vec![b'N'; 1000]), None).await {
            Ok(pending) => waiting.push(pending),
            Err(error) => break error,
        }
        assert!(waiting.len() < 20, "more is in flight than there is room for");
    };
    assert_eq!(refused, ProposeError::Busy);
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.open(id, 1, &[1, 2, 3]).await;
    }
    for pending in waiting {
        let _ = pending.await;
    }
    cluster.write(1, "there is room again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_can_be_closed_and_deleted_while_they_are_written_to() {
    let mut cluster = Cluster::start(3).await;
    for group in 1..=8 {
        cluster.create(group, &[1, 2, 3]).await;
    }
    for group in 1..=8 {
        cluster.leader(group).await;
    }
    let mut writers = Vec::new();
    for group in 1..=8 {
        for node in cluster.nodes.values() {
            let replica = node.groups[&group].clone();
            writers.push(tokio::spawn(async move {
                for _ in 0..400 {
                    if let Ok(pending) = replica.propose(note("x"), None).await {
                        let _ = tokio::time::timeout(Duration::from_millis(20), pending).await;
                    }
                }
            }));
        }
    }
    for group in 1..=8 {
        let node = std::sync::Arc::clone(&cluster.node(group % 3 + 1).node);
        match group % 2 {
            0 => node.close(GroupId(group)).await,
            _ => node.delete(GroupId(group)).await.unwrap(),
        }
        assert!(node.status(GroupId(group)).is_none());
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let node = cluster.node(2);
    until("the deleted group is gone from the disk", || !node.db.groups().contains(&GroupId(1)))
        .await;
}

/// The core does not wait for the machine when it ends. What the machine still wrote after the deletion would be a
/// group without a log, which cannot be opened again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_group_was_applying_does_not_bring_it_back() {
    let mut cluster = Cluster::start(1).await;
    for group in [1, 2] {
        cluster.create(group, &[1]).await;
        cluster.write(group, "first").await;
    }
    let group = cluster.group(1, 1).clone();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (held, holds) = std::sync::mpsc::channel();
    let machine = group.clone();
    let gate = std::thread::spawn(move || {
        let _guard = machine.machine();
        held.send(()).unwrap();
        released.recv().unwrap();
    });
    holds.recv().unwrap();
    let pending = group.propose(note("waits at the gate"), None).await.unwrap();
    until("the entry is committed", || {
        let status = group.status();
        status.committed_index == status.last_index && status.applied_index < status.last_index
    })
    .await;
    let node = std::sync::Arc::clone(&cluster.node(1).node);
    let deleting = tokio::spawn(async move { node.delete(GroupId(1)).await });
    until("the core has ended", || group.status().role == Role::Stopped).await;
    for round in 0..20 {
        cluster.write(2, &format!("meanwhile {round}")).await;
    }
    release.send(()).unwrap();
    gate.join().unwrap();
    deleting.await.unwrap().unwrap();
    drop(pending);
    for round in 0..20 {
        cluster.write(2, &format!("afterwards {round}")).await;
    }
    assert!(!cluster.node(1).db.groups().contains(&GroupId(1)));
}
