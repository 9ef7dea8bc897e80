//! Append streams as the follower serves them.
//!
//! The core takes the requests of a stream in order and answers in order. The queue between the
//! connection and the core holds as many requests as an honest leader leaves unanswered, so it is
//! full only for one that is not honest.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use openraft::errors::Fatal;
use openraft::raft::StreamAppendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::{Session, invalid};
use crate::transport::append::DEPTH;
use crate::transport::frame::{self, Frame};
use crate::transport::message::{self, Failed, Failure};
use crate::types::{AppendRequest, AppendResult, TypeConfig};

/// Append bytes of a connection that are not answered yet, as a multiple of what an honest leader
/// sends: beyond it, reading waits.
const BYTES_FACTOR: usize = 2;

/// The streams of one connection.
pub(crate) struct Streams {
    streams: HashMap<u64, Stream>,
    streams_max: usize,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
}

struct Stream {
    requests: mpsc::Sender<AppendRequest>,
    taken: mpsc::Sender<Taken>,
}

/// A request that is not answered yet.
struct Taken {
    _bytes: OwnedSemaphorePermit,
    received: Instant,
}

impl Streams {
    pub fn new(session: &Session) -> Self {
        let limits = &session.core.config.limits;
        let bytes_max = limits.peer_inflight_bytes.max(limits.frame_bytes) * BYTES_FACTOR;
        Self {
            streams: HashMap::new(),
            streams_max: limits.streams,
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }

    /// Takes an append, opening its stream if it is the first.
    pub async fn append(&mut self, session: &Session, body: Bytes) -> std::io::Result<()> {
        let received = Instant::now();
        let bytes = u32::try_from(body.len().min(self.bytes_max)).unwrap_or(u32::MAX);
        let (id, group, request) = message::read_append(body).map_err(invalid)?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
        let taken = Taken { _bytes: bytes.expect("the semaphore is never closed"), received };
        if !self.streams.contains_key(&id) {
            if self.streams.len() >= self.streams_max {
                return Err(frame::invalid("too many append streams".into()));
            }
            let Some(stream) = open(session, id, group) else {
                let failed =
                    Failed::new(Failure::NoGroup, format!("group {group} is not open here"));
                return session.answer(message::appended(id, &Err(failed)));
            };
            self.streams.insert(id, stream);
        }
        let stream = self.streams.get(&id).expect("it was just inserted");
        // A stream that ended after an error is closed by its leader; what was under way is dropped.
        match stream.taken.try_send(taken) {
            Err(mpsc::error::TrySendError::Full(_)) => return Err(too_deep()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(()),
            Ok(()) => {}
        }
        match stream.requests.try_send(request) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(too_deep()),
            Err(mpsc::error::TrySendError::Closed(_)) | Ok(()) => Ok(()),
        }
    }

    pub fn end(&mut self, id: u64) {
        self.streams.remove(&id);
    }
}

fn too_deep() -> std::io::Error {
    frame::invalid("more unanswered appends than a stream may have".into())
}

fn open(session: &Session, id: u64, group: u64) -> Option<Stream> {
    let replica = session.core.replica(group)?;
    let (requests, queue) = mpsc::channel(DEPTH + 1);
    let (taken, mut given_back) = mpsc::channel(2 * DEPTH + 2);
    let input =
        stream::unfold((queue, Arc::clone(&session.core)), |(mut queue, core)| async move {
            let request: AppendRequest = queue.recv().await?;
            // Here and not in the core, which would keep votes waiting as well.
            if !request.entries.is_empty() {
                core.db.admit().await;
            }
            Some((request, (queue, core)))
        });
    let answers = replica.raft.stream_append(Box::pin(input));
    let (out, contact) = (session.out.clone(), Arc::clone(&replica.shared.contact));
    tokio::spawn(async move {
        let mut answers = std::pin::pin!(answers);
        while let Some(answer) = answers.next().await {
            let is_leaders = matches!(answer, Ok(Ok(_) | Err(StreamAppendError::Conflict(_))));
            if out.send(answered(id, answer)).await.is_err() {
                return;
            }
            // Answers come in the order of the requests.
            let taken: Option<Taken> = given_back.recv().await;
            if let Some(taken) = taken.filter(|_| is_leaders) {
                contact.heard(taken.received);
            }
        }
    });
    Some(Stream { requests, taken })
}

fn answered(id: u64, answer: Result<AppendResult, Fatal<TypeConfig>>) -> Frame {
    let answer = answer.map_err(|error| Failed::new(Failure::NoGroup, error.to_string()));
    message::appended(id, &answer)
}
