//! Requests about internal groups.

use quorate_storage::GroupId;

use super::replicas::check_replicas;
use super::{Decision, changed, unchanged};
use crate::metadata::command::{Change, NewGroups};
use crate::metadata::{
    AdminError, Candidate, INTERNAL_REPLICAS, Image, InternalChange, InternalKind, InternalRequest,
    PartitionInfo, place,
};

/// Every broker may keep all of them, and one command makes all of a kind.
const COUNT_MAX: u32 = 1_000;
/// How many of the groups in the way of a removal are named.
const NAMED_MAX: usize = 5;

pub(super) fn decide(image: &Image, asked: &InternalRequest) -> Decision {
    match asked {
        InternalRequest::Make { kind, count } => make(image, *kind, *count),
        InternalRequest::SetReplicas { group, replicas } => set(image, GroupId(*group), replicas),
    }
}

/// Places the groups on brokers that are in service: unlike a partition's, their replicas become more by themselves.
fn make(image: &Image, kind: InternalKind, count: u32) -> Decision {
    if !(1..=COUNT_MAX).contains(&count) {
        let words = format!("{count} internal groups of a kind, 1 to {COUNT_MAX} are possible");
        return Err(AdminError::InvalidRequest(words));
    }
    let from = image.internal.count(kind);
    if from >= count {
        return unchanged();
    }
    let live: Vec<_> = image.live_brokers().map(|broker| Candidate::of(image, broker)).collect();
    if live.is_empty() {
        let registered = image.brokers.len() as u64;
        return Err(AdminError::NotEnoughBrokers { wanted: 1, registered, live: 0 });
    }
    let replication = if live.len() >= INTERNAL_REPLICAS { INTERNAL_REPLICAS } else { 1 };
    let replicas = place(live, (count - from) as usize, replication);
    let groups = NewGroups { first: image.next_group, replicas };
    changed(Change::Internal(InternalChange::Make { kind, from, groups }))
}

fn set(image: &Image, group: GroupId, wanted: &[u64]) -> Decision {
    let unknown = || AdminError::InvalidRequest(format!("group {group} is no internal group"));
    let (id, info) = image.internal.of(group).ok_or_else(unknown)?;
    check_replicas(image, wanted)?;
    let mut newcomers = wanted.iter().filter(|broker| !info.hosted_by(**broker));
    if let Some(fenced) = newcomers.find(|broker| image.brokers[*broker].fenced) {
        return Err(AdminError::InvalidAssignment(format!("broker {fenced} is not live")));
    }
    if info.target.as_deref() == Some(wanted) || (info.target.is_none() && info.replicas == wanted)
    {
        return unchanged();
    }
    let info = info.begin(wanted.to_vec(), image.version + 1);
    changed(Change::Internal(InternalChange::Put { id, info }))
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
