//! An established connection as its dialler uses it.
//!
//! Requests, append streams and heartbeat batches have numbers; the reader hands every answer to
//! whoever waits for its number and waits for nobody itself. When the connection ends, everything
//! waiting learns it at once, because what it waits on is dropped.

mod peer_clock;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::BufReader;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::frame::{self, Frame};
use super::message::{self, Failed, Failure, HeartbeatReplies};
use crate::error::DecodeError;
use crate::platform::{OwnedReadHalf, TcpStream};
use crate::types::AppendResult;
use peer_clock::PeerClock;

/// Frames that may wait for the socket. Appends are bounded by credits in bytes besides.
const OUT_FRAMES: usize = 1024;
/// Requests that may wait for their answer.
const PENDING_MAX: usize = 16_384;
/// Batches of heartbeats after which those that nobody waits for any more are looked for.
const BATCHES_SWEPT: usize = 256;

/// Why a request has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RequestError {
    /// It was not sent.
    #[error("not connected")]
    NotConnected,
    /// It was sent, and whether it was executed is unknown.
    #[error("the connection was lost")]
    Lost,
    /// The other side says that it did not work.
    #[error(transparent)]
    Failed(#[from] Failed),
}

type Answer = Result<Bytes, Failed>;
/// Answer to one append of a stream.
pub(crate) type Appended = Result<AppendResult, Failed>;

/// A connection to a peer.
pub(crate) struct Link {
    out: mpsc::Sender<Frame>,
    next: AtomicU64,
    heard: AtomicBool,
    /// What the peer last said of its disk; outlives the connection.
    condition: Arc<AtomicU8>,
    closed: watch::Sender<bool>,
    waiting: Mutex<Waiting>,
    clock: Mutex<PeerClock>,
    /// Streams that have ended and whose follower could not be told yet. Each was open once, so
    /// they are as bounded as streams are.
    ended: Mutex<Vec<u64>>,
}

/// Who waits for what. Emptied when the connection ends.
#[derive(Default)]
struct Waiting {
    over: bool,
    requests: HashMap<u64, oneshot::Sender<Answer>>,
    streams: HashMap<u64, mpsc::Sender<Appended>>,
    batches: HashMap<u64, Vec<Option<oneshot::Sender<Appended>>>>,
    /// Number of batches at which to look for forgotten ones.
    sweep_at: usize,
}

impl Waiting {
    /// Forgets batches nobody waits for: whoever sends a heartbeat gives up by its own clock. So
    /// what is kept is bounded by who waits, and that is one for each group.
    fn sweep(&mut self) {
        if self.batches.len() >= self.sweep_at {
            self.batches.retain(|_, slots| slots.iter().flatten().any(|it| !it.is_closed()));
            self.sweep_at = BATCHES_SWEPT.max(2 * self.batches.len());
        }
    }
}

impl Link {
    /// Takes over a connection after its handshake.
    pub fn start(stream: TcpStream, frame_max: usize, condition: Arc<AtomicU8>) -> Arc<Self> {
        let (input, output) = stream.into_split();
        let (out, frames) = mpsc::channel(OUT_FRAMES);
        let link = Arc::new(Self {
            out,
            next: AtomicU64::new(1),
            heard: AtomicBool::new(true),
            condition,
            closed: watch::Sender::new(false),
            waiting: Mutex::default(),
            clock: Mutex::default(),
            ended: Mutex::default(),
        });
        let (writer, reader) = (Arc::clone(&link), Arc::clone(&link));
        tokio::spawn(async move {
            tokio::select! {
                _ = frame::write_all(output, frames) => {}
                () = writer.closed() => {}
            }
            writer.close();
        });
        tokio::spawn(async move {
            tokio::select! {
                ended = reader.read(input, frame_max) => {
                    tracing::debug!(error = ended.err().map(|e| e.to_string()), "connection ended");
                }
                () = reader.closed() => {}
            }
            reader.close();
        });
        link
    }

    async fn read(&self, input: OwnedReadHalf, frame_max: usize) -> std::io::Result<()> {
        let mut input = BufReader::with_capacity(64 << 10, input);
        while let Some((kind, body)) = frame::read(&mut input, frame_max).await? {
            self.heard.store(true, Ordering::Relaxed);
            self.dispatch(kind, body).map_err(|error| frame::invalid(error.0))?;
        }
        Ok(())
    }

