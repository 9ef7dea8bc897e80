//! A replica with a tail answers as one without: reads, times, epochs, retention.

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;
use futures::executor::block_on;
use quorate_raft::{Machine, Records};
use quorate_storage::{Db, EntryId, Error as StorageError, Log, Options, Reset};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use super::broker::{Broker, GROUP, records, until};
use crate::partition::command::{Times, append_payload};
use crate::partition::tail::{Description, Tail};
use crate::partition::transfer::PartitionRecords;
use crate::partition::{OffsetSpec, PartitionSettings, RelocateError, Reply};
use crate::record::{BatchBuilder, Codec};

/// Two brokers that are given the same, of which only one moves records to its tail.
struct Twins {
    tailed: Broker,
    plain: Broker,
    rng: StdRng,
    sequence: i32,
    now_ms: i64,
}

impl Twins {
    async fn start(seed: u64) -> Self {
        let (tailed, plain) = (Broker::start().await, Broker::start().await);
        Self { tailed, plain, rng: StdRng::seed_from_u64(seed), sequence: 0, now_ms: 1_000_000 }
    }

    fn batch(&mut self) -> BatchBuilder {
        let count = self.rng.random_range(1..6);
        let bytes = if self.rng.random_range(0..20) == 0 { 60_000 } else { 2000 };
        let value: Vec<u8> =
            (0..self.rng.random_range(0..bytes)).map(|_| self.rng.random()).collect();
        let times: Vec<i64> =
            (0..count).map(|_| self.now_ms + self.rng.random_range(-5000..5000)).collect();
        let codec =
            *[Codec::None, Codec::Gzip, Codec::Lz4, Codec::Zstd].choose(&mut self.rng).unwrap();
        let batch = times.iter().fold(BatchBuilder::new().codec(codec), |batch, time| {
            batch.record(*time, None, Some(&value))
        });
        match self.rng.random_range(0..6) {
            0 => batch.producer(9, 0, self.sequence + 1_000_000),
            1 => batch.producer(9, 0, self.sequence.saturating_sub(1)),
            2 | 3 => {
                self.sequence += count;
                batch.producer(9, 0, self.sequence - count)
            }
            _ => batch,
        }
    }

    /// One entry of some batches, refused and repeated ones among them.
    async fn append(&mut self) {
        self.now_ms += self.rng.random_range(0..600_000);
        let count = *[1, 1, 2, 5, 20].choose(&mut self.rng).unwrap();
        let entry: Vec<_> = (0..count).map(|_| self.batch().build()).collect();
        let times = Times { wall_ms: self.now_ms, log_ms: self.now_ms };
        for broker in [&self.tailed, &self.plain] {
            broker.clock.set(self.now_ms);
            let payload = append_payload(times, entry.iter().map(AsRef::as_ref));
            let term = broker.partition.fence().unwrap();
            let reply = broker.partition.propose(payload, term).await.unwrap().await.unwrap();
            assert!(matches!(reply, Reply::Appended(_)));
        }
    }

    async fn append_bytes(&mut self, bytes: u64) {
        let wanted = self.plain.partition.bytes_end() + bytes;
        while self.plain.partition.bytes_end() < wanted {
            self.append().await;
        }
    }

    fn some_offset(&mut self) -> i64 {
        let partition = &self.plain.partition;
        self.rng.random_range(partition.log_start()..=partition.high_watermark())
    }

    async fn move_some(&mut self) -> Option<i64> {
        let offset = self.some_offset();
        let moved = loop {
            match self.tailed.partition.move_to_tail(offset).await {
                // The log start has passed the tail, and no checkpoint has that yet.
                Err(RelocateError::Changed) => self.append_bytes(1_200_000).await,
                moved => break moved.unwrap(),
            }
        };
        assert!(moved.is_none_or(|end| end <= offset), "whole entries before it only");
        moved
    }

    async fn delete(&mut self, offset: i64) {
        for broker in [&self.tailed, &self.plain] {
            let log_start = broker.partition.delete_records(offset).await.unwrap();
            assert_eq!(log_start, offset.max(log_start));
        }
    }

