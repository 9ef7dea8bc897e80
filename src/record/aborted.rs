//! Which batches of an answer a reader of committed records passes over, as Kafka's consumers do (KIP-98).
//!
//! The list that comes with an answer says of a producer where its aborted transaction began. From there on its batches are
//! aborted, up to the marker that says so; what it wrote in between outside of transactions is not.

use std::collections::BTreeSet;

use super::batch::Header;
use super::marker::EndMarker;

/// Reads along with the batches of one answer, in their order.
#[derive(Debug, Default)]
pub struct Aborted {
    /// First offsets and producers of transactions that did not begin yet, the last one first.
    later: Vec<(i64, i64)>,
    /// The producers in whose aborted transaction the reader is.
    producers: BTreeSet<i64>,
}

impl Aborted {
    /// Takes producer ids and first offsets of the aborted transactions that have batches in an answer. Without any only
    /// markers are passed over.
    pub fn new(transactions: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let mut later: Vec<_> = transactions.into_iter().map(|(id, first)| (first, id)).collect();
        later.sort_unstable_by(|one, other| other.cmp(one));
        Self { later, producers: BTreeSet::new() }
    }

    /// Returns whether the next batch is none that readers see: a marker, or part of an aborted transaction.
    pub fn passes_over(&mut self, header: &Header, batch: &[u8]) -> bool {
        while let Some((_, producer)) =
            self.later.pop_if(|(first, _)| *first <= header.last_offset())
        {
            self.producers.insert(producer);
        }
        if header.is_control() {
            if EndMarker::of(batch).is_some_and(|marker| !marker.commit) {
                self.producers.remove(&header.producer_id);
            }
            return true;
        }
        header.is_transactional() && self.producers.contains(&header.producer_id)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::batch::{Batches, CONTROL_BIT, TRANSACTIONAL_BIT, stamp};
    use super::super::build::BatchBuilder;
    use super::*;

    fn placed(offset: i64, builder: &BatchBuilder) -> Bytes {
        let mut bytes = builder.build().to_vec();
        stamp(&mut bytes, offset, 0);
        Bytes::from(bytes)
    }

    fn data(offset: i64, producer: i64, attributes: i16) -> Bytes {
        let builder = BatchBuilder::new().attributes(attributes).producer(producer, 0, 0);
        placed(offset, &builder.record(1, None, Some(b"one")).record(1, None, Some(b"two")))
    }

    fn marker(offset: i64, producer: i64, kind: u8) -> Bytes {
        let builder = BatchBuilder::new().attributes(TRANSACTIONAL_BIT | CONTROL_BIT);
        let key = [0, 0, 0, kind];
        placed(offset, &builder.producer(producer, 0, -1).record(1, Some(&key), Some(&[0; 6])))
    }

    /// The first offsets of the batches that are seen.
    fn seen(aborted: &[(i64, i64)], log: &[Bytes]) -> Vec<i64> {
        let mut aborted = Aborted::new(aborted.iter().copied());
        let log = log.concat();
        let seen = Batches::new(&log).filter(|(header, batch)| !aborted.passes_over(header, batch));
        seen.map(|(header, _)| header.base_offset).collect()
    }

    #[test]
    fn a_producers_batches_are_passed_over_from_the_first_offset_to_the_marker() {
        let log = [
            data(0, 1, TRANSACTIONAL_BIT),
            data(2, 2, TRANSACTIONAL_BIT),
            data(4, 1, TRANSACTIONAL_BIT),
            marker(6, 1, 0),
            data(7, 1, TRANSACTIONAL_BIT),
            marker(9, 2, 1),
            marker(10, 1, 1),
            data(11, 3, 0),
        ];
        assert_eq!(seen(&[(1, 0)], &log), [2, 7, 11]);
        assert_eq!(seen(&[], &log), [0, 2, 4, 7, 11], "markers alone are passed over");
    }

    #[test]
    fn two_aborted_transactions_of_a_producer_leave_the_one_between_them() {
        let log = [
            data(0, 1, TRANSACTIONAL_BIT),
            marker(2, 1, 0),
            data(3, 1, TRANSACTIONAL_BIT),
            marker(5, 1, 1),
            data(6, 1, TRANSACTIONAL_BIT),
            marker(8, 1, 0),
        ];
        assert_eq!(seen(&[(1, 6), (1, 0)], &log), [3]);
    }

    #[test]
    fn a_transaction_that_began_before_the_answer_is_aborted_from_its_first_batch_on() {
        let log = [data(10, 1, TRANSACTIONAL_BIT), marker(12, 1, 0), data(13, 1, 0)];
        assert_eq!(seen(&[(1, 3)], &log), [13]);
    }

    #[test]
    fn what_a_producer_writes_outside_of_transactions_is_seen() {
        let log = [data(0, 1, TRANSACTIONAL_BIT), data(2, 1, 0), marker(4, 1, 0)];
        assert_eq!(seen(&[(1, 0)], &log), [2]);
    }
}
