//! What the parts of a group on this node have in common, and readers may look at without asking the consensus core.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use openraft::ServerState;
use parking_lot::{Mutex, RwLock};
use quorate_storage::{GroupId, Log};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::codec::decode_vote;
use crate::contact::Contact;
use crate::frozen::Frozen;
use crate::options::GroupOptions;
use crate::overlay::SharedOverlay;
use crate::staging::Staging;
use crate::states::States;
use crate::status::Leadership;
use crate::types::{LogId, Vote, log_id};

/// What everybody may know about a replica.
pub(crate) struct Shared {
    pub group: GroupId,
    pub me: u64,
    pub options: GroupOptions,
    pub log: Log,
    /// Proposed bytes that are not applied yet.
    pub room: Arc<Semaphore>,
    /// Taken while proposing, so that proposals enter the log in the order of the calls.
    pub order: tokio::sync::Mutex<()>,
    /// Something was applied since the last look of the maintenance task.
    pub dirty: AtomicBool,
    /// An entry was found damaged since the process began, so the core is kept from campaigning.
    pub unfit: AtomicBool,
    /// Odd while a snapshot takes the place of the state, see [`crate::GroupHandle::snapshots_installed`].
    pub installs: AtomicU64,
    /// Reads that wait until a majority has confirmed that it leads.
    pub barriers: AtomicU32,
    /// When it last heard from its leader.
    pub contact: Arc<Contact>,
    /// Whether its state is that of the other replicas.
    pub states: States,
    /// What belongs to a snapshot that arrives.
    pub staging: Staging,
    /// What changed of the keyed state since the newest checkpoint.
    pub overlay: SharedOverlay,
    /// This replica has what the machine needs of lower entries elsewhere; see [`crate::GroupHandle::free_log_below`].
    pub freed_below: AtomicU64,
    /// What the newest checkpoint's machine needs of the log.
    covered_from: AtomicU64,
    /// What is being sent to replicas that fell behind.
    pub sending: Mutex<Weak<Frozen>>,
    /// The core has begun.
    running: AtomicBool,
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
        options: impl Into<GroupOptions>,
        log: Log,
        room: usize,
        promised: Option<LogId>,
    ) -> Self {
        Self {
            promised,
            group,
            me,
            options: options.into(),
            room: Arc::new(Semaphore::new(room)),
            order: tokio::sync::Mutex::new(()),
            dirty: AtomicBool::new(false),
            unfit: AtomicBool::new(log.corrupt().is_some()),
            installs: AtomicU64::new(0),
            barriers: AtomicU32::new(0),
            contact: Arc::default(),
            states: States::default(),
            staging: Staging::default(),
            overlay: SharedOverlay::default(),
            freed_below: AtomicU64::new(0),
            covered_from: AtomicU64::new(0),
            sending: Mutex::default(),
            running: AtomicBool::new(false),
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

    /// From here on the core asks for snapshots to send them.
    pub fn set_running(&self) {
        self.running.store(true, Ordering::Release);
    }

    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    pub fn set_covered_from(&self, index: u64) {
        self.covered_from.store(index, Ordering::Relaxed);
    }

    /// First index whose entry the newest checkpoint's machine needs.
    pub fn covered_from(&self) -> u64 {
        self.covered_from.load(Ordering::Relaxed)
    }

    pub fn last_applied(&self) -> Option<LogId> {
        *self.applied.lock()
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

    /// False also while an entry of its log is damaged, which it could neither apply nor send, or while its state
    /// differs from the others' (`compare.rs`). Its promises do not depend on that, so it goes on voting and taking
    /// entries, and a snapshot behind the damage mends it.
    pub fn may_lead(&self) -> bool {
        self.may_vote() && self.is_whole()
    }

    /// Neither its log nor its state is known to be damaged.
    fn is_whole(&self) -> bool {
        self.log.corrupt().is_none() && self.states.divergence().is_none()
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

    /// Refuses proposals from now on; what they wait for is not given.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.room.close();
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
