//! Keyed state is on disk as of a checkpoint, whenever a node dies, and comes with a snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Buf;
use quorate_raft::Group;

use super::cluster::until;
use super::tallies::Tallies;
use super::tally::Tally;

/// All counts, read so many at a time.
fn read_all(group: &Group<Tally>, page: usize) -> BTreeMap<u64, u64> {
    let (mut counts, mut from) = (BTreeMap::new(), Vec::new());
    loop {
        let pairs = group.keyed_range(&from, &[0xff], page).unwrap();
        for (key, value) in &pairs {
            let before = counts.insert((&key[..]).get_u64(), (&value[..]).get_u64());
            assert_eq!(before, None, "a key comes once");
        }
        match pairs.last() {
            Some((key, _)) if pairs.len() == page => from = [&key[..], &[0]].concat(),
            _ => return counts,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_anywhere_comes_back_with_the_keyed_state_it_had() {
    let mut tallies = Tallies::start(1).await;
    for round in 0..14_u64 {
        // Some rounds fill the overlay, which makes a checkpoint, and others do not.
        for n in 0..(3 + round * 7 % 40) {
            tallies.count(n % 11, if round % 3 == 0 { 100_000 } else { 10 }).await;
        }
        tallies.forget(&[round % 11, 10 - round % 11, 99]).await;
        tallies.count(round % 11, 1).await;
        for page in [1, 3, 100] {
            assert_eq!(read_all(&tallies.groups[&1], page), tallies.counts, "round {round}");
        }
        tallies.kill(1);
        tallies.back(1).await;
        tallies.count(round % 5, 1).await;
    }
    let purged = tallies.groups[&1].status().purged_index;
    assert!(purged.is_some(), "checkpoints let the log go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_fell_behind_is_given_the_keyed_state_of_the_newest_checkpoint() {
    let mut tallies = Tallies::start(3).await;
    for key in 0..30 {
        tallies.count(key, 10).await;
    }
    let leader = tallies.leader().await;
    let away = leader % 3 + 1;
    let before = tallies.written;
    tallies.kill(away);
    for round in 0..4 {
        for key in 0..30 {
            tallies.count(key, 50_000).await;
        }
        tallies.forget(&[round, round + 7]).await;
    }
    let group = tallies.groups[&leader].clone();
    until("the log is purged beyond what the replica had", || {
        group.status().purged_index > Some(before + 60)
    })
    .await;
    tallies.back(away).await;
    // Checkpoints go on while the snapshot is on its way.
    for key in 0..60 {
        tallies.count(key % 30, 50_000).await;
    }
    tallies.agree().await;
    for key in 0..30 {
        tallies.count(key, 1).await;
    }
    tallies.agree().await;

    // What it was given is what it has after a restart, and leads with.
    tallies.kill(away);
    tallies.back(away).await;
    tallies.agree().await;
    let group = tallies.groups[&leader].clone();
    let transfer = async move { group.transfer_leader(away).await };
    tallies.cluster.node(leader).spawn(transfer).await.unwrap();
    for key in 0..30 {
        tallies.count(key, 1).await;
    }
    tallies.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_beside_the_machine_misses_nothing_while_checkpoints_are_written() {
    const KEYS: u64 = 8;
    let mut tallies = Tallies::start(1).await;
    for key in 0..KEYS {
        tallies.count(key, 200_000).await;
    }
    let (group, done) = (tallies.groups[&1].clone(), Arc::new(AtomicBool::new(false)));
    let stop = Arc::clone(&done);
    let reader = tokio::task::spawn_blocking(move || {
        let (mut before, mut reads) = (read_all(&group, 3), 0_u64);
        while !stop.load(Ordering::Relaxed) {
            let now = read_all(&group, 3);
            assert!((0..KEYS).all(|key| now[&key] >= before[&key]), "{before:?} then {now:?}");
            (before, reads) = (now, reads + 1);
        }
        reads
    });
    // Every few of them fill the overlay.
    for n in 0..600 {
        tallies.count(n % KEYS, 200_000).await;
    }
    done.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 10);
    assert_eq!(read_all(&tallies.groups[&1], 3), tallies.counts);
}
