//! The two halves of a connection's socket: frames in, answers out, neither for ever.
//!
//! A silent connection costs no buffer: memory is taken when bytes are there. A peer that stops in the middle of a
//! frame, or that does not read what it asked for, is given up after a while, since it holds memory.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout_at};

use super::answer::Closed;
use super::codec::LENGTH_BYTES;
use super::frame::{HEAD_BYTES, Head};
use super::memory::MemoryPermit;
use super::server::KafkaServer;
use crate::telemetry::metrics;

/// Longest silence in the middle of a frame or an answer.
const STALL_MAX: Duration = Duration::from_secs(30);
/// The same once the frame has its room: others may be waiting for it, and what was sent meanwhile is there.
const HOLD_MAX: Duration = Duration::from_secs(5);
/// Frames up to this size need no room: with ten thousand connections they take 80 MB.
const FREE_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a larger frame that must have arrived before room is taken for it. A claim alone takes none.
const EARNEST_BYTES: usize = 16 * 1024;
/// The slowest a frame may come in or an answer be taken, as a whole: 64 KiB a second.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;
/// Pieces given to the kernel at a time, which takes 1,024 at most.
const SLICES_MAX: usize = 64;
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
        server: &KafkaServer,
    ) -> Result<(Bytes, Option<MemoryPermit>), Closed> {
        let whole = LENGTH_BYTES + head.length;
        self.fill(whole.min(EARNEST_BYTES), STALL_MAX).await?;
        let permit = match head.length {
            0..=FREE_BYTES_MAX => None,
            _ => Some(server.request_permit(head.cost()).await),
        };
        self.fill(whole, HOLD_MAX).await?;
        metrics().kafka_received_bytes.inc_by(whole as u64);
        let mut frame = self.buffer.split_to(whole);
        // What follows moves to a buffer of its own, or an idle connection would hold on to its largest frame.
        self.buffer = if self.buffer.is_empty() {
            BytesMut::new()
        } else {
            BytesMut::from(self.buffer.as_ref())
        };
        Ok((frame.split_off(LENGTH_BYTES).freeze(), permit))
    }

    /// Waits until `bytes` are there, at the slowest rate allowed and with no silence longer than `stall`.
    async fn fill(&mut self, bytes: usize, stall: Duration) -> Result<(), Closed> {
        let missing = bytes.saturating_sub(self.buffer.len());
        let pace = Pace { stall, bytes_per_second: BYTES_PER_SECOND_MIN };
        let deadline = pace.deadline(missing);
        while self.buffer.len() < bytes {
            timeout_at(pace.by(deadline), self.half.readable())
                .await
                .map_err(|_| Closed::SlowWriter)??;
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

/// How fast a peer has to be, at least.
struct Pace {
    /// The longest silence.
    stall: Duration,
    bytes_per_second: u64,
}

/// The pace of answers.
const ANSWERS: Pace = Pace { stall: STALL_MAX, bytes_per_second: BYTES_PER_SECOND_MIN };

impl Pace {
    /// Returns until when `bytes` from now on have to be through.
    fn deadline(&self, bytes: usize) -> Instant {
        Instant::now() + self.stall + Duration::from_secs(bytes as u64 / self.bytes_per_second)
    }

    /// Returns until when something has to happen.
    fn by(&self, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + self.stall)
    }
}

/// Writes a whole answer; fails when the peer takes none of it for a while, or takes it too slowly: others may be
/// waiting for its room.
pub(super) async fn write(half: &OwnedWriteHalf, pieces: &[Bytes]) -> Result<(), Closed> {
    let bytes: usize = pieces.iter().map(Bytes::len).sum();
    metrics().kafka_sent_bytes.inc_by(bytes as u64);
    write_at(half, pieces, &ANSWERS).await
}

async fn write_at(half: &OwnedWriteHalf, pieces: &[Bytes], pace: &Pace) -> Result<(), Closed> {
    let deadline = pace.deadline(pieces.iter().map(Bytes::len).sum());
    let pieces = pieces.iter().filter(|piece| !piece.is_empty());
    let mut slices: Vec<_> = pieces.map(|piece| IoSlice::new(piece)).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        match half.try_write_vectored(&left[..left.len().min(SLICES_MAX)]) {
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let writable = timeout_at(pace.by(deadline), half.writable());
                writable.await.map_err(|_| Closed::SlowReader)??;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpSocket;
    use tokio::time::interval;

    use super::*;

    const BUFFER_BYTES: u32 = 64 * 1024;

    /// Writes 8 MiB to a peer that takes 64 KiB at every turn.
    async fn write_to(turn: Duration, pace: Pace) -> Result<(), Closed> {
        let listener = TcpSocket::new_v4().unwrap();
        listener.set_send_buffer_size(BUFFER_BYTES).unwrap();
        listener.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = listener.listen(1).unwrap();
        let peer = TcpSocket::new_v4().unwrap();
        peer.set_recv_buffer_size(BUFFER_BYTES).unwrap();
        let mut peer = peer.connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        let (_reads, half) = ours.into_split();
        let mut turns = interval(turn);
        let reader = tokio::spawn(async move {
            let mut taken = vec![0; 64 * 1024];
            while peer.read_exact(&mut taken).await.is_ok() {
                turns.tick().await;
            }
        });
        let written = write_at(&half, &[Bytes::from(vec![0; 8 << 20])], &pace).await;
        reader.abort();
        written
    }

    #[tokio::test]
    async fn a_peer_that_takes_its_answer_drop_by_drop_is_given_up() {
        let fast = write_to(Duration::from_micros(1), ANSWERS).await;
        assert!(fast.is_ok(), "{fast:?}");
        // Never silent for long, but it takes 3 MiB a second where 64 are asked for.
        let pace = Pace { stall: Duration::from_secs(1), bytes_per_second: 64 << 20 };
        let slow = write_to(Duration::from_millis(20), pace).await;
        assert!(matches!(slow, Err(Closed::SlowReader)), "{slow:?}");
    }
}
