//! Errors, each saying what the caller can still assume.

use quorate_storage::GroupId;

/// Failure of an operation on a node or a group.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The group is not open here; open it or ask another node.
    #[error("group {0} is not open on this node")]
    NotOpen(GroupId),
    /// Opening it twice would give it two logs.
    #[error("group {0} is already open on this node")]
    AlreadyOpen(GroupId),
    /// Only the leader can do this; nothing was done. Ask `leader` if it is known.
    #[error("this node does not lead the group (leader: {leader:?})")]
    NotLeader {
        /// The leader as far as this node knows.
        leader: Option<u64>,
    },
    /// The deadline passed; the operation may still take effect. Calling again is safe.
    #[error("timed out while waiting for {0}")]
    Timeout(&'static str),
    /// A precondition does not hold; nothing was done.
    #[error("refused: {0}")]
    Refused(String),
    /// What is on disk cannot be right. An operator has to look; nothing was changed.
    #[error("corrupt state: {0}")]
    Corrupt(String),
    /// The group or the node is shutting down.
    #[error("the group or its node is stopped")]
    Stopped,
    /// Listening or another system call failed.
    #[error("io: {0}")]
    Io(#[from] std::io::Error),
    /// The database failed or is closed.
    #[error("storage: {0}")]
    Storage(#[from] quorate_storage::Error),
}

/// A proposal that is certainly not in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads, or none, or the term fence does not match. Retry at `leader`.
    #[error("not the leader (leader: {leader:?})")]
    NotLeader {
        /// The leader as far as this node knows.
        leader: Option<u64>,
    },
    /// The bytes in flight reached their bound, or the leader cannot reach a majority. Retry later.
    #[error("too many proposals in flight, or no majority in reach")]
    Busy,
    /// The group is closed on this node.
    #[error("the group is closed")]
    Closed,
}

/// A checkpoint that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode: {0}")]
pub struct DecodeError(pub String);

/// Failure of a call between nodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection; the call was not made.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The connection broke or the deadline passed; the call may have been executed.
    #[error("no answer in time")]
    Timeout,
    /// The other side does not want to talk to this node, and says why.
    #[error("refused: {0}")]
    Refused(String),
    /// The other side has too many calls in progress; it was not executed.
    #[error("the peer is busy")]
    Busy,
    /// The request or the answer exceeds the frame limit; a request was not executed.
    #[error("message of {0} bytes is too large")]
    TooLarge(usize),
    /// The handler ran and failed; what that means is up to the method.
    #[error("failed: {0}")]
    Failed(String),
}

/// Whether an entry could not be read because it is damaged on disk.
pub(crate) fn is_corrupt(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(quorate_storage::Error::Corrupt { .. }))
}

/// Turns a failed read or a failed write of the log into the end of the process, except during
/// shutdown, when the database is closed under groups that are still stopping.
pub(crate) fn storage_failed(error: quorate_storage::Error) -> std::io::Error {
    match error {
        quorate_storage::Error::Closed => {
            std::io::Error::new(std::io::ErrorKind::BrokenPipe, "the database is closed")
        }
        // The group's own affair, which whoever reads has to know: see `Shared::may_lead`.
        error @ quorate_storage::Error::Corrupt { .. } => {
            std::io::Error::new(std::io::ErrorKind::InvalidData, error)
        }
        error => quorate_storage::fatal("a raft group cannot use its log", &error),
    }
}
