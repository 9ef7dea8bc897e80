//! What Raft groups are for, and which of them the image places.

use quorate_storage::GroupId;

use super::{Image, PartitionInfo};

/// The group whose state is the image. It is not placed by it: every broker has a replica.
pub const METADATA_GROUP: GroupId = GroupId(0);

/// What a group is for. It decides which machine the group runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKind {
    /// The image itself.
    Metadata,
    /// A partition of a topic.
    Partition,
}

impl std::fmt::Display for GroupKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Metadata => "metadata",
            Self::Partition => "partition",
        })
    }
}

impl Image {
    /// Returns what a group is for and who keeps it; `None` for a group that the image does not place.
    pub fn placed(&self, group: GroupId) -> Option<(GroupKind, &PartitionInfo)> {
        let (_, _, info) = self.partition_of(group)?;
        Some((GroupKind::Partition, info))
    }
}
