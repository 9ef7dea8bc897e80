//! Transactions: records of several partitions and offsets of groups that become visible together or not at all
//! (KIP-98, KIP-890).
//!
//! ```text
//!  kafka ──▶ Transactions ──▶ coordinator of the transactional id (an internal Raft group)
//!                                  │ prepared, in its log
//!                                  ├──▶ a marker into each partition's log
//!                                  └──▶ the coordinators of the groups: offsets become visible or go
//! ```

use std::time::Duration;

use uuid::Uuid;

use crate::metadata::InternalKind;

/// The internal groups that coordinate transactions.
pub const TRANSACTIONS: InternalKind = InternalKind(2);

/// A transactional producer as it names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionResult {
    Commit,
    Abort,
}

/// Whether what is asked about joins the transaction, or has to be part of it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Why a coordinator does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    #[error("the coordinator has no room for more transactional ids")]
    Full,
}

/// The transactions that this broker coordinates, and its way to those of the others.
pub struct Transactions;

#[expect(clippy::unimplemented, reason = "begun")]
impl Transactions {
    /// Gives a producer its id and epoch, and ends what an earlier instance has left open.
    pub async fn init(&self, _init: Init) -> Result<(i64, i16), TransactionError> {
        unimplemented!()
    }

    /// Adds partitions to the producer's transaction, and begins one if there is none.
    pub async fn add_partitions(
        &self,
        _claim: &Claim,
        _partitions: Vec<(Uuid, i32)>,
    ) -> Result<(), TransactionError> {
        unimplemented!()
    }

    /// Adds the offsets of a group to the producer's transaction, and begins one if there is none.
    pub async fn add_offsets(&self, _claim: &Claim, _group: &str) -> Result<(), TransactionError> {
        unimplemented!()
    }

    /// Ends a transaction. Returns the producer's id and epoch for the next. `bumps`: each transaction has an epoch of
    /// its own (KIP-890 part 2).
    pub async fn end(
        &self,
        _claim: &Claim,
        _result: TransactionResult,
        _bumps: bool,
    ) -> Result<(i64, i16), TransactionError> {
        unimplemented!()
    }

    /// Describes a transactional id whose coordinator is here.
    pub async fn describe(&self, _id: &str) -> Result<TransactionDescription, TransactionError> {
        unimplemented!()
    }

    /// Lists the transactional ids whose coordinators are here.
    pub async fn list(&self) -> Result<Vec<TransactionDescription>, TransactionError> {
        unimplemented!()
    }

    /// Aborts the open transaction of an id whose coordinator is here, as if its time were over.
    pub async fn abort(&self, _id: &str) -> Result<(), TransactionError> {
        unimplemented!()
    }

    /// Returns the number of the transaction a partition is in. Asks the coordinator, wherever it is.
    pub async fn enlist(
        &self,
        _claim: &Claim,
        _partition: (Uuid, i32),
        _how: Enlist,
        _wait: Duration,
    ) -> Result<u64, TransactionError> {
        unimplemented!()
    }

    /// Returns the number of the transaction that the offsets of a group are in. Asks the coordinator, wherever it is.
    pub async fn enlist_offsets(
        &self,
        _claim: &Claim,
        _group: &str,
        _how: Enlist,
        _wait: Duration,
    ) -> Result<u64, TransactionError> {
        unimplemented!()
    }
}
