//! A socket that is closed politely (RFC 9112 §9.6).
//!
//! A request may be answered before its body was read: one too large, or for a route that does not exist. Closing the
//! socket then makes the kernel send a reset, which can destroy the answer before the client has read it. So the
//! sending side is closed first, and what the client still sends is read and dropped, within bounds. A client that
//! was sent its answer and has said nothing since is not waited for when the broker stops.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How long a client may go on sending after its answer.
const WAIT: Duration = Duration::from_secs(2);
/// How much of that is read; a client that sends more is cut off.
const BYTES_MAX: usize = 64 << 20;

pub(super) struct Draining {
    stream: TcpStream,
    state: Arc<ConnectionState>,
    /// Since the sending side is closed.
    rest: Option<DrainState>,
}

/// What whoever ends the connection knows of it and wants of it.
#[derive(Debug, Default)]
pub(super) struct ConnectionState {
    /// The client spoke last.
    asked: AtomicBool,
    /// The client is not waited for.
    abort: AtomicBool,
}

impl ConnectionState {
    /// Called when the broker stops, before the connection is told to end.
    pub(super) fn stop(&self) {
        if !self.asked.load(Ordering::Relaxed) {
            self.abort.store(true, Ordering::Relaxed);
        }
    }
}

struct DrainState {
    bytes: usize,
    until: Pin<Box<Sleep>>,
}

impl Draining {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, state: Arc::default(), rest: None }
    }

    pub(super) fn state(&self) -> Arc<ConnectionState> {
        Arc::clone(&self.state)
    }
}

impl DrainState {
    fn poll_drop(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 16 * 1024];
        while self.bytes < BYTES_MAX && self.until.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            self.bytes += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Draining {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.state.asked.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Draining {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.state.asked.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, state, rest } = &mut *self;
        if rest.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            if state.abort.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let until = || Box::pin(tokio::time::sleep(WAIT));
        rest.get_or_insert_with(|| DrainState { bytes: 0, until: until() }).poll_drop(stream, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.state.asked.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
