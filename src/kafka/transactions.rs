//! What the APIs of transactions have in common: what a producer claims to be, and
//! the numbers of the protocol for what its coordinator says, which depend on the API and its version.
//!
//! | | a newer producer has taken over | not part of the transaction | the coordinator is not there |
//! |---|---|---|---|
//! | of the coordinator | PRODUCER_FENCED, before KIP-588 INVALID_PRODUCER_EPOCH | INVALID_TXN_STATE | as it is |
//! | records, offsets | INVALID_PRODUCER_EPOCH | TRANSACTION_ABORTABLE, before KIP-890 INVALID_TXN_STATE | what clients ask again upon, and look for no leader |

use std::time::Duration;

use kafka_wire_core::StrBytes;

use super::error::ErrorCode;
use super::groups::text;
use crate::transaction::{Claim, TransactionError, TransactionState};

/// How long a coordinator may take to say which transaction records or offsets belong to; the connection waits meanwhile.
pub(super) const ENLIST_WAIT: Duration = Duration::from_secs(2);

/// How long all ids of a request may take, together.
pub(super) const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// The version of Produce from which what is not part of a transaction is told by TRANSACTION_ABORTABLE, and the one from which
/// Produce adds what it writes to.
const PRODUCE_ABORTABLE_FROM: i16 = 11;
pub(super) const PRODUCE_ADDS_FROM: i16 = 12;
/// The same of TxnOffsetCommit.
pub(super) const OFFSETS_ABORTABLE_FROM: i16 = 4;
pub(super) const OFFSETS_ADD_FROM: i16 = 5;

/// What a request says of its producer.
pub(super) fn claim(transactional_id: &StrBytes, producer_id: i64, epoch: i16) -> Claim {
    Claim { transactional_id: text(transactional_id), producer_id, epoch }
}

/// Returns the number for an API of the coordinator, which tells of fencing by an error of its own from `fenced_from` on
/// (KIP-588).
pub(super) fn code(error: &TransactionError, version: i16, fenced_from: i16) -> ErrorCode {
    match error {
        TransactionError::ProducerFenced if version < fenced_from => {
            ErrorCode::InvalidProducerEpoch
        }
        other => other.into(),
    }
}

/// Returns the number for records whose transaction was asked about.
///
/// Producers of before KIP-890 know none of the coordinator's errors here. NOT_ENOUGH_REPLICAS has them send the records again
/// and look for no other leader.
pub(super) fn code_of_records(error: &TransactionError, version: i16) -> ErrorCode {
    match error {
        TransactionError::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        TransactionError::InvalidState if version >= PRODUCE_ABORTABLE_FROM => {
            ErrorCode::TransactionAbortable
        }
        TransactionError::Concurrent if version >= PRODUCE_ADDS_FROM => {
            ErrorCode::ConcurrentTransactions
        }
        TransactionError::Concurrent
        | TransactionError::NotCoordinator
        | TransactionError::NotAvailable => ErrorCode::NotEnoughReplicas,
        other => other.into(),
    }
}

/// Returns the number for offsets whose transaction was asked about.
///
/// It is the group's coordinator that answers, so what is wrong with that of the transaction must not send anybody to look
/// for another; COORDINATOR_LOAD_IN_PROGRESS has all clients ask again here.
pub(super) fn code_of_offsets(error: &TransactionError, version: i16) -> ErrorCode {
    match error {
        TransactionError::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        TransactionError::InvalidState if version >= OFFSETS_ABORTABLE_FROM => {
            ErrorCode::TransactionAbortable
        }
        TransactionError::Concurrent
        | TransactionError::NotCoordinator
        | TransactionError::NotAvailable => ErrorCode::CoordinatorLoadInProgress,
        other => other.into(),
    }
}

/// All states, by their names in Kafka's tools.
const STATES: [(&str, TransactionState); 7] = [
    ("Empty", TransactionState::Empty),
    ("Ongoing", TransactionState::Ongoing),
    ("PrepareCommit", TransactionState::PrepareCommit),
    ("PrepareAbort", TransactionState::PrepareAbort),
    ("CompleteCommit", TransactionState::CompleteCommit),
    ("CompleteAbort", TransactionState::CompleteAbort),
    ("PrepareEpochFence", TransactionState::PrepareEpochFence),
];

/// Returns the name of a state.
pub(super) fn name_of(state: TransactionState) -> &'static str {
    STATES.iter().find(|(_, it)| *it == state).map_or("", |(name, _)| name)
}

/// Returns the state of that name, if there is one; upper and lower case are not the same.
pub(super) fn state_of(name: &str) -> Option<TransactionState> {
    STATES.iter().find(|(it, _)| *it == name).map(|(_, state)| *state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fencing_has_an_error_of_its_own_where_clients_know_it() {
        let fenced = TransactionError::ProducerFenced;
        assert_eq!(code(&fenced, 1, 2), ErrorCode::InvalidProducerEpoch);
        assert_eq!(code(&fenced, 2, 2), ErrorCode::ProducerFenced);
        assert_eq!(code(&TransactionError::Concurrent, 0, 2), ErrorCode::ConcurrentTransactions);
    }

    #[test]
    fn what_is_not_there_yet_is_told_as_each_way_asks_again() {
        let not_there = [TransactionError::NotAvailable, TransactionError::NotCoordinator];
        for error in not_there {
            assert_eq!(code_of_records(&error, 13), ErrorCode::NotEnoughReplicas);
            assert_eq!(code_of_offsets(&error, 5), ErrorCode::CoordinatorLoadInProgress);
        }
        let before = TransactionError::Concurrent;
        assert_eq!(code_of_records(&before, 11), ErrorCode::NotEnoughReplicas);
        assert_eq!(code_of_records(&before, 12), ErrorCode::ConcurrentTransactions);
        let apart = TransactionError::InvalidState;
        assert_eq!(code_of_records(&apart, 10), ErrorCode::InvalidTxnState);
        assert_eq!(code_of_records(&apart, 11), ErrorCode::TransactionAbortable);
        assert_eq!(code_of_offsets(&apart, 3), ErrorCode::InvalidTxnState);
        assert_eq!(code_of_offsets(&apart, 4), ErrorCode::TransactionAbortable);
        let fenced = TransactionError::ProducerFenced;
        assert_eq!(code_of_records(&fenced, 13), ErrorCode::InvalidProducerEpoch);
        assert_eq!(code_of_offsets(&fenced, 5), ErrorCode::InvalidProducerEpoch);
    }

    #[test]
    fn every_state_is_known_by_its_name_and_by_no_other() {
        for (name, state) in STATES {
            assert_eq!((name_of(state), state_of(name)), (name, Some(state)));
        }
        assert_eq!((state_of("ongoing"), state_of("Dead")), (None, None));
    }
}
