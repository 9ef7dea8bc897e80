//! One group on this node, without the type of its machine.
//!
//! [`Shared`] is what the parts of a group have in common and readers may look at without asking
//! the consensus core; [`Replica`] adds the core itself. A task per replica follows the core's role
//! and membership, keeps the shared view current and tells the election driver about every group
//! that has lost its leader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{LogIdOptionExt, ServerState};
use parking_lot::{Mutex, RwLock};
use quorate_storage::{GroupId, Log};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::compare::States;
use crate::divergence::Divergence;
use crate::elections::Suspects;
use crate::failed_groups::FailedGroups;
use crate::status::{FollowerStatus, GroupStatus, Leadership, Role};
use crate::store::decode_vote;
use crate::transport::staging::Staging;
use crate::types::{LogId, Raft, TypeConfig, Vote, log_id};

/// What everybody may know about a replica.
pub(crate) struct Shared {
    pub group: GroupId,
    pub me: u64,
    /// Replicas in the order in which they should lead.
    pub preferred: Vec<u64>,
    pub log: Log,
    /// Proposed bytes that are not applied yet.
    pub room: Arc<Semaphore>,
    /// Taken while proposing, so that proposals enter the log in the order of the calls.
    pub order: tokio::sync::Mutex<()>,
    /// Something was applied since the last look of the maintenance task.
    pub dirty: AtomicBool,
    /// An entry was found damaged since the process began, so the core is kept from campaigning.
    pub unfit: AtomicBool,
    /// Whether its state is that of the other replicas.
    pub states: States,
    /// Keyed state that arrives.
    pub staging: Staging,
    closing: AtomicBool,
    /// This node's disk hangs and others can lead: it does not claim to, whatever its core thinks,
    /// which may itself wait for the disk.
    aside: watch::Sender<bool>,
    /// An entry an earlier replica of this node had; without it this one must not vote.
    promised: Option<LogId>,
    /// The vote found on disk: its leader led once, and may not any more.
    loaded_vote: Option<Vote>,
    applied: Mutex<Option<LogId>>,
    applied_index: watch::Sender<u64>,
    leadership: watch::Sender<Leadership>,
    view: RwLock<View>,
    /// The leader and term that are known to be alive in this run of the process.
    confirmed: Mutex<Option<(u64, u64)>>,
}

/// Role and members, as last reported by the core.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub state: ServerState,
    pub vote: Vote,
    /// One configuration, or two during a change.
    pub configs: Vec<BTreeSet<u64>>,
    pub learners: BTreeSet<u64>,
}

impl View {
    pub fn is_voter(&self, id: u64) -> bool {
        self.configs.iter().any(|config| config.contains(&id))
    }

    pub fn voters(&self) -> BTreeSet<u64> {
        self.configs.iter().flatten().copied().collect()
    }

    /// The leader, if this node knows one.
    pub fn leader(&self) -> Option<u64> {
        self.vote.committed.then_some(self.vote.leader_id.voted_for)
    }

    /// True if the nodes are a majority of every configuration.
    pub fn is_quorum(&self, nodes: impl Fn(u64) -> bool) -> bool {
        !self.configs.is_empty()
            && self
                .configs
                .iter()
                .all(|config| config.iter().filter(|id| nodes(**id)).count() > config.len() / 2)
    }
}

impl Shared {
    pub fn new(
        group: GroupId,
        me: u64,
        preferred: Vec<u64>,
        log: Log,
        room: usize,
        promised: Option<LogId>,
    ) -> Self {
        Self {
            promised,
            group,
            me,
            preferred,
            room: Arc::new(Semaphore::new(room)),
            order: tokio::sync::Mutex::new(()),
            dirty: AtomicBool::new(false),
            unfit: AtomicBool::new(log.corrupt().is_some()),
            states: States::default(),
            staging: Staging::default(),
            closing: AtomicBool::new(false),
            aside: watch::Sender::new(false),
            loaded_vote: log.vote().and_then(|bytes| decode_vote(bytes).ok()),
            log,
            applied: Mutex::new(None),
            applied_index: watch::Sender::new(0),
            leadership: watch::Sender::new(Leadership::default()),
            view: RwLock::new(View {
                state: ServerState::Learner,
                vote: Vote::new(0, me),
                configs: Vec::new(),
                learners: BTreeSet::new(),
            }),
            confirmed: Mutex::new(None),
        }
    }

