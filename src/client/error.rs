//! Why a request of the client failed, and whether trying again can help.

use crate::config::HostPort;

/// A request failed. Whether a produced record was stored is known only from [`ClientError::Broker`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect to {address}: {reason}")]
    Connect { address: HostPort, reason: String },
    #[error("{address} closed the connection")]
    Disconnected { address: HostPort },
    #[error("{address} did not answer within {milliseconds} ms")]
    Timeout { address: HostPort, milliseconds: u128 },
    #[error("{address} sent an answer that cannot be read: {reason}")]
    Malformed { address: HostPort, reason: String },
    #[error("the batch at offset {offset} of partition {partition} cannot be read: {reason}")]
    Unreadable { partition: i32, offset: i64, reason: String },
    #[error("the request cannot be encoded: {0}")]
    Unencodable(String),
    #[error("{api} failed: {code}")]
    Broker { api: &'static str, code: ErrorCode },
    #[error("partition {topic}-{partition} has no leader")]
    NoLeader { topic: String, partition: i32 },
    #[error("topic {topic} has no partition {partition}")]
    UnknownPartition { topic: String, partition: i32 },
    #[error("gave up after {seconds} s: {last}")]
    GaveUp { seconds: u64, last: Box<ClientError> },
    #[error("the partition's producer has stopped after an earlier error")]
    Stopped,
}

impl ClientError {
    /// Returns whether the same request may succeed later or at another broker.
    pub fn retriable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Disconnected { .. }
            | Self::Timeout { .. }
            | Self::NoLeader { .. } => true,
            Self::Broker { code, .. } => code.retriable(),
            Self::Malformed { .. }
            | Self::Unreadable { .. }
            | Self::Unencodable(_)
            | Self::UnknownPartition { .. }
            | Self::GaveUp { .. }
            | Self::Stopped => false,
        }
    }

    /// Returns whether a broker answered with that number.
    pub(super) fn is(&self, number: ErrorCode) -> bool {
        matches!(self, Self::Broker { code, .. } if *code == number)
    }
}

/// An error number of the Kafka protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub i16);

/// The numbers this client can meet: name, and whether trying again can help (Kafka's `Errors.java`).
const NAMES: [(i16, &str, bool); 39] = [
    (-1, "unknown server error", false),
    (1, "offset out of range", false),
    (2, "corrupt message", true),
    (3, "unknown topic or partition", true),
    (5, "leader not available", true),
    (6, "not leader or follower", true),
    (7, "request timed out", true),
    (8, "broker not available", true),
    (10, "message too large", false),
    (14, "coordinator load in progress", true),
    (15, "coordinator not available", true),
    (16, "not coordinator", true),
    (17, "invalid topic name", false),
    (19, "not enough replicas", true),
    (20, "not enough replicas after append", true),
    (24, "invalid group id", false),
    (25, "unknown member id", false),
    (35, "unsupported version", false),
    (41, "not the controller", true),
    (42, "invalid request", false),
    (45, "out of order sequence number", false),
    (47, "invalid producer epoch", false),
    (48, "the transaction is in no state for this", false),
    (49, "the producer id is not that of the transactional id", false),
    (50, "the transaction's timeout is too long", false),
    (51, "the transaction before has not ended everywhere", true),
    (53, "not authorized for the transactional id", false),
    (55, "not attempted, for another part of the request failed", false),
    (56, "storage error", true),
    (59, "unknown producer id", false),
    (74, "fenced leader epoch", true),
    (75, "unknown leader epoch", true),
    (81, "the group has as many members as it may", false),
    (87, "invalid record", false),
    (88, "offsets are in a transaction that has not ended", true),
    (90, "a newer instance of the producer has taken over", false),
    (110, "fenced member epoch", false),
    (113, "stale member epoch", false),
    (120, "the transaction has to be aborted", false),
];

impl ErrorCode {
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    pub(super) const CONCURRENT_TRANSACTIONS: Self = Self(51);
    pub(super) const UNKNOWN_MEMBER_ID: Self = Self(25);
    pub(super) const FENCED_MEMBER_EPOCH: Self = Self(110);
    pub(super) const STALE_MEMBER_EPOCH: Self = Self(113);

    /// Returns Ok for 0 and the error of that API otherwise.
    pub fn check(number: i16, api: &'static str) -> Result<(), ClientError> {
        match number {
            0 => Ok(()),
            _ => Err(ClientError::Broker { api, code: Self(number) }),
        }
    }

    pub fn retriable(self) -> bool {
        NAMES.iter().any(|(number, _, retriable)| *number == self.0 && *retriable)
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match NAMES.iter().find(|(number, ..)| *number == self.0) {
            Some((number, name, _)) => write!(out, "{name} (error {number})"),
            None => write!(out, "error {}", self.0),
        }
    }
}
