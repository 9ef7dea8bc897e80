//! Calls to other brokers, of which those that wait for the same broker go together.
//!
//! ```text
//!  marks, enlistments ──▶ Outbox ──▶ a lane for each broker and method ──▶ Node::call, a few at a time
//! ```
//!
//! While a broker answers quickly a call carries what was asked alone, and when it does not keep up one call carries many.
//! A lane is bounded in bytes, so a broker that hangs holds up nobody but those who wait for it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use quorate_raft::{CallError, Node};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use crate::metadata::{decode, encode};

/// Posts that wait to be sorted.
const QUEUE: usize = 1_024;
/// Calls of one lane at a time.
const CALLS_MAX: usize = 16;
/// What goes with one call.
const POSTS_MAX: usize = 256;
const CALL_BYTES_MAX: usize = 1 << 20;
/// What waits in one lane; more is refused.
const LANE_BYTES_MAX: usize = 8 << 20;
/// How long a call may take.
const CALL_WAIT: Duration = Duration::from_secs(3);

/// Something to be asked of a broker.
pub(super) struct Post {
    lane: Lane,
    body: Vec<u8>,
    /// Dropped when there is no answer.
    answer: oneshot::Sender<Vec<u8>>,
}

/// A broker and a method.
type Lane = (u64, u16);

/// How others post.
#[derive(Clone)]
pub(super) struct Mailbox(mpsc::Sender<Post>);

impl Mailbox {
    pub(super) fn new() -> (Self, mpsc::Receiver<Post>) {
        let (posts, posted) = mpsc::channel(QUEUE);
        (Self(posts), posted)
    }

    /// Asks a broker; `None` when there is no answer, though it may have done what was asked.
    pub(super) async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        broker: u64,
        method: u16,
        question: &Q,
    ) -> Option<A> {
        let (answer, answered) = oneshot::channel();
        let post = Post { lane: (broker, method), body: encode(question), answer };
        self.0.send(post).await.ok()?;
        decode(&answered.await.ok()?).ok()
    }
}

#[derive(Default)]
struct Waiting {
    posts: VecDeque<Post>,
    bytes: usize,
    calls: usize,
}

/// Carries posts out until it is dropped.
pub(super) async fn carry(node: Arc<Node>, mut posted: mpsc::Receiver<Post>) {
    let mut lanes: HashMap<Lane, Waiting> = HashMap::new();
    let mut calls = FuturesUnordered::new();
    loop {
        let lane = tokio::select! {
            post = posted.recv() => {
                let Some(post) = post else { return };
                let lane = post.lane;
                push(lanes.entry(lane).or_default(), post);
                lane
            }
            Some(lane) = calls.next() => {
                let waiting = lanes.entry(lane).or_default();
                waiting.calls = waiting.calls.saturating_sub(1);
                lane
            }
        };
        let Some(waiting) = lanes.get_mut(&lane) else { continue };
        if waiting.calls < CALLS_MAX && !waiting.posts.is_empty() {
            waiting.calls += 1;
            calls.push(call(Arc::clone(&node), lane, take(waiting)));
        } else if waiting.calls == 0 && waiting.posts.is_empty() {
            lanes.remove(&lane);
        }
    }
}

fn push(waiting: &mut Waiting, post: Post) {
    // Dropped, it is asked again later.
    if waiting.bytes + post.body.len() <= LANE_BYTES_MAX {
        waiting.bytes += post.body.len();
        waiting.posts.push_back(post);
    }
}

/// Takes what goes with the next call.
fn take(waiting: &mut Waiting) -> Vec<Post> {
    let (mut posts, mut bytes) = (Vec::new(), 0);
    while posts.len() < POSTS_MAX && bytes < CALL_BYTES_MAX {
        let Some(post) = waiting.posts.pop_front() else { break };
        waiting.bytes = waiting.bytes.saturating_sub(post.body.len());
        bytes += post.body.len();
        // Whoever gave up meanwhile needs nothing.
        if !post.answer.is_closed() {
            posts.push(post);
        }
    }
    posts
}

async fn call(node: Arc<Node>, lane: Lane, posts: Vec<Post>) -> Lane {
    let (broker, method) = lane;
    if posts.is_empty() {
        return lane;
    }
    // A call would wait for it to come back, and meanwhile others may lead.
    if broker != node.id() && !node.alive(broker) {
        return lane;
    }
    let (bodies, answers): (Vec<_>, Vec<_>) =
        posts.into_iter().map(|post| (post.body, post.answer)).unzip();
    let body = Bytes::from(encode(&bodies));
    let answered = node.call(broker, method, body, CALL_WAIT).await;
    match answered.map(|it| decode::<Vec<Vec<u8>>>(&it)) {
        Ok(Ok(bodies)) => {
            for (answer, body) in answers.into_iter().zip(bodies) {
                // Nobody waits any more.
                let _ = answer.send(body);
            }
        }
        Ok(Err(error)) => tracing::debug!(broker, method, %error, "an answer is not understood"),
        Err(error) => tracing::debug!(broker, method, %error, "a call is not answered"),
    }
    lane
}

/// Answers a call that carries several questions, each by itself and all at a time.
pub(super) async fn answer<Q, A, F>(body: Bytes, each: impl Fn(Q) -> F) -> Result<Bytes, CallError>
where
    Q: DeserializeOwned,
    A: Serialize,
    F: Future<Output = A>,
{
    let refused = |error: &dyn std::error::Error| CallError::Refused(error.to_string());
    let bodies: Vec<Vec<u8>> = decode(&body).map_err(|error| refused(&error))?;
    if bodies.len() > POSTS_MAX {
        return Err(CallError::Refused(format!("{} questions in one call", bodies.len())));
    }
    let questions: Result<Vec<Q>, _> = bodies.iter().map(|body| decode(body)).collect();
    let questions = questions.map_err(|error| refused(&error))?;
    let answers = futures::future::join_all(questions.into_iter().map(each)).await;
    let answers: Vec<Vec<u8>> = answers.iter().map(encode).collect();
    Ok(Bytes::from(encode(&answers)))
}

#[cfg(test)]
mod tests;
