//! Transactions in a real partition: what who reads committed records sees, wherever it begins, against a list of all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::broker::{Broker, checked, records};
use crate::metadata::StreamConfigs;
use crate::partition::{
    AbortedTransaction, AppendError, Appended, Attachments, Marker, NotInTransaction, OffsetSpec,
    OpenTransaction, Partition, PartitionSettings, Refusal,
};
use crate::record::{BatchBuilder, Batches, EndMarker, Projection, Records as Opened};

const TRANSACTIONAL: i16 = 0b1_0000;

/// Appends a batch of a transaction.
pub(super) async fn try_put(
    partition: &Partition,
    batch: BatchBuilder,
    number: u64,
) -> Result<Appended, AppendError> {
    let epoch = partition.leader_epoch_if_ready().unwrap();
    let mut attachments = Attachments::default();
    attachments.in_transaction(number);
    let batch = checked(&batch.attributes(TRANSACTIONAL), 0);
    partition.append(batch, &attachments, 0, epoch).await?.await
}

pub(super) async fn put(partition: &Partition, batch: BatchBuilder, number: u64) -> i64 {
    try_put(partition, batch, number).await.unwrap().base_offset
}

pub(super) fn marker(producer_id: i64, number: Option<u64>, commit: bool) -> Marker {
    Marker { producer_id, epoch: 0, number, commit, coordinator_epoch: 1 }
}

pub(super) async fn end(partition: &Partition, id: i64, number: u64, commit: bool) {
    partition.end_transaction(marker(id, Some(number), commit)).await.unwrap();
}

/// A record that a consumer of committed records is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) offset: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
}

/// Takes out of an answer what Kafka's consumer does, from an offset on.
fn given(bytes: &[u8], aborted: &[AbortedTransaction], from: i64) -> Vec<Given> {
    let mut coming: VecDeque<_> = aborted.iter().copied().collect();
    let (mut left_out, mut given) = (BTreeSet::new(), Vec::new());
    for (header, batch) in Batches::new(bytes) {
        while let Some(next) = coming.front().filter(|it| it.first_offset <= header.last_offset()) {
            left_out.insert(next.producer_id);
            coming.pop_front();
        }
        if header.is_control() {
            if EndMarker::of(batch).is_some_and(|marker| !marker.commit) {
                left_out.remove(&header.producer_id);
            }
            continue;
        }
        if header.is_transactional() && left_out.contains(&header.producer_id) {
            continue;
        }
        for record in Opened::open(batch, Projection::Everything).unwrap() {
            let record = record.unwrap();
            let offset = header.base_offset + i64::from(record.offset_delta);
            if offset >= from {
                let (key, value) = (record.key, record.value);
                let (key, value) = (key.map(|it| it.to_vec()), value.map(|it| it.to_vec()));
                given.push(Given { offset, key, value });
            }
        }
    }
    given
}

/// Reads all that is committed from an offset on, so many bytes at a time; `look` is shown each answer.
pub(super) async fn committed(
    partition: &Partition,
    mut offset: i64,
    bytes_max: usize,
    mut look: impl FnMut(&[u8], &[AbortedTransaction]),
) -> Vec<Given> {
    let mut all = Vec::new();
    loop {
        let read = partition.read_committed(offset, bytes_max, true).await.unwrap();
        let (records, aborted) = read;
        if records.bytes.is_empty() {
            let end = records.last_stable_offset;
            assert!(offset >= end, "nothing is left out before {end}");
            assert!(aborted.is_empty() && !records.is_cut());
            return all;
        }
        look(&records.bytes, &aborted);
        all.extend(given(&records.bytes, &aborted, offset));
        assert!(records.next_offset > offset, "a read with records makes progress");
        offset = records.next_offset;
    }
}

