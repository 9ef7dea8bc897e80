//! The handles of a group for those who use it.
//!
//! [`GroupHandle`] is all that needs no machine: membership, leadership, status, barriers, the log. Whoever hosts groups
//! of several kinds works with it alone. [`Group`] adds the machine, and with it proposals.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::errors::{InitializeError, LinearizableReadError, RaftError};
use parking_lot::{RwLock, RwLockReadGuard};
use quorate_storage::{GroupId, Log};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::core::Core;
use crate::divergence::Divergence;
use crate::error::{Error, ProposeError};
use crate::keyed;
use crate::machine::Machine;
use crate::membership;
use crate::propose::{self, Pending, Prepared, Reservation};
use crate::replica::Replica;
use crate::status::{GroupStatus, Leadership};
use crate::transfer;

/// A group that is open on this node, whatever its machine is. Cloning is cheap.
#[derive(Clone)]
pub struct GroupHandle {
    core: Arc<Core>,
    replica: Arc<Replica>,
}

/// A group that is open on this node, and its machine. Cloning is cheap.
///
/// It is a [`GroupHandle`] as well.
pub struct Group<M> {
    handle: GroupHandle,
    machine: Arc<RwLock<M>>,
}

impl<M> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), machine: Arc::clone(&self.machine) }
    }
}

impl<M> Deref for Group<M> {
    type Target = GroupHandle;

    fn deref(&self) -> &GroupHandle {
        &self.handle
    }
}

impl std::fmt::Debug for GroupHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "group {} on node {}", self.replica.shared.group, self.core.id())
    }
}

impl<M> std::fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.handle.fmt(f)
    }
}

impl<M: Machine> Group<M> {
    pub(crate) fn new(handle: GroupHandle, machine: Arc<RwLock<M>>) -> Self {
        Self { handle, machine }
    }

    /// Proposes a payload. Returns once it is enqueued, in the order of the calls; the future it
    /// returns resolves when the entry is applied on this node. With `term_fence` the payload enters
    /// the log only if this node leads that term.
    ///
    /// Waits for room while too many bytes are under way (two seconds by default), and for the
    /// majority if the leader has not heard of it for long.
    ///
    /// # Errors
    /// Any [`ProposeError`] means that nothing is in the log.
    pub async fn propose(
        &self,
        payload: Bytes,
        term_fence: Option<u64>,
    ) -> Result<Pending<M::Reply>, ProposeError> {
        propose::propose::<M>(&self.handle.core, &self.handle.replica, payload, term_fence).await
    }

    /// Takes room for a payload of `bytes` bytes that is to be proposed by [`Group::submit`], by itself or together
    /// with others. Waits as [`Group::propose`] does.
    ///
    /// # Errors
    /// What would be one of a proposal now.
    pub async fn reserve(
        &self,
        bytes: usize,
        term_fence: Option<u64>,
    ) -> Result<Reservation, ProposeError> {
        propose::reserve(&self.handle.core, &self.handle.replica, bytes, term_fence).await
    }

    /// [`Group::propose`] of a payload that has its room, which tells the outcome to whom it names. What is proposed is
    /// taken out of `prepared`; what is still there after an error may be submitted again.
    ///
    /// # Errors
    /// Any [`ProposeError`] means that nothing is in the log.
    pub async fn submit(
        &self,
        prepared: &mut Option<Prepared<M::Reply>>,
        term_fence: Option<u64>,
    ) -> Result<(), ProposeError> {
        propose::submit::<M>(&self.handle.core, &self.handle.replica, prepared, term_fence).await
    }

    /// The machine. Applying waits while the guard is held: never hold it across an await.
    pub fn machine(&self) -> RwLockReadGuard<'_, M> {
        self.machine.read()
    }
}

impl GroupHandle {
    pub(crate) fn new(core: Arc<Core>, replica: Arc<Replica>) -> Self {
        Self { core, replica }
    }

