//! Compaction where there are transactions: what who reads committed records finds under each key is the same before and
//! after, and what was aborted goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::broker::Broker;
use super::compaction::always;
use super::transactions::{committed, end, put};
use crate::partition::{CompactError, CompactionPace, Partition};
use crate::record::{BatchBuilder, Batches, Header};

/// Keys that compaction remembers at a time: few, so that it takes several passes.
const FEW: usize = 24 * 40;

type Table = BTreeMap<Vec<u8>, Vec<u8>>;

struct Run {
    broker: Broker,
    rng: StdRng,
    /// By producer: the number of what is open.
    open: BTreeMap<i64, u64>,
    sequences: BTreeMap<i64, i32>,
    numbers: u64,
}

impl Run {
    async fn start(seed: u64) -> Self {
        let broker = Broker::start().await;
        broker.partition.set_settings(always(i64::MAX));
        let (open, sequences) = (BTreeMap::new(), BTreeMap::new());
        Self { broker, rng: StdRng::seed_from_u64(seed), open, sequences, numbers: 0 }
    }

    fn partition(&self) -> &Arc<Partition> {
        &self.broker.partition
    }

    async fn end(&mut self, id: i64, commit: bool) {
        let Some(number) = self.open.remove(&id) else { return };
        end(self.partition(), id, number, commit).await;
    }

    /// A producer writes or ends its transaction, or somebody writes outside of any.
    async fn step(&mut self) {
        let id = self.rng.random_range(0..4);
        if self.rng.random_range(0..3) == 0 {
            let commit = self.rng.random();
            return self.end(id, commit).await;
        }
        let (mut batch, count) = (BatchBuilder::new(), self.rng.random_range(1..4));
        for _ in 0..count {
            let key = format!("key {}", self.rng.random_range(0..60)).into_bytes();
            let size = self.rng.random_range(1..600);
            let value = (self.rng.random_range(0..5) > 0).then(|| {
                let mut value = vec![0_u8; size];
                self.rng.fill(&mut value[..]);
                value
            });
            batch = batch.record(5, Some(&key), value.as_deref());
        }
        if self.rng.random_range(0..5) == 0 {
            self.broker.append(&batch).await;
            return;
        }
        self.numbers += 1;
        let number = *self.open.entry(id).or_insert(self.numbers);
        let sequence = self.sequences.entry(id).or_default();
        let batch = batch.producer(id, 0, *sequence);
        *sequence += count;
        put(&self.broker.partition, batch, number).await;
    }

