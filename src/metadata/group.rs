//! What Raft groups are for, and which of them the image places.

use quorate_storage::GroupId;

use super::{Image, InternalKind, PartitionInfo};

/// The group whose state is the image. It is not placed by it: every broker has a replica.
pub const METADATA_GROUP: GroupId = GroupId(0);

/// What a group is for. It decides which machine the group runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKind {
    /// The image itself.
    Metadata,
    /// A partition of a topic.
    Partition,
    /// Something that serves the cluster itself.
    Internal(InternalKind),
}

impl std::fmt::Display for GroupKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Metadata => f.write_str("metadata"),
            Self::Partition => f.write_str("partition"),
            Self::Internal(kind) => kind.fmt(f),
        }
    }
}

impl Image {
    /// Returns what a group is for and who keeps it; `None` for a group that the image does not place.
    pub fn placed(&self, group: GroupId) -> Option<(GroupKind, &PartitionInfo)> {
        if let Some((_, _, info)) = self.partition_of(group) {
            return Some((GroupKind::Partition, info));
        }
        let (id, info) = self.internal.of(group)?;
        Some((GroupKind::Internal(id.kind), info))
    }
}

impl PartitionInfo {
    /// Returns it with a change of replicas begun, which replaces one under way. `change` numbers it: none has it twice.
    pub(crate) fn begin(&self, wanted: Vec<u64>, change: u64) -> Self {
        let mut info = self.clone();
        let former = info.target.take().unwrap_or_default();
        info.leaving.extend(former);
        info.leaving.sort_unstable();
        info.leaving.dedup();
        info.leaving.retain(|broker| !wanted.contains(broker) && !info.replicas.contains(broker));
        Self { target: Some(wanted), change, ..info }
    }

    /// Returns it with the change of replicas under way complete.
    pub(super) fn completed(&self) -> Self {
        let mut info = self.clone();
        if let Some(target) = info.target.take() {
            info.replicas = target;
            info.leaving.clear();
            info.initial.clear();
        }
        info
    }
}
