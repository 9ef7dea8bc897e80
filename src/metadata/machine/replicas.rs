//! Commands about who keeps a partition.
//!
//! A change is wanted (`target`), carried out by the partition's leader in Raft, and then stated complete.
//! In between, every broker that was ever part of it keeps its replica, because Raft's membership may
//! still count on it.

use std::collections::BTreeSet;

use quorate_storage::GroupId;
use uuid::Uuid;

use crate::metadata::{AdminError, Done, Image, PartitionInfo, Reply, TopicConfigs};

const REPLICAS_MAX: usize = 15;

pub(super) fn set(image: &mut Image, topic: Uuid, partition: i32, wanted: Vec<u64>) -> Reply {
    let (at, info) = find(image, topic, partition)?;
    let info = info.clone();
    check_replicas(image, &wanted)?;
    let newcomers = wanted.iter().filter(|broker| !info.hosted_by(**broker));
    if let Some(fenced) = newcomers.copied().find(|broker| image.brokers[broker].fenced) {
        return Err(AdminError::InvalidAssignment(format!("broker {fenced} is not live")));
    }
    let configs = image.topic_by_id(topic).map(|topic| topic.configs.explicit().clone());
    TopicConfigs::new(configs.unwrap_or_default(), wanted.len())?;
    if info.target.is_none() && same_members(&info.replicas, &wanted) {
        // Only the preference changes; Raft's membership is what it was.
        return change(image, topic, at, |info| info.replicas = wanted);
    }
    if info.target.as_ref() == Some(&wanted) {
        return Ok(Done::Changed);
    }
    let index = image.applied;
    change(image, topic, at, |info| *info = info.begin(wanted, index))
}

/// Puts `broker` first among the replicas. Those of a change under way say themselves who is to lead.
pub(super) fn prefer(image: &mut Image, topic: Uuid, partition: i32, broker: u64) -> Reply {
    let (at, info) = find(image, topic, partition)?;
    if info.target.is_some() || info.preferred() == Some(broker) {
        return Ok(Done::Changed);
    }
    if !info.replicas.contains(&broker) {
        let reason = format!("broker {broker} keeps no replica of the partition");
        return Err(AdminError::InvalidAssignment(reason));
    }
    change(image, topic, at, |info| {
        info.replicas.retain(|replica| *replica != broker);
        info.replicas.insert(0, broker);
    })
}

pub(super) fn cancel(image: &mut Image, topic: Uuid, partition: i32) -> Reply {
    let (at, info) = find(image, topic, partition)?;
    match &info.target {
        None => Err(AdminError::NoChangeUnderWay),
        Some(target) if *target == info.replicas => Ok(Done::Changed),
        Some(_) => {
            let index = image.applied;
            change(image, topic, at, |info| *info = info.begin(info.replicas.clone(), index))
        }
    }
}

pub(super) fn complete(image: &mut Image, group: u64, completed: u64) -> Reply {
    let group = GroupId(group);
    let (_, info) = image.placed(group).ok_or(AdminError::ChangeSuperseded)?;
    if info.change != completed {
        return Err(AdminError::ChangeSuperseded);
    }
    let info = info.completed();
    if let Some((id, _)) = image.internal.of(group) {
        image.put_internal(id, info);
        return Ok(Done::Changed);
    }
    let found = image.partition_of(group).map(|(topic, at, _)| (topic.id, at));
    let (topic, at) = found.ok_or(AdminError::ChangeSuperseded)?;
    let at = usize::try_from(at).expect("partitions are numbered from 0");
    change(image, topic, at, |known| *known = info)
}

/// Whether the brokers exist and are named once each.
pub(in crate::metadata) fn check_replicas(
    image: &Image,
    replicas: &[u64],
) -> Result<(), AdminError> {
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

fn find(image: &Image, topic: Uuid, at: i32) -> Result<(usize, &PartitionInfo), AdminError> {
    let found = image.topic_by_id(topic).ok_or(AdminError::UnknownTopicId(topic))?;
    let unknown = || AdminError::UnknownPartition { topic: found.name.clone(), partition: at };
    let index = usize::try_from(at).map_err(|_| unknown())?;
    found.partitions.get(index).map(|info| (index, info)).ok_or_else(unknown)
}

fn change(
    image: &mut Image,
    topic: Uuid,
    at: usize,
    change: impl FnOnce(&mut PartitionInfo),
) -> Reply {
    let topic = image.topic_by_id(topic).ok_or(AdminError::UnknownTopicId(topic))?;
    let changed = topic.with_partition(at, change);
    image.insert_topic(changed);
    Ok(Done::Changed)
}

fn same_members(one: &[u64], other: &[u64]) -> bool {
    one.iter().collect::<BTreeSet<_>>() == other.iter().collect()
}
