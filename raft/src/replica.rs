//! One group on this node, without the type of its machine.
//!
//! [`Replica`] is the consensus core beside what its parts share. A task per replica follows the core's role and
//! membership, keeps the shared view current and tells the election driver about every group that has lost its leader.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{LogIdOptionExt, ServerState};
use quorate_storage::Db;
use tokio::sync::watch;

use crate::apply::StateMachine;
use crate::divergence::Divergence;
use crate::erase::erase;
use crate::failed_groups::FailedGroups;
use crate::shared::{Shared, View};
use crate::status::{FollowerStatus, GroupStatus, Role};
use crate::suspects::Suspects;
use crate::transport::peers::Peers;
use crate::types::TypeConfig;

pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// What is needed where a group has ended by itself.
pub(crate) struct End {
    pub failed: Arc<FailedGroups>,
    pub peers: Arc<Peers>,
    pub db: Arc<Db>,
}

/// A running group.
pub(crate) struct Replica {
    pub shared: Arc<Shared>,
    pub raft: Raft,
    /// Open while the state machine may still write.
    pub machine_runs: watch::Receiver<()>,
}

impl Replica {
    /// Follows the core until it, or the machine, stops.
    pub async fn follow(self: Arc<Self>, suspects: Arc<Suspects>, end: End) {
        let mut server = self.raft.server_metrics();
        let mut machine_runs = self.machine_runs.clone();
        loop {
            let metrics = server.borrow_watched().clone();
            let membership = metrics.membership_config.membership();
            let view = View {
                state: metrics.state,
                vote: metrics.vote,
                configs: membership.get_joint_config().clone(),
                learners: membership.learner_ids().collect(),
            };
            let (leader, term) = (view.leader(), view.vote.leader_id.term);
            let heard = !self.shared.is_loaded(view.vote);
            let changed = self.shared.update(view);
            match leader {
                Some(leader) if heard && changed => self.shared.confirm(leader, term),
                Some(_) if heard => {}
                _ => suspects.add(self.shared.group),
            }
            // Nothing is sent on the second: it changes when the machine is dropped.
            let ended = tokio::select! {
                changed = server.changed() => changed.is_err(),
                _ = machine_runs.changed() => true,
            };
            if ended {
                break;
            }
        }
        self.stopped(&end).await;
    }

    /// The core or the machine has ended: by request, or because it cannot go on. The other one is ended too.
    async fn stopped(&self, end: &End) {
        let group = self.shared.group.0;
        self.shared.update(View { state: ServerState::Shutdown, ..self.shared.view() });
        // A store is closed by whoever stops the node; that a group met it first is no failure.
        if self.shared.closing() || self.shared.log.is_closed() {
            return;
        }
        let state = self.raft.metrics().borrow_watched().running_state.clone();
        if let Err(Fatal::StorageError(error)) = state {
            let reason = format!("raft group {group} cannot use its storage");
            quorate_storage::fatal(&reason, &error);
        }
        drop(self.raft.shutdown().await);
        // A core that panicked says so to whoever asks; one that did not was stopped just now.
        let reason = match self.raft.with_raft_state(|_| ()).await {
            _ if matches!(self.shared.states.divergence(), Some((Divergence::Rebuilt, _))) => {
                self.writes_ended().await;
                erase(&end.peers, &end.db, &self.shared).await
            }
            Err(Fatal::Panicked) => "its consensus core panicked",
            _ => "its state machine panicked",
        };
        end.failed.add(self.shared.group, reason.to_owned());
    }

    /// Stops the core and the state machine and waits until they have. The core does not wait for the machine, which
    /// may have commands left; what it wrote after the group's deletion would bring a part of the group back.
    pub async fn stop(&self) {
        self.shared.close();
        if let Err(error) = self.raft.shutdown().await {
            tracing::debug!(group = self.shared.group.0, %error, "raft group did not stop cleanly");
        }
        self.writes_ended().await;
    }

    /// Waits until nothing of a core that was stopped writes any more.
    async fn writes_ended(&self) {
        let mut machine = self.machine_runs.clone();
        while machine.changed().await.is_ok() {}
        self.shared.staging.close().await;
    }

    pub fn metrics(&self) -> openraft::RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }

    pub fn status(&self, alive: impl Fn(u64) -> bool) -> GroupStatus {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        let last = self.shared.log.state().last;
        let followers =
            metrics.replication.iter().flatten().filter(|(id, _)| **id != self.shared.me);
        GroupStatus {
            group: self.shared.group,
            role: match self.shared.role().0 {
                ServerState::Learner => Role::Learner,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Leader => Role::Leader,
                ServerState::Shutdown => Role::Stopped,
            },
            term: metrics.current_term,
            leader: metrics.current_leader,
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            joint: membership.get_joint_config().len() > 1,
            last_index: last.map(|id| id.index),
            committed_index: metrics.local_committed.index(),
            applied_index: self.shared.last_applied().index(),
            purged_index: self.shared.log.state().purged.map(|id| id.index),
            log_bytes: self.shared.log.bytes(),
            corrupt_index: self.shared.log.corrupt(),
            divergence: self.shared.states.divergence(),
            compared_index: self.shared.states.compared(),
            followers: followers
                .map(|(id, matched)| FollowerStatus {
                    id: *id,
                    matched_index: matched.index(),
                    lag: last.map_or(0, |last| last.index + 1).saturating_sub(matched.next_index()),
                    alive: alive(*id),
                })
                .collect(),
            since_quorum_ack: self.since_quorum_ack(),
        }
    }

    /// On the leader: time since a majority last answered.
    pub fn since_quorum_ack(&self) -> Option<Duration> {
        let acked = self.raft.metrics().borrow_watched().last_quorum_acked;
        acked.map(|at| openraft::Instant::elapsed(&at.into_inner()))
    }
}
