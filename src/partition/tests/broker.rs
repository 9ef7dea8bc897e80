//! One broker with one partition, which can be stopped and started again on its directory.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use quorate_raft::{Node, NodeConfig};
use quorate_storage::{Db, GroupId, Options};
use tempfile::TempDir;

use crate::partition::{
    Appended, Attachments, Compactor, Partition, PartitionSettings, PartitionSpec, Partitions,
    PendingAppend, Records, RetentionPace,
};
use crate::record::{BatchBuilder, CheckedBatch, Limits, check};
use crate::replica::Replicas;
use crate::wall_clock::{Clock, WallClock};

pub(super) const GROUP: GroupId = GroupId(7);
/// Between two looks of retention, where it runs.
const RETENTION: Duration = Duration::from_millis(10);

/// See the file's header.
pub(super) struct Broker {
    node: Arc<Node>,
    pub(super) replicas: Arc<Replicas>,
    pub(super) partitions: Arc<Partitions>,
    pub(super) partition: Arc<Partition>,
    /// What the partition takes for the time.
    pub(super) clock: Arc<ManualClock>,
    disk: Disk,
}

/// A wall clock that tells what it was told.
pub(super) struct ManualClock {
    now_ms: AtomicI64,
    doubted: AtomicBool,
}

impl ManualClock {
    pub(super) fn set(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(super) fn doubt(&self, doubted: bool) {
        self.doubted.store(doubted, Ordering::Relaxed);
    }
}

impl WallClock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn trusted_ms(&self) -> Option<i64> {
        (!self.doubted.load(Ordering::Relaxed)).then(|| self.now_ms())
    }
}

/// The database and its directory, which goes only after it.
struct Disk {
    db: Arc<Db>,
    dir: Option<TempDir>,
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.db.close();
    }
}

impl Broker {
    pub(super) async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), PartitionSettings::default(), 0).await
    }

    pub(super) async fn start_in(dir: TempDir, settings: PartitionSettings, now_ms: i64) -> Self {
        let db = open_db(dir.path());
        let node = Node::start(config(), Arc::clone(&db)).await.unwrap();
        let clock = Arc::new(ManualClock {
            now_ms: AtomicI64::new(now_ms),
            doubted: AtomicBool::new(false),
        });
        let pace = RetentionPace { interval: RETENTION };
        let partitions = Partitions::new(Arc::clone(&clock) as Clock, pace, Compactor::idle());
        let kinds = vec![Arc::clone(&partitions) as _];
        let replicas = Replicas::new(Arc::clone(&node), kinds);
        let spec = PartitionSpec { topic: "orders".to_owned(), number: 0, settings };
        replicas.open(&partitions, GROUP, vec![1], spec).await.unwrap();
        replicas.bootstrap(GROUP, &[1]).await.unwrap();
        let partition = partitions.get(GROUP).unwrap();
        ready(&partition).await;
        let disk = Disk { db, dir: Some(dir) };
        Self { node, replicas, partitions, partition, clock, disk }
    }

    /// Where its database is.
    pub(super) fn dir(&self) -> &Path {
        self.disk.dir.as_ref().unwrap().path()
    }

    /// Stops and starts again; what was in memory only is gone.
    pub(super) async fn restart(self) -> Self {
        let settings = self.partition.settings();
        let now_ms = self.clock.now_ms();
        let Self { node, replicas, partitions, partition, mut disk, .. } = self;
        node.shutdown().await;
        let dir = disk.dir.take().unwrap();
        drop((partition, partitions, replicas, node, disk));
        Self::start_in(dir, settings, now_ms).await
    }

    /// Hands a batch to the log.
    pub(super) async fn propose(&self, batch: &BatchBuilder) -> PendingAppend {
        let epoch = self.partition.leader_epoch_if_ready().unwrap();
        let now_ms = self.clock.now_ms();
        self.partition
            .append(checked(batch, now_ms), &Attachments::default(), now_ms, epoch)
            .await
            .unwrap()
    }

    pub(super) async fn append(&self, batch: &BatchBuilder) -> Appended {
        self.propose(batch).await.await.unwrap()
    }

    /// Reads from `offset` on to the end, at most `bytes_max` at a time.
    pub(super) async fn read_all(&self, mut offset: i64, bytes_max: usize) -> Vec<Records> {
        let mut all = Vec::new();
        loop {
            let records = self.partition.read(offset, bytes_max, true).await.unwrap();
            if records.bytes.is_empty() {
                assert_eq!(offset, records.high_watermark, "nothing is left out before the end");
                return all;
            }
            assert!(records.next_offset > offset, "a read with records makes progress");
            offset = records.next_offset;
            all.push(records);
        }
    }
}

/// Returns what a producer's batch becomes on its way into the log.
pub(super) fn checked(batch: &BatchBuilder, now_ms: i64) -> CheckedBatch {
    check(batch.build(), &Limits::wide(now_ms)).unwrap()
}

/// `count` records of one time, each with a value of `bytes` bytes.
pub(super) fn records(count: usize, timestamp: i64, bytes: usize) -> BatchBuilder {
    let value = vec![b'v'; bytes];
    (0..count).fold(BatchBuilder::new(), |batch, _| batch.record(timestamp, None, Some(&value)))
}

/// Waits until a condition holds that nothing announces.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn ready(partition: &Partition) {
    let mut leadership = partition.group().leadership();
    let ready = leadership.wait_for(|leadership| leadership.ready);
    tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap().unwrap();
}

fn open_db(dir: &Path) -> Arc<Db> {
    // Little memory and small generations, so that a short test reads the disk and frees space.
    let options = Options {
        generation_bytes: 1 << 20,
        tail_cache_bytes: 256 << 10,
        tail_cache_group_bytes: 128 << 10,
        chunk_bytes: 128 << 10,
        ..Options::default()
    };
    Db::open(dir, options).unwrap()
}

fn config() -> NodeConfig {
    NodeConfig {
        node_id: 1,
        cluster_id: 1,
        directory_id: 1,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        advertised: "127.0.0.1:0".to_owned(),
        stall: quorate_raft::StallConfig::default(),
        failure: quorate_raft::FailureConfig::default(),
        limits: quorate_raft::TransportLimits::default(),
    }
}