    async fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step().await;
        }
    }

    /// The newest committed value of each key.
    async fn table(&self) -> Table {
        let start = self.partition().log_start();
        let mut table = Table::new();
        for record in committed(self.partition(), start, 30_000, |_, _| {}).await {
            match (record.key, record.value) {
                (Some(key), Some(value)) => drop(table.insert(key, value)),
                (Some(key), None) => drop(table.remove(&key)),
                (None, _) => panic!("all have keys"),
            }
        }
        table
    }

    async fn decide(&self) -> bool {
        self.partition().decide_compaction(None, false).await.unwrap()
    }

    /// Compacts, and gives up after so many batches.
    async fn compact(&self, batches: usize) -> Result<bool, CompactError> {
        let (left, pace) = (AtomicUsize::new(batches), Arc::new(CompactionPace::new(0)));
        let stopped = move || {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1)).is_err()
        };
        self.partition().compact(FEW, &pace, stopped).await
    }

    async fn compact_all(&self) {
        while self.compact(usize::MAX).await.unwrap() {}
    }

    async fn headers(&self) -> Vec<Header> {
        let start = self.partition().log_start();
        let parts = self.broker.read_all(start, 1 << 20).await;
        parts.iter().flat_map(|it| Batches::new(&it.bytes).map(|(header, _)| header)).collect()
    }

    fn upto(&self) -> i64 {
        self.partition().group().machine().cleaned().upto.offset
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_committed_records_finds_the_same_before_and_after() {
    for seed in 0..4 {
        let mut run = Run::start(seed).await;
        for round in 0..8 {
            let steps = run.rng.random_range(20..150);
            run.steps(steps).await;
            let before = run.table().await;
            let records = run.headers().await.iter().map(|it| it.record_count).sum::<i32>();
            run.decide().await;
            assert!(run.upto() <= run.partition().last_stable_offset());
            if round % 3 == 1 {
                // Stopped anywhere in between.
                for _ in 0..4 {
                    let batches = run.rng.random_range(1..200);
                    let ended = run.compact(batches).await;
                    assert!(matches!(ended, Ok(_) | Err(CompactError::Stopped)), "{ended:?}");
                    assert_eq!(run.table().await, before, "seed {seed} round {round}");
                }
            }
            run.compact_all().await;
            assert_eq!(run.table().await, before, "seed {seed} round {round}");
            let left = run.headers().await.iter().map(|it| it.record_count).sum::<i32>();
            assert!(left <= records);
            if round % 2 == 0 {
                run = Run { broker: run.broker.restart().await, ..run };
                assert_eq!(run.table().await, before, "seed {seed} round {round}");
            }
            if round % 4 == 3 {
                // Tombstones and markers that could have gone for long enough go.
                run.partition().set_settings(always(0));
                run.decide().await;
                run.compact_all().await;
                assert_eq!(run.table().await, before, "seed {seed} round {round}");
                run.partition().set_settings(always(i64::MAX));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_aborted_goes_and_supersedes_nothing_and_markers_go_as_tombstones_do() {
    let run = Run::start(50).await;
    let keyed = |value: &[u8]| BatchBuilder::new().record(5, Some(b"key"), Some(value));
    put(run.partition(), keyed(b"committed").producer(1, 0, 0), 10).await;
    end(run.partition(), 1, 10, true).await;
    put(run.partition(), keyed(b"aborted").producer(1, 0, 1), 11).await;
    end(run.partition(), 1, 11, false).await;
    let other = BatchBuilder::new().record(5, Some(b"other"), Some(b"v"));
    run.broker.append(&other).await;
    assert!(run.decide().await);
    run.compact_all().await;
    let found: Vec<_> = run.headers().await.iter().map(|it| it.base_offset).collect();
    assert_eq!(found, [0, 1, 3, 4], "the aborted record went, both markers stay");
    assert_eq!(run.table().await[&b"key"[..]], b"committed");
    run.partition().set_settings(always(0));
    assert!(run.decide().await);
    run.compact_all().await;
    let found: Vec<_> = run.headers().await.iter().map(|it| it.base_offset).collect();
    assert_eq!(found, [0, 4], "and the markers behind the horizon went");
    assert_eq!(run.table().await[&b"key"[..]], b"committed");
    // What comes behind an aborted transaction of which nothing is left is not taken for a part of it.
    put(run.partition(), keyed(b"newer").producer(1, 0, 2), 12).await;
    end(run.partition(), 1, 12, true).await;
    assert_eq!(run.table().await[&b"key"[..]], b"newer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_holds_compaction_up_until_it_ends() {
    for commit in [true, false] {
        let run = Run::start(60).await;
        let keyed = |value: &[u8]| BatchBuilder::new().record(5, Some(b"key"), Some(value));
        run.broker.append(&keyed(b"first")).await;
        run.broker.append(&keyed(b"second")).await;
        put(run.partition(), keyed(b"undecided").producer(1, 0, 0), 10).await;
        run.broker.append(&keyed(b"third")).await;
        assert!(run.decide().await);
        run.compact_all().await;
        assert_eq!(run.upto(), 2);
        let found: Vec<_> = run.headers().await.iter().map(|it| it.base_offset).collect();
        assert_eq!(found, [1, 2, 3]);
        assert!(!run.decide().await, "there is nothing new below the stable offset");
        end(run.partition(), 1, 10, commit).await;
        put(run.partition(), keyed(b"fourth").producer(1, 0, 1), 11).await;
        end(run.partition(), 1, 11, commit).await;
        assert!(run.decide().await);
        run.compact_all().await;
        let newest: &[u8] = if commit { b"fourth" } else { b"third" };
        assert_eq!(run.table().await[&b"key"[..]], newest);
        let records = run.headers().await.iter().map(|it| it.record_count).sum::<i32>();
        assert_eq!(records, 3, "the newest value and two markers");
    }
}
