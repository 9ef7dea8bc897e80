//! Why a batch is not in the log, in words that a client may see.

use super::Unmet;

/// Why a batch took no offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the producer's next sequence number is {expected}")]
    OutOfOrderSequence { expected: i32 },
    #[error("the producer's epoch is {current} by now")]
    InvalidProducerEpoch { current: i16 },
    #[error("the batch is in the log already, where exactly is not remembered")]
    DuplicateSequence,
    /// The condition of that number, as the batch brought them, does not hold.
    #[error("{unmet}")]
    Condition { number: u32, unmet: Unmet },
    /// The key of that number has such a stream.
    #[error("{unmet}")]
    Stream { number: u32, unmet: Unmet },
    /// Streams were turned on or off since the batch was checked; checked again it may do.
    #[error("streams were turned on or off just now")]
    StreamsChanged,
    #[error("another request was made under the same idempotency key")]
    IdempotencyKeyReused,
    #[error(transparent)]
    Transaction(#[from] NotInTransaction),
    /// Nothing that could be so otherwise later.
    #[error("{what} takes no part in transactions")]
    NotTransactional { what: &'static str },
}

/// Why a batch or a marker does not go with the transactions of its producer. Nothing of it is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotInTransaction {
    #[error("the transaction has ended")]
    Ended,
    #[error("the producer has another transaction open, number {number}")]
    OtherOpen { number: u64 },
    #[error("the producer has no transaction open")]
    NoneOpen,
    #[error("the producer has a transaction open, and the batch is not part of it")]
    Outside,
    #[error("it does not say which transaction of which producer it belongs to")]
    Unnamed,
    #[error("{max} transactions are open in the partition already")]
    TooMany { max: usize },
}

impl NotInTransaction {
    /// Returns whether the same batch may be taken when it is sent again: under the number that its coordinator gives by then,
    /// or once other transactions have ended.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Ended | Self::TooMany { .. })
    }
}
