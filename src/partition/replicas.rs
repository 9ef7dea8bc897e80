//! The partitions this broker holds a replica of.
//!
//! What should be open is decided elsewhere, from the cluster's image; this opens, closes and deletes as
//! told, and gives handlers the open ones by group.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use quorate_raft::Node;
use quorate_storage::GroupId;
use tokio::sync::Semaphore;

use super::disk::DISK_READS_MAX;
use super::hints::Hints;
use super::proposer::Proposer;
use super::{Clock, Partition, PartitionMachine, PartitionSettings};

/// All replicas of one broker.
pub struct Partitions {
    node: Arc<Node>,
    /// Read by every request and written when a replica comes or goes; never held across an await.
    open: RwLock<HashMap<GroupId, Arc<Partition>>>,
    disk_reads: Arc<Semaphore>,
    clock: Clock,
}

/// A replica that should be open.
#[derive(Debug, Clone)]
pub struct Replica {
    pub group: GroupId,
    pub topic: String,
    /// Its number within the topic.
    pub number: i32,
    /// The brokers that hold it, the one that should lead first.
    pub preferred: Vec<u64>,
    pub settings: PartitionSettings,
}

/// A replica could not be opened. Trying again is safe.
#[derive(Debug, thiserror::Error)]
#[error("partition {topic}-{number} (group {group}) cannot be opened")]
pub struct OpenError {
    pub group: GroupId,
    pub topic: String,
    pub number: i32,
    #[source]
    pub source: quorate_raft::Error,
}

impl Partitions {
    /// Returns a registry in which nothing is open.
    pub fn new(node: Arc<Node>, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            node,
            open: RwLock::default(),
            disk_reads: Arc::new(Semaphore::new(DISK_READS_MAX)),
            clock,
        })
    }

    /// Returns the replica of `group` if it is open.
    pub fn get(&self, group: GroupId) -> Option<Arc<Partition>> {
        self.open.read().get(&group).map(Arc::clone)
    }

    /// Returns all open replicas, in no order.
    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.open.read().values().map(Arc::clone).collect()
    }

    /// Opens a replica; one that is open gets the new settings. Not for two callers with one group.
    ///
    /// Returns when its state is restored. A new group is not bootstrapped by this: see
    /// [`Group::initialize`](quorate_raft::Group::initialize).
    pub async fn open(&self, replica: Replica) -> Result<Arc<Partition>, OpenError> {
        if let Some(open) = self.get(replica.group) {
            open.set_settings(replica.settings);
            return Ok(open);
        }
        let Replica { group, topic, number, preferred, settings } = replica;
        let machine = PartitionMachine::default();
        let opened = match self.node.open(group, machine, preferred).await {
            Ok(opened) => opened,
            Err(source) => return Err(OpenError { group, topic, number, source }),
        };
        let proposer = Proposer::new(opened.clone());
        let partition = Arc::new(Partition {
            leadership: opened.leadership(),
            group: opened,
            topic,
            number,
            settings: RwLock::new(settings),
            disk_reads: Arc::clone(&self.disk_reads),
            hints: Hints::default(),
            proposer,
            closing: Arc::default(),
            clock: Arc::clone(&self.clock),
        });
        self.open.write().insert(group, Arc::clone(&partition));
        Ok(partition)
    }

    /// Closes a replica and keeps its data. Requests in progress on it fail.
    pub async fn close(&self, group: GroupId) {
        self.forget(group);
        self.node.close(group).await;
    }

    /// Closes a replica, if it is open, and deletes its data.
    pub async fn delete(&self, group: GroupId) -> Result<(), quorate_raft::Error> {
        self.forget(group);
        self.node.delete(group).await
    }

    fn forget(&self, group: GroupId) {
        let closed = self.open.write().remove(&group);
        if let Some(partition) = closed {
            // Before its log goes away, so that nobody takes that for damage.
            partition.closing.close();
        }
    }
}
