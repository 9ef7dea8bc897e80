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

use super::machine::check_replicas;
use super::{AdminError, Candidate, Image, PartitionInfo, place};

/// The replicas of an internal group, where there are as many brokers.
pub const INTERNAL_REPLICAS: usize = 3;
/// Every broker may keep all of them, and one command makes all of a kind.
const COUNT_MAX: u32 = 1_000;
/// How many of the groups in the way of a removal are named.
const NAMED_MAX: usize = 5;

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
    /// Makes the groups from number `from` on, with the group ids from `first` on.
    Make { kind: InternalKind, from: u32, first: u64, replicas: Vec<Vec<u64>> },
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

/// Decides a request; `None`: what was asked for is so already. `change` numbers a change of replicas.
pub(super) fn decide(
    image: &Image,
    asked: &InternalRequest,
    change: u64,
) -> Result<Option<InternalChange>, AdminError> {
    match asked {
        InternalRequest::Make { kind, count } => make(image, *kind, *count),
        InternalRequest::SetReplicas { group, replicas } => {
            set(image, GroupId(*group), replicas, change)
        }
    }
}

/// Places the groups on brokers that are in service: unlike a partition's, their replicas become more by themselves.
fn make(
    image: &Image,
    kind: InternalKind,
    count: u32,
) -> Result<Option<InternalChange>, AdminError> {
    if !(1..=COUNT_MAX).contains(&count) {
        let words = format!("{count} internal groups of a kind, 1 to {COUNT_MAX} are possible");
        return Err(AdminError::InvalidRequest(words));
    }
    let from = image.internal.count(kind);
    if from >= count {
        return Ok(None);
    }
    let live: Vec<_> = image.live_brokers().map(|broker| Candidate::of(image, broker)).collect();
    if live.is_empty() {
        let registered = image.brokers.len() as u64;
        return Err(AdminError::NotEnoughBrokers { wanted: 1, registered, live: 0 });
    }
    let replication = if live.len() >= INTERNAL_REPLICAS { INTERNAL_REPLICAS } else { 1 };
    let replicas = place(live, (count - from) as usize, replication);
    Ok(Some(InternalChange::Make { kind, from, first: image.next_group, replicas }))
}

fn set(
    image: &Image,
    group: GroupId,
    wanted: &[u64],
    change: u64,
) -> Result<Option<InternalChange>, AdminError> {
    let unknown = || AdminError::InvalidRequest(format!("group {group} is no internal group"));
    let (id, info) = image.internal.of(group).ok_or_else(unknown)?;
    check_replicas(image, wanted)?;
    let mut newcomers = wanted.iter().filter(|broker| !info.hosted_by(**broker));
    if let Some(fenced) = newcomers.find(|broker| image.brokers[*broker].fenced) {
        return Err(AdminError::InvalidAssignment(format!("broker {fenced} is not live")));
    }
    if info.target.as_deref() == Some(wanted) || (info.target.is_none() && info.replicas == wanted)
    {
        return Ok(None);
    }
    let info = info.begin(wanted.to_vec(), change);
    Ok(Some(InternalChange::Put { id, info }))
}

/// Refuses to let a broker go for good while an internal group could then not be written to any more, by its replicas or
/// by those it is moving to; or while it moves away from the broker, whose vote it may count yet.
pub(super) fn check_removal(image: &Image, broker: u64) -> Result<(), AdminError> {
    let stays = |id: &&u64| **id != broker && image.brokers.contains_key(*id);
    let lost = |voters: &Vec<u64>| voters.iter().filter(stays).count() * 2 <= voters.len();
    let needs = |info: &PartitionInfo| {
        lost(&info.replicas) || info.target.iter().any(lost) || info.leaving.contains(&broker)
    };
    let need: Vec<String> =
        image.internal.iter().filter(|(_, it)| needs(it)).map(|(id, _)| id.to_string()).collect();
    if need.is_empty() {
        return Ok(());
    }
    let dots = if need.len() > NAMED_MAX { ", ..." } else { "" };
    let named = need[..need.len().min(NAMED_MAX)].join(", ") + dots;
    Err(AdminError::InternalGroupsNeed { broker, groups: need.len() as u64, named })
}

impl Image {
    /// Carries out a change.
    pub(super) fn apply_internal(&mut self, change: InternalChange) {
        match change {
            InternalChange::Make { kind, from, first, replicas } => {
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
