//! What a consumer shows of the batches that it was served: the ends of transactions never, and what was aborted only if it
//! reads what is not committed.
//!
//! A broker serves aborted records as well, and says beside them which transactions they are of. So it is the consumer who
//! leaves them out, by the rule of Kafka's clients: from the first offset of an aborted transaction on, what its producer
//! sent is aborted, up to the marker that says so.

use std::collections::BTreeSet;

use bytes::Buf;

use super::Batch;

/// What a consumer wants to see (`isolation.level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Everything up to the high watermark.
    Uncommitted,
    /// What is committed, up to the last stable offset.
    Committed,
}

impl Isolation {
    /// As a request has it.
    pub(super) fn level(self) -> i8 {
        match self {
            Isolation::Uncommitted => 0,
            Isolation::Committed => 1,
        }
    }
}

/// The end of a transaction in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    pub offset: i64,
    pub producer_id: i64,
    pub epoch: i16,
    pub is_commit: bool,
}

/// What a batch is to a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Its records are shown.
    Shown(&'a Batch),
    /// They are left out.
    Aborted(&'a Batch),
    Marker(Marker),
    /// A control batch that is none of the ends of transactions.
    Odd(&'a Batch),
    /// A control batch whose record was compacted away.
    Emptied,
}

/// The batches of one answer, with the aborted transactions it told of, each as its producer and first offset.
pub fn parts<'a>(
    batches: &'a [Batch],
    aborted: &[(i64, i64)],
    isolation: Isolation,
) -> Vec<Part<'a>> {
    let mut coming: Vec<(i64, i64)> = aborted.iter().map(|(id, first)| (*first, *id)).collect();
    coming.sort_unstable();
    let mut coming = coming.into_iter().peekable();
    let mut producers = BTreeSet::new();
    let part = |batch: &'a Batch| {
        while let Some((_, producer)) = coming.next_if(|(first, _)| *first < batch.end) {
            producers.insert(producer);
        }
        if batch.is_control() {
            let part = control(batch);
            if let Part::Marker(Marker { is_commit: false, producer_id, .. }) = &part {
                producers.remove(producer_id);
            }
            return part;
        }
        let is_aborted = isolation == Isolation::Committed
            && batch.is_transactional()
            && producers.contains(&batch.write.producer_id);
        if is_aborted { Part::Aborted(batch) } else { Part::Shown(batch) }
    };
    batches.iter().map(part).collect()
}

/// A control record's key: version 0, then 0 for an abort and 1 for a commit.
fn control(batch: &Batch) -> Part<'_> {
    let Some((offset, record)) = batch.records.first() else { return Part::Emptied };
    let mut key = record.key.clone().unwrap_or_default();
    let (version, kind) = (key.try_get_i16(), key.try_get_i16());
    let is_commit = match (version, kind) {
        (Ok(0), Ok(0)) => false,
        (Ok(0), Ok(1)) => true,
        _ => return Part::Odd(batch),
    };
    Part::Marker(Marker {
        offset: *offset,
        producer_id: batch.write.producer_id,
        epoch: batch.write.producer_epoch,
        is_commit,
    })
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, Bytes, BytesMut};

    use super::super::batch::{CONTROL, TRANSACTIONAL};
    use super::super::{Log, Record, Write, read_batches};
    use super::*;

    const PRODUCER: i64 = 7;
    const OTHER: i64 = 8;

    /// A log of batches of one record each.
    #[derive(Default)]
    struct Served {
        bytes: BytesMut,
        next: i64,
    }

    impl Served {
        fn put(&mut self, attributes: i16, producer: i64, key: &'static [u8]) -> &mut Served {
            let key = Some(Bytes::from_static(key));
            let record = Record { timestamp: 0, key, value: Some(Bytes::new()), headers: vec![] };
            let write = Write { producer_id: producer, producer_epoch: 3, sequence: 0 };
            let mut batch = write.batch_as(attributes, &[record]).to_vec();
            batch[..8].copy_from_slice(&self.next.to_be_bytes());
            self.bytes.put(&batch[..]);
            self.next += 1;
            self
        }

        fn plain(&mut self, producer: i64) -> &mut Served {
            self.put(0, producer, b"")
        }

        fn sent(&mut self, producer: i64) -> &mut Served {
            self.put(TRANSACTIONAL, producer, b"")
        }

        fn ended(&mut self, producer: i64, is_commit: bool) -> &mut Served {
            let key: &[u8] = if is_commit { &[0, 0, 0, 1] } else { &[0, 0, 0, 0] };
            self.put(TRANSACTIONAL | CONTROL, producer, key)
        }

        /// A letter for each batch.
        fn seen(&self, aborted: &[(i64, i64)], isolation: Isolation) -> String {
            let (batches, damage) = read_batches(self.bytes.clone().freeze(), Log::Whole);
            assert_eq!(damage, None);
            let letter = |part: &Part<'_>| match part {
                Part::Shown(_) => 's',
                Part::Aborted(_) => 'a',
                Part::Marker(Marker { is_commit: true, .. }) => 'C',
                Part::Marker(Marker { is_commit: false, .. }) => 'A',
                Part::Odd(_) => '?',
                Part::Emptied => '-',
            };
            parts(&batches, aborted, isolation).iter().map(letter).collect()
        }
    }

    #[test]
    fn what_is_aborted_is_left_out_up_to_its_marker() {
        let mut served = Served::default();
        served.sent(PRODUCER).sent(OTHER).sent(PRODUCER).ended(PRODUCER, false);
        served.sent(OTHER).ended(OTHER, true).sent(PRODUCER).ended(PRODUCER, true);
        let aborted = [(PRODUCER, 0)];
        assert_eq!(served.seen(&aborted, Isolation::Committed), "asaAsCsC");
        assert_eq!(served.seen(&[], Isolation::Uncommitted), "sssAsCsC");
    }

    #[test]
    fn of_two_aborted_transactions_each_begins_where_it_was_said() {
        let mut served = Served::default();
        served.sent(PRODUCER).ended(PRODUCER, true).sent(PRODUCER).ended(PRODUCER, false);
        served.sent(PRODUCER).ended(PRODUCER, false);
        let aborted = [(PRODUCER, 4), (PRODUCER, 2)];
        assert_eq!(served.seen(&aborted, Isolation::Committed), "sCaAaA");
        assert_eq!(served.seen(&[(PRODUCER, 2)], Isolation::Committed), "sCaAsA", "not told");
    }

    #[test]
    fn what_is_of_no_transaction_is_shown_and_odd_control_batches_are_told_apart() {
        let mut served = Served::default();
        served.sent(PRODUCER).plain(PRODUCER).ended(PRODUCER, false);
        served.put(TRANSACTIONAL | CONTROL, PRODUCER, &[0, 0, 0, 9]);
        served.put(TRANSACTIONAL | CONTROL, PRODUCER, &[0]);
        assert_eq!(served.seen(&[(PRODUCER, 0)], Isolation::Committed), "asA??");
    }

    #[test]
    fn a_marker_says_whose_it_is() {
        let mut served = Served::default();
        served.sent(OTHER).ended(PRODUCER, true);
        let (batches, _) = read_batches(served.bytes.freeze(), Log::Whole);
        let marker = Marker { offset: 1, producer_id: PRODUCER, epoch: 3, is_commit: true };
        assert_eq!(parts(&batches, &[], Isolation::Committed)[1], Part::Marker(marker));
    }
}
