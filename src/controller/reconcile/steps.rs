//! The next step for one group (pure), and taking it.

use std::sync::Arc;

use quorate_storage::GroupId;

use crate::controller::Controller;
use crate::metadata::Image;
use crate::replica::{OpenError, Replicas};

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
    let Some((_, info)) = image.placed(group) else {
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
    controller: &Controller,
    image: &Image,
    group: GroupId,
    held: ReplicaState,
    step: Step,
) -> impl Future<Output = (GroupId, ReplicaState)> + Send + use<> {
    let replicas = Arc::clone(controller.replicas());
    let opening = match step {
        Step::Open { .. } => replicas.open_placed(image, group),
        Step::Bootstrap | Step::Delete | Step::Close => None,
    };
    let voters = image.placed(group).map(|(_, info)| info.initial.clone()).unwrap_or_default();
    async move {
        let after = match step {
            Step::Delete => delete(&replicas, group).await.then_some(ReplicaState::Nothing),
            Step::Close => {
                replicas.close(group).await;
                Some(ReplicaState::OnDisk)
            }
            Step::Open { bootstrap } => match opening {
                Some(opening) => {
                    let voters = bootstrap.then_some(&voters[..]);
                    open(&replicas, opening, group, voters).await
                }
                None => None,
            },
            Step::Bootstrap => bootstrap_group(&replicas, group, &voters).await,
        };
        (group, after.unwrap_or(held))
    }
}

/// Opens a replica, and with `voters` bootstraps the group.
async fn open(
    replicas: &Replicas,
    opening: impl Future<Output = Result<(), OpenError>>,
    group: GroupId,
    voters: Option<&[u64]>,
) -> Option<ReplicaState> {
    if let Err(error) = opening.await {
        tracing::error!(group = group.0, %error, "replica does not open, trying again");
        return None;
    }
    if let Some(voters) = voters
        && let Some(held) = bootstrap_group(replicas, group, voters).await
    {
        return Some(held);
    }
    Some(ReplicaState::Open { bootstrapped: false })
}

/// Bootstraps the group, or sees that another replica did.
async fn bootstrap_group(
    replicas: &Replicas,
    group: GroupId,
    voters: &[u64],
) -> Option<ReplicaState> {
    match replicas.bootstrap(group, voters).await {
        Ok(()) => Some(ReplicaState::Open { bootstrapped: true }),
        Err(error) => {
            tracing::info!(group = group.0, %error, "group not bootstrapped, trying again");
            None
        }
    }
}

async fn delete(replicas: &Replicas, group: GroupId) -> bool {
    match replicas.delete(group).await {
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
