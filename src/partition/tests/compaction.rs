//! Compaction against a model that keeps every record in a list.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use quorate_raft::{Machine, Records as _};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::broker::{Broker, until};
use crate::metadata::CompactionConfigs;
use crate::partition::command::{Times, append_payload};
use crate::partition::tail::Tail;
use crate::partition::transfer::PartitionRecords;
use crate::partition::{
    CompactError, CompactionPace, OffsetAt, OffsetSpec, Partition, PartitionSettings,
};
use crate::record::{BatchBuilder, Batches, Codec, Projection, Records};

/// Keys that compaction remembers at a time: few, so that it takes several passes.
const FEW: usize = 24 * 40;

/// A record as a reader sees it, and as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// A partition and all that was ever written to it.
struct Run {
    broker: Broker,
    written: Vec<Seen>,
    rng: StdRng,
}

pub(super) fn always(delete_retention_ms: i64) -> PartitionSettings {
    let compaction = CompactionConfigs {
        min_lag_ms: 0,
        max_lag_ms: i64::MAX,
        delete_retention_ms,
        dirty_millionths: 0,
        segment_bytes: 0,
        segment_ms: i64::MAX,
    };
    PartitionSettings { compaction: Some(compaction), ..PartitionSettings::default() }
}

impl Run {
    async fn start(seed: u64) -> Self {
        let broker = Broker::start().await;
        broker.partition.set_settings(always(i64::MAX));
        Self { broker, written: Vec::new(), rng: StdRng::seed_from_u64(seed) }
    }

    fn partition(&self) -> &Arc<Partition> {
        &self.broker.partition
    }

    /// A batch of records with some of 100 keys, tombstones and records without a key among them.
    async fn append(&mut self) {
        let codec = *Codec::ALL.choose(&mut self.rng).unwrap();
        let mut batch = BatchBuilder::new().codec(codec);
        let first = i64::try_from(self.written.len()).unwrap();
        for offset in first..first + self.rng.random_range(1..12) {
            let number: u32 = self.rng.random_range(0..100);
            let key = (number > 0).then(|| format!("key {number}").into_bytes());
            let bytes = if self.rng.random_range(0..30) == 0 { 20_000 } else { 300 };
            let value = (self.rng.random_range(0..5) > 0)
                .then(|| (0..self.rng.random_range(0..bytes)).map(|_| self.rng.random()).collect());
            let value: Option<Vec<u8>> = value;
            let timestamp = self.rng.random_range(0..1_000_000);
            batch = batch.record(timestamp, key.as_deref(), value.as_deref());
            self.written.push(Seen { offset, timestamp, key, value });
        }
        let appended = self.broker.append(&batch).await;
        assert_eq!(appended.base_offset, first);
    }

    /// A record of a time.
    async fn append_at(&mut self, timestamp: i64, key: &[u8]) {
        let offset = i64::try_from(self.written.len()).unwrap();
        let (key, value) = (Some(key.to_vec()), Some(b"value".to_vec()));
        let batch = BatchBuilder::new().record(timestamp, key.as_deref(), value.as_deref());
        self.broker.append(&batch).await;
        self.written.push(Seen { offset, timestamp, key, value });
    }

    async fn append_many(&mut self, batches: usize) {
        for _ in 0..batches {
            self.append().await;
        }
    }

    async fn decide(&self) -> bool {
        self.partition().decide_compaction(None, false).await.unwrap()
    }

