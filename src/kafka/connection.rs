//! One client connection: requests in, answers out in the order of the requests.
//!
//! Two tasks. The reader takes a frame, finds its API and begins it; the writer polls the begun work to its end,
//! oldest first, and writes the answer. Between them is a queue bounded in requests, and every request holds its
//! share of the interface's memory until it is answered.
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

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::{Accepted, Answer, Closed, Work};
use super::api::api_versions;
use super::call::Call;
use super::codec::{self, FrameError};
use super::description::Api;
use super::frame;
use super::memory::MemoryPermit;
use super::pipeline::Pipeline;
use super::server::{KafkaServer, LIGHT_BYTES_MAX, stopped};
use super::socket::{self, Reader};
use super::table;
use crate::telemetry::{self, metrics};

/// A request that was begun.
struct Pending {
    api: &'static Api,
    received: Instant,
    work: Work,
    permit: Option<MemoryPermit>,
    slots: OwnedSemaphorePermit,
}

/// Serves a connection to its end.
pub(super) async fn serve(server: Arc<KafkaServer>, stream: TcpStream, peer: SocketAddr) {
    let (read_half, write_half) = stream.into_split();
    let pipelined = server.context.config.kafka.pipelined_requests_max;
    let (queue, pending) = mpsc::channel(pipelined);
    let mut writer = JoinSet::new();
    writer.spawn(answer(write_half, pending));
    let mut reader = Requests {
        slots: Arc::new(Semaphore::new(pipelined)),
        pipelined,
        pipeline: Arc::default(),
        socket: Reader::new(read_half),
        queue,
        server,
        peer,
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
    server: Arc<KafkaServer>,
    socket: Reader,
    queue: mpsc::Sender<Pending>,
    slots: Arc<Semaphore>,
    pipelined: usize,
    pipeline: Arc<Pipeline>,
    peer: SocketAddr,
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
        let head = self.socket.head(self.server.context.config.kafka.request_bytes_max).await?;
        let wanted = if head.api.overlaps { 1 } else { self.pipelined };
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let slots = Arc::clone(&self.slots).acquire_many_owned(wanted).await;
        let slots = slots.expect("this semaphore is never closed");
        // Memory is the last thing to wait for, so that nobody holds it while waiting for something else.
        let (bytes, permit) = self.socket.frame(&head, &self.server).await?;
        let (mut call, body) = frame::open(&head, bytes, &self.pipeline)?;
        call.host = Some(self.peer.ip());
        let (api, received) = (call.api, call.received);
        let Accepted { work, held } = if api.serves(call.version) {
            let row = table::find(api.key).ok_or(FrameError::UnknownApi { key: api.key })?;
            (row.begin)(Arc::clone(&self.server), call, body).await?
        } else {
            told_the_versions(call)?
        };
        // A light request may wait for records; thousands of such must not keep others out.
        let mut permit = permit.filter(|_| api.overlaps || held > LIGHT_BYTES_MAX);
        permit.iter_mut().for_each(|permit| permit.shrink(held));
        let pending = Pending { api, received, work, permit, slots };
        self.queue.send(pending).await.map_err(|_| Closed::ByPeer)
    }

    /// Waits for the first byte of a request, for as long as answers are owed or the idle limit allows.
    async fn await_request(&mut self) -> Result<(), Closed> {
        let idle = Duration::from_millis(self.server.context.config.kafka.idle_timeout_ms);
        let mut stopping = self.server.stopping.clone();
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
    let frame = codec::encode(&call, &api_versions::unsupported(&call))?;
    Ok(Accepted { work: Box::pin(std::future::ready(Ok(Answer::of(frame)))), held: 0 })
}

/// The writing side: ends when the reader is gone and everything begun is answered.
async fn answer(
    mut half: OwnedWriteHalf,
    mut pending: mpsc::Receiver<Pending>,
) -> Result<(), Closed> {
    while let Some(Pending { api, received, work, permit, slots }) = pending.recv().await {
        let answer = work.await?;
        drop(permit);
        socket::write(&half, &answer.pieces).await?;
        let label = telemetry::Api { api: api.name };
        metrics().kafka_requests.get_or_create(&label).inc();
        metrics()
            .kafka_request_seconds
            .get_or_create(&label)
            .observe(received.elapsed().as_secs_f64());
        drop(answer.permit);
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
