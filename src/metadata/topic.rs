//! A topic and its partitions as the cluster agreed on them.

use quorate_storage::GroupId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::TopicConfigs;

/// A topic. Shared between images, so a change makes a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    pub name: String,
    /// Never used again, not even by a topic of the same name (KIP-516).
    pub id: Uuid,
    /// Partition `n` stands at index `n`.
    pub partitions: Vec<PartitionInfo>,
    pub configs: TopicConfigs,
}

/// One partition: its Raft group and who keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionInfo {
    #[serde(with = "group_as_u64")]
    pub group: GroupId,
    /// The replicas in order of preference; the first should lead. While `target` is set these are the
    /// replicas before the change.
    pub replicas: Vec<u64>,
    /// The voters the group is born with. Empty once the replicas have changed: the group then exists
    /// for certain, and a replica with an empty log is a newcomer that must not found it again.
    pub initial: Vec<u64>,
    /// The replicas wanted, while a change is under way.
    pub target: Option<Vec<u64>>,
    /// Former targets of the change under way. They may already be in Raft's membership, so they keep
    /// their data until the change is complete.
    pub leaving: Vec<u64>,
    /// The version of the image that set `target`: what completes a change names it, so that a delayed
    /// completion of an older change is not taken for this one's.
    pub change: u64,
}

impl PartitionInfo {
    /// Returns a partition as it is born.
    pub fn new(group: GroupId, replicas: Vec<u64>) -> Self {
        Self {
            group,
            initial: replicas.clone(),
            replicas,
            target: None,
            leaving: Vec::new(),
            change: 0,
        }
    }

    /// Returns whether `broker` has to run the group: it is, becomes, or may still be a replica.
    pub fn hosted_by(&self, broker: u64) -> bool {
        self.replicas.contains(&broker)
            || self.leaving.contains(&broker)
            || self.target.as_ref().is_some_and(|target| target.contains(&broker))
    }

    /// Returns who should lead, when the broker is fit to.
    pub fn preferred(&self) -> Option<u64> {
        self.replicas.first().copied()
    }
}

impl Topic {
    /// Returns partition `index` as Kafka numbers them.
    pub fn partition(&self, index: i32) -> Option<&PartitionInfo> {
        usize::try_from(index).ok().and_then(|index| self.partitions.get(index))
    }

    /// Returns the partitions with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (i32, &PartitionInfo)> {
        (0..).zip(&self.partitions)
    }

    /// Returns how many replicas a partition of this topic has (the first one's, while one is moving).
    pub fn replication(&self) -> usize {
        self.partitions.first().map_or(0, |partition| partition.replicas.len())
    }

    /// Returns how many replicas every partition has, now and when the moves under way are over.
    pub fn replication_min(&self) -> usize {
        let replicas = |it: &PartitionInfo| {
            it.replicas.len().min(it.target.as_ref().map_or(usize::MAX, Vec::len))
        };
        self.partitions.iter().map(replicas).min().unwrap_or(0)
    }
}

/// Storage does not know serde; the bytes of a group id are its number.
mod group_as_u64 {
    use quorate_storage::GroupId;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(super) fn serialize<S: Serializer>(group: &GroupId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(group.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<GroupId, D::Error> {
        u64::deserialize(from).map(GroupId)
    }
}