    /// Compacts, and gives up after so many batches.
    async fn compact(&self, batches: u32) -> Result<bool, CompactError> {
        let (left, pace) = (AtomicU32::new(batches), Arc::new(CompactionPace::new(0)));
        let stopped = move || {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1)).is_err()
        };
        self.partition().compact(FEW, &pace, stopped).await
    }

    async fn seen(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for part in self.broker.read_all(self.partition().log_start(), 40_000).await {
            for (header, batch) in Batches::new(&part.bytes) {
                for record in Records::open(batch, Projection::Everything).unwrap() {
                    let record = record.unwrap();
                    let offset = header.base_offset + i64::from(record.offset_delta);
                    let (key, value) = (record.key, record.value);
                    let (key, value) = (key.map(|it| it.to_vec()), value.map(|it| it.to_vec()));
                    seen.push(Seen { offset, timestamp: record.timestamp, key, value });
                }
            }
        }
        seen
    }

    /// What may be left, and what has to be.
    fn model(&self) -> (Vec<Seen>, Vec<Seen>) {
        let (upto, tombstones_upto, start) = {
            let machine = self.partition().group().machine();
            let cleaned = machine.cleaned();
            (cleaned.upto.offset, cleaned.tombstones_upto, machine.view().start.offset)
        };
        let mut newest = HashMap::new();
        for record in self.written.iter().take_while(|record| record.offset < upto) {
            newest.insert(record.key.clone(), record.offset);
        }
        let all: Vec<_> = self.written.iter().filter(|it| it.offset >= start).cloned().collect();
        let stays = |record: &&Seen| {
            let is_newest = record.key.is_some() && newest.get(&record.key) == Some(&record.offset);
            let is_over = record.value.is_none() && record.offset < tombstones_upto;
            record.offset >= upto || (is_newest && !is_over)
        };
        let left = all.iter().filter(stays).cloned().collect();
        (all, left)
    }

    /// Compares with the model once everything that was decided is done.
    async fn compare(&mut self) {
        while self.compact(u32::MAX).await.unwrap() {}
        let (_, left) = self.model();
        let seen = self.seen().await;
        let wrong = seen.iter().zip(&left).find(|(seen, left)| seen != left);
        assert_eq!((wrong, seen.len()), (None, left.len()));
        self.compare_times(&seen).await;
    }

    /// Nothing is gone that has to be there, and nothing is there that was never written.
    async fn compare_halfway(&self) {
        let (all, left) = self.model();
        let seen = self.seen().await;
        assert!(seen.iter().is_sorted_by(|a, b| a.offset < b.offset));
        assert!(seen.iter().all(|record| all.contains(record)));
        assert!(left.iter().all(|record| seen.contains(record)));
    }

    async fn compare_times(&mut self, seen: &[Seen]) {
        let log_start = self.partition().log_start();
        let seen: Vec<_> = seen.iter().filter(|it| it.offset >= log_start).collect();
        let found = async |spec| {
            let found = self.broker.partition.offset_for_timestamp(spec).await.unwrap();
            found.map(|OffsetAt { offset, timestamp, .. }| (offset, timestamp))
        };
        let newest = seen.iter().map(|it| it.timestamp).max();
        let newest = newest.and_then(|newest| seen.iter().find(|it| it.timestamp == newest));
        let wanted = newest.map(|it| (it.offset, it.timestamp));
        assert_eq!(found(OffsetSpec::MaxTimestamp).await, wanted);
        let mut rng = self.rng.clone();
        for _ in 0..30 {
            let time = rng.random_range(0..1_000_000);
            let first = seen.iter().find(|it| it.timestamp >= time);
            let wanted = first.map(|it| (it.offset, it.timestamp));
            assert_eq!(found(OffsetSpec::AtOrAfter(time)).await, wanted, "at {time}");
        }
    }

    async fn restart(self) -> Self {
        Self { broker: self.broker.restart().await, ..self }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_what_a_model_has_left() {
    for seed in 0..4 {
        let mut run = Run::start(seed).await;
        for round in 0..14 {
            let batches = run.rng.random_range(1..120);
            run.append_many(batches).await;
            assert!(run.decide().await, "there is something new");
            match round % 7 {
                2 => run = run.restart().await,
                3 => {
                    // Tombstones that could have gone for long enough go.
                    run.partition().set_settings(always(0));
                    run.decide().await;
                    assert!(run.partition().group().machine().cleaned().tombstones_upto > 0);
                    run.compare().await;
                    run.partition().set_settings(always(i64::MAX));
                }
                5 => {
                    let (start, end) =
                        (run.partition().log_start(), run.partition().high_watermark());
                    let upto = run.rng.random_range(start..=end) / 4;
                    // Also where everything around it is compacted away.
                    let wanted = upto.max(start);
                    assert_eq!(run.partition().delete_records(wanted).await.unwrap(), wanted);
                    let first = run.partition().group().machine().view().start.offset;
                    assert!(first <= wanted);
                }
                // Not compacted before the next decision.
                6 => continue,
                _ => {}
            }
            run.compare().await;
            assert!(!run.compact(u32::MAX).await.unwrap(), "nothing is left to do");
        }
        let chunks = Tail::of(run.partition().group().log()).unwrap().chunks().len();
        assert!(chunks < 12, "small ones are joined: {chunks}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_that_is_stopped_anywhere_leaves_all_that_counts_and_is_finished_later() {
    for seed in 10..13 {
        let mut run = Run::start(seed).await;
        run.append_many(150).await;
        run.decide().await;
        let (mut stopped, mut round) = (0, 0);
        loop {
            let batches = run.rng.random_range(1..400);
            let ended = run.compact(batches).await;
            run.compare_halfway().await;
            match ended {
                Ok(false) => break,
                Ok(true) => {}
                Err(CompactError::Stopped) => stopped += 1,
                Err(error) => panic!("{error}"),
            }
            round += 1;
            if round % 5 == 1 {
                run = run.restart().await;
            }
            if round == 4 {
                run.append_many(100).await;
                run.decide().await;
            }
        }
        assert!(stopped > 1, "stopped {stopped} times");
        run.compare().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_with_more_keys_than_are_remembered_is_compacted_in_parts() {
    let mut run = Run::start(20).await;
    for value in [b"old", b"new"] {
        let first = i64::try_from(run.written.len()).unwrap();
        let mut batch = BatchBuilder::new();
        for number in 0..500 {
            let key = format!("{number}").into_bytes();
            // Some are deleted by the second batch.
            let value = (value == b"old" || number % 3 > 0).then(|| value.to_vec());
            batch = batch.record(7, Some(&key), value.as_deref());
            let (offset, key) = (first + number, Some(key));
            run.written.push(Seen { offset, timestamp: 7, key, value });
        }
        run.broker.append(&batch).await;
    }
    run.decide().await;
    run.compare().await;
    run.partition().set_settings(always(0));
    run.decide().await;
    run.compare().await;
    assert_eq!(run.seen().await.len(), 333);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_go_on_while_chunks_are_replaced_under_them() {
    let mut run = Run::start(30).await;
    run.append_many(400).await;
    let end = run.partition().high_watermark();
    let mut readers = Vec::new();
    for reader in 0..3 {
        let partition = Arc::clone(run.partition());
        readers.push(tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(reader);
            let mut offset = 0;
            while offset < end {
                let read = partition.read(offset, rng.random_range(1..60_000), true).await.unwrap();
                assert!(read.next_offset > offset, "no reader is stuck at {offset}");
                offset = read.next_offset;
            }
        }));
    }
    for _ in 0..6 {
        run.decide().await;
        while run.compact(u32::MAX).await.unwrap() {}
        run.append_many(20).await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
    run.compare().await;
    // The log goes as well, up to where the chunks end.
    let purged = |run: &Run| run.partition().group().status().purged_index.unwrap_or(0);
    run.append_many(600).await;
    assert!(purged(&run) < 10, "others may need it");
    run.partition().free_log(Duration::ZERO);
    run.append_many(600).await;
    until("the log is freed", || purged(&run) > 200).await;
    run = run.restart().await;
    run.compare().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn young_records_wait_and_old_ones_do_not() {
    let mut run = Run::start(40).await;
    let settings = |min_lag_ms, max_lag_ms| {
        let compaction = always(i64::MAX).compaction.unwrap();
        let segment_bytes = 10_000_000;
        let compaction = CompactionConfigs { min_lag_ms, max_lag_ms, segment_bytes, ..compaction };
        PartitionSettings { compaction: Some(compaction), ..PartitionSettings::default() }
    };
    run.partition().set_settings(settings(0, 5_000));
    run.broker.clock.set(1_000_000);
    run.append_many(10).await;
    run.append_at(1_000_000, b"timed").await;
    assert!(!run.decide().await, "little is new");
    run.broker.clock.set(1_004_999);
    assert!(!run.decide().await, "and it is not old yet");
    run.broker.clock.set(1_005_000);
    run.broker.clock.doubt(true);
    assert!(!run.decide().await, "nobody knows how old it is");
    run.broker.clock.doubt(false);
    run.partition().set_settings(settings(6_000, 5_000));
    assert!(!run.decide().await, "it must not be touched yet");
    run.partition().set_settings(settings(0, 5_000));
    assert!(run.decide().await);
    run.compare().await;
    run.broker.clock.set(2_000_000);
    run.append_many(5).await;
    assert!(run.partition().decide_compaction(None, true).await.unwrap(), "whoever asks is heard");
    run.partition().set_settings(PartitionSettings::default());
    run.append_many(5).await;
    assert!(
        !run.partition().decide_compaction(None, true).await.unwrap(),
        "not compacted any more"
    );
    run.compare().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_filled_as_of_a_checkpoint_that_compaction_has_passed() {
    let mut run = Run::start(50).await;
    let machine = |run: &Run| Machine::encode(&*run.partition().group().machine());
    run.append_many(50).await;
    let passed = machine(&run);
    run.append_many(50).await;
    run.decide().await;
    while run.compact(u32::MAX).await.unwrap() {}
    let log = run.partition().group().log();
    let refused = PartitionRecords.outgoing(log, &passed).err();
    assert!(refused.is_some_and(|it| it.to_string().contains("beyond the checkpoint")));
    assert!(PartitionRecords.outgoing(log, &machine(&run)).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_start_moves_to_any_offset_though_nothing_is_left_around_it() {
    let mut run = Run::start(50).await;
    for offset in 0..60 {
        run.append_at(7, if offset == 20 { b"one" } else { b"all" }).await;
    }
    run.decide().await;
    run.compare().await;
    for (offset, left) in [(10, 2), (20, 2), (21, 1), (30, 1), (58, 1), (59, 1)] {
        assert_eq!(run.partition().delete_records(offset).await.unwrap(), offset);
        assert_eq!(run.partition().log_start(), offset);
        assert_eq!(run.seen().await.len(), left, "from {offset}");
    }
}

/// Batches share entries, and of each entry only the last is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_are_no_larger_than_they_should_be_whatever_is_left_of_entries() {
    let mut run = Run::start(51).await;
    let value = vec![b'v'; 20_000];
    for round in 0..40_i64 {
        let first = i64::try_from(run.written.len()).unwrap();
        let own = format!("own {round}").into_bytes();
        let keys = [b"shared".to_vec(), own];
        let batch = |key: &Vec<u8>| BatchBuilder::new().record(7, Some(key), Some(&value)).build();
        let batches = keys.each_ref().map(batch);
        let times = Times { wall_ms: 0, log_ms: 0 };
        let payload = append_payload(times, batches.iter().map(AsRef::as_ref));
        let term = run.partition().fence().unwrap();
        run.partition().propose(payload, term).await.unwrap().await.unwrap();
        for (offset, key) in (first..).zip(keys) {
            let (key, value) = (Some(key), Some(value.clone()));
            run.written.push(Seen { offset, timestamp: 7, key, value });
        }
    }
    run.decide().await;
    run.compare().await;
    let chunks = run.partition().group().log().chunks();
    let largest = chunks.iter().map(|chunk| chunk.bytes).max();
    assert!(chunks.len() > 4 && largest < Some(200_000), "{} chunks, {largest:?}", chunks.len());
}
