//! The way of a proposal into the log, and of its outcome back.
//!
//! What a caller may assume stands in the types: a [`ProposeError`] or [`Outcome::NotInLog`] means
//! that nothing was written, anything else than [`Outcome::Applied`] that it may have been.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::raft::{ClientWriteResponse, ClientWriteResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::LEASE;
use crate::core::Core;
use crate::error::ProposeError;
use crate::machine::Machine;
use crate::replica::Replica;
use crate::types::{CommittedLeaderId, Data, Responder, TypeConfig};

/// A leader that last heard of a majority longer ago than this asks before it appends: beyond the
/// lease the core would turn the proposal away.
const ASK_AFTER: Duration = LEASE.checked_div(2).expect("two is not zero");
/// How long a new leader or one without a lease may take to reach its majority.
const WAKE_TIMEOUT: Duration = Duration::from_secs(1);
/// What an entry costs besides its payload, so that empty ones are bounded too.
const ENTRY_BYTES: usize = 64;

/// How a proposal ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<R> {
    /// It is committed and applied on this node.
    Applied {
        /// What the machine answered.
        reply: R,
        /// Its log index.
        index: u64,
        /// The term it was proposed in.
        term: u64,
    },
    /// It may be in the log: leadership was lost while it was on its way, or the group was closed.
    Indeterminate,
    /// It is not in the log and never will be; proposing it again cannot duplicate it.
    NotInLog,
}

/// A proposal that was enqueued. Dropping it gives up waiting, not the proposal.
///
/// A leader that is cut off from its majority does not answer, so the caller needs a deadline; when
/// it passes, the outcome is [`Outcome::Indeterminate`].
#[derive(Debug)]
#[must_use = "the proposal may still fail"]
pub struct Pending<R> {
    result: oneshot::Receiver<Outcome<R>>,
}

impl<R> Future for Pending<R> {
    type Output = Outcome<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome<R>> {
        let result = ready!(Pin::new(&mut self.result).poll(context));
        Poll::Ready(result.unwrap_or(Outcome::Indeterminate))
    }
}

/// Room that a proposal's bytes take, in its group and on the node; given back when it is dropped, or with the outcome
/// of the proposal. Bytes that wait to be proposed hold it as well, so that they count.
#[derive(Debug)]
pub struct Reservation([OwnedSemaphorePermit; 2]);

impl Reservation {
    /// Makes one of two of the same group.
    pub fn merge(&mut self, other: Self) {
        for (mine, other) in self.0.iter_mut().zip(other.0) {
            mine.merge(other);
        }
    }
}

/// A payload whose room is reserved.
pub struct Prepared<R> {
    /// What is proposed.
    pub payload: Bytes,
    /// Its room.
    pub room: Reservation,
    /// Asked when nothing else is in the way any more: whether it is still to be proposed.
    pub wanted: Box<dyn Fn() -> bool + Send + Sync>,
    /// Told the outcome, on a task of the group: it must not block. Dropped without being called where the outcome is
    /// not known, as when the group is closed.
    pub done: Box<dyn FnOnce(Outcome<R>) + Send>,
}

fn outcome_of<R: Send + Sync + 'static>(result: ClientWriteResult<TypeConfig>) -> Outcome<R> {
    match result {
        Ok(written) => applied(written),
        Err(ClientWriteError::ForwardToLeader(_)) => Outcome::NotInLog,
        Err(_) => Outcome::Indeterminate,
    }
}

fn applied<R: Send + Sync + 'static>(written: ClientWriteResponse<TypeConfig>) -> Outcome<R> {
    let (index, term) = (written.log_id.index, written.log_id.leader_id.term);
    match written.data.0.and_then(|reply| reply.downcast().ok()) {
        Some(reply) => Outcome::Applied { reply: *reply, index, term },
        // The machine of a group never changes its reply type, so this is unreachable; were it not,
        // the entry would still be in the log.
        None => Outcome::Indeterminate,
    }
}

/// Proposes a payload; see [`crate::Group::propose`].
pub(crate) async fn propose<M: Machine>(
    core: &Core,
    replica: &Replica,
    payload: Bytes,
    term_fence: Option<u64>,
) -> Result<Pending<M::Reply>, ProposeError> {
    // Before the turn is taken: what waits for room in a turn would keep out of the log what gives room back.
    let room = reserve(core, replica, payload.len(), term_fence).await?;
    let (result, pending) = oneshot::channel();
    // Nobody waits any more when it cannot be sent: the proposer gave up.
    let done = Box::new(move |outcome| drop(result.send(outcome)));
    let wanted = Box::new(|| true);
    let mut prepared = Some(Prepared { payload, room, wanted, done });
    submit::<M>(core, replica, &mut prepared, term_fence).await?;
    Ok(Pending { result: pending })
}

/// Takes room for a payload; see [`crate::Group::reserve`].
pub(crate) async fn reserve(
    core: &Core,
    replica: &Replica,
    bytes: usize,
    term_fence: Option<u64>,
) -> Result<Reservation, ProposeError> {
    let deadline = Instant::now() + core.config.limits.propose_wait;
    check(core, replica, term_fence)?;
    room(core, replica, bytes, deadline).await
}

