//! Transactions: records of several partitions and offsets of groups that become visible together or not at all
//! (KIP-98, KIP-890).
//!
//! ```text
//!  kafka ──▶ Transactions ──▶ coordinator of the transactional id (an internal Raft group)
//!                                  │ prepared, in its log
//!                                  ├──▶ a marker into each partition's log
//!                                  └──▶ the coordinators of the groups: offsets become visible or go
//! ```
//!
//! A coordinator is an internal Raft group; there are 32, and a transactional id is at home in the one that Kafka's hash says.
//! What is asked is judged when the log applies it (`machine.rs`, `record.rs`), so a deposed leader decides nothing. Each
//! transaction has a number, the index of the entry that began it: partitions and group coordinators judge by it what comes
//! late or twice, so markers may be written again by anybody at any time.
//!
//! Invariant: no marker is written before its prepare is committed; none is left out before the completion is.

mod command;
mod coordinator;
mod expiry;
mod finisher;
mod fresh_ids;
mod machine;
mod outbox;
mod proposer;
mod reach;
mod record;
mod requests;
mod served;
mod transactions;
mod waiting;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use command::TRANSACTIONAL_ID_BYTES_MAX;
pub use coordinator::TransactionCoordinator;
pub use machine::TransactionMachine;
pub use record::Answer;
pub use transactions::{TransactionSettings, Transactions};

use crate::metadata::InternalKind;

/// The internal groups that coordinate transactions.
pub const TRANSACTIONS: InternalKind = InternalKind(2);

/// Methods of calls between brokers; numbers are never given another meaning.
const ENLIST: u16 = 11;
const MARK: u16 = 12;
const END_OFFSETS: u16 = 13;

/// A transactional producer as it names itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub transactional_id: String,
    pub producer_id: i64,
    pub epoch: i16,
}

/// InitProducerId with a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    pub transactional_id: String,
    pub timeout_ms: i32,
    /// The id and epoch that the producer has (KIP-360).
    pub producer: Option<(i64, i16)>,
    /// An id that nobody had, in case it takes one.
    pub fresh_id: i64,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransactionResult {
    Commit,
    Abort,
}

/// Whether what is asked about joins the transaction, or has to be part of it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enlist {
    /// Joins it, and begins one if there is none (KIP-890 part 2).
    Add,
    Verify,
}

/// Kafka's states of a transactional id, by their names in Kafka's tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    /// An epoch is being fenced off: an abort that the coordinator has begun.
    PrepareEpochFence,
}

/// A transactional id as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDescription {
    pub transactional_id: String,
    pub state: TransactionState,
    pub producer_id: i64,
    pub epoch: i16,
    pub timeout_ms: i32,
    /// When the open transaction began, milliseconds since 1970 by its leader's wall clock; -1: none is open.
    pub start_ms: i64,
    /// How long it has been open, in log time; -1: none is open.
    pub open_ms: i64,
    pub partitions: Vec<(Uuid, i32)>,
}

/// Why a coordinator does not do what it is asked. Variants are added at the end: brokers tell each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TransactionError {
    #[error("this broker does not coordinate the transactional id")]
    NotCoordinator,
    #[error("the coordinator cannot be reached, or has too much to do")]
    NotAvailable,
    #[error("a newer instance of the producer has taken over")]
    ProducerFenced,
    #[error("the producer id is not that of the transactional id")]
    InvalidProducerId,
    #[error("the transaction is in no state for this")]
    InvalidState,
    #[error("the transaction before has not ended everywhere; ask again")]
    Concurrent,
    #[error("the timeout is not above 0, or above transaction.max.timeout.ms")]
    InvalidTimeout,
    #[error("there is no such transactional id")]
    NotFound,
    #[error("the coordinator has no room for more transactional ids, or open transactions")]
    Full,
    #[error("a transactional id has 1,000 bytes at most, and a transaction 20,000 partitions")]
    TooLarge,
}
