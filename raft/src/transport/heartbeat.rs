//! Heartbeats of all groups to one peer, batched.
//!
//! A leader with a thousand groups has a heartbeat to send every few milliseconds. Those within a pause are collected and
//! share a frame. One for whose answer a read waits (Raft § 6.4) goes out at once, and takes along what is collected: the pause
//! would be most of what such a read takes.

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
    /// A read waits for it.
    pub is_awaited: bool,
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
    while let Some(batch) = next_batch(&mut waiting, not_before).await {
        send(peer, batch).await;
        not_before = Instant::now() + PAUSE;
    }
}

/// Collects heartbeats until then, or until one is awaited. `None`: there will be no more.
async fn next_batch(
    waiting: &mut mpsc::Receiver<Heartbeat>,
    not_before: Instant,
) -> Option<Vec<Heartbeat>> {
    let mut batch: Vec<Heartbeat> = Vec::new();
    let room = |batch: &Vec<Heartbeat>| HEARTBEATS_MAX as usize - batch.len();
    if waiting.recv_many(&mut batch, HEARTBEATS_MAX as usize).await == 0 {
        return None;
    }
    while room(&batch) > 0 && !batch.iter().any(|heartbeat| heartbeat.is_awaited) {
        let room = room(&batch);
        tokio::select! {
            biased;
            () = sleep_until(not_before) => break,
            count = waiting.recv_many(&mut batch, room) => if count == 0 { break },
        }
    }
    while room(&batch) > 0
        && let Ok(more) = waiting.try_recv()
    {
        batch.push(more);
    }
    Some(batch)
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

#[cfg(test)]
mod tests {
    use openraft::raft::AppendEntriesRequest;

    use super::*;
    use crate::types::Vote;

    fn heartbeat(group: u64, is_awaited: bool) -> Heartbeat {
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        };
        Heartbeat { group, is_awaited, request, answer: oneshot::channel().0 }
    }

    async fn push(to: &mpsc::Sender<Heartbeat>, heartbeat: Heartbeat) {
        assert!(to.send(heartbeat).await.is_ok());
    }

    fn groups(batch: Option<Vec<Heartbeat>>) -> Vec<u64> {
        batch.into_iter().flatten().map(|heartbeat| heartbeat.group).collect()
    }

    /// Collects while others are pushed.
    async fn collected(pause: Duration, first: Heartbeat, then: Vec<Heartbeat>) -> Vec<u64> {
        let (to, mut waiting) = queue();
        push(&to, first).await;
        let later = async {
            for heartbeat in then {
                tokio::task::yield_now().await;
                push(&to, heartbeat).await;
            }
        };
        let batch = next_batch(&mut waiting, Instant::now() + pause);
        let (batch, ()) = tokio::join!(tokio::time::timeout(HOUR / 60, batch), later);
        groups(batch.expect("it is sent"))
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn heartbeats_within_a_pause_are_sent_together() {
        let more = vec![heartbeat(2, false), heartbeat(3, false)];
        assert_eq!(collected(PAUSE, heartbeat(1, false), more).await, [1, 2, 3]);
        let (to, mut waiting) = queue();
        push(&to, heartbeat(4, false)).await;
        assert_eq!(groups(next_batch(&mut waiting, Instant::now()).await), [4]);
        drop(to);
        assert!(next_batch(&mut waiting, Instant::now() + HOUR).await.is_none());
    }

    #[tokio::test]
    async fn one_that_a_read_waits_for_goes_at_once_and_takes_the_others_along() {
        let more = vec![heartbeat(2, true)];
        assert_eq!(collected(HOUR, heartbeat(1, false), more).await, [1, 2]);
        assert_eq!(collected(HOUR, heartbeat(1, true), Vec::new()).await, [1]);
    }
}
