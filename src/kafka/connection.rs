//! One client connection: requests in, answers out in the order of the requests.
//!
//! Two tasks. The reader takes a frame, finds its API and begins it; the writer polls the begun work to its end,
//! oldest first, and writes the answer. Between them is a queue bounded in requests, and every request holds its
//! share of the face's memory until it is answered.
//!
//! Kafka serves one request of a connection at a time and clients rely on that order. A produce may be begun
//! while earlier produces await their commit, because beginning it fixes its place in the log. Every
//! other request takes all slots of the queue, so it begins after everything before it was answered, and nothing
//! after it begins before it was: a waiting fetch holds its connection, but no thread.
//!
//! Invariant: answers leave in the order in which requests came.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_wire_core::EncodeError;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::api::api_versions;
use super::error::ErrorCode;
use super::face::{Face, LIGHT_BYTES_MAX, Room, stopped};
use super::frame::{self, Call, FrameError};
use super::pipeline::Pipeline;
use super::socket::{self, Reader};
use super::table::{Accepted, Api, Work};
use crate::telemetry::{self, metrics};

/// An answer ready to be written.
pub(crate) struct Answer {
    /// What is written, one piece after the other. Empty: the request wants no answer (acks=0).
    pieces: Vec<Bytes>,
    /// Memory held until it is written.
    room: Option<Room>,
}

impl Answer {
    pub(crate) fn of(frame: Bytes) -> Answer {
        Answer::in_pieces(vec![frame], None)
    }

    /// An answer whose memory counts until it is written.
    pub(crate) fn holding(frame: Bytes, room: Option<Room>) -> Answer {
        Answer::in_pieces(vec![frame], room)
    }

    /// The same of a frame that is not in one piece.
    pub(crate) fn in_pieces(pieces: Vec<Bytes>, room: Option<Room>) -> Answer {
        Answer { pieces, room }
    }

    pub(crate) fn none() -> Answer {
        Answer::in_pieces(Vec::new(), None)
    }
}

/// Why a connection ends. All of it is ordinary life of a server: none is an operator's business.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Closed {
    #[error("the client closed it")]
    ByPeer,
    #[error("the broker is stopping")]
    Stopping,
    #[error("the client was silent for too long")]
    Idle,
    #[error("the client stopped in the middle of a request")]
    SlowWriter,
    #[error("the client does not read its answers")]
    SlowReader,
    #[error("the socket failed: {0}")]
    Socket(#[from] std::io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Closing is the only way to tell a producer that wants no answers.
    #[error("a produce without acknowledgement failed with {0}")]
    Unacknowledged(ErrorCode),
    /// An invariant of ours: an answer that its version cannot express.
    #[error("the answer cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
}

/// A request that was begun.
struct Pending {
    api: &'static Api,
    received: Instant,
    work: Work,
    room: Option<Room>,
    slots: OwnedSemaphorePermit,
}

/// Serves a connection to its end.
pub(super) async fn serve(face: Arc<Face>, stream: TcpStream, peer: SocketAddr) {
    let (read_half, write_half) = stream.into_split();
    let pipelined = face.context.config.kafka.pipelined_requests_max;
    let (queue, pending) = mpsc::channel(pipelined);
    let mut writer = JoinSet::new();
    writer.spawn(answer(write_half, pending));
    let mut reader = Requests {
        slots: Arc::new(Semaphore::new(pipelined)),
        pipelined,
        pipeline: Arc::default(),
        socket: Reader::new(read_half),
        queue,
        face,
    };
    let closed = tokio::select! {
        closed = reader.run() => closed,
        Some(ended) = writer.join_next() => ended.ok().and_then(Result::err).unwrap_or(Closed::ByPeer),
    };
    log(peer, &closed);
    drop(reader);
    match closed {
        // Nobody is there to read answers; what waits for records is given up.
        Closed::ByPeer | Closed::Socket(_) | Closed::SlowReader => writer.shutdown().await,
        _ => while writer.join_next().await.is_some() {},
    }
}

