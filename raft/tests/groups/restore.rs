//! Why a restarted leader must not resume its term.
//!
//! Entries are replicated before they are durable on the leader. Here a leader loses such an entry
//! in a crash although the followers acknowledged it, and restarts.

use bytes::Bytes;
use quorate_raft::Outcome;
use quorate_storage::GroupId;

use super::cluster::Cluster;
use super::ledger::{Ledger, gist, note};

/// What each node has applied at the index of the lost entry, after another one was written.
async fn after_losing_the_tail(leader_restore: bool) -> Vec<Option<Bytes>> {
    let mut cluster = Cluster::start(3).await;
    cluster.create(1, &[1, 2, 3]).await;
    while cluster.leader(1).await != 1 {
        let leader = cluster.leader(1).await;
        let group = cluster.group(leader, 1).clone();
        let _ = cluster.node(leader).spawn(async move { group.transfer_leader(1).await }).await;
    }
    let acknowledged = cluster.write(1, "first").await;
    cluster.agree(1, &[1, 2, 3], acknowledged).await;
    for id in [2, 3, 1] {
        cluster.kill(id);
    }

    // The power fails on node 1: the entry was not synced there.
    let dir = cluster.homes[&1].dir.path().to_owned();
    let db = quorate_storage::Db::open(&dir, super::cluster::options()).unwrap();
    db.log(GroupId(1)).truncate_after(Some(acknowledged - 1)).await.unwrap();
    db.close();
    drop(db);

    for id in [1, 2, 3] {
        cluster.start_node(id).await;
        let node = std::sync::Arc::clone(&cluster.node(id).node);
        let open = async move {
            node.open_with(GroupId(1), Ledger::default(), vec![1, 2, 3], leader_restore).await
        };
        let group = cluster.node(id).spawn(open).await.unwrap();
        cluster.nodes.get_mut(&id).unwrap().groups.insert(1, group);
    }
    let leader = cluster.leader(1).await;
    let group = cluster.group(leader, 1).clone();
    let outcome = group.propose(note("second"), None).await.unwrap().await;
    let Outcome::Applied { index, .. } = outcome else { panic!("not acknowledged") };
    super::cluster::until("all have applied it", || {
        (1..=3).all(|id| cluster.group(id, 1).machine().applied >= index)
    })
    .await;
    (1..=3)
        .map(|id| {
            let machine = cluster.group(id, 1).machine();
            let found = machine.entries.iter().find(|(index, _)| *index == acknowledged);
            found.map(|(_, payload)| payload.clone())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_leader_gives_up_its_term_and_the_acknowledged_entry_survives() {
    assert_eq!(after_losing_the_tail(false).await, vec![Some(gist(&note("first"))); 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_leader_restore_two_acknowledged_entries_would_share_an_index() {
    let found = after_losing_the_tail(true).await;
    let expected = ["second", "first", "first"].map(|text| Some(gist(&note(text))));
    assert_eq!(found, expected, "if this fails the core became safer: keep the setting anyway");
}
