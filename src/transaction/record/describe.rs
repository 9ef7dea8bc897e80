//! A transactional id as it is shown.

use super::{Record, State};
use crate::transaction::{TransactionDescription, TransactionResult, TransactionState};

impl Record {
    /// Returns what an operator sees at a log time; the partitions only if they are asked for.
    pub(in crate::transaction) fn describe(
        &self,
        id: &str,
        log_ms: i64,
        with_partitions: bool,
    ) -> TransactionDescription {
        // Of what is about to end its own id and epoch are shown, not those that come behind.
        let (producer_id, epoch) = match self.state {
            State::Prepared(ending) => (ending.producer_id, ending.epoch),
            _ => self.producer(),
        };
        let is_open = matches!(self.state, State::Ongoing | State::Prepared(_));
        TransactionDescription {
            transactional_id: id.to_owned(),
            state: self.state.shown(),
            producer_id,
            epoch,
            timeout_ms: self.timeout_ms,
            start_ms: if is_open { self.started_wall_ms } else { -1 },
            open_ms: if is_open { log_ms.saturating_sub(self.started_ms).max(0) } else { -1 },
            partitions: if with_partitions { self.parts.partitions() } else { Vec::new() },
        }
    }
}

impl State {
    fn shown(self) -> TransactionState {
        match self {
            Self::Empty => TransactionState::Empty,
            Self::Ongoing => TransactionState::Ongoing,
            Self::Prepared(ending) => match ending.result {
                TransactionResult::Commit => TransactionState::PrepareCommit,
                TransactionResult::Abort if ending.fences => TransactionState::PrepareEpochFence,
                TransactionResult::Abort => TransactionState::PrepareAbort,
            },
            Self::Completed(TransactionResult::Commit) => TransactionState::CompleteCommit,
            Self::Completed(TransactionResult::Abort) => TransactionState::CompleteAbort,
        }
    }
}
