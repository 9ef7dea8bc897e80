//! The log is purged at the retention boundary, and whoever fell behind it starts there.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::cluster::{Cluster, until};
use super::ledger::trim;

/// Writes about six megabytes and forgets the first two thirds of them.
async fn write_and_trim(cluster: &Cluster, group: u64) -> u64 {
    let mut indexes = Vec::new();
    for _ in 0..60 {
        indexes.push(cluster.write_bytes(group, Bytes::from(vec![b'N'; 100_000])).await);
    }
    cluster.write_bytes(group, trim(indexes[40])).await;
    indexes[40]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_behind_the_boundary_is_reset_to_it_and_agrees() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[1, 2, 3]).await;
    cluster.write(1, "early").await;
    let leader = cluster.leader(1).await;
    let away = leader % 3 + 1;
    cluster.kill(away);
    let needed = write_and_trim(&cluster, 1).await;
    for id in (1..=3).filter(|id| *id != away) {
        until("the log is purged close to the boundary", || {
            let purged = cluster.group(id, 1).status().purged_index;
            purged.is_some_and(|purged| purged < needed && purged + 15 > needed)
        })
        .await;
    }
    cluster.start_node(away).await;
    cluster.open(away, 1, &[1, 2, 3]).await;
    let last = cluster.write(1, "late").await;
    cluster.agree(1, &[1, 2, 3], last).await;
    let [there, here] = [leader, away].map(|id| cluster.group(id, 1).status().purged_index);
    assert_eq!(there, here, "the follower holds exactly what is retained");

    cluster.kill(away);
    cluster.start_node(away).await;
    cluster.open(away, 1, &[1, 2, 3]).await;
    let last = cluster.write(1, "after a restart").await;
    cluster.agree(1, &[1, 2, 3], last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_replica_of_a_purged_group_gets_the_boundary_and_the_rest() {
    let mut cluster = Cluster::start(2).await;
    cluster.create(1, &[1]).await;
    let needed = write_and_trim(&cluster, 1).await;
    until("the log is purged", || {
        cluster.group(1, 1).status().purged_index.is_some_and(|purged| purged + 15 > needed)
    })
    .await;
    cluster.open(2, 1, &[1, 2]).await;
    let group = cluster.group(1, 1).clone();
    let change = async move { group.change_voters(BTreeSet::from([1, 2])).await };
    cluster.node(1).spawn(change).await.unwrap();
    let last = cluster.write(1, "with two").await;
    cluster.agree(1, &[1, 2], last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_group_restarts_from_its_checkpoint() {
    let mut cluster = Cluster::start(1).await;
    cluster.create(1, &[1]).await;
    write_and_trim(&cluster, 1).await;
    until("the log is purged", || cluster.group(1, 1).status().purged_index.is_some()).await;
    let before = cluster.group(1, 1).machine().clone();
    cluster.kill(1);
    cluster.start_node(1).await;
    cluster.open(1, 1, &[1]).await;
    cluster.write(1, "more").await;
    let after = cluster.group(1, 1).machine().clone();
    assert_eq!((after.count, after.trimmed_to), (before.count + 1, before.trimmed_to));
    assert_eq!(after.entries[..before.entries.len()], before.entries[..]);
}
