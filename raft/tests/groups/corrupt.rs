//! A replica whose log rots on disk goes on voting and taking entries, does not lead, and is rebuilt from the others.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use quorate_raft::Role;
use quorate_storage::{Db, Error, GroupId};

use super::cluster::{Cluster, options, until};

const ENTRIES: u64 = 60;
const GROUP: GroupId = GroupId(1);

/// Flips a bit in the middle of the table that holds the entries.
fn rot(dir: &Path) {
    // Closing it puts everything into tables.
    Db::open(dir, options()).unwrap().close();
    let files = fs::read_dir(dir).unwrap().flatten().map(|file| file.path());
    let tables = files.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    let largest = tables.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_a_damaged_entry_votes_and_takes_entries_but_does_not_lead_until_it_is_rebuilt()
 {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[1, 2, 3]).await;
    let text = "x".repeat(20_000);
    let mut last = 0;
    for _ in 0..ENTRIES {
        last = cluster.write(1, &text).await;
    }
    cluster.agree(1, &[1, 2, 3], last).await;
    for id in [1, 2, 3] {
        cluster.kill(id);
    }
    rot(cluster.homes[&1].dir.path());

    // Node 1 would lead first; with node 3 away the other two need each other's vote.
    for id in [1, 2] {
        cluster.start_node(id).await;
        cluster.open(id, 1, &[1, 2, 3]).await;
    }
    let damaged = damage(&cluster, 1, last);
    assert!((1..last).contains(&damaged));
    until("node 2 leads with the vote of node 1", || {
        cluster.group(2, 1).leadership().borrow().ready
    })
    .await;
    let written = cluster.write_on(2, 1, "only node 1 can have acknowledged this").await;

    let status = cluster.group(1, 1).status();
    assert_eq!(status.corrupt_index, Some(damaged));
    assert!(status.last_index >= Some(written), "its log is as long as it was told: {status:?}");
    assert_eq!(status.role, Role::Follower);
    assert!(!cluster.group(1, 1).leadership().borrow().ready);

    // Known from the start now: it neither leads nor looks shorter when all begin again.
    for id in [1, 2] {
        cluster.kill(id);
    }
    for id in [1, 3] {
        cluster.start_node(id).await;
        cluster.open(id, 1, &[1, 2, 3]).await;
    }
    let status = cluster.group(1, 1).status();
    assert_eq!((status.corrupt_index, status.last_index >= Some(written)), (Some(damaged), true));
    // Node 3 lacks what node 1 acknowledged. Node 1 must not vote for it, and may not lead itself.
    cluster.start_node(2).await;
    cluster.open(2, 1, &[1, 2, 3]).await;
    until("node 2, which has everything and is whole, leads", || {
        cluster.group(2, 1).leadership().borrow().ready
    })
    .await;
    let written = cluster.write_on(2, 1, "and goes on").await;
    cluster.agree(1, &[2, 3], written).await;
    assert!(!cluster.group(1, 1).leadership().borrow().ready);

    // All are there, and the others have all that it has: it begins anew.
    rebuilt(&mut cluster, 1, written).await;

    // Also where nothing is written that would have to be compared.
    until("all is compared", || {
        let status = cluster.group(2, 1).status();
        status.compared_index.is_some() && status.compared_index == status.applied_index
    })
    .await;
    cluster.kill(3);
    rot(cluster.homes[&3].dir.path());
    cluster.start_node(3).await;
    cluster.open(3, 1, &[1, 2, 3]).await;
    damage(&cluster, 3, last);
    rebuilt(&mut cluster, 3, written).await;
}

/// Reads the log of a node until it finds the damage.
fn damage(cluster: &Cluster, id: u64, last: u64) -> u64 {
    let log = cluster.node(id).db.log(GROUP);
    let mut next = 1;
    loop {
        match log.read(next, last + 1, 1 << 20) {
            Ok(entries) => next = entries.last().expect("the damage comes first").id.index + 1,
            Err(Error::Corrupt { index, .. }) => return index,
            Err(other) => panic!("{other}"),
        }
    }
}

/// Waits until a replica ends to be rebuilt, opens it again as its owner would, and until it has everything.
async fn rebuilt(cluster: &mut Cluster, id: u64, written: u64) {
    loop {
        let mut failed = cluster.node(id).node.failed_groups();
        until("the replica ends", || failed.borrow_and_update().contains_key(&GROUP)).await;
        let node = Arc::clone(&cluster.node(id).node);
        cluster.node(id).spawn(async move { node.close(GROUP).await }).await;
        cluster.open(id, 1, &[1, 2, 3]).await;
        // Where the others were not known yet to have all that it has, nothing was erased and it is asked again.
        if cluster.group(id, 1).status().divergence.is_none() {
            break;
        }
    }
    cluster.agree(1, &[1, 2, 3], written).await;
    let status = cluster.group(id, 1).status();
    assert_eq!((status.corrupt_index, status.role), (None, Role::Follower));
}
