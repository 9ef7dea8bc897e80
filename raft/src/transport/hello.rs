//! Who may speak: the first frame of each side of a connection.
//!
//! The dialler says which cluster, node and directory it is and whom it wants to reach. The other
//! side answers with the same about itself, or with a refusal that names the reason, because a
//! silent close looks like a network problem to whoever has to find out.
//!
//! Each says which versions of the messages it speaks, from the lowest to the highest, and the connection is of the
//! highest that both speak; with none in common the reason is in the logs of both. So brokers of two releases are one
//! cluster while they are upgraded one by one. The handshake itself has one form for ever: what later releases add
//! stands at its end, where it is not looked at.
//!
//! Both say where they are to be dialled: a node that moved while others were away is found by any of them
//! that it dials (`peers.rs`).
//!
//! The incarnation is a random number of the process. A node that restarted has given up every
//! leadership it had, and its peers learn that from the new number.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use quorate_storage::mutant;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::frame::{self, Frame};
use super::message::{HELLO, REFUSE, WELCOME};
use crate::codec::{Get, Put};
use crate::error::DecodeError;
use crate::platform::TcpStream;

/// Says that this is the peer protocol of Quorate and not a lost HTTP client.
const MAGIC: u64 = 0x5155_4f52_4154_4531;
/// Longest address: the longest name DNS can hold, and a port.
const ADDRESS_BYTES: usize = 260;
/// Largest frame before the other side is known.
const HELLO_BYTES: usize = 1024;
/// Time for the whole handshake.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// The node id of somebody who is not a member.
pub(crate) const GUEST: u64 = 0;

/// The newest version of what follows the handshake.
const NEWEST: u16 = 1;
/// The oldest that is still spoken.
const OLDEST: u16 = 1;

/// A range of versions of the messages between nodes, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub lowest: u16,
    pub highest: u16,
}

impl Versions {
    /// What this release speaks.
    pub fn spoken() -> Self {
        Self { lowest: OLDEST, highest: NEWEST + u16::from(mutant::next_release()) }
    }

    /// The version of a connection between two nodes, or why there can be none.
    pub fn common(self, theirs: Self) -> Result<u16, String> {
        let highest = self.highest.min(theirs.highest);
        if highest >= self.lowest.max(theirs.lowest) {
            return Ok(highest);
        }
        Err(format!(
            "no version of the peer protocol is spoken by both, {} to {} here and {} to {} there: upgrade the node of \
             the older release, by way of one that speaks both",
            self.lowest, self.highest, theirs.lowest, theirs.highest
        ))
    }
}

/// One side of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub versions: Versions,
    /// 0: does not know the cluster yet, only a guest may say so.
    pub cluster: u128,
    /// [`GUEST`] or a member.
    pub node: u64,
    pub directory: u128,
    pub incarnation: u64,
    /// Whom the dialler wants to reach; 0 for anybody.
    pub to: u64,
    /// Where this side wants to be dialled; empty if it does not.
    pub address: String,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelloError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side gave this reason.
    #[error("refused by the peer: {0}")]
    Refused(String),
    /// The other side is not who it should be.
    #[error("{0}")]
    Stranger(String),
}

impl From<DecodeError> for HelloError {
    fn from(error: DecodeError) -> Self {
        Self::Io(frame::invalid(error.0))
    }
}

pub(super) fn encode(kind: u8, hello: &Hello) -> Frame {
    let mut head = frame::start(kind);
    head.u64(MAGIC);
    head.u16(hello.versions.lowest);
    head.u16(hello.versions.highest);
    head.u128(hello.cluster);
    head.u64(hello.node);
    head.u128(hello.directory);
    head.u64(hello.incarnation);
    head.u64(hello.to);
    head.text(&hello.address);
    frame::finish(head, Vec::new())
}

fn decode(body: Bytes) -> Result<Hello, DecodeError> {
    let mut input = Get::new(body);
    if input.u64()? != MAGIC {
        return Err(DecodeError("not the peer protocol of Quorate".into()));
    }
    let hello = Hello {
        versions: Versions { lowest: input.u16()?, highest: input.u16()? },
        cluster: input.u128()?,
        node: input.u64()?,
        directory: input.u128()?,
        incarnation: input.u64()?,
        to: input.u64()?,
        address: input.text()?,
    };
    if hello.address.len() > ADDRESS_BYTES {
        Err(DecodeError(format!("an address of {} bytes", hello.address.len())))
    } else {
        Ok(hello)
    }
}

/// Introduces `me` to whoever answers on `stream` and returns who that is.
pub(crate) async fn introduce<S>(stream: &mut S, me: &Hello) -> Result<Hello, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        send(stream, encode(HELLO, me)).await?;
        match frame::read(stream, HELLO_BYTES).await? {
            Some((WELCOME, body)) => Ok(decode(body)?),
            Some((REFUSE, body)) => Err(HelloError::Refused(Get::new(body).text()?)),
            Some((kind, _)) => Err(HelloError::Stranger(format!("answered with frame {kind}"))),
            None => Err(HelloError::Io(io::ErrorKind::UnexpectedEof.into())),
        }
    };
    timeout(HELLO_TIMEOUT, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Reads the introduction of somebody who dialled. The outer error ends the connection without a
/// word, the inner one is to be told to the other side.
pub(crate) async fn listen(stream: &mut TcpStream) -> io::Result<Result<Hello, String>> {
    match timeout(HELLO_TIMEOUT, frame::read(stream, HELLO_BYTES)).await? {
        Ok(Some((HELLO, body))) => Ok(decode(body).map_err(|error| error.0)),
        Ok(Some((kind, _))) => Ok(Err(format!("frame {kind} before the handshake"))),
        Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Accepts an introduction.
pub(crate) async fn welcome(stream: &mut TcpStream, me: &Hello) -> io::Result<()> {
    timeout(HELLO_TIMEOUT, send(stream, encode(WELCOME, me))).await?
}

/// Turns somebody away with a reason.
pub(crate) async fn refuse(stream: &mut TcpStream, reason: &str) -> io::Result<()> {
    let mut head = frame::start(REFUSE);
    let mut end = reason.len().min(HELLO_BYTES / 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    head.text(&reason[..end]);
    timeout(HELLO_TIMEOUT, send(stream, frame::finish(head, Vec::new()))).await??;
    stream.shutdown().await
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, frame: Frame) -> io::Result<()> {
    let (sender, frames) = mpsc::channel(1);
    sender.try_send(frame).expect("the channel is empty");
    drop(sender);
    frame::write_all(stream, frames).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_that_both_speak_is_taken() {
        let of = |lowest, highest| Versions { lowest, highest };
        assert_eq!(of(1, 1).common(of(1, 1)), Ok(1));
        assert_eq!(of(1, 3).common(of(2, 5)), Ok(3));
        assert_eq!(of(2, 5).common(of(1, 3)), Ok(3));
        assert_eq!(of(1, 5).common(of(2, 3)), Ok(3));
        assert!(of(1, 1).common(of(2, 2)).is_err() && of(2, 2).common(of(1, 1)).is_err());
    }
}
