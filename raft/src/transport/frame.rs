//! Frames: `length u32 | crc32c u32 | version u8 | kind u8 | body`.
//!
//! The length counts what follows the checksum, the checksum covers it. The checksum is there for
//! the network card and the cable, not for an attacker; a frame that fails it ends the connection,
//! because nothing behind it can be trusted to start where it seems to.
//!
//! A frame is written as a list of segments, so that payloads go from the log's cache to the socket
//! without being copied together, and read into one buffer that its payloads then share.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::codec::Put;

/// The form of frames and of the handshake, which stays; what else is said is of the version that the handshake
/// agrees on (`hello.rs`).
pub(crate) const VERSION: u8 = 4;
/// Bytes of length and checksum.
const HEAD: usize = 8;
/// Segments below this are gathered before they are written.
const GATHER_BYTES: usize = 16 << 10;
/// Room made for a frame at a time, whatever length it claims.
const READ_BYTES: usize = 1 << 20;

/// A frame to be written.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Kind and body up to the payloads, after room for the head.
    head: BytesMut,
    payloads: Vec<Bytes>,
}

/// Starts a frame of a kind; the body is appended to what this returns.
pub(crate) fn start(kind: u8) -> BytesMut {
    let mut head = BytesMut::with_capacity(128);
    head.extend_from_slice(&[0; HEAD]);
    head.u8(VERSION);
    head.u8(kind);
    head
}

/// Finishes a frame: fills in length and checksum.
pub(crate) fn finish(mut head: BytesMut, payloads: Vec<Bytes>) -> Frame {
    let length = head.len() - HEAD + payloads.iter().map(Bytes::len).sum::<usize>();
    let mut crc = crc32c::crc32c(&head[HEAD..]);
    for payload in &payloads {
        crc = crc32c::crc32c_append(crc, payload);
    }
    head[..4].copy_from_slice(&(length as u32).to_be_bytes());
    head[4..HEAD].copy_from_slice(&crc.to_be_bytes());
    Frame { head, payloads }
}

#[cfg(test)]
impl Frame {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut all = self.head.to_vec();
        self.payloads.iter().for_each(|payload| all.extend_from_slice(payload));
        all
    }
}

/// Reads one frame of at most `max` bytes: its kind and body. `None` at a clean end.
pub(crate) async fn read<R: AsyncRead + Unpin>(
    input: &mut R,
    max: usize,
) -> io::Result<Option<(u8, Bytes)>> {
    let mut head = [0; HEAD];
    if input.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut head[1..]).await?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let crc = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    if length < 2 || length > max {
        return Err(invalid(format!("frame of {length} bytes, at most {max} are allowed")));
    }
    let mut body = BytesMut::with_capacity(length.min(READ_BYTES));
    let mut rest = input.take(length as u64);
    while body.len() < length {
        if body.len() == body.capacity() {
            body.reserve((length - body.len()).min(body.len().max(READ_BYTES)));
        }
        if rest.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    check(body.freeze(), crc).map(Some)
}

fn check(mut body: Bytes, crc: u32) -> io::Result<(u8, Bytes)> {
    if crc32c::crc32c(&body) != crc {
        return Err(invalid("frame with a wrong checksum".into()));
    }
    let version = body.get_u8();
    if version != VERSION {
        return Err(invalid(format!("frame version {version}, this node speaks {VERSION}")));
    }
    Ok((body.get_u8(), body))
}

pub(crate) fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Writes frames until the channel closes, gathering what is ready into few system calls.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(
    mut output: W,
    mut frames: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    let mut gathered = BytesMut::with_capacity(2 * GATHER_BYTES);
    while let Some(frame) = frames.recv().await {
        write_one(&mut output, &mut gathered, frame).await?;
        while let Ok(frame) = frames.try_recv() {
            write_one(&mut output, &mut gathered, frame).await?;
        }
        output.write_all(&gathered).await?;
        gathered.clear();
    }
    Ok(())
}

async fn write_one<W: AsyncWrite + Unpin>(
    output: &mut W,
    gathered: &mut BytesMut,
    frame: Frame,
) -> io::Result<()> {
    let head = std::iter::once(frame.head.freeze());
    for segment in head.chain(frame.payloads) {
        if segment.len() < GATHER_BYTES {
            gathered.extend_from_slice(&segment);
        }
        if segment.len() >= GATHER_BYTES || gathered.len() >= GATHER_BYTES {
            output.write_all(gathered).await?;
            gathered.clear();
        }
        if segment.len() >= GATHER_BYTES {
            output.write_all(&segment).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_from(bytes: &[u8]) -> io::Result<Option<(u8, Bytes)>> {
        read(&mut io::Cursor::new(bytes.to_vec()), 1 << 20).await
    }

    fn sample() -> Frame {
        let mut head = start(9);
        head.u64(5);
        finish(head, vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")])
    }

    #[tokio::test]
    async fn a_frame_of_several_segments_arrives_as_one_body() {
        let (kind, body) = read_from(&sample().to_bytes()).await.unwrap().unwrap();
        assert_eq!((kind, &body[8..]), (9, &b"onetwo"[..]));
    }

    #[tokio::test]
    async fn a_flipped_bit_anywhere_behind_the_head_is_noticed() {
        let good = sample().to_bytes();
        for at in HEAD..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert!(read_from(&bad).await.is_err(), "byte {at}");
        }
    }

    #[tokio::test]
    async fn every_truncation_is_an_error_and_an_end_between_frames_is_not() {
        let good = sample().to_bytes();
        for end in 1..good.len() {
            assert!(read_from(&good[..end]).await.is_err(), "cut at {end}");
        }
        assert!(read_from(&[]).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_is_refused_from_the_head_alone() {
        let error = read_from(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