/// A partition and all that was ever written to it.
struct Run {
    broker: Broker,
    rng: StdRng,
    /// Offsets of records, and the producer and number of their transaction.
    written: Vec<(i64, Option<(i64, u64)>)>,
    /// By producer: number, first offset, next sequence.
    open: BTreeMap<i64, (u64, i64)>,
    sequences: BTreeMap<i64, i32>,
    /// Of each transaction that has ended: whether it was committed, and where it began.
    ended: BTreeMap<(i64, u64), (bool, i64)>,
    numbers: u64,
}

impl Run {
    async fn start(seed: u64) -> Self {
        Self {
            broker: Broker::start().await,
            rng: StdRng::seed_from_u64(seed),
            written: Vec::new(),
            open: BTreeMap::new(),
            sequences: BTreeMap::new(),
            ended: BTreeMap::new(),
            numbers: 0,
        }
    }

    fn partition(&self) -> &Partition {
        &self.broker.partition
    }

    /// Somebody writes, or a transaction ends.
    async fn step(&mut self) {
        let id = self.rng.random_range(0..4);
        if let Some((number, first)) = self.open.get(&id).copied()
            && self.rng.random_range(0..3) == 0
        {
            let commit = self.rng.random();
            end(self.partition(), id, number, commit).await;
            self.open.remove(&id);
            self.ended.insert((id, number), (commit, first));
            return;
        }
        let count = self.rng.random_range(1..4);
        let batch = records(count, 5, self.rng.random_range(1..2_000));
        let (base, transaction) = if self.rng.random_range(0..5) == 0 {
            (self.broker.append(&batch).await.base_offset, None)
        } else {
            self.numbers += 1;
            let number = self.open.get(&id).map_or(self.numbers, |(number, _)| *number);
            let sequence = self.sequences.entry(id).or_default();
            let batch = batch.producer(id, 0, *sequence);
            *sequence += i32::try_from(count).unwrap();
            let base = put(&self.broker.partition, batch, number).await;
            self.open.entry(id).or_insert((number, base));
            (base, Some((id, number)))
        };
        let count = i64::try_from(count).unwrap();
        self.written.extend((base..base + count).map(|offset| (offset, transaction)));
    }

    fn stable(&self) -> i64 {
        let first = self.open.values().map(|(_, first)| *first).min();
        first.unwrap_or(self.partition().high_watermark()).max(self.partition().log_start())
    }

    /// The offsets of committed records.
    fn expected(&self, from: i64) -> Vec<i64> {
        let stable = self.stable();
        let shown = self.written.iter().filter(|(offset, _)| (from..stable).contains(offset));
        let is_committed = |it: &&(i64, Option<(i64, u64)>)| {
            it.1.is_none_or(|transaction| self.ended[&transaction].0)
        };
        shown.filter(is_committed).map(|(offset, _)| *offset).collect()
    }

    /// The list has exactly the aborted transactions that have records in the answer.
    fn check_list(&self, bytes: &[u8], aborted: &[AbortedTransaction]) {
        let mut expected = BTreeSet::new();
        for (header, _) in Batches::new(bytes).filter(|(header, _)| !header.is_control()) {
            let at = self.written.iter().find(|(offset, _)| *offset == header.base_offset);
            let ended = at.unwrap().1.map(|it| (it.0, self.ended[&it]));
            if let Some((id, (false, first))) = ended {
                expected.insert((first, id));
            }
        }
        let found: Vec<_> = aborted.iter().map(|it| (it.first_offset, it.producer_id)).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }

    /// Reads from some offsets, wherever these are.
    async fn check(&mut self, reads: usize) {
        assert_eq!(self.partition().last_stable_offset(), self.stable());
        let (start, end) = (self.partition().log_start(), self.partition().high_watermark());
        for read in 0..reads {
            let from = if read == 0 { start } else { self.rng.random_range(start..=end) };
            let bytes = self.rng.random_range(1..20_000);
            let look =
                |bytes: &[u8], aborted: &[AbortedTransaction]| self.check_list(bytes, aborted);
            let found = committed(self.partition(), from, bytes, look).await;
            let found: Vec<_> = found.iter().map(|it| it.offset).collect();
            assert_eq!(found, self.expected(from), "from {from}, {bytes} bytes");
        }
    }

