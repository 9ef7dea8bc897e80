//! Offsets that are committed with a transaction: kept apart until it ends (KIP-98).

use uuid::Uuid;

use super::{Commit, Coordinator, GroupError};

/// The transaction that offsets are committed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetsTransaction {
    pub producer_id: i64,
    pub epoch: i16,
    /// Given by the transaction's coordinator: of two transactions of a producer the later has the greater.
    pub number: u64,
}

#[expect(clippy::unimplemented, reason = "begun")]
impl Coordinator {
    /// Takes offsets that become visible if the transaction commits.
    ///
    /// # Errors
    /// Those of TxnOffsetCommit, see [`GroupError`].
    pub async fn commit_in_transaction(
        &self,
        _commit: Commit,
        _transaction: OffsetsTransaction,
    ) -> Result<(), GroupError> {
        unimplemented!()
    }

    /// Makes the offsets of a transaction visible, or drops them, in all groups of this coordinator. One that has ended
    /// already is left as it is, and that is no error.
    ///
    /// # Errors
    /// That the coordinator is not here, or cannot be reached.
    pub async fn end_transaction(
        &self,
        _transaction: OffsetsTransaction,
        _commit: bool,
    ) -> Result<(), GroupError> {
        unimplemented!()
    }

    /// Returns the partitions of a group whose offsets are in a transaction that has not ended. Linearizable.
    ///
    /// # Errors
    /// That the coordinator is not here, or cannot be reached.
    pub async fn unstable_offsets(&self, _group: &str) -> Result<Vec<(Uuid, i32)>, GroupError> {
        unimplemented!()
    }
}