/// The reading side.
struct Requests {
    face: Arc<Face>,
    socket: Reader,
    queue: mpsc::Sender<Pending>,
    slots: Arc<Semaphore>,
    pipelined: usize,
    pipeline: Arc<Pipeline>,
}

impl Requests {
    async fn run(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.next().await {
                return closed;
            }
        }
    }

    async fn next(&mut self) -> Result<(), Closed> {
        self.await_request().await?;
        let head = self.socket.head(self.face.context.config.kafka.request_bytes_max).await?;
        let wanted = match head.api.overlaps {
            true => 1,
            false => self.pipelined,
        };
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let slots = Arc::clone(&self.slots).acquire_many_owned(wanted).await;
        let slots = slots.expect("this semaphore is never closed");
        // Memory is the last thing to wait for, so that nobody holds it while waiting for something else.
        let (bytes, room) = self.socket.frame(&head, &self.face).await?;
        let (call, body) = frame::open(&head, bytes, &self.pipeline)?;
        let (api, received) = (call.api, call.received);
        let Accepted { work, held } = match api.serves(call.version) {
            true => (api.begin)(Arc::clone(&self.face), call, body).await?,
            false => told_the_versions(call)?,
        };
        // A light request may wait for records; thousands of such must not keep others out.
        let mut room = room.filter(|_| api.overlaps || held > LIGHT_BYTES_MAX);
        room.iter_mut().for_each(|room| room.shrink(held));
        let pending = Pending { api, received, work, room, slots };
        self.queue.send(pending).await.map_err(|_| Closed::ByPeer)
    }

    /// Waits for the first byte of a request, for as long as answers are owed or the idle limit allows.
    async fn await_request(&mut self) -> Result<(), Closed> {
        let idle = Duration::from_millis(self.face.context.config.kafka.idle_timeout_ms);
        let mut stopping = self.face.stopping.clone();
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stopping) => return Err(Closed::Stopping),
                waited = timeout(idle, self.socket.wait()) => match waited {
                    Ok(result) => return result,
                    Err(_) if self.slots.available_permits() == self.pipelined => {
                        return Err(Closed::Idle);
                    }
                    Err(_) => {}
                },
            }
        }
    }
}

/// Answers an ApiVersions of a version that is not known, in the form every client knows.
fn told_the_versions(call: Call) -> Result<Accepted, Closed> {
    let call = Call { version: 0, ..call };
    let frame = frame::encode(&call, &api_versions::unsupported(&call))?;
    Ok(Accepted { work: Box::pin(std::future::ready(Ok(Answer::of(frame)))), held: 0 })
}

/// The writing side: ends when the reader is gone and everything begun is answered.
async fn answer(
    mut half: OwnedWriteHalf,
    mut pending: mpsc::Receiver<Pending>,
) -> Result<(), Closed> {
    while let Some(Pending { api, received, work, room, slots }) = pending.recv().await {
        let answer = work.await?;
        drop(room);
        socket::write(&half, &answer.pieces).await?;
        let label = telemetry::Api { api: api.name };
        metrics().kafka_requests.get_or_create(&label).inc();
        metrics()
            .kafka_request_seconds
            .get_or_create(&label)
            .observe(received.elapsed().as_secs_f64());
        drop(answer.room);
        drop(slots);
    }
    half.shutdown().await?;
    Ok(())
}

fn log(peer: SocketAddr, closed: &Closed) {
    match closed {
        Closed::Encode(error) => tracing::error!(%peer, %error, "encode an answer"),
        Closed::Frame(error) => {
            let error: &dyn std::error::Error = error;
            tracing::debug!(%peer, error, "close a connection that does not speak the protocol");
        }
        closed => tracing::debug!(%peer, reason = %closed, "kafka connection closed"),
    }
}