    async fn restart(self) -> Self {
        Self { broker: self.broker.restart().await, ..self }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_records_and_no_others_are_given_wherever_a_reader_begins() {
    for seed in 0..3 {
        let mut run = Run::start(seed).await;
        for round in 0..6 {
            for _ in 0..60 {
                run.step().await;
            }
            run.check(30).await;
            if round % 2 == 1 {
                run = run.restart().await;
                run.check(30).await;
            }
        }
        let aborted = run.ended.values().filter(|(commit, _)| !commit).count();
        assert_eq!(run.partition().summary().aborted_transactions, aborted as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_aborted_is_forgotten_with_its_records_and_not_before() {
    let mut run = Run::start(7).await;
    for _ in 0..8 {
        for _ in 0..40 {
            run.step().await;
        }
        let (start, end) = (run.partition().log_start(), run.partition().high_watermark());
        let upto = run.rng.random_range(start..=start + (end - start) / 2);
        assert_eq!(run.partition().delete_records(upto).await.unwrap(), upto);
        let before = run.partition().summary().aborted_transactions;
        let freed = run.partition().forget().await.unwrap();
        let left = run.partition().summary().aborted_transactions;
        assert_eq!(before - left, freed as u64);
        run.check(20).await;
    }
    for (id, (number, _)) in run.open.clone() {
        end(run.partition(), id, number, false).await;
    }
    run.partition().delete_records(-1).await.unwrap();
    run.partition().forget().await.unwrap();
    assert_eq!(run.partition().summary().aborted_transactions, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_miss_no_aborted_transaction_while_the_log_is_trimmed_under_them() {
    let mut run = Run::start(9).await;
    for _ in 0..300 {
        run.step().await;
    }
    let (end, expected) = (run.partition().high_watermark(), run.expected(0));
    let mut readers = Vec::new();
    for seed in 0..3 {
        let partition = std::sync::Arc::clone(&run.broker.partition);
        let expected: BTreeSet<i64> = expected.iter().copied().collect();
        readers.push(tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(seed);
            while partition.log_start() < end {
                let from = partition.log_start();
                let bytes = rng.random_range(1..8_000);
                // Nothing else would run where everything is in memory.
                tokio::task::yield_now().await;
                // Trimmed since, or at the end.
                let Ok(read) = partition.read_committed(from, bytes, true).await else { continue };
                let found = given(&read.0.bytes, &read.1, from);
                assert!(found.iter().all(|it| expected.contains(&it.offset)));
            }
        }));
    }
    while run.partition().log_start() < end {
        let upto = (run.partition().log_start() + run.rng.random_range(1..6)).min(end);
        run.partition().delete_records(upto).await.unwrap();
        run.partition().forget().await.unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_that_is_trimmed_while_it_is_open_stays_open() {
    let broker = Broker::start().await;
    let partition = &broker.partition;
    let first = put(partition, records(2, 5, 10).producer(1, 0, 0), 10).await;
    broker.append(&records(3, 5, 10)).await;
    assert_eq!((first, partition.last_stable_offset()), (0, 0));
    assert_eq!(partition.delete_records(4).await.unwrap(), 4);
    assert_eq!(partition.last_stable_offset(), 4);
    let (read, aborted) = partition.read_committed(4, 1_000, true).await.unwrap();
    assert!(read.bytes.is_empty() && aborted.is_empty() && !read.is_cut());
    assert!(partition.read_committed(3, 1_000, true).await.is_err(), "out of range");
    put(partition, records(1, 5, 10).producer(1, 0, 2), 10).await;
    let open = partition.open_transactions();
    let expected =
        OpenTransaction { producer_id: 1, epoch: 0, number: 10, first_offset: 0, ..open[0] };
    assert_eq!(open, [expected]);
    end(partition, 1, 10, false).await;
    let (read, aborted) = partition.read_committed(4, 1_000, true).await.unwrap();
    assert_eq!(aborted, [AbortedTransaction { producer_id: 1, first_offset: 0 }]);
    let left: Vec<i64> = given(&read.bytes, &aborted, 4).into_iter().map(|it| it.offset).collect();
    assert_eq!((left, read.next_offset), (vec![4], 7));
    partition.delete_records(-1).await.unwrap();
    assert_eq!(partition.last_stable_offset(), 7);
}

#[tokio::test]
async fn an_operator_ends_what_is_open_and_the_coordinator_may_come_after() {
    let broker = Broker::start().await;
    let partition = &broker.partition;
    let by_hand = |epoch| Marker { epoch, ..marker(1, None, false) };
    let none = AppendError::Refused(Refusal::Transaction(NotInTransaction::NoneOpen));
    assert_eq!(partition.end_transaction(by_hand(0)).await, Err(none));
    put(partition, records(1, 5, 10).producer(1, 0, 0), 10).await;
    for epoch in [-1, 1] {
        let other = AppendError::Refused(Refusal::InvalidProducerEpoch { current: 0 });
        assert_eq!(partition.end_transaction(by_hand(epoch)).await, Err(other), "{epoch}");
    }
    assert_eq!(partition.end_transaction(by_hand(0)).await, Ok(()));
    assert_eq!((partition.high_watermark(), partition.last_stable_offset()), (2, 2));
    assert_eq!(partition.end_transaction(by_hand(0)).await, Err(none));
    let broker = broker.restart().await;
    let partition = &broker.partition;
    end(partition, 1, 10, true).await;
    assert_eq!(partition.high_watermark(), 2, "it has ended");
    let late = try_put(partition, records(1, 5, 10).producer(1, 0, 1), 10).await;
    let ended = AppendError::Refused(Refusal::Transaction(NotInTransaction::Ended));
    assert_eq!(late.unwrap_err(), ended);
    assert_eq!(put(partition, records(1, 5, 10).producer(1, 0, 1), 11).await, 2);
}

#[tokio::test]
async fn times_are_looked_up_among_records_and_below_the_stable_offset() {
    let broker = Broker::start().await;
    let partition = &broker.partition;
    broker.append(&records(1, 100, 10)).await;
    broker.clock.set(9_000);
    end(partition, 5, 1, true).await;
    put(partition, records(1, 300, 10).producer(1, 0, 0), 10).await;
    broker.append(&records(1, 400, 10)).await;
    let find = async |spec, committed| {
        let found = if committed {
            partition.offset_for_timestamp_committed(spec).await.unwrap()
        } else {
            partition.offset_for_timestamp(spec).await.unwrap()
        };
        found.map(|found| (found.offset, found.timestamp))
    };
    assert_eq!(find(OffsetSpec::Latest, false).await, Some((4, -1)));
    assert_eq!(find(OffsetSpec::Latest, true).await, Some((2, -1)));
    assert_eq!(find(OffsetSpec::Earliest, true).await, Some((0, -1)));
    assert_eq!(find(OffsetSpec::AtOrAfter(50), true).await, Some((0, 100)));
    assert_eq!(find(OffsetSpec::AtOrAfter(200), true).await, None);
    assert_eq!(find(OffsetSpec::AtOrAfter(200), false).await, Some((2, 300)));
    assert_eq!(find(OffsetSpec::AtOrAfter(500), false).await, None, "a marker is no record");
    assert_eq!(find(OffsetSpec::MaxTimestamp, false).await, Some((3, 400)));
    assert_eq!(find(OffsetSpec::MaxTimestamp, true).await, None);
    end(partition, 1, 10, true).await;
    assert_eq!(find(OffsetSpec::MaxTimestamp, true).await, Some((3, 400)));
}

#[tokio::test]
async fn producers_are_told_by_id_in_pages() {
    let broker = Broker::start().await;
    let partition = &broker.partition;
    for id in 0..5 {
        put(partition, records(2, 70 + id, 10).producer(id, 0, 0), 10).await;
    }
    let raised = Marker { epoch: 3, ..marker(2, Some(10), true) };
    partition.end_transaction(raised).await.unwrap();
    let first = partition.producers(None, 3).await.unwrap();
    let ids: Vec<_> = first.iter().map(|it| it.producer_id).collect();
    assert_eq!(ids, [0, 1, 2]);
    let open = first[1];
    assert_eq!((open.last_sequence, open.last_timestamp, open.coordinator_epoch), (1, 71, -1));
    assert_eq!((open.epoch, open.transaction_start_offset), (0, 2));
    let ended = first[2];
    assert_eq!((ended.last_sequence, ended.coordinator_epoch, ended.epoch), (-1, 1, 3));
    assert_eq!(ended.transaction_start_offset, -1);
    let rest = partition.producers(Some(2), 10).await.unwrap();
    assert_eq!(rest.iter().map(|it| it.producer_id).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(partition.producers(Some(i64::MAX), 10).await.unwrap(), []);
    assert_eq!(partition.open_transactions().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_count_no_record_of_a_transaction_that_was_aborted_or_is_open() {
    let broker = Broker::start().await;
    let partition = &broker.partition;
    let keyed = |key: &str| BatchBuilder::new().record(5, Some(key.as_bytes()), Some(b"v"));
    put(partition, keyed("a").producer(1, 0, 0), 10).await;
    end(partition, 1, 10, true).await;
    put(partition, keyed("b").producer(1, 0, 1), 11).await;
    end(partition, 1, 11, false).await;
    put(partition, keyed("c").producer(1, 0, 2), 12).await;
    broker.append(&keyed("d")).await;
    let streams = Some(StreamConfigs { age_max_ms: i64::MAX, count_max: i64::MAX });
    partition.set_settings(PartitionSettings { streams, partitions: 1, ..partition.settings() });
    partition.follow_streams(None).await.unwrap();
    let progress = partition.streams_progress();
    assert_eq!((progress.on, progress.ready, progress.streams), (true, false, 1));
    let more = try_put(partition, keyed("c").producer(1, 0, 3), 12).await;
    let refusal = Refusal::NotTransactional { what: "a topic with streams" };
    assert_eq!(more.unwrap_err(), AppendError::Refused(refusal));
    end(partition, 1, 12, false).await;
    partition.follow_streams(None).await.unwrap();
    let progress = partition.streams_progress();
    assert_eq!((progress.ready, progress.streams, progress.misplaced), (true, 2, 0));
}

#[tokio::test]
async fn sequences_and_retries_hold_across_markers_and_restarts_in_both_flows() {
    let mut broker = Broker::start().await;
    let ids = [(1, 0), (2, 1)];
    let mut offsets = BTreeMap::new();
    for round in 0..4_i16 {
        for (id, bump) in ids {
            let (epoch, number) = (round * bump, 10 + u64::from(round.unsigned_abs()));
            let begin = if bump == 0 { i32::from(round) * 20 } else { 0 };
            let batch = |at: i32| records(2, 5, 10).producer(id, epoch, begin + at * 2);
            for at in 0..10 {
                let base = put(&broker.partition, batch(at), number).await;
                offsets.insert((id, round, at), base);
            }
            broker = broker.restart().await;
            // A retry is answered as it was, before the marker and, with the same epoch, behind it.
            let again = put(&broker.partition, batch(9), number).await;
            assert_eq!(again, offsets[&(id, round, 9)]);
            let marker = Marker { epoch: epoch + bump, ..marker(id, Some(number), true) };
            broker.partition.end_transaction(marker).await.unwrap();
            let again = try_put(&broker.partition, batch(9), number).await;
            match again {
                Ok(again) => assert_eq!((again.base_offset, bump), (offsets[&(id, round, 9)], 0)),
                Err(error) => {
                    let fenced = Refusal::InvalidProducerEpoch { current: epoch + 1 };
                    assert_eq!((error, bump), (AppendError::Refused(fenced), 1));
                }
            }
        }
    }
    assert_eq!(broker.partition.last_stable_offset(), broker.partition.high_watermark());
}
