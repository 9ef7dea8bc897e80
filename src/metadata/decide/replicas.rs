//! Requests about who keeps a partition.
//!
//! A change is wanted (`target`), carried out by the partition's leader in Raft, and then stated complete.
//! In between, every broker that was ever part of it keeps its replica, because Raft's membership may
//! still count on it. A change is numbered by the version of the image that it makes: none has it twice.

use std::collections::BTreeSet;

use quorate_storage::GroupId;
use uuid::Uuid;

use super::{Decision, changed, unchanged};
use crate::metadata::command::Change;
use crate::metadata::{AdminError, Image, InternalChange, PartitionInfo, Topic, TopicConfigs};

const REPLICAS_MAX: usize = 15;

pub(super) fn set(image: &Image, topic: Uuid, partition: i32, wanted: &[u64]) -> Decision {
    let (found, info) = find(image, topic, partition)?;
    check_replicas(image, wanted)?;
    let newcomers = wanted.iter().filter(|broker| !info.hosted_by(**broker));
    if let Some(fenced) = newcomers.copied().find(|broker| image.brokers[broker].fenced) {
        return Err(AdminError::InvalidAssignment(format!("broker {fenced} is not live")));
    }
    TopicConfigs::check(found.configs.explicit(), wanted.len(), image.level)?;
    if info.target.is_none() && same_members(&info.replicas, wanted) {
        // Only the preference changes; Raft's membership is what it was.
        let info = PartitionInfo { replicas: wanted.to_vec(), ..info.clone() };
        return put(topic, partition, info);
    }
    if info.target.as_deref() == Some(wanted) {
        return unchanged();
    }
    put(topic, partition, info.begin(wanted.to_vec(), image.version + 1))
}

/// Puts `broker` first among the replicas. Those of a change under way say themselves who is to lead.
pub(super) fn prefer(image: &Image, topic: Uuid, partition: i32, broker: u64) -> Decision {
    let (_, info) = find(image, topic, partition)?;
    if info.target.is_some() || info.preferred() == Some(broker) {
        return unchanged();
    }
    if !info.replicas.contains(&broker) {
        let reason = format!("broker {broker} keeps no replica of the partition");
        return Err(AdminError::InvalidAssignment(reason));
    }
    let mut info = info.clone();
    info.replicas.retain(|replica| *replica != broker);
    info.replicas.insert(0, broker);
    put(topic, partition, info)
}

pub(super) fn cancel(image: &Image, topic: Uuid, partition: i32) -> Decision {
    let (_, info) = find(image, topic, partition)?;
    match &info.target {
        None => Err(AdminError::NoChangeUnderWay),
        Some(target) if *target == info.replicas => unchanged(),
        Some(_) => put(topic, partition, info.begin(info.replicas.clone(), image.version + 1)),
    }
}

pub(super) fn complete(image: &Image, group: u64, completed: u64) -> Decision {
    let group = GroupId(group);
    let (_, info) = image.placed(group).ok_or(AdminError::ChangeSuperseded)?;
    if info.change != completed {
        return Err(AdminError::ChangeSuperseded);
    }
    if info.target.is_none() {
        return unchanged();
    }
    let info = info.completed();
    if let Some((id, _)) = image.internal.of(group) {
        return changed(Change::Internal(InternalChange::Put { id, info }));
    }
    let (topic, partition, _) = image.partition_of(group).ok_or(AdminError::ChangeSuperseded)?;
    put(topic.id, partition, info)
}

fn put(topic: Uuid, partition: i32, info: PartitionInfo) -> Decision {
    changed(Change::PutPartition { topic, partition, info })
}

/// Whether the brokers exist and are named once each.
pub(super) fn check_replicas(image: &Image, replicas: &[u64]) -> Result<(), AdminError> {
    let refuse = |why: String| Err(AdminError::InvalidAssignment(why));
    if replicas.is_empty() || replicas.len() > REPLICAS_MAX {
        return refuse(format!("{} replicas, 1 to {REPLICAS_MAX} are possible", replicas.len()));
    }
    if let Some(unknown) = replicas.iter().find(|broker| !image.brokers.contains_key(broker)) {
        return refuse(format!("there is no broker {unknown}"));
    }
    if replicas.iter().collect::<BTreeSet<_>>().len() < replicas.len() {
        return refuse(format!("a broker is named twice in {replicas:?}"));
    }
    Ok(())
}

fn find(
    image: &Image,
    topic: Uuid,
    partition: i32,
) -> Result<(&Topic, &PartitionInfo), AdminError> {
    let found = image.topic_by_id(topic).ok_or(AdminError::UnknownTopicId(topic))?;
    let unknown = || AdminError::UnknownPartition { topic: found.name.clone(), partition };
    let info = found.partition(partition).ok_or_else(unknown)?;
    Ok((found, info))
}

fn same_members(one: &[u64], other: &[u64]) -> bool {
    one.iter().collect::<BTreeSet<_>>() == other.iter().collect()
}
