//! One TCP connection to a broker, with requests pipelined.
//!
//! Kafka answers in the order of requests on a connection, so the answers waited for are a queue. A request that
//! nobody waits for any more keeps its place in it. The first error ends the connection and everything waiting.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_wire::{
    OutboundFrameLimits, RequestResponsePair, ResponseHeader, encode_request,
    response_header_version_for,
};
use kafka_wire_core::{ApiVersion, DecodeLimits, Decoder, KafkaDecode, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::ClientError;
use crate::config::HostPort;

/// Requests sent and not answered, per connection; sending waits beyond it.
const UNANSWERED_MAX: usize = 256;
/// The largest frame sent or read: more than any broker's largest request.
const FRAME_BYTES_MAX: usize = 128 * 1024 * 1024;

pub(super) struct Connection {
    address: HostPort,
    writer: tokio::sync::Mutex<Writer>,
    alive: Arc<AtomicBool>,
}

struct Writer {
    half: OwnedWriteHalf,
    buffer: BytesMut,
    correlation: i32,
    waiting: mpsc::Sender<Waiting>,
    /// A send was cancelled inside a frame, so nothing can follow on this connection.
    cut: bool,
}

struct Waiting {
    correlation: i32,
    answer: oneshot::Sender<Bytes>,
}

/// An answer under way.
pub(super) struct Answer<R> {
    address: HostPort,
    version: i16,
    answer: oneshot::Receiver<Bytes>,
    wait: Duration,
    request: PhantomData<fn() -> R>,
}

impl Connection {
    pub(super) async fn open(address: &HostPort, wait: Duration) -> Result<Arc<Self>, ClientError> {
        let failed = |reason: String| ClientError::Connect { address: address.clone(), reason };
        let stream = timeout(wait, TcpStream::connect((address.host.as_str(), address.port)))
            .await
            .map_err(|_| failed(format!("no answer within {} ms", wait.as_millis())))?
            .map_err(|error| failed(error.to_string()))?;
        // A request is written whole, so waiting to fill a packet (Nagle) only delays it.
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let (read, write) = stream.into_split();
        let (waiting, queue) = mpsc::channel(UNANSWERED_MAX);
        let alive = Arc::new(AtomicBool::new(true));
        tokio::spawn(read_answers(read, queue, Arc::clone(&alive)));
        let writer =
            Writer { half: write, buffer: BytesMut::new(), correlation: 0, waiting, cut: false };
        Ok(Arc::new(Self {
            address: address.clone(),
            writer: tokio::sync::Mutex::new(writer),
            alive,
        }))
    }

    /// Returns false once the connection is known to be broken.
    pub(super) fn alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Sends the request and returns its answer to be waited for. Requests are sent in call order.
    pub(super) async fn send<R: RequestResponsePair>(
        &self,
        request: &R,
        version: i16,
        wait: Duration,
    ) -> Result<Answer<R>, ClientError> {
        let (sender, answer) = oneshot::channel();
        let gone = || ClientError::Disconnected { address: self.address.clone() };
        let mut writer = self.writer.lock().await;
        let writer = &mut *writer;
        if writer.cut {
            self.alive.store(false, Ordering::Release);
            return Err(gone());
        }
        let place = writer.waiting.reserve().await.map_err(|_| gone())?;
        writer.correlation = writer.correlation.wrapping_add(1);
        writer.buffer.clear();
        encode_request(
            &mut writer.buffer,
            writer.correlation,
            Some(StrBytes::from("quorate")),
            request,
            ApiVersion::new(version),
            OutboundFrameLimits::new(FRAME_BYTES_MAX),
        )
        .map_err(|error| ClientError::Unencodable(error.to_string()))?;
        place.send(Waiting { correlation: writer.correlation, answer: sender });
        writer.cut = true;
        writer.half.write_all(&writer.buffer).await.map_err(|_| gone())?;
        writer.cut = false;
        Ok(Answer { address: self.address.clone(), version, answer, wait, request: PhantomData })
    }

    /// Sends the request and waits for its answer.
    pub(super) async fn call<R: RequestResponsePair>(
        &self,
        request: &R,
        version: i16,
        wait: Duration,
    ) -> Result<R::Response, ClientError> {
        self.send(request, version, wait).await?.wait().await
    }
}

impl<R: RequestResponsePair> Answer<R> {
    pub(super) async fn wait(self) -> Result<R::Response, ClientError> {
        let milliseconds = self.wait.as_millis();
        let frame = timeout(self.wait, self.answer)
            .await
            .map_err(|_| ClientError::Timeout { address: self.address.clone(), milliseconds })?
            .map_err(|_| ClientError::Disconnected { address: self.address.clone() })?;
        let malformed =
            |reason: String| ClientError::Malformed { address: self.address.clone(), reason };
        let version = ApiVersion::new(self.version);
        let header = response_header_version_for::<R>(version)
            .map_err(|error| malformed(error.to_string()))?;
        let decode = || {
            let mut decoder = Decoder::new(frame, DecodeLimits::default())?;
            ResponseHeader::decode(&mut decoder, ApiVersion::new(header))?;
            let response = R::Response::decode(&mut decoder, version)?;
            decoder.finish()?;
            Ok(response)
        };
        decode().map_err(|error: kafka_wire_core::DecodeError| malformed(error.to_string()))
    }
}

/// Hands each frame to the request that has waited longest. Ends with the connection, dropping all that wait.
async fn read_answers(
    mut half: OwnedReadHalf,
    mut queue: mpsc::Receiver<Waiting>,
    alive: Arc<AtomicBool>,
) {
    while let Some(frame) = read_frame(&mut half).await {
        // A frame that answers nothing, or something else than was asked first, means the stream is out of step.
        let Ok(waiting) = queue.try_recv() else { break };
        if frame.first_chunk() != Some(&waiting.correlation.to_be_bytes()) {
            break;
        }
        // Nobody may be waiting any more; the answer is then of no use to anyone.
        drop(waiting.answer.send(frame));
    }
    queue.close();
    alive.store(false, Ordering::Release);
}

async fn read_frame(half: &mut OwnedReadHalf) -> Option<Bytes> {
    let length = usize::try_from(half.read_i32().await.ok()?).ok()?;
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let mut frame = BytesMut::with_capacity(length.min(1024 * 1024));
    while frame.len() < length {
        let rest = u64::try_from(length - frame.len()).ok()?;
        let read = (&mut *half).take(rest).read_buf(&mut frame).await.ok()?;
        if read == 0 {
            return None;
        }
    }
    Some(frame.freeze())
}
