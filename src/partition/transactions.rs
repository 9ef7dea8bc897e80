//! Transactions as a partition sees them: which are open, where they end, and which were aborted.

use super::{AppendError, Partition, ReadError, Records};

/// A transaction that is open in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTransaction {
    pub producer_id: i64,
    pub epoch: i16,
    /// Given by the coordinator: of two transactions of a producer the later has the greater.
    pub number: u64,
    /// Of its first record here.
    pub first_offset: i64,
    /// For how long it has been open, in log time.
    pub open_ms: i64,
}

/// The end of a transaction in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    pub producer_id: i64,
    pub epoch: i16,
    /// Which transaction ends; `None` for whichever is open, as an operator asks.
    pub number: Option<u64>,
    pub commit: bool,
    pub coordinator_epoch: i32,
}

/// An aborted transaction of which records are among those that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

/// What a partition remembers of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub epoch: i16,
    pub last_sequence: i32,
    /// Milliseconds since 1970 of the last batch; -1: not known.
    pub last_timestamp: i64,
    /// Of the last marker; -1: there was none.
    pub coordinator_epoch: i32,
    /// -1: none is open.
    pub transaction_start_offset: i64,
}

#[expect(clippy::unimplemented, reason = "begun")]
impl Partition {
    /// Returns the number of the transaction that a batch of this producer belongs to, if that is known here for certain:
    /// it is open, or was [`Partition::note_transaction`]d and has not ended here since.
    pub fn transaction_of(&self, _producer_id: i64, _epoch: i16) -> Option<u64> {
        unimplemented!()
    }

    /// Notes what the coordinator has said of a producer's transaction.
    pub fn note_transaction(&self, _producer_id: i64, _epoch: i16, _number: u64) {
        unimplemented!()
    }

    /// Ends a transaction here: appends its marker. Returns once that is committed and applied; a transaction that has
    /// ended already is left as it is, and that is no error.
    pub async fn end_transaction(&self, _marker: Marker) -> Result<(), AppendError> {
        unimplemented!()
    }

    /// Returns the first offset of which it is not known yet whether it will be visible: the high watermark if no
    /// transaction is open.
    pub fn last_stable_offset(&self) -> i64 {
        unimplemented!()
    }

    /// As [`Partition::read`], below the last stable offset, and the aborted transactions that have records among those
    /// returned, by first offset.
    pub async fn read_committed(
        &self,
        _offset: i64,
        _bytes_max: usize,
        _at_least_one: bool,
    ) -> Result<(Records, Vec<AbortedTransaction>), ReadError> {
        unimplemented!()
    }

    /// Returns the open transactions, the oldest first.
    pub fn open_transactions(&self) -> Vec<OpenTransaction> {
        unimplemented!()
    }

    /// Returns producers by id, those behind `after`, so many at most.
    pub async fn producers(
        &self,
        _after: Option<i64>,
        _max: usize,
    ) -> Result<Vec<ProducerState>, ReadError> {
        unimplemented!()
    }
}
