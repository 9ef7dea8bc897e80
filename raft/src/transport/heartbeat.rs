//! Heartbeats of all groups to one peer, batched.
//!
//! A leader with a thousand groups has a heartbeat to send every few milliseconds. The first one
//! after a pause goes out at once, because a read may wait for it (Raft § 6.4); those that follow
//! within the pause are collected and share a frame.

use std::time::Duration;

use openraft::raft::StreamAppendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::link::Appended;
use super::message::{self, Failed, Failure, HEARTBEATS_MAX};
use super::peer::Peer;
use crate::types::AppendRequest;

/// Least time between two batches to a peer.
const PAUSE: Duration = Duration::from_millis(5);

/// A heartbeat and who waits for its answer.
pub(crate) struct Heartbeat {
    pub group: u64,
    pub request: AppendRequest,
    pub answer: oneshot::Sender<Appended>,
}

/// The queue of a peer. Whoever sends a heartbeat has only one under way per group, and waits.
pub(crate) fn queue() -> (mpsc::Sender<Heartbeat>, mpsc::Receiver<Heartbeat>) {
    mpsc::channel(HEARTBEATS_MAX as usize)
}

/// Sends what is queued until the peer is dropped.
pub(crate) async fn run(peer: &Peer, mut waiting: mpsc::Receiver<Heartbeat>) {
    let mut not_before = Instant::now();
    let mut batch = Vec::new();
    loop {
        if waiting.recv_many(&mut batch, HEARTBEATS_MAX as usize).await == 0 {
            return;
        }
        if not_before > Instant::now() {
            sleep_until(not_before).await;
            while batch.len() < HEARTBEATS_MAX as usize
                && let Ok(more) = waiting.try_recv()
            {
                batch.push(more);
            }
        }
        send(peer, std::mem::take(&mut batch)).await;
        not_before = Instant::now() + PAUSE;
    }
}

async fn send(peer: &Peer, batch: Vec<Heartbeat>) {
    let Some(link) = peer.link() else { return };
    let (mut items, mut waiters) = (Vec::new(), Vec::new());
    for heartbeat in batch {
        items.push((heartbeat.group, heartbeat.request));
        waiters.push(heartbeat.answer);
    }
    if let Some(id) = link.open_batch(waiters) {
        // The socket being full must not hold up later heartbeats longer than their own timeout,
        // which the senders have; dropping the link drops the waiters.
        link.send(message::heartbeats(id, &items)).await;
    }
}

/// A conflict that names no place cannot come from the request it claims to answer.
pub(crate) fn plausible(request_prev_is_none: bool, answer: Appended) -> Appended {
    match answer {
        Ok(Err(StreamAppendError::Conflict(_))) if request_prev_is_none => {
            Err(Failed::new(Failure::Refused, "a conflict with an empty prefix"))
        }
        other => other,
    }
}
