//! When a replica says that it last heard from its leader.

use std::time::Duration;

use super::cluster::{Cluster, until};

/// An idle leader says something about every three seconds.
const SILENCE: Duration = Duration::from_secs(4);
/// Longer than two things come one after the other, shorter than between two heartbeats.
const QUIET: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_knows_since_when_it_hears_nothing() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[1, 2, 3]).await;
    cluster.create(2, &[1]).await;
    let leader = cluster.leader(1).await;
    cluster.leader(2).await;
    assert_eq!(cluster.group(1, 2).since_contact(), Some(Duration::ZERO), "its own majority");
    cluster.write(1, "heard").await;
    let since = |cluster: &Cluster, id| cluster.group(id, 1).since_contact();
    for id in 1..=3 {
        until("all have heard", || since(&cluster, id).is_some_and(|it| it < SILENCE)).await;
    }
    // Heartbeats alone keep it so.
    let follower = leader % 3 + 1;
    let others: Vec<u64> = (1..=3).filter(|id| ![leader, follower].contains(id)).collect();
    until("it is quiet", || since(&cluster, follower).unwrap() > QUIET).await;
    until("a heartbeat came", || since(&cluster, follower).unwrap() < QUIET).await;
    cluster.kill(others[0]);
    cluster.write(1, "a majority").await;
    assert!(since(&cluster, leader).unwrap() < SILENCE);
    cluster.kill(follower);
    until("the leader is alone", || since(&cluster, leader).unwrap() > SILENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_alone_has_heard_nothing_since() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[1, 2, 3]).await;
    let leader = cluster.leader(1).await;
    let index = cluster.write(1, "heard").await;
    let follower = leader % 3 + 1;
    cluster.agree(1, &[1, 2, 3], index).await;
    for id in (1..=3).filter(|id| *id != follower) {
        cluster.kill(id);
    }
    let group = cluster.group(follower, 1);
    until("nothing came for long", || group.since_contact().unwrap() > SILENCE).await;
}
