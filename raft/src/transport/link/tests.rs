//! What a connection owes those who wait on it while it is busy with others.

use std::time::Duration;

use openraft::raft::StreamAppendError;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::types::{AppendRequest, Vote};

const PATIENCE: Duration = Duration::from_secs(30);

/// A link and the socket at its other end.
async fn link() -> (Arc<Link>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (other, _) = listener.accept().await.unwrap();
    (Link::start(dialled, 1 << 20, Arc::default()), other)
}

fn answer(batch: u64) -> Vec<u8> {
    let higher = StreamAppendError::HigherVote(Vote::new(7, 1));
    message::heartbeat_replies(batch, &vec![(0, Ok(Err(higher)))]).to_bytes()
}

/// ReadIndex waits for such an answer (Raft § 6.4), however much else is asked meanwhile.
#[tokio::test]
async fn a_heartbeat_is_answered_after_any_number_of_other_requests_and_heartbeats() {
    use tokio::io::AsyncWriteExt;
    let (link, mut other) = link().await;
    let (waiter, answered) = oneshot::channel();
    let batch = link.open_batch(vec![waiter]).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..10_000 {
        // As many numbers go to requests, streams and pings as to batches.
        link.next.fetch_add(1, Ordering::Relaxed);
        let (waiter, answered) = oneshot::channel();
        link.open_batch(vec![waiter]).unwrap();
        waiting.push(answered);
    }
    other.write_all(&answer(batch)).await.unwrap();
    let answer = timeout(PATIENCE, answered).await.unwrap();
    assert!(matches!(answer, Ok(Ok(Err(_)))), "{answer:?}");
}

#[tokio::test]
async fn batches_nobody_waits_for_are_forgotten() {
    let (link, _other) = link().await;
    for _ in 0..100_000 {
        let (waiter, gave_up) = oneshot::channel();
        link.open_batch(vec![waiter]).unwrap();
        drop(gave_up);
    }
    assert!(link.waiting.lock().batches.len() <= BATCHES_SWEPT);
}

#[tokio::test]
async fn a_stream_that_ends_while_there_is_no_room_is_ended_when_there_is() {
    let (link, mut other) = link().await;
    let (id, _answers) = link.open_stream(1).unwrap();
    let append = || {
        let request = AppendRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        };
        message::append(id, 5, request)
    };
    // Until the socket takes no more and the queue in front of it is full.
    let mut full = 0;
    while full < 100 {
        full = if link.out.try_send(append()).is_err() { full + 1 } else { 0 };
        tokio::task::yield_now().await;
    }
    link.end_stream(id);
    assert_eq!(link.ended.lock().len(), 1, "there was room after all");
    // What the failure detector does all the time.
    let pings = tokio::spawn(async move {
        loop {
            link.ping();
            tokio::task::yield_now().await;
        }
    });
    let ended = async {
        loop {
            let (kind, body) = frame::read(&mut other, 1 << 20).await.unwrap().unwrap();
            if kind == message::APPEND_END {
                return message::read_number(body).unwrap();
            }
        }
    };
    assert_eq!(timeout(PATIENCE, ended).await.unwrap(), id);
    pings.abort();
}