/// Proposes what has its room; see [`crate::Group::submit`].
pub(crate) async fn submit<M: Machine>(
    core: &Core,
    replica: &Replica,
    prepared: &mut Option<Prepared<M::Reply>>,
    term_fence: Option<u64>,
) -> Result<(), ProposeError> {
    let deadline = Instant::now() + core.config.limits.propose_wait;
    let order = timeout_at(deadline, replica.shared.order.lock()).await;
    let _order = order.map_err(|_| ProposeError::Busy)?;
    check(core, replica, term_fence)?;
    timeout_at(deadline, core.db.admit()).await.map_err(|_| ProposeError::Busy)?;
    wake(replica).await?;
    check_leader(replica, term_fence)?;
    if prepared.as_ref().is_some_and(|prepared| !(prepared.wanted)()) {
        return Err(ProposeError::NotLeader { leader: replica.shared.leader() });
    }
    let Some(Prepared { payload, room, done, .. }) = prepared.take() else { return Ok(()) };
    let done = Box::new(move |result| done(outcome_of(result)));
    send(replica, payload, term_fence, Responder::new(done, room.0)).await
}

async fn send(
    replica: &Replica,
    payload: Bytes,
    term_fence: Option<u64>,
    responder: Responder<ClientWriteResult<TypeConfig>>,
) -> Result<(), ProposeError> {
    let mut write = replica.raft.write(Data(payload)).responder(responder);
    if let Some(term) = term_fence {
        write = write.with_leader(CommittedLeaderId::new(term));
    }
    write.await.map_err(|_| ProposeError::Closed)
}

/// Refuses what could not be committed now.
fn check(core: &Core, replica: &Replica, term_fence: Option<u64>) -> Result<(), ProposeError> {
    check_leader(replica, term_fence)?;
    // Peers whose disks hang may still acknowledge; where all hang there is nobody else to ask.
    if replica.shared.is_quorum(|id| core.alive(id) || core.condition_of(id).stalled) {
        Ok(())
    } else {
        Err(ProposeError::Busy)
    }
}

/// Takes room for a payload of `bytes` bytes in the group and on the node.
async fn room(
    core: &Core,
    replica: &Replica,
    bytes: usize,
    deadline: Instant,
) -> Result<Reservation, ProposeError> {
    let limits = &core.config.limits;
    let bytes = bytes + ENTRY_BYTES;
    if bytes > limits.frame_bytes / 2 {
        tracing::debug!(group = replica.shared.group.0, bytes, "proposal can never be replicated");
        return Err(ProposeError::Busy);
    }
    let room = async {
        let group = take(&replica.shared.room, bytes, limits.group_inflight_bytes).await?;
        let node = take(&core.room, bytes, limits.node_inflight_bytes).await?;
        Some(Reservation([group, node]))
    };
    let room = timeout_at(deadline, room).await.map_err(|_| ProposeError::Busy)?;
    room.ok_or(ProposeError::Closed)
}

async fn take(room: &Arc<Semaphore>, bytes: usize, all: usize) -> Option<OwnedSemaphorePermit> {
    let bytes = u32::try_from(bytes.min(all)).unwrap_or(u32::MAX);
    Arc::clone(room).acquire_many_owned(bytes).await.ok()
}

fn check_leader(replica: &Replica, term_fence: Option<u64>) -> Result<(), ProposeError> {
    if replica.shared.closing() {
        return Err(ProposeError::Closed);
    }
    let (state, vote) = replica.shared.role();
    if state == openraft::ServerState::Shutdown {
        return Err(ProposeError::Closed);
    }
    // The answers of a state that nobody else has would be wrong.
    let right = replica.shared.states.divergence().is_none();
    let leads = state == openraft::ServerState::Leader && right && !replica.shared.is_aside();
    if leads && term_fence.is_none_or(|term| term == vote.leader_id.term) {
        Ok(())
    } else {
        Err(ProposeError::NotLeader { leader: replica.shared.leader() })
    }
}

/// Makes sure that the leader's lease is valid. It is, unless the leader is new or cut off, and then
/// a round of heartbeats decides: doing that before the append, in order, keeps a refusal from
/// letting later proposals overtake.
async fn wake(replica: &Replica) -> Result<(), ProposeError> {
    if replica.shared.is_alone() {
        return Ok(());
    }
    let acked = replica.raft.metrics().borrow_watched().last_quorum_acked;
    let acked = acked.map(openraft::metrics::SerdeInstant::into_inner);
    if acked.is_some_and(|at| openraft::Instant::elapsed(&at) < ASK_AFTER) {
        return Ok(());
    }
    let started = Instant::now();
    let asked =
        timeout(WAKE_TIMEOUT, replica.raft.get_read_linearizer(ReadPolicy::ReadIndex)).await;
    match asked {
        Ok(Ok(_)) => {
            tracing::debug!(group = replica.shared.group.0, took = ?started.elapsed(), "leader woke");
            Ok(())
        }
        Ok(Err(_)) => Err(ProposeError::NotLeader { leader: replica.shared.leader() }),
        Err(_) => Err(ProposeError::Busy),
    }
}