    /// Id of the group.
    pub fn id(&self) -> GroupId {
        self.replica.shared.group
    }

    /// Id of this node.
    pub fn node(&self) -> u64 {
        self.core.id()
    }

    /// Gives a new group its first voters. Call it on one of them. A group that has a log already
    /// is left alone, so it may be called again.
    ///
    /// # Errors
    /// [`Error::Refused`] if this node is not among the voters, [`Error::Stopped`].
    pub async fn initialize(&self, voters: BTreeSet<u64>) -> Result<(), Error> {
        // A replica that begins anew is none of a new group: it is empty until the others have sent it the log.
        let log = self.log();
        let voted = log.vote().is_some() || self.replica.shared.promised().is_some();
        if log.state().last.is_some() || voted {
            return Ok(());
        }
        let nodes: BTreeMap<u64, ()> = voters.into_iter().map(|id| (id, ())).collect();
        match self.replica.raft.initialize(nodes).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(error)) => Err(Error::Refused(error.to_string())),
            Err(RaftError::Fatal(_)) => Err(Error::Stopped),
        }
    }

    /// Says that this replica, and perhaps no other, needs no entry below `index` in its log: what the machine needs of
    /// them it has elsewhere, durably. They are purged as what the machine no longer needs is. Holds while the group is
    /// open, and never goes back.
    pub fn free_log_below(&self, index: u64) {
        let shared = &self.replica.shared;
        if shared.freed_below.fetch_max(index, Ordering::Relaxed) < index {
            self.core.wanted.dirty(shared);
        }
    }

    /// First index whose records belong to the newest checkpoint. What is below need not be kept anywhere: nobody is
    /// given it. Never goes back while the group is open.
    #[must_use]
    pub fn covered_from(&self) -> u64 {
        self.replica.shared.covered_from()
    }

    /// Whether a replica that fell behind is being given the records of this one. They should stay as they are meanwhile,
    /// or it has to begin anew.
    #[must_use]
    pub fn is_sending_records(&self) -> bool {
        let sending = self.replica.shared.sending.lock().upgrade();
        sending.is_some_and(|frozen| frozen.is_read(Instant::now()))
    }

    /// The first `max` pairs of the keyed state with keys in `[from, to)`, ascending: each as it was at some time between
    /// call and return, so what was applied before the call is seen. May block on the disk.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn keyed_range(
        &self,
        from: &[u8],
        to: &[u8],
        max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, quorate_storage::Error> {
        let shared = &self.replica.shared;
        let slot = shared.staging.state_slot();
        keyed::range(&shared.log, slot, &shared.overlay, (from, to), max)
    }

    /// A count that is odd while a snapshot takes the place of the state, and another one afterwards. Whoever reads the keyed
    /// state by what the machine says looks here before the machine and after the keyed state: only if both are the same even
    /// number they belong together.
    pub fn snapshots_installed(&self) -> u64 {
        self.replica.shared.installs.load(Ordering::Acquire)
    }

    /// Who leads, as this node knows it.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.replica.shared.leadership()
    }

    /// True while this node's disk hangs and others can lead the group: proposals under way here may
    /// be answered by nobody, though they may be committed.
    pub fn aside(&self) -> watch::Receiver<bool> {
        self.replica.shared.aside()
    }

    /// A member of the group that is short of disk space, as far as it is heard. A follower cannot
    /// refuse what its leader sends, so new data should not be proposed; what frees space may.
    pub fn short_of_space(&self) -> Option<u64> {
        let members = self.replica.shared.members();
        members.into_iter().find(|id| self.core.condition_of(*id).low_space)
    }

    /// Last index applied here; 0 also before the first.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.replica.shared.applied()
    }

    /// The log of the group on this node.
    pub fn log(&self) -> &Log {
        &self.replica.shared.log
    }

    /// Waits until this node's machine contains everything that was acknowledged before the call
    /// (ReadIndex, Raft § 6.4). Only the leader can do that.
    ///
    /// # Errors
    /// [`Error::NotLeader`]; [`Error::Timeout`] if a majority does not answer.
    pub async fn read_barrier(&self) -> Result<(), Error> {
        let leader = || Error::NotLeader { leader: self.replica.shared.leader() };
        let _waiting = Waiting::new(&self.replica.shared.barriers);
        match self.replica.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => Err(leader()),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(Error::Timeout("a majority"))
            }
            Err(RaftError::Fatal(_)) => Err(Error::Stopped),
        }
    }

    /// How long ago this replica last heard from its leader: took an append or a heartbeat of it, of which an idle group has
    /// one about every three seconds. Of a leader, when it sent what a majority has answered. `None`: never.
    #[must_use]
    pub fn since_contact(&self) -> Option<Duration> {
        let shared = &self.replica.shared;
        if !shared.leads() {
            return shared.contact.since();
        }
        // It is its own majority, and nobody answers it.
        if shared.is_alone() { Some(Duration::ZERO) } else { self.replica.since_quorum_ack() }
    }

    /// What a comparison of the replicas' states found wrong with this one, and at which index.
    pub fn divergence(&self) -> Option<(Divergence, u64)> {
        self.replica.shared.states.divergence()
    }

    /// Everything about this replica that an operator may want to know.
    pub fn status(&self) -> GroupStatus {
        self.replica.status(|id| self.core.alive(id))
    }

    /// Makes another voter the leader; returns when it leads. Proposals are refused meanwhile.
    ///
    /// # Errors
    /// [`Error::NotLeader`] here; [`Error::Refused`] if the target is no voter, not alive, too far behind or
    /// should not lead; [`Error::Timeout`] if it did not take over: then this node has campaigned again.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), Error> {
        transfer::transfer(&self.core, &self.replica, to).await
    }

    /// [`GroupHandle::transfer_leader`] without asking the target first, for the test that shows what becomes of
    /// a transfer that fails.
    #[doc(hidden)]
    pub async fn transfer_leader_unasked(&self, to: u64) -> Result<(), Error> {
        transfer::hand_to(&self.replica, to).await
    }

    /// Makes the group's core panic, for the tests that show what becomes of it.
    #[doc(hidden)]
    pub async fn panic(&self) {
        drop(self.replica.raft.with_raft_state(|_| -> () { panic!("as a test wanted it") }).await);
    }

    /// Moves towards `target` as the voters: adds those that are missing as learners, waits until
    /// they have caught up, changes the voters through a joint configuration, and drops everybody
    /// else. It finishes what an interrupted call left behind, so it is called again after any
    /// error and after a crash at any step. Waiting for a long log takes as long as it takes;
    /// dropping the future is safe.
    ///
    /// A leader that is not in `target` hands over to one that is and returns
    /// [`Error::NotLeader`]; the call is to be repeated there. Learners
    /// of a group that keeps them stay; see [`crate::GroupOptions`].
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::Refused`] for an empty target, [`Error::Timeout`],
    /// [`Error::Stopped`].
    pub async fn change_voters(&self, target: BTreeSet<u64>) -> Result<(), Error> {
        membership::change_voters(&self.core, &self.replica, target).await
    }

    /// Adds a replica without a vote, without waiting until it has caught up. Does nothing if the
    /// node is a member already.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::Timeout`], [`Error::Stopped`].
    pub async fn add_learner(&self, id: u64) -> Result<(), Error> {
        membership::add_learner(&self.replica, id).await
    }

    /// Removes a replica without a vote. Does nothing if the node is no member.
    ///
    /// # Errors
    /// [`Error::Refused`] for a voter; otherwise as [`GroupHandle::add_learner`].
    pub async fn remove_learner(&self, id: u64) -> Result<(), Error> {
        membership::remove_learner(&self.replica, id).await
    }
}

/// Counts a read among those that wait, until it does not any more.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