    pub fn set_applied(&self, id: LogId) {
        *self.applied.lock() = Some(id);
        self.applied_index.send_replace(id.index);
        self.refresh_ready();
    }

    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied_index.subscribe()
    }

    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    /// False while this replica lacks what an earlier one of this node had; see `promise.rs`.
    pub fn may_vote(&self) -> bool {
        self.promised.is_none_or(|promised| self.log.state().last.map(log_id) >= Some(promised))
    }

    /// False also while its state differs from the others', see `compare.rs`, or an entry of its log is damaged: it could neither apply nor send it. Its promises do not depend on
    /// that, so it goes on voting and taking entries, and a snapshot behind the damage mends it.
    pub fn may_lead(&self) -> bool {
        self.may_vote() && self.is_whole()
    }

    /// Neither its log nor its state is known to be damaged.
    fn is_whole(&self) -> bool {
        self.log.corrupt().is_none() && self.states.told().is_none()
    }

    /// The last entry this node must be taken to have.
    pub fn promised(&self) -> Option<LogId> {
        self.promised
    }

    /// Role and vote.
    pub fn role(&self) -> (ServerState, Vote) {
        let view = self.view.read();
        (view.state, view.vote)
    }

    /// Stops claiming the leadership, or claims it again if nobody else has it.
    pub fn set_aside(&self, aside: bool) {
        if self.aside.send_if_modified(|known| std::mem::replace(known, aside) != aside) {
            self.refresh_ready();
        }
    }

    pub fn is_aside(&self) -> bool {
        *self.aside.borrow()
    }

    pub fn aside(&self) -> watch::Receiver<bool> {
        self.aside.subscribe()
    }

    /// True if this node is the only voter.
    pub fn is_alone(&self) -> bool {
        let view = self.view.read();
        matches!(&view.configs[..], [only] if only.len() == 1 && only.contains(&self.me))
    }

    pub fn view(&self) -> View {
        self.view.read().clone()
    }

    pub fn is_voter(&self, id: u64) -> bool {
        self.view.read().is_voter(id)
    }

    pub fn leads(&self) -> bool {
        self.view.read().state == ServerState::Leader
    }

    pub fn leader(&self) -> Option<u64> {
        self.view.read().leader()
    }

    pub fn is_quorum(&self, nodes: impl Fn(u64) -> bool) -> bool {
        self.view.read().is_quorum(nodes)
    }

    /// All who receive the log, with a vote or without.
    pub fn members(&self) -> BTreeSet<u64> {
        let view = self.view.read();
        view.configs.iter().chain([&view.learners]).flatten().copied().collect()
    }

    pub fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The leader is known to lead in this run; nothing has to be done about it.
    pub fn confirm(&self, leader: u64, term: u64) {
        *self.confirmed.lock() = Some((leader, term));
        self.refresh_ready();
    }

    /// Forgets that the leader is known to lead, for example because its process restarted.
    pub fn doubt(&self) {
        *self.confirmed.lock() = None;
    }

    /// Whether a vote is the one found on the disk when the group was opened.
    pub fn is_loaded(&self, vote: Vote) -> bool {
        self.loaded_vote == Some(vote)
    }

    /// True if the present leader is known to lead in this run.
    pub fn is_confirmed(&self) -> bool {
        let view = self.view.read();
        match view.leader() {
            Some(leader) => *self.confirmed.lock() == Some((leader, view.vote.leader_id.term)),
            None => false,
        }
    }

    /// Takes over what the core reports; true if role, vote or members changed.
    pub fn update(&self, new: View) -> bool {
        let mut view = self.view.write();
        let same = view.state == new.state
            && view.vote == new.vote
            && view.configs == new.configs
            && view.learners == new.learners;
        *view = new;
        drop(view);
        self.refresh_ready();
        !same
    }

    /// A leader is ready once an entry of its own term is applied: only then is everything its
    /// predecessors acknowledged part of its state (Raft § 8).
    pub fn refresh_ready(&self) {
        // Computed inside, under the lock of the watch: of two that race the later one must win.
        self.leadership.send_if_modified(|current| {
            let applied_term = self.applied.lock().map(|id| id.leader_id.term);
            let view = self.view.read();
            let term = view.vote.leader_id.term;
            let fit = !self.is_aside() && self.is_whole();
            // Nobody is sent to a leader that cannot serve, or one that is known from the disk alone: after a restart of
            // all brokers that is who led before. Only a voter asks who leads now (`elections.rs`).
            let known = |leader: u64| {
                if leader == self.me {
                    fit && view.state == ServerState::Leader
                } else {
                    Some(view.vote) != self.loaded_vote
                        || !view.is_voter(self.me)
                        || *self.confirmed.lock() == Some((leader, term))
                }
            };
            let leader = view.leader().filter(|leader| known(*leader));
            let ready = fit && view.state == ServerState::Leader && applied_term == Some(term);
            let since = current.ready_since.filter(|_| current.term == term);
            let ready_since = ready.then(|| since.unwrap_or_else(Instant::now));
            let now = Leadership { leader, term, ready, ready_since };
            let changed = *current != now;
            *current = now;
            changed
        });
    }
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
    pub async fn follow(self: Arc<Self>, suspects: Arc<Suspects>, failed: Arc<FailedGroups>) {
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
            let heard = Some(view.vote) != self.shared.loaded_vote;
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
        self.stopped(&failed).await;
    }

    /// The core or the machine has ended: by request, or because it cannot go on. The other one is ended too.
    async fn stopped(&self, failed: &FailedGroups) {
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
        let rebuilt = matches!(self.shared.states.told(), Some((Divergence::Rebuilt, _)));
        let reason = match self.raft.with_raft_state(|_| ()).await {
            _ if rebuilt => "its state differed from the majority's and is rebuilt from theirs",
            Err(Fatal::Panicked) => "its consensus core panicked",
            _ => "its state machine panicked",
        };
        failed.add(self.shared.group, reason.to_owned());
    }

    /// Stops the core and the state machine and waits until they have. The core does not wait for the machine, which
    /// may have commands left; what it wrote after the group's deletion would bring a part of the group back.
    pub async fn stop(&self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.room.close();
        if let Err(error) = self.raft.shutdown().await {
            tracing::debug!(group = self.shared.group.0, %error, "raft group did not stop cleanly");
        }
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
            role: match self.shared.view.read().state {
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
            applied_index: self.shared.applied.lock().index(),
            purged_index: self.shared.log.state().purged.map(|id| id.index),
            log_bytes: self.shared.log.bytes(),
            corrupt_index: self.shared.log.corrupt(),
            divergence: self.shared.states.told(),
            followers: followers
                .map(|(id, matched)| FollowerStatus {
                    id: *id,
                    matched_index: matched.index(),
                    lag: last.map_or(0, |last| last.index + 1).saturating_sub(matched.next_index()),
                    alive: alive(*id),
                })
                .collect(),
            since_quorum_ack: metrics
                .last_quorum_acked
                .map(|at| openraft::Instant::elapsed(&at.into_inner())),
        }
    }
}