    async fn expire(&mut self) {
        let by_size: bool = self.rng.random();
        let left = self.rng.random_range(500_000..2_000_000);
        let age = self.rng.random_range(3_600_000..40_000_000);
        let mut found = Vec::new();
        for broker in [&self.tailed, &self.plain] {
            broker.partition.set_settings(PartitionSettings {
                retention_ms: (!by_size).then_some(age),
                retention_bytes: by_size.then_some(left),
                ..PartitionSettings::default()
            });
            found.push(broker.partition.enforce_retention().await.unwrap());
            broker.partition.set_settings(PartitionSettings::default());
        }
        assert_eq!(found[0], found[1], "retention finds the same");
    }

    async fn restart(self) -> Self {
        let (tailed, plain) = (self.tailed.restart().await, self.plain.restart().await);
        Self { tailed, plain, ..self }
    }

    async fn compare(&mut self) {
        let (tailed, plain) = (&self.tailed.partition, &self.plain.partition);
        assert_eq!(tailed.summary(), plain.summary());
        let (start, end) = (plain.log_start(), plain.high_watermark());
        for at in 0..120 {
            let offset = if at == 0 { start } else { self.rng.random_range(start..=end) };
            let bytes_max = *[1, 1000, 50_000, 1 << 20].choose(&mut self.rng).unwrap();
            let whole = self.rng.random();
            let (found, wanted) = (
                tailed.read(offset, bytes_max, whole).await.unwrap(),
                plain.read(offset, bytes_max, whole).await.unwrap(),
            );
            assert_eq!(found, wanted, "a read of {bytes_max} bytes from {offset}");
            assert_eq!(tailed.bytes_before(offset), plain.bytes_before(offset));
        }
        let all = [&self.tailed, &self.plain].map(|broker| broker.read_all(start, 30_000));
        let [found, wanted] = all;
        assert_eq!(found.await, wanted.await, "from end to end");
        let mut specs = vec![OffsetSpec::MaxTimestamp, OffsetSpec::Earliest, OffsetSpec::Latest];
        let times = 990_000..self.now_ms + 10_000;
        specs.extend((0..60).map(|_| OffsetSpec::AtOrAfter(self.rng.random_range(times.clone()))));
        for spec in specs {
            let found = tailed.offset_for_timestamp(spec).await.unwrap();
            assert_eq!(found, plain.offset_for_timestamp(spec).await.unwrap(), "{spec:?}");
        }
        for epoch in 0..12 {
            let found = tailed.end_offset_for_epoch(epoch);
            assert_eq!(found, plain.end_offset_for_epoch(epoch), "epoch {epoch}");
        }
    }

