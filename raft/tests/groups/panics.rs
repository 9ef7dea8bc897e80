//! A group whose core or machine panics is noticed, and is as before once it is opened again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_raft::{Outcome, Role};
use quorate_storage::GroupId;
use tokio::time::timeout;

use super::cluster::{Cluster, SOON, until};
use super::ledger::{POISON, poison};

/// Waits until the node says that the group failed, and opens it again as its owner would.
async fn recover(cluster: &mut Cluster, id: u64, preferred: &[u64]) {
    let mut failed = cluster.node(id).node.failed_groups();
    until("the failure is reported", || failed.borrow().contains_key(&GroupId(1))).await;
    assert_eq!(cluster.group(id, 1).status().role, Role::Stopped);
    assert!(!cluster.group(id, 1).leadership().borrow().ready, "it does not call itself ready");
    let node = Arc::clone(&cluster.node(id).node);
    cluster.node(id).spawn(async move { node.close(GroupId(1)).await }).await;
    cluster.open(id, 1, preferred).await;
    assert!(failed.borrow_and_update().is_empty(), "it is open again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_panicked_leaves_a_group_that_can_be_opened_again() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[1, 2, 3]).await;
    for round in 0..3 {
        let leader = cluster.leader(1).await;
        let term = cluster.group(leader, 1).leadership().borrow().term;
        cluster.write(1, &format!("before {round}")).await;
        let group = cluster.group(leader, 1).clone();
        cluster.node(leader).spawn(async move { group.panic().await }).await;
        recover(&mut cluster, leader, &[1, 2, 3]).await;
        let written = timeout(SOON, cluster.write(1, &format!("after {round}"))).await;
        written.expect("the group has a leader long before an election timeout");
        let now = cluster.leader(1).await;
        assert!(cluster.group(now, 1).leadership().borrow().term > term, "a new term");
    }
    let last = cluster.write(1, "end").await;
    cluster.agree(1, &[1, 2, 3], last).await;
    assert_eq!(cluster.group(1, 1).machine().count, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_panicked_is_restored_and_applies_what_it_missed() {
    let mut cluster = Cluster::start(1).await;
    cluster.create(1, &[1]).await;
    cluster.leader(1).await;
    cluster.write(1, "before").await;
    POISON.store(true, Ordering::SeqCst);
    let pending = cluster.group(1, 1).propose(poison(), None).await.expect("it leads");
    assert_eq!(pending.await, Outcome::Indeterminate);
    recover(&mut cluster, 1, &[1]).await;
    let last = cluster.write(1, "after").await;
    cluster.agree(1, &[1], last).await;
    assert_eq!(cluster.group(1, 1).machine().count, 3, "the entry that it died of included");
}
