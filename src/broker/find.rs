//! Finding the other members again when their addresses changed while they were down.
//!
//! New addresses are written to the metadata, which needs a majority of its voters, which must find each
//! other first. So until this broker's image is current it introduces itself at every address of its
//! `--join` list, and asks every member it reaches whom that one reaches. Identities are checked as for any
//! connection between brokers, so it is enough that the lists connect a majority of the voters.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use quorate_raft::{CallError, Node};
use quorate_storage::mutant;
use tokio::time::{Instant, sleep};

use crate::config::HostPort;
use crate::context::voters_missing;
use crate::controller::{Controller, PEERS, Peer};
use crate::metadata::{decode, encode};

/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(500);
/// One question to a member that is reached.
const ASK: Duration = Duration::from_secs(2);
/// How long members may be missing before an operator is told. Brokers that are started together, or one after
/// the other, find each other within seconds.
const WARN_AFTER: Duration = Duration::from_secs(30);

/// Looks for members until dropped.
pub(super) async fn find_members(controller: &Controller, join: &[HostPort]) {
    if mutant::on("addresses-remembered") {
        return std::future::pending().await;
    }
    let warn_at = Instant::now() + WARN_AFTER;
    let mut warned = false;
    loop {
        meet(controller.node(), join).await;
        ask_around(controller.node()).await;
        if !warned && Instant::now() >= warn_at {
            warned = true;
            if let Some(missing) = voters_missing(controller) {
                tracing::warn!(missing, "the metadata voters do not find each other");
            }
        }
        sleep(PAUSE).await;
    }
}

/// Introduces this broker to whoever listens at the addresses.
async fn meet(node: &Node, join: &[HostPort]) {
    let meetings = join.iter().map(|address| async move {
        match node.meet(&address.to_string()).await {
            Ok(member) => tracing::debug!(%address, member, "a member is found"),
            Err(CallError::Refused(reason)) => {
                tracing::debug!(%address, reason, "whoever is there is no peer of this broker");
            }
            Err(error) => tracing::debug!(%address, %error, "nobody found"),
        }
    });
    join_all(meetings).await;
}

/// Asks the members that are reached where they reach others.
async fn ask_around(node: &Node) {
    let reached = node.reached_peers();
    let questions = reached.iter().map(|(id, ..)| async move {
        let answer = node.call(*id, PEERS, Bytes::from(encode(&())), ASK).await.ok()?;
        decode::<Vec<Peer>>(&answer).ok()
    });
    for peer in join_all(questions).await.into_iter().flatten().flatten() {
        node.hear_peer(peer.id, &peer.address, peer.directory_id);
    }
}
