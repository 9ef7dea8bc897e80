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

/// How long each less preferred replica waits longer for the group to be founded by another. Founding it
/// together is safe, but their elections would compete.
const TURN: Duration = Duration::from_secs(1);

/// What this broker has of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    OnDisk,
    /// `founded`: this broker did its part in the group's birth.
    Open {
        founded: bool,
    },
}

/// What to do next about a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Open {
        found: bool,
    },
    Found,
    Delete,
    /// It failed by itself.
    Close,
}

impl Held {
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

pub(super) fn next_step(
    image: &Image,
    me: u64,
    group: GroupId,
    held: Held,
    current: bool,
) -> Option<Step> {
    let Some((_, _, info)) = image.partition_of(group) else {
        let gone = image.deleted(group) && held != Held::Nothing;
        return (gone && current).then_some(Step::Delete);
    };
    if !info.hosted_by(me) {
        return (current && held != Held::Nothing).then_some(Step::Delete);
    }
    let found = current && info.initial.contains(&me);
    match held {
        // An empty replica is only right if it is meant to be one, which an old image cannot tell.
        Held::Nothing => current.then_some(Step::Open { found }),
        Held::OnDisk => Some(Step::Open { found }),
        Held::Open { founded: false } if found => Some(Step::Found),
        Held::Open { .. } => None,
    }
}

/// Takes a step and returns what the broker then has of the group; the same as before means it failed.
pub(super) fn take(
    controller: Arc<Controller>,
    image: &Image,
    group: GroupId,
    held: Held,
    step: Step,
) -> impl Future<Output = (GroupId, Held)> + Send + use<> {
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
            (Step::Delete, _) => delete(&controller, group).await.then_some(Held::Nothing),
            (Step::Close, _) => {
                controller.partitions().close(group).await;
                Some(Held::OnDisk)
            }
            (Step::Open { found }, Some((replica, info))) => {
                open(&controller, replica, &info, me, found).await
            }
            (Step::Found, Some((_, info))) => found_group(&controller, &info, me).await,
            (Step::Open { .. } | Step::Found, None) => None,
        };
        (group, after.unwrap_or(held))
    }
}

async fn open(
    controller: &Controller,
    replica: Replica,
    info: &PartitionInfo,
    me: u64,
    found: bool,
) -> Option<Held> {
    if let Err(error) = controller.partitions().open(replica).await {
        tracing::error!(group = info.group.0, %error, "replica does not open, trying again");
        return None;
    }
    if found && let Some(held) = found_group(controller, info, me).await {
        return Some(held);
    }
    Some(Held::Open { founded: false })
}

/// Founds the group, or sees that another replica did.
async fn found_group(controller: &Controller, info: &PartitionInfo, me: u64) -> Option<Held> {
    let partition = controller.partitions().get(info.group)?;
    let turn = info.initial.iter().position(|broker| *broker == me)?;
    let patience = TURN * u32::try_from(turn).unwrap_or(u32::MAX);
    let mut leadership = partition.group().leadership();
    let led = timeout(patience, leadership.wait_for(|it| it.leader.is_some())).await;
    if led.is_ok_and(|led| led.is_ok()) {
        return Some(Held::Open { founded: true });
    }
    let voters: BTreeSet<u64> = info.initial.iter().copied().collect();
    match partition.group().initialize(voters).await {
        Ok(()) => Some(Held::Open { founded: true }),
        Err(error) => {
            tracing::info!(group = info.group.0, %error, "group not founded, trying again");
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
