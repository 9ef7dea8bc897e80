//! The two halves of a connection's socket: frames in, answers out, neither for ever.
//!
//! A silent connection costs no buffer: memory is taken when bytes are there. A peer that stops in the middle of a
//! frame, or that does not read what it asked for, is given up after a while, since it holds memory.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::Closed;
use super::face::{Face, Room};
use super::frame::{HEAD_BYTES, Head, LENGTH_BYTES};
use crate::telemetry::metrics;

/// Longest silence in the middle of a frame or an answer.
const STALL_MAX: Duration = Duration::from_secs(30);
/// The same once the frame has its room: others may be waiting for it, and what was sent meanwhile is there.
const HOLD_MAX: Duration = Duration::from_secs(5);
/// Frames up to this size need no room: with ten thousand connections they take 80 MB.
const FREE_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a larger frame that must have arrived before room is taken for it. A claim alone takes none.
const EARNEST_BYTES: usize = 16 * 1024;
/// The slowest a frame may come in, as a whole: 64 KiB a second.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;
/// Bytes taken from the socket at a time while the size of the frame is not known.
const READ_AHEAD_BYTES: usize = 8 * 1024;

pub(super) struct Reader {
    half: OwnedReadHalf,
    buffer: BytesMut,
}

impl Reader {
    pub(super) fn new(half: OwnedReadHalf) -> Reader {
        Reader { half, buffer: BytesMut::new() }
    }

    /// Waits until the first byte of a frame is there. Safe to cancel.
    pub(super) async fn wait(&mut self) -> Result<(), Closed> {
        while self.buffer.is_empty() {
            self.half.readable().await?;
            self.receive(READ_AHEAD_BYTES)?;
        }
        Ok(())
    }

    /// Reads the head of a frame, its length included.
    pub(super) async fn head(&mut self, request_bytes_max: usize) -> Result<Head, Closed> {
        // A frame that claims to be shorter than a head is refused before the bytes it will never send are
        // waited for.
        self.fill(LENGTH_BYTES, STALL_MAX).await?;
        let claimed = self.buffer.first_chunk().map_or(0, |length| i32::from_be_bytes(*length));
        if usize::try_from(claimed).is_ok_and(|length| length >= HEAD_BYTES) {
            self.fill(LENGTH_BYTES + HEAD_BYTES, STALL_MAX).await?;
        }
        Ok(Head::read(&self.buffer, request_bytes_max)?)
    }

    /// Reads the whole frame of `head` and returns it without its length field, and the room it takes.
    pub(super) async fn frame(
        &mut self,
        head: &Head,
        face: &Face,
    ) -> Result<(Bytes, Option<Room>), Closed> {
        let whole = LENGTH_BYTES + head.length;
        self.fill(whole.min(EARNEST_BYTES), STALL_MAX).await?;
        let room = match head.length {
            0..=FREE_BYTES_MAX => None,
            _ => Some(face.request_room(head.cost()).await),
        };
        self.fill(whole, HOLD_MAX).await?;
        metrics().kafka_received_bytes.inc_by(whole as u64);
        let mut frame = self.buffer.split_to(whole);
        // What follows moves to a buffer of its own, or an idle connection would hold on to its largest frame.
        self.buffer = match self.buffer.is_empty() {
            true => BytesMut::new(),
            false => BytesMut::from(self.buffer.as_ref()),
        };
        Ok((frame.split_off(LENGTH_BYTES).freeze(), room))
    }

    /// Waits until `bytes` are there, at the slowest rate allowed and with no silence longer than `stall`.
    async fn fill(&mut self, bytes: usize, stall: Duration) -> Result<(), Closed> {
        let missing = bytes.saturating_sub(self.buffer.len()) as u64;
        let deadline = Instant::now() + stall + Duration::from_secs(missing / BYTES_PER_SECOND_MIN);
        while self.buffer.len() < bytes {
            let by = deadline.min(Instant::now() + stall);
            timeout_at(by, self.half.readable()).await.map_err(|_| Closed::SlowWriter)??;
            self.receive((bytes - self.buffer.len()).max(READ_AHEAD_BYTES))?;
        }
        Ok(())
    }

    fn receive(&mut self, bytes: usize) -> Result<(), Closed> {
        self.buffer.reserve(bytes);
        match self.half.try_read_buf(&mut self.buffer) {
            Ok(0) => Err(Closed::ByPeer),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes a whole answer; fails when the peer takes none of it for a while.
pub(super) async fn write(half: &OwnedWriteHalf, mut bytes: &[u8]) -> Result<(), Closed> {
    metrics().kafka_sent_bytes.inc_by(bytes.len() as u64);
    while !bytes.is_empty() {
        match half.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                timeout(STALL_MAX, half.writable()).await.map_err(|_| Closed::SlowReader)??;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
