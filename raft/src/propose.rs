//! The way of a proposal into the log, and of its outcome back.
//!
//! What a caller may assume stands in the types: a [`ProposeError`] or [`Outcome::NotInLog`] means
//! that nothing was written, anything else than [`Outcome::Applied`] that it may have been.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::raft::{ClientWriteResponse, ClientWriteResult};
use openraft::{OptionalSend, ReadPolicy};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::LEASE;
use crate::error::ProposeError;
use crate::machine::Machine;
use crate::node::Core;
use crate::replica::Replica;
use crate::types::{CommittedLeaderId, Data, TypeConfig};

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
    result: oneshot::Receiver<ClientWriteResult<TypeConfig>>,
    reply: PhantomData<fn() -> R>,
}

impl<R: Send + Sync + 'static> Future for Pending<R> {
    type Output = Outcome<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome<R>> {
        Poll::Ready(match ready!(Pin::new(&mut self.result).poll(context)) {
            Ok(Ok(written)) => applied(written),
            Ok(Err(ClientWriteError::ForwardToLeader(_))) => Outcome::NotInLog,
            Ok(Err(_)) | Err(_) => Outcome::Indeterminate,
        })
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

/// Takes the outcome of a proposal, and gives back the room it took in any case.
pub(crate) struct Responder<T> {
    result: oneshot::Sender<T>,
    _room: Option<[OwnedSemaphorePermit; 2]>,
}

impl<T: OptionalSend + 'static> openraft::raft::responder::Responder<TypeConfig, T>
    for Responder<T>
{
    fn on_complete(self, result: T) {
        // Nobody waits any more: the proposer gave up.
        drop(self.result.send(result));
    }
}

/// Proposes a payload; see [`crate::Group::propose`].
pub(crate) async fn propose<M: Machine>(
    core: &Core,
    replica: &Replica,
    payload: Bytes,
    term_fence: Option<u64>,
) -> Result<Pending<M::Reply>, ProposeError> {
    let shared = &replica.shared;
    let limits = &core.config.limits;
    let deadline = Instant::now() + limits.propose_wait;
    let order = timeout_at(deadline, shared.order.lock()).await;
    let _order = order.map_err(|_| ProposeError::Busy)?;
    check_leader(replica, term_fence)?;
    // Peers whose disks hang may still acknowledge; where all hang there is nobody else to ask.
    if !shared.is_quorum(|id| core.alive(id) || core.condition_of(id).stalled) {
        return Err(ProposeError::Busy);
    }
    timeout_at(deadline, core.db.admit()).await.map_err(|_| ProposeError::Busy)?;
    let bytes = payload.len() + ENTRY_BYTES;
    if bytes > limits.frame_bytes / 2 {
        tracing::debug!(group = shared.group.0, bytes, "proposal can never be replicated");
        return Err(ProposeError::Busy);
    }
    let room = async {
        let group = take(&shared.room, bytes, limits.group_inflight_bytes).await?;
        Some([group, take(&core.room, bytes, limits.node_inflight_bytes).await?])
    };
    let room = timeout_at(deadline, room).await.map_err(|_| ProposeError::Busy)?;
    let room = room.ok_or(ProposeError::Closed)?;
    wake(replica).await?;
    check_leader(replica, term_fence)?;
    let (result, pending) = oneshot::channel();
    let mut write =
        replica.raft.write(Data(payload)).responder(Responder { result, _room: Some(room) });
    if let Some(term) = term_fence {
        write = write.with_leader(CommittedLeaderId::new(term));
    }
    write.await.map_err(|_| ProposeError::Closed)?;
    Ok(Pending { result: pending, reply: PhantomData })
}

async fn take(
    room: &std::sync::Arc<Semaphore>,
    bytes: usize,
    all: usize,
) -> Option<OwnedSemaphorePermit> {
    let bytes = u32::try_from(bytes.min(all)).unwrap_or(u32::MAX);
    std::sync::Arc::clone(room).acquire_many_owned(bytes).await.ok()
}

fn check_leader(replica: &Replica, term_fence: Option<u64>) -> Result<(), ProposeError> {
    if replica.shared.closing() {
        return Err(ProposeError::Closed);
    }
    let (state, vote) = replica.shared.role();
    // The answers of a state that nobody else has would be wrong.
    let right = replica.shared.states.told().is_none();
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
