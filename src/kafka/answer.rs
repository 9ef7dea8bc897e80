//! What a request comes to: an answer, or the end of its connection.

use bytes::Bytes;
use futures::future::BoxFuture;
use kafka_wire_core::EncodeError;

use super::codec::FrameError;
use super::error::ErrorCode;
use super::memory::MemoryPermit;

/// An answer ready to be written.
pub(crate) struct Answer {
    /// What is written, one piece after the other. Empty: the request wants no answer (acks=0).
    pub(super) pieces: Vec<Bytes>,
    /// Memory held until it is written.
    pub(super) permit: Option<MemoryPermit>,
}

impl Answer {
    pub(crate) fn of(frame: Bytes) -> Answer {
        Answer::in_pieces(vec![frame], None)
    }

    /// An answer whose memory counts until it is written.
    pub(crate) fn holding(frame: Bytes, permit: Option<MemoryPermit>) -> Answer {
        Answer::in_pieces(vec![frame], permit)
    }

    /// The same of a frame that is not in one piece.
    pub(crate) fn in_pieces(pieces: Vec<Bytes>, permit: Option<MemoryPermit>) -> Answer {
        Answer { pieces, permit }
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

/// The answer that is being made: polled to its end by the connection, in the order of the requests.
pub(crate) type Work = BoxFuture<'static, Result<Answer, Closed>>;
/// A request that was begun: the work that is left of it.
pub(crate) struct Accepted {
    pub(super) work: Work,
    /// Bytes that the decoded request takes; the work may hold on to them.
    pub(super) held: usize,
}
