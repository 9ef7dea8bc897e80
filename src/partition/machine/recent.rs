//! Where the newest batches stand: what consumers at the end of the log ask for.

use std::collections::VecDeque;

use crate::partition::position::Position;

/// A consumer that keeps up is a batch or two behind, or an entry or two where many batches share one; 2 KiB once a
/// partition is written to.
const RECENT_MAX: usize = 32;

/// The newest batches without gaps, and further back where entries begin; both in order.
#[derive(Debug, Default)]
pub(super) struct Recent {
    batches: VecDeque<Position>,
    /// The first accepted batch of each entry.
    entries: VecDeque<Position>,
}

impl Recent {
    pub(super) fn push(&mut self, at: Position) {
        let begins = self.entries.back().is_none_or(|last| last.place.index != at.place.index);
        let lists = [Some(&mut self.batches), begins.then_some(&mut self.entries)];
        for list in lists.into_iter().flatten() {
            if list.len() == RECENT_MAX {
                list.pop_front();
            }
            list.push_back(at);
        }
    }

    /// Returns the batch that holds `offset`, which is below the end of the log, or the first of its entry.
    pub(super) fn holding(&self, offset: i64) -> Option<Position> {
        [&self.batches, &self.entries].into_iter().find_map(|list| {
            let after = list.partition_point(|at| at.offset <= offset);
            after.checked_sub(1).map(|holding| list[holding])
        })
    }

    /// Forgets the batches before the one at `offset`.
    pub(super) fn trim(&mut self, offset: i64) {
        for list in [&mut self.batches, &mut self.entries] {
            while list.front().is_some_and(|at| at.offset < offset) {
                list.pop_front();
            }
        }
    }
}
