//! Where the last few batches stand: what consumers at the end of the log ask for.

use std::collections::VecDeque;

use crate::partition::position::Position;

/// A consumer that keeps up is a batch or two behind; 768 bytes once a partition is written to.
const RECENT_MAX: usize = 32;

/// The newest batches, in order, without gaps.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Position>);

impl Recent {
    pub(super) fn push(&mut self, at: Position) {
        if self.0.len() == RECENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(at);
    }

    /// Returns the batch that holds `offset`, which is below the end of the log.
    pub(super) fn holding(&self, offset: i64) -> Option<Position> {
        let after = self.0.partition_point(|at| at.offset <= offset);
        after.checked_sub(1).map(|holding| self.0[holding])
    }

    /// Forgets the batches before the one at `offset`.
    pub(super) fn trim(&mut self, offset: i64) {
        while self.0.front().is_some_and(|at| at.offset < offset) {
            self.0.pop_front();
        }
    }
}
