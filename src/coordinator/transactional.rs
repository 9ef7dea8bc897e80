//! Offsets that are committed with a transaction: kept apart until it ends (KIP-98).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::call::Call;
use super::{Commit, Coordinator, GroupError};

/// The transaction that offsets are committed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetsTransaction {
    pub producer_id: i64,
    pub epoch: i16,
    /// Given by the transaction's coordinator: of two transactions of a producer the later has the greater.
    pub number: u64,
}

impl Coordinator {
    /// Takes offsets that become visible if the transaction commits: all of them or none. Who says to be a member has to be
    /// one, in its generation; who says nothing is let in, also while the group has members (KIP-447). A group that does not
    /// exist is made for who is no member.
    ///
    /// # Errors
    /// - [`GroupError::UnknownMember`], [`GroupError::FencedInstance`], and [`GroupError::IllegalGeneration`], also of the
    ///   consumer protocol for a stale epoch.
    /// - [`GroupError::ProducerFenced`]: the producer's transaction here has a higher epoch.
    /// - [`GroupError::TransactionEnded`]: it, or a later one of the producer, has ended here.
    /// - [`GroupError::TooLarge`]: the transaction would take more than all transactions may.
    /// - [`GroupError::NotAvailable`]: to be asked again. An earlier transaction of the producer has not ended here yet, or
    ///   others take the room. Also after a timeout, then the offsets may have been taken.
    /// - [`GroupError::NotCoordinator`].
    pub async fn commit_in_transaction(
        &self,
        commit: Commit,
        transaction: OffsetsTransaction,
    ) -> Result<(), GroupError> {
        self.done(Call::Keep(commit, transaction)).await
    }

    /// Makes the offsets of a transaction visible, or drops them, in all groups of this coordinator at once. One that has
    /// ended already is left as it is, and that is no error. From then on what comes with its number is refused, for ten
    /// minutes of log time and as long as not 65,536 other producers have ended a later one here. The epoch does not
    /// matter: it may have been raised since.
    ///
    /// An offset that was committed after the transaction's stays (as in Kafka the order of commits counts); those of groups
    /// that were deleted are gone, those of topics that were deleted go with the next sweep.
    ///
    /// # Errors
    /// That the coordinator is not here, or cannot be reached; then it may have ended all the same, and is ended again.
    pub async fn end_transaction(
        &self,
        transaction: OffsetsTransaction,
        commit: bool,
    ) -> Result<(), GroupError> {
        self.done(Call::End { transaction, commits: commit }).await
    }

    /// Returns the partitions of a group whose offsets are in a transaction that has not ended, by topic and partition.
    /// Linearizable.
    ///
    /// Who wants stable offsets (KIP-447) asks this before [`Coordinator::offsets`]: what has ended in between is visible
    /// then. Asked the other way round, an offset that was read may be one that a transaction has replaced meanwhile.
    ///
    /// # Errors
    /// That the coordinator is not here, or cannot be reached.
    pub async fn unstable_offsets(&self, group: &str) -> Result<Vec<(Uuid, i32)>, GroupError> {
        let term = self.confirmed().await?;
        let partitions = {
            let machine = self.group.machine();
            let of = |group: &super::record::GroupRecord| {
                machine.pending().of_group(group.incarnation).into_iter().collect()
            };
            machine.group(group).map_or_else(Vec::new, of)
        };
        if self.ready().await? == term { Ok(partitions) } else { Err(GroupError::NotCoordinator) }
    }
}