    /// Hands an answer to whoever waits for it; one nobody waits for any more is dropped.
    fn dispatch(&self, kind: u8, body: Bytes) -> Result<(), DecodeError> {
        match kind {
            message::PONG => {
                let (nonce, wall, condition) = message::read_pong(body)?;
                self.condition.store(condition.to_bits(), Ordering::Relaxed);
                self.clock.lock().answered(nonce, wall, Instant::now());
            }
            message::REPLY => {
                let (id, answer) = message::read_reply(body)?;
                if let Some(waiter) = self.waiting.lock().requests.remove(&id) {
                    drop(waiter.send(answer));
                }
            }
            message::APPENDED => {
                let (stream, result) = message::read_appended(body)?;
                let mut waiting = self.waiting.lock();
                // A full queue means more answers than appends: the stream is beyond trust.
                let full =
                    waiting.streams.get(&stream).is_some_and(|to| to.try_send(result).is_err());
                if full {
                    waiting.streams.remove(&stream);
                }
            }
            message::HEARTBEAT_REPLIES => {
                let (batch, replies) = message::read_heartbeat_replies(body)?;
                self.heartbeats_answered(batch, replies);
            }
            other => return Err(DecodeError(format!("unexpected frame {other} from a peer"))),
        }
        Ok(())
    }

    fn heartbeats_answered(&self, batch: u64, replies: HeartbeatReplies) {
        let mut waiting = self.waiting.lock();
        let Some(slots) = waiting.batches.get_mut(&batch) else { return };
        for (slot, result) in replies {
            if let Some(waiter) = slots.get_mut(slot as usize).and_then(Option::take) {
                drop(waiter.send(result));
            }
        }
        if slots.iter().all(Option::is_none) {
            waiting.batches.remove(&batch);
        }
    }

    /// Ends the connection and with it everything that waits on it.
    pub fn close(&self) {
        self.closed.send_replace(true);
        let mut waiting = self.waiting.lock();
        waiting.over = true;
        waiting.requests.clear();
        waiting.streams.clear();
        waiting.batches.clear();
    }

    /// Returns when the connection has ended.
    pub async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        drop(closed.wait_for(|closed| *closed).await);
    }

    /// True if anything arrived since the last call.
    pub fn heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }

    /// A ping that does not wait: if the socket is stuck, silence is the answer anyway.
    pub fn ping(&self) {
        let nonce = self.next.fetch_add(1, Ordering::Relaxed);
        self.clock.lock().pinged(nonce, Instant::now());
        drop(self.out.try_send(message::number(message::PING, nonce)));
        self.tell_ended();
    }

    /// What the peer's wall clock shows now, in milliseconds since 1970, give or take the way there and back;
    /// `None` before the first answer to a ping.
    pub fn peer_wall_ms(&self) -> Option<i64> {
        self.clock.lock().wall_ms(Instant::now())
    }

    /// Queues a frame, waiting for room. False if the connection is over.
    pub async fn send(&self, frame: Frame) -> bool {
        self.out.send(frame).await.is_ok()
    }

    /// Sends a request and waits for its answer, however long that takes: the caller has the clock.
    pub async fn request(
        &self,
        what: u8,
        group: u64,
        body: Vec<Bytes>,
    ) -> Result<Bytes, RequestError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (waiter, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.over {
                return Err(RequestError::NotConnected);
            }
            if waiting.requests.len() >= PENDING_MAX {
                return Err(Failed::new(Failure::Busy, "too many requests in progress").into());
            }
            waiting.requests.insert(id, waiter);
        }
        let _forget = Forget { link: self, id };
        if !self.send(message::request(id, what, group, body)).await {
            return Err(RequestError::NotConnected);
        }
        answer.await.map_err(|_| RequestError::Lost)?.map_err(RequestError::Failed)
    }

    /// Opens an append stream whose answers arrive on the channel; `None` if the connection is over.
    pub fn open_stream(&self, answers: usize) -> Option<(u64, mpsc::Receiver<Appended>)> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (to, from) = mpsc::channel(answers);
        let mut waiting = self.waiting.lock();
        if waiting.over {
            return None;
        }
        waiting.streams.insert(id, to);
        Some((id, from))
    }

    /// Waits for no more answers of an append stream.
    pub fn forget_stream(&self, id: u64) {
        self.waiting.lock().streams.remove(&id);
    }

    /// Ends an append stream. Its follower is told now, or with the next ping for which there is
    /// room: otherwise it would keep the stream as long as the connection lasts.
    pub fn end_stream(&self, id: u64) {
        self.ended.lock().push(id);
        self.tell_ended();
    }

    fn tell_ended(&self) {
        let mut ended = self.ended.lock();
        while let Some(&id) = ended.last()
            && self.out.try_send(message::append_end(id)).is_ok()
        {
            ended.pop();
        }
    }

    /// Registers a batch of heartbeats; false if the connection is over.
    pub fn open_batch(&self, waiters: Vec<oneshot::Sender<Appended>>) -> Option<u64> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock();
        if waiting.over {
            return None;
        }
        waiting.sweep();
        waiting.batches.insert(id, waiters.into_iter().map(Some).collect());
        Some(id)
    }
}

/// Forgets a request whose caller stopped waiting.
struct Forget<'a> {
    link: &'a Link,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.link.waiting.lock().requests.remove(&self.id);
    }
}

#[cfg(test)]
#[cfg(not(feature = "simulation"))]
mod tests;
