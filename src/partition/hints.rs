//! Where sequential readers will go on.
//!
//! A consumer that catches up asks for the offset after the last one it got. That place was just passed,
//! so it is kept: the next read walks on without a seek. A place in the log never changes its meaning, so
//! nothing here can be stale; at worst it is of no use.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::position::Position;

/// Readers behind the end at the same time, per partition, that are remembered.
const HINTS_MAX: usize = 16;

/// The last few places; takes memory only once somebody reads behind the end.
///
/// A mutex because reads of one partition run on many threads; it is held for a few comparisons.
#[derive(Debug, Default)]
pub(super) struct Hints(Mutex<VecDeque<Position>>);

impl Hints {
    /// Takes out the place of the batch that begins at `offset`.
    pub(super) fn take(&self, offset: i64) -> Option<Position> {
        let mut hints = self.0.lock();
        let found = hints.iter().position(|hint| hint.offset == offset)?;
        hints.remove(found)
    }

    /// Keeps a place; the longest unused goes when there are too many.
    pub(super) fn put(&self, at: Position) {
        let mut hints = self.0.lock();
        hints.retain(|hint| hint.offset != at.offset);
        if hints.len() == HINTS_MAX {
            hints.pop_front();
        }
        hints.push_back(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::position::Place;

    fn place(offset: i64) -> Position {
        Position { offset, place: Place { index: 1, sub: 3 }, bytes: 0 }
    }

    #[test]
    fn a_place_is_found_by_its_exact_offset_and_once() {
        let hints = Hints::default();
        hints.put(place(7));
        assert_eq!(hints.take(6), None);
        assert_eq!(hints.take(7), Some(place(7)));
        assert_eq!(hints.take(7), None);
    }

    #[test]
    fn the_longest_unused_place_makes_room() {
        let hints = Hints::default();
        for offset in 0..20 {
            hints.put(place(offset));
        }
        assert_eq!(hints.take(3), None);
        assert_eq!(hints.take(4), Some(place(4)));
        assert_eq!(hints.take(19), Some(place(19)));
    }
}