    fn boundary(&self) -> i64 {
        let tail = Tail::of(self.tailed.partition.group().log()).unwrap();
        tail.end().map_or(0, |end| end.offset)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_a_tail_answers_as_one_without() {
    for seed in 0..3 {
        let mut twins = Twins::start(seed).await;
        twins.append_bytes(1_500_000).await;
        assert_eq!(
            twins.tailed.partition.move_to_tail(0).await.unwrap(),
            None,
            "nothing before it"
        );
        let mut moved = 0;
        for round in 0..8 {
            moved += i32::from(twins.move_some().await.is_some());
            twins.compare().await;
            twins.append_bytes(400_000).await;
            match round % 4 {
                0 => twins = twins.restart().await,
                1 => {
                    let offset = twins.some_offset();
                    twins.delete((offset + twins.plain.partition.log_start()) / 2).await;
                }
                2 => twins.expire().await,
                _ => {}
            }
            twins.compare().await;
            twins.tailed.partition.drop_trimmed().await.unwrap();
            let group = twins.tailed.partition.group();
            let first = group.log().chunks().first().map(|it| it.index);
            let kept_from = group.covered_from();
            assert!(first.is_none_or(|it| it > kept_from), "whole trimmed chunks are gone");
            twins.compare().await;
        }
        assert!(moved > 2, "seed {seed} moved {moved} times");
        // The log below the boundary goes, and the records are still there.
        twins.append_bytes(1_500_000).await;
        let end = twins.plain.partition.high_watermark();
        assert_eq!(twins.tailed.partition.move_to_tail(end).await.unwrap(), Some(end));
        let boundary = Tail::of(twins.tailed.partition.group().log()).unwrap().end().unwrap();
        twins.append_bytes(2_500_000).await;
        let status = || twins.tailed.partition.group().status().purged_index;
        let plain = twins.plain.partition.group().machine().view().start.place.index;
        until("the log goes up to the boundary", || status().is_some_and(|it| it > plain)).await;
        assert!(status().is_some_and(|purged| purged < boundary.place.index));
        let gone = twins.tailed.partition.group().log().read(plain, plain + 1, 1);
        assert!(matches!(gone, Err(StorageError::Purged { .. })), "{gone:?}");
        twins.compare().await;
        twins = twins.restart().await;
        assert_eq!(twins.boundary(), end);
        twins.compare().await;
        // A trim that overtakes the tail, and a new one behind it.
        twins.append_bytes(300_000).await;
        let behind = end + 7;
        twins.delete(behind).await;
        let passed = twins.tailed.partition.move_to_tail(i64::MAX).await;
        assert!(matches!(passed, Err(RelocateError::Changed)), "a checkpoint still has it");
        twins.append_bytes(1_500_000).await;
        let end = twins.plain.partition.high_watermark();
        assert_eq!(twins.tailed.partition.move_to_tail(end).await.unwrap(), Some(end));
        let first = twins.tailed.partition.group().log().chunks()[0].first;
        assert!(first <= u64::try_from(behind).unwrap() && first > 0);
        twins.compare().await;
    }
}

/// The directory as a crash would leave it now. What says what must be there comes first.
fn image(from: &Path) -> TempDir {
    loop {
        let to = TempDir::new().unwrap();
        let files = fs::read_dir(from).unwrap().map(|file| file.unwrap().path());
        let mut files: Vec<_> = files.collect();
        files.sort_by_key(|path| {
            !path.file_name().unwrap().to_string_lossy().starts_with("quorate")
        });
        let copied = files.iter().try_for_each(|path| {
            fs::copy(path, to.path().join(path.file_name().unwrap())).map(|_| ())
        });
        match copied {
            Ok(()) => return to,
            // A file went away meanwhile: that is no one moment.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_any_two_steps_of_a_move_loses_and_doubles_nothing() {
    let mut twins = Twins::start(11).await;
    twins.append_bytes(1_500_000).await;
    let offset = twins.plain.partition.high_watermark() / 2;
    let written = twins.tailed.partition.write_tail(offset).await.unwrap().unwrap();
    let unnamed = image(twins.tailed.dir());
    let end = twins.tailed.partition.take_tail(written).await.unwrap();
    let named = image(twins.tailed.dir());
    twins.compare().await;
    let plain = [(); 2].map(|()| image(twins.plain.dir()));
    let Twins { now_ms, sequence, .. } = twins;
    let start = |dir| Broker::start_in(dir, PartitionSettings::default(), now_ms);
    for ((tailed, boundary), plain) in [(unnamed, None), (named, Some(end))].into_iter().zip(plain)
    {
        let (tailed, plain) = (start(tailed).await, start(plain).await);
        let rng = StdRng::seed_from_u64(3);
        let mut crashed = Twins { tailed, plain, rng, sequence, now_ms };
        let tail = Tail::of(crashed.tailed.partition.group().log()).unwrap();
        assert_eq!(tail.end(), boundary);
        assert_eq!(tail.chunks().is_empty(), boundary.is_none());
        crashed.compare().await;
        crashed.append_bytes(300_000).await;
        assert!(crashed.tailed.partition.move_to_tail(i64::MAX).await.unwrap().is_some());
        crashed.compare().await;
    }
}

/// All that is sent beside a checkpoint with this machine, points first.
fn all_of(log: &Log, machine: &[u8]) -> Vec<(Bytes, Bytes)> {
    let outgoing = PartitionRecords.outgoing(log, machine).unwrap();
    let (mut pairs, mut after, mut pages) = (Vec::new(), None::<Bytes>, 0);
    loop {
        let page = outgoing.page(after.as_deref(), 10_000).unwrap();
        // As when a transfer was cut off.
        let again = PartitionRecords.outgoing(log, machine).unwrap();
        let again = again.page(after.as_deref(), 10_000).unwrap();
        assert_eq!((&again.pairs, &again.upto), (&page.pairs, &page.upto));
        pairs.extend(page.pairs);
        pages += 1;
        let Some(upto) = page.upto else { break };
        assert!(after.as_ref().is_none_or(|after| *after < upto), "it goes on");
        after = Some(upto);
    }
    assert!(pages > 10);
    pairs
}

/// What a replica has, taken by the store of another one.
fn fill(log: &Log, machine: &[u8], pairs: &[(Bytes, Bytes)]) {
    let begin = || PartitionRecords.incoming(log, machine).unwrap();
    let first = pairs.iter().position(|(key, _)| key[0] == b'r').unwrap();
    assert!(first > 3, "points come first");
    let (key, value) = &pairs[first + 1];
    assert!(begin().put(key, value.clone()).is_err(), "the first is missing");
    let (key, value) = &pairs[0];
    assert!(begin().put(key, value.slice(1..)).is_err(), "a point that is none");
    assert!(begin().put(&Bytes::from_static(b"x"), value.clone()).is_err(), "another key");
    let mut incoming = begin();
    let mut points = Vec::new();
    for (key, value) in pairs {
        points.extend(incoming.put(key, value.clone()).unwrap());
    }
    let (key, value) = &pairs[first];
    assert!(incoming.put(key, value.clone()).is_err(), "it was taken");
    let chunks = incoming.finish().unwrap();
    assert!(chunks.len() > 1 && log.chunks().is_empty(), "nothing is seen yet");
    let mut cut = begin();
    cut.put(key, value.clone()).unwrap();
    assert!(cut.finish().is_err(), "the rest is missing");
    let (done, durable) = mpsc::channel();
    let last = EntryId { term: 1, index: chunks[chunks.len() - 1].index - 1 };
    let fired = Box::new(move || done.send(()).unwrap());
    block_on(async {
        log.write_state(points, Vec::new()).await.unwrap();
        let keep = vec![PartitionRecords.kept_state()];
        let reset = Reset { keep, state: Vec::new(), chunks };
        log.reset_to(last, reset, fired).await.unwrap();
    });
    durable.recv().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_has_can_fill_another_wherever_its_records_are() {
    let mut twins = Twins::start(5).await;
    twins.append_bytes(1_500_000).await;
    twins.move_some().await;
    twins.append_bytes(200_000).await;
    let offset = twins.some_offset();
    twins.delete(offset / 2).await;
    let mut both = Vec::new();
    for broker in [&twins.tailed, &twins.plain] {
        let machine = Machine::encode(&*broker.partition.group().machine());
        let log = broker.partition.group().log().clone();
        let filled = tokio::task::spawn_blocking(move || {
            let pairs = all_of(&log, &machine);
            let dir = TempDir::new().unwrap();
            let options = Options { chunk_bytes: 100_000, ..Options::default() };
            let db = Db::open(dir.path(), options).unwrap();
            let other = db.log(GROUP);
            fill(&other, &machine, &pairs);
            assert_eq!(all_of(&other, &machine), pairs);
            let chunks = other.chunks();
            let starts = chunks.iter().map(|chunk| Description::of(chunk).unwrap().start.place);
            assert!(starts.skip(1).all(|place| place.sub == 0), "chunks end between entries");
            // Who reads below what is left is told so, and not given what follows.
            block_on(other.change_chunks(&chunks, 0..1, Vec::new(), Box::new(|| ()))).unwrap();
            let first = pairs.iter().find(|(key, _)| key[0] == b'r').unwrap();
            let outgoing = PartitionRecords.outgoing(&other, &machine).unwrap();
            assert!(outgoing.page(Some(&first.0[..9]), 10_000).is_err(), "it is gone");
            db.close();
            pairs
        });
        both.push(filled.await.unwrap());
    }
    assert_eq!(both[0], both[1], "wherever the records were");
    twins.compare().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_go_on_while_records_move_and_the_log_goes_under_them() {
    let broker = Broker::start().await;
    let batch = records(3, 5, 2000);
    for _ in 0..1500 {
        broker.append(&batch).await;
    }
    let end = broker.partition.high_watermark();
    let mut readers = Vec::new();
    for reader in 0..3 {
        let partition = broker.partition.clone();
        readers.push(tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(reader);
            let mut offset = 0;
            while offset < end {
                let read = partition.read(offset, rng.random_range(1..60_000), true).await.unwrap();
                assert!(read.next_offset > offset);
                offset = read.next_offset;
            }
            offset
        }));
    }
    for upto in (0..=end).step_by(300) {
        broker.partition.move_to_tail(upto).await.unwrap();
        broker.append(&batch).await;
    }
    for reader in readers {
        assert!(reader.await.unwrap() >= end);
    }
    let purged = || broker.partition.group().status().purged_index.is_some();
    until("the log went as well", purged).await;
    let all = broker.read_all(0, 50_000).await;
    assert_eq!(all.last().unwrap().next_offset, broker.partition.high_watermark());
}
