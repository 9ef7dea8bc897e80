//! A dead node's groups get new leaders, quickly, and only when the node is dead.

use std::time::{Duration, Instant};

use quorate_raft::{Error, Outcome, ProposeError};
use tokio::time::timeout;

use super::cluster::{Cluster, SOON, until};
use super::ledger::note;

/// Groups with the given number of replicas each, led evenly by the three nodes.
async fn spread(cluster: &mut Cluster, groups: u64) {
    for group in 1..=groups {
        let first = group % 3;
        let voters = [first + 1, (first + 1) % 3 + 1, (first + 2) % 3 + 1];
        cluster.create(group, &voters).await;
    }
    for group in 1..=groups {
        cluster.leader(group).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_groups_accept_writes_again_after_a_node_died() {
    let mut cluster = Cluster::start(3).await;
    spread(&mut cluster, 100).await;
    let mut led = Vec::new();
    for group in 1..=100 {
        if cluster.leader(group).await == 1 {
            led.push(group);
        }
    }
    assert!(!led.is_empty(), "the preferred nodes lead");
    let started = Instant::now();
    cluster.kill(1);
    let mut times = Vec::new();
    let mut waiting: Vec<u64> = led.clone();
    while !waiting.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(30), "{waiting:?} have no leader");
        let mut still = Vec::new();
        for group in waiting {
            if accepts(&cluster, group).await {
                times.push(started.elapsed());
            } else {
                still.push(group);
            }
        }
        waiting = still;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    times.sort();
    eprintln!(
        "failover of {} groups: p50 {:?} p99 {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

async fn accepts(cluster: &Cluster, group: u64) -> bool {
    for node in cluster.nodes.values() {
        let replica = &node.groups[&group];
        if replica.leadership().borrow().ready
            && let Ok(pending) = replica.propose(note("after"), None).await
            && let Ok(Outcome::Applied { .. }) = timeout(Duration::from_secs(1), pending).await
        {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_in_order_hands_over_first() {
    let mut cluster = Cluster::start(3).await;
    spread(&mut cluster, 9).await;
    let stopping = cluster.leader(1).await;
    let last = cluster.write(1, "before").await;
    cluster.stop(stopping).await;
    let started = Instant::now();
    let next = cluster.leader(1).await;
    assert_ne!(next, stopping);
    eprintln!("a leader {:?} after the other had stopped", started.elapsed());
    let survivors: Vec<u64> = cluster.nodes.keys().copied().collect();
    cluster.agree(1, &survivors, last).await;
    for group in 1..=9 {
        cluster.write(group, "after").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_transferred_on_request_and_nothing_is_lost() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[1, 2, 3]).await;
    for round in 0..6 {
        let leader = cluster.leader(1).await;
        let to = leader % 3 + 1;
        cluster.write(1, &format!("round {round}")).await;
        let started = Instant::now();
        let group = cluster.group(leader, 1).clone();
        cluster.node(leader).spawn(async move { group.transfer_leader(to).await }).await.unwrap();
        eprintln!("transfer took {:?}", started.elapsed());
        assert_eq!(cluster.leader(1).await, to);
    }
    let last = cluster.write(1, "end").await;
    cluster.agree(1, &[1, 2, 3], last).await;
    assert_eq!(cluster.group(1, 1).machine().count, 7);
    let leader = cluster.leader(1).await;
    assert!(cluster.group(leader, 1).transfer_leader(9).await.is_err(), "no voter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_majority_turns_proposals_away_at_once() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[1, 2, 3]).await;
    let leader = cluster.leader(1).await;
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.kill(id);
    }
    let node = cluster.node(leader);
    until("the detector noticed", || (1..=3).filter(|id| node.node.alive(*id)).count() == 1).await;
    let refused = node.groups[&1].propose(note("x"), None).await.unwrap_err();
    assert_eq!(refused, ProposeError::Busy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_restarts_at_once_is_replaced_or_elected_anew() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[1, 2, 3]).await;
    for _ in 0..3 {
        let leader = cluster.leader(1).await;
        let term = cluster.group(leader, 1).leadership().borrow().term;
        cluster.write(1, "before").await;
        cluster.kill(leader);
        cluster.start_node(leader).await;
        cluster.open(leader, 1, &[1, 2, 3]).await;
        cluster.write(1, "after").await;
        let now = cluster.leader(1).await;
        assert!(cluster.group(now, 1).leadership().borrow().term > term, "a new term");
    }
    let last = cluster.write(1, "end").await;
    cluster.agree(1, &[1, 2, 3], last).await;
    assert_eq!(cluster.group(1, 1).machine().count, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drains_leads_only_what_nobody_else_can() {
    let mut cluster = Cluster::start(3).await;
    spread(&mut cluster, 9).await;
    let led_by = |cluster: &Cluster, id: u64| {
        let led = |group: &u64| {
            let now = *cluster.group(id, *group).leadership().borrow();
            now.leader == Some(id)
        };
        (1..=9).filter(led).count()
    };
    cluster.node(1).node.drain("a test", true);
    cluster.node(1).node.drain("another", true);
    until("node 1 leads nothing", || led_by(&cluster, 1) == 0).await;
    let leader = cluster.leader(1).await;
    let group = cluster.group(leader, 1).clone();
    let refused = cluster.node(leader).spawn(async move { group.transfer_leader(1).await }).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert!(cluster.group(leader, 1).leadership().borrow().ready, "asking cost nothing");

    // Of two survivors the one that drains leads nothing either, whatever the preferred order says.
    cluster.kill(3);
    for group in 1..=9 {
        assert_eq!(cluster.leader_among(group, &[1, 2]).await, 2);
    }
    // And when all drain there are leaders all the same.
    cluster.node(2).node.drain("a test", true);
    for group in 1..=9 {
        cluster.write(group, "led").await;
    }
    cluster.node(1).node.drain("a test", false);
    assert_eq!(cluster.node(1).node.draining(), ["another"]);
    cluster.node(1).node.drain("another", false);
    until("node 1 leads everything", || led_by(&cluster, 1) == 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_nobody_completes_leaves_a_leader_that_takes_writes() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[1, 2, 3]).await;
    let leader = cluster.leader(1).await;
    let term = cluster.group(leader, 1).leadership().borrow().term;
    // They follow and vote, and take nothing over.
    let others = (1..=3).filter(|id| *id != leader);
    others.for_each(|id| cluster.node(id).node.drain("a test", true));
    let group = cluster.group(leader, 1).clone();
    let to = leader % 3 + 1;
    let failed =
        cluster.node(leader).spawn(async move { group.transfer_leader_unasked(to).await }).await;
    assert!(matches!(failed, Err(Error::Timeout(_))), "{failed:?}");
    // The core refuses proposals for as long as it leads the old term, so that must be over.
    let now = *cluster.group(leader, 1).leadership().borrow();
    assert!(now.term > term, "still the term in which nothing can be written: {now:?}");
    let written = timeout(SOON, cluster.write(1, "after")).await;
    let last = written.expect("the group has a leader long before an election timeout");
    cluster.agree(1, &[1, 2, 3], last).await;
}
