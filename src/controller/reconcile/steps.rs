//! The next step for one group (pure), and taking it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate_storage::GroupId;
use tokio::time::timeout;

use super::settings;
use crate::controller::Controller;
use crate::metadata::{Image, PartitionInfo};
use crate::partition::Replica;

/// How long each less preferred replica waits longer for the group to be bootstrapped by another. Bootstrapping it
/// together is safe, but their elections would compete.
const TURN: Duration = Duration::from_secs(1);

/// What this broker has of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplicaState {
    Nothing,
    OnDisk,
    /// `bootstrapped`: this broker did its part in the group's birth.
    Open {
        bootstrapped: bool,
    },
}

/// What to do next about a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Open {
        bootstrap: bool,
    },
    Bootstrap,
    Delete,
    /// It failed by itself.
    Close,
}

impl ReplicaState {
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

pub(super) fn next_step(
    image: &Image,
    me: u64,
    group: GroupId,
    held: ReplicaState,
    current: bool,
) -> Option<Step> {
    let Some((_, _, info)) = image.partition_of(group) else {
        let gone = image.deleted(group) && held != ReplicaState::Nothing;
        return (gone && current).then_some(Step::Delete);
    };
    if !info.hosted_by(me) {
        return (current && held != ReplicaState::Nothing).then_some(Step::Delete);
    }
    let bootstrap = current && info.initial.contains(&me);
    match held {
        // An empty replica is only right if it is meant to be one, which an old image cannot tell.
        ReplicaState::Nothing => current.then_some(Step::Open { bootstrap }),
        ReplicaState::OnDisk => Some(Step::Open { bootstrap }),
        ReplicaState::Open { bootstrapped: false } if bootstrap => Some(Step::Bootstrap),
        ReplicaState::Open { .. } => None,
    }
}

/// Takes a step and returns what the broker then has of the group; the same as before means it failed.
pub(super) fn take(
    controller: Arc<Controller>,
    image: &Image,
    group: GroupId,
    held: ReplicaState,
    step: Step,
) -> impl Future<Output = (GroupId, ReplicaState)> + Send + use<> {
    let me = controller.node().id();
    let wanted = image.partition_of(group).map(|(topic, number, info)| {
        let replica = Replica {
            group,
            topic: topic.name.clone(),
            number,
            preferred: info.replicas.clone(),
            settings: settings(topic),
        };
        (replica, info.clone())
    });
    async move {
        let after = match (step, wanted) {
            (Step::Delete, _) => delete(&controller, group).await.then_some(ReplicaState::Nothing),
            (Step::Close, _) => {
                controller.partitions().close(group).await;
                Some(ReplicaState::OnDisk)
            }
            (Step::Open { bootstrap }, Some((replica, info))) => {
                open(&controller, replica, &info, me, bootstrap).await
            }
            (Step::Bootstrap, Some((_, info))) => bootstrap_group(&controller, &info, me).await,
            (Step::Open { .. } | Step::Bootstrap, None) => None,
        };
        (group, after.unwrap_or(held))
    }
}

async fn open(
    controller: &Controller,
    replica: Replica,
    info: &PartitionInfo,
    me: u64,
    bootstrap: bool,
) -> Option<ReplicaState> {
    if let Err(error) = controller.partitions().open(replica).await {
        tracing::error!(group = info.group.0, %error, "replica does not open, trying again");
        return None;
    }
    if bootstrap && let Some(held) = bootstrap_group(controller, info, me).await {
        return Some(held);
    }
    Some(ReplicaState::Open { bootstrapped: false })
}

/// Bootstraps the group, or sees that another replica did.
async fn bootstrap_group(
    controller: &Controller,
    info: &PartitionInfo,
    me: u64,
) -> Option<ReplicaState> {
    let partition = controller.partitions().get(info.group)?;
    let turn = info.initial.iter().position(|broker| *broker == me)?;
    let patience = TURN * u32::try_from(turn).unwrap_or(u32::MAX);
    let mut leadership = partition.group().leadership();
    let led = timeout(patience, leadership.wait_for(|it| it.leader.is_some())).await;
    if led.is_ok_and(|led| led.is_ok()) {
        return Some(ReplicaState::Open { bootstrapped: true });
    }
    let voters: BTreeSet<u64> = info.initial.iter().copied().collect();
    match partition.group().initialize(voters).await {
        Ok(()) => Some(ReplicaState::Open { bootstrapped: true }),
        Err(error) => {
            tracing::info!(group = info.group.0, %error, "group not bootstrapped, trying again");
            None
        }
    }
}

async fn delete(controller: &Controller, group: GroupId) -> bool {
    match controller.partitions().delete(group).await {
        Ok(()) => {
            tracing::info!(group = group.0, "replica deleted");
            true
        }
        Err(error) => {
            tracing::info!(group = group.0, %error, "replica not deleted, trying again");
            false
        }
    }
}

#[cfg(test)]
mod tests;
