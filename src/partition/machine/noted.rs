//! What coordinators have said of transactions that have no batch in the partition yet: so that of many batches on their
//! way only the first has to ask. A cache; in no checkpoint, and what is wrong in it is refused when it is applied.
//!
//! An answer may come after the transaction has ended. The numbers that ended last are remembered as well, so that it is
//! not taken for one that is about to begin; and a batch that is refused for it makes it forgotten.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

/// Producers that are remembered of either.
const PRODUCERS_MAX: usize = 1024;

/// See the file's header. A mutex because requests note while they read the machine; it is held for a few comparisons.
#[derive(Debug, Default)]
pub(super) struct Noted(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    /// Epoch and number of what is about to begin.
    coming: Bounded<(i16, u64)>,
    /// The number that ended last.
    ended: Bounded<u64>,
}

/// Values by producer; the one that came first makes room.
#[derive(Debug, Default)]
struct Bounded<V> {
    by_id: HashMap<i64, V>,
    order: VecDeque<i64>,
}

impl<V> Bounded<V> {
    fn insert(&mut self, id: i64, value: V) {
        if self.by_id.insert(id, value).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > PRODUCERS_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.by_id.remove(&first);
        }
    }

    fn remove(&mut self, id: i64) {
        if self.by_id.remove(&id).is_some() {
            self.order.retain(|other| *other != id);
        }
    }
}

impl Noted {
    /// Notes the transaction that a producer's next batches belong to.
    pub(super) fn note(&self, id: i64, epoch: i16, number: u64) {
        let mut numbers = self.0.lock();
        let known = numbers.coming.by_id.get(&id).map_or(0, |(_, number)| *number);
        let ended = numbers.ended.by_id.get(&id).copied().unwrap_or(0);
        if number > ended && number >= known {
            numbers.coming.insert(id, (epoch, number));
        }
    }

    /// Notes that the transactions of a producer up to this number have ended.
    pub(super) fn ended(&self, id: i64, number: u64) {
        let mut numbers = self.0.lock();
        if numbers.coming.by_id.get(&id).is_some_and(|(_, coming)| *coming <= number) {
            numbers.coming.remove(id);
        }
        let known = numbers.ended.by_id.get(&id).copied().unwrap_or(0);
        numbers.ended.insert(id, number.max(known));
    }

    /// Returns the number of the transaction that a producer of this epoch is about to begin.
    pub(super) fn get(&self, id: i64, epoch: i16) -> Option<u64> {
        let (noted, number) = self.0.lock().coming.by_id.get(&id).copied()?;
        (noted == epoch).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_known_until_it_has_ended() {
        let noted = Noted::default();
        noted.note(1, 3, 10);
        assert_eq!((noted.get(1, 3), noted.get(1, 2), noted.get(2, 3)), (Some(10), None, None));
        noted.ended(1, 9);
        assert_eq!(noted.get(1, 3), Some(10), "an earlier one");
        noted.note(1, 3, 8);
        assert_eq!(noted.get(1, 3), Some(10), "an answer that was overtaken");
        noted.ended(1, 10);
        noted.note(1, 3, 10);
        assert_eq!(noted.get(1, 3), None, "an answer that came too late");
        noted.note(1, 3, 11);
        assert_eq!(noted.get(1, 3), Some(11));
    }

    #[test]
    fn what_is_noted_is_bounded() {
        let noted = Noted::default();
        for id in 0..5_000 {
            noted.note(id, 0, 1);
            noted.ended(id + 10_000, 1);
        }
        assert_eq!((noted.get(0, 0), noted.get(4_999, 0)), (None, Some(1)));
        let numbers = noted.0.lock();
        let lengths = [numbers.coming.order.len(), numbers.coming.by_id.len()];
        assert_eq!((lengths, numbers.ended.order.len()), ([PRODUCERS_MAX; 2], PRODUCERS_MAX));
    }
}
