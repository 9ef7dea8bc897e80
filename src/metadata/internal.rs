//! Internal groups: Raft groups that serve the cluster itself, such as a coordinator's, and belong to no topic.
//!
//! They are placed as partitions are, and hosted, moved and led by the same code; what differs is that nobody but the
//! cluster decides where they are. They are made when something first needs their kind, on one broker if there are
//! fewer than three, and `controller/internal_groups.rs` has them grow.
//!
//! A kind is a number to the image. Which machine it is, the brokers know; that all of them do is for whoever asks for
//! the first group of a kind to make sure.
//!
//! Invariant: groups of a kind are numbered from 0 without gaps and never deleted: who looks for number `n` by a hash
//! finds it where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_storage::GroupId;
use serde::{Deserialize, Serialize};

use super::{Image, NewGroups, PartitionInfo};

/// The replicas of an internal group, where there are as many brokers.
pub const INTERNAL_REPLICAS: usize = 3;
/// What internal groups are for. A number is never given another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InternalKind(pub u16);

/// One internal group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InternalId {
    pub kind: InternalKind,
    pub number: u32,
}

impl std::fmt::Display for InternalKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "internal-{}", self.0)
    }
}

impl std::fmt::Display for InternalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.kind, self.number)
    }
}

/// All internal groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InternalGroups {
    by_id: BTreeMap<InternalId, PartitionInfo>,
    ids: BTreeMap<GroupId, InternalId>,
}

/// What can be asked about internal groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InternalRequest {
    /// Makes those of the first `count` groups of a kind that are missing.
    Make { kind: InternalKind, count: u32 },
    /// Asks for other replicas; the group's leader moves them and then proposes the completion.
    SetReplicas { group: u64, replicas: Vec<u64> },
}

/// What is to become of internal groups: nothing of it is left to be found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InternalChange {
    /// Makes the groups from number `from` on.
    Make { kind: InternalKind, from: u32, groups: NewGroups },
    /// Sets all that is known of a group.
    Put { id: InternalId, info: PartitionInfo },
}

impl InternalGroups {
    /// Returns the group of that kind and number.
    pub fn get(&self, id: InternalId) -> Option<&PartitionInfo> {
        self.by_id.get(&id)
    }

    /// Returns what internal group a Raft group is.
    pub fn of(&self, group: GroupId) -> Option<(InternalId, &PartitionInfo)> {
        let id = *self.ids.get(&group)?;
        Some((id, self.by_id.get(&id)?))
    }

    /// Returns all of them, by kind and number.
    pub fn iter(&self) -> impl Iterator<Item = (InternalId, &PartitionInfo)> {
        self.by_id.iter().map(|(id, info)| (*id, info))
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Returns how many there are of one kind.
    pub fn count(&self, kind: InternalKind) -> u32 {
        let last = InternalId { kind, number: u32::MAX };
        let of_kind = self.by_id.range(InternalId { kind, number: 0 }..=last);
        u32::try_from(of_kind.count()).unwrap_or(u32::MAX)
    }

    /// Returns the groups that are in one and not, or differently, in the other.
    pub fn changed(&self, other: &Self) -> BTreeSet<GroupId> {
        let differ = |(id, info): &(InternalId, &PartitionInfo)| other.get(*id) != Some(*info);
        let gone = other.iter().filter(|(id, _)| self.get(*id).is_none());
        self.iter().filter(differ).chain(gone).map(|(_, info)| info.group).collect()
    }
}

impl Image {
    /// Carries out a change.
    pub(super) fn apply_internal(&mut self, change: InternalChange) {
        match change {
            InternalChange::Make { kind, from, groups: NewGroups { first, replicas } } => {
                self.next_group = first + replicas.len() as u64;
                for ((number, group), replicas) in (from..).zip(first..).zip(replicas) {
                    let id = InternalId { kind, number };
                    self.put_internal(id, PartitionInfo::new(GroupId(group), replicas));
                }
            }
            InternalChange::Put { id, info } => self.put_internal(id, info),
        }
    }

    pub(super) fn put_internal(&mut self, id: InternalId, info: PartitionInfo) {
        let groups = Arc::make_mut(&mut self.internal);
        groups.ids.insert(info.group, id);
        let before = groups.by_id.insert(id, info.clone());
        self.place_changed(before.as_ref(), Some(&info));
    }
}
