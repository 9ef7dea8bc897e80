//! The partitions this broker holds a replica of, as a kind of group.
//!
//! Which replicas are open is decided elsewhere; this has what a partition is beside its Raft group, and gives
//! handlers the open ones by group.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use quorate_raft::Group;
use quorate_storage::GroupId;
use tokio::sync::{Mutex, Semaphore};

use super::disk::DISK_READS_MAX;
use super::hints::Hints;
use super::proposer::Proposer;
use super::retention::{self, CurrentSettings, RetentionPace};
use super::streams;
use super::{Compactor, Partition, PartitionMachine, PartitionSettings};
use crate::metadata::{GroupKind, Image, Topic};
use crate::replica::{InUse, Kind};
use crate::wall_clock::Clock;

/// All partitions of one broker.
pub struct Partitions {
    open: InUse<Partition>,
    disk_reads: Arc<Semaphore>,
    clock: Clock,
    retention: RetentionPace,
    compactor: Compactor,
    current: OnceLock<CurrentSettings>,
}

/// What the image says of a partition.
#[derive(Debug, Clone)]
pub struct PartitionSpec {
    pub topic: String,
    /// Its number within the topic.
    pub number: i32,
    pub settings: PartitionSettings,
}

impl Partitions {
    /// Returns the kind, with nothing open.
    pub fn new(clock: Clock, retention: RetentionPace, compactor: Compactor) -> Arc<Self> {
        let disk_reads = Arc::new(Semaphore::new(DISK_READS_MAX));
        let (open, current) = (InUse::default(), OnceLock::new());
        Arc::new(Self { open, disk_reads, clock, retention, compactor, current })
    }

    /// Says whom to ask what is in force before anything is deleted for its age or size. Until then what each partition was
    /// told last is.
    pub fn ask_before_deleting(&self, current: CurrentSettings) {
        let _ = self.current.set(current);
    }

    /// Returns whom to ask, see [`Partitions::ask_before_deleting`].
    pub(super) fn current(&self) -> Option<&CurrentSettings> {
        self.current.get()
    }

    /// Returns what compacts them.
    pub fn compactor(&self) -> &Compactor {
        &self.compactor
    }

    /// Returns what an image has a partition obey.
    pub fn settings_of(image: &Image, group: GroupId) -> Option<PartitionSettings> {
        image.partition_of(group).map(|(topic, ..)| settings(topic))
    }

    /// Returns the replica of `group` if it is open.
    pub fn get(&self, group: GroupId) -> Option<Arc<Partition>> {
        self.open.get(group)
    }

    /// Returns all open replicas, in no order.
    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.open.all()
    }
}

impl Kind for Partitions {
    const KIND: GroupKind = GroupKind::Partition;
    type Machine = PartitionMachine;
    type Spec = PartitionSpec;

    fn name(spec: &PartitionSpec) -> String {
        format!("{}-{}", spec.topic, spec.number)
    }

    fn spec(image: &Image, group: GroupId) -> Option<PartitionSpec> {
        let (topic, number, _) = image.partition_of(group)?;
        Some(PartitionSpec { topic: topic.name.clone(), number, settings: settings(topic) })
    }

    fn opened(&self, group: Group<PartitionMachine>, spec: PartitionSpec) {
        let id = group.id();
        let proposer = Proposer::new(group.clone());
        let partition = Partition {
            leadership: group.leadership(),
            group,
            topic: spec.topic,
            number: spec.number,
            settings: RwLock::new(spec.settings),
            disk_reads: Arc::clone(&self.disk_reads),
            hints: Hints::default(),
            proposer,
            tail_changes: Mutex::default(),
            looked_through: parking_lot::Mutex::default(),
            stream_changes: Mutex::default(),
            swept_upto: AtomicI64::default(),
            compactions: parking_lot::Mutex::default(),
            first_compacted: parking_lot::Mutex::default(),
            boundaries: parking_lot::Mutex::default(),
            closing: Arc::default(),
            clock: Arc::clone(&self.clock),
        };
        partition.note_boundary();
        self.open.insert(id, partition);
    }

    fn changed(&self, group: GroupId, spec: PartitionSpec) {
        if let Some(partition) = self.get(group) {
            partition.set_settings(spec.settings);
        }
    }

    fn closing(&self, group: GroupId) {
        if let Some(partition) = self.open.remove(group) {
            // Before its log goes away, so that nobody takes that for damage.
            partition.closing.close();
        }
    }

    fn beside(self: Arc<Self>) -> BoxFuture<'static, ()> {
        let retention = retention::run(Arc::clone(&self), self.retention);
        async move {
            let compactor = &self.compactor;
            let compacting = (compactor.run(&self), compactor.free_logs(&self));
            tokio::join!(retention, compacting.0, compacting.1, streams::run(&self));
        }
        .boxed()
    }
}

/// Returns what the partitions of `topic` have to obey.
fn settings(topic: &Topic) -> PartitionSettings {
    let configs = &topic.configs;
    PartitionSettings {
        retention_ms: configs.retention_ms().filter(|_| configs.deletes()),
        retention_bytes: configs.retention_bytes().filter(|_| configs.deletes()),
        compaction: configs.compaction(),
        streams: configs.streams(),
        partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
    }
}
