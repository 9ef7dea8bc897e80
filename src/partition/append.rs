//! A producer's batch on its way into the log.
//!
//! The order of calls to [`Partition::append`] is the order of the log, so a caller that awaits it before
//! the next batch of the same producer keeps that producer's order, and need not wait for the commit
//! in between. Whether a batch takes its place is decided when it is applied; here only batches that
//! are in the log already, for certain, are answered at once. What waits and what is in flight is bounded in bytes,
//! per group and per broker.
//!
//! Invariant: a batch enters the log only under the term whose leadership was checked. Between check and
//! proposal the leadership may be lost and won again, and what was decided for the old one (that a batch
//! is no duplicate, that a client was told the right leader) need not hold for the new.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quorate_raft::{Outcome, Pending};
use tokio::sync::{oneshot, watch};

use super::accumulator::{ENTRY_BYTES, STREAM_ENTRY_BYTES, Sent};
use super::attachments::Attachments;
use super::command::FRAME_OVERHEAD;
use super::machine::{Refusal, Reply};
use super::producers::Sequence;
use super::proposer::BatchOutcome;
use super::{NotReady, Partition, epochs, known_leader};
use crate::metadata::Leader;
use crate::record::CheckedBatch;

/// A batch that is in the log, committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record; of the original, if the batch was sent before.
    pub base_offset: i64,
    /// The time the log gave its records; -1 when they keep their producer's.
    pub log_append_time: i64,
    pub log_start: i64,
    /// The version of the key of its first record behind it; -1 where there are no streams, and where the batch was sent
    /// before and it is not remembered.
    pub version: i64,
}

/// A batch that is not in the log, or may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Not in the log. Send it to the leader.
    #[error("this replica does not lead the partition")]
    NotLeader { leader: Option<Leader> },
    /// Not in the log. Too much is in flight, or no majority is in reach; send it again later.
    #[error("too much is in flight, or no majority is in reach")]
    Busy,
    /// Not in the log. The disk of a replica is nearly full; send it again later.
    #[error("broker {broker}, a replica of the partition, has too little disk space left")]
    NoSpace { broker: u64 },
    /// Not in the log, and never will be as it is.
    #[error(transparent)]
    Refused(Refusal),
    /// May be in the log. An idempotent producer sends it again and gets the original offset.
    #[error("the outcome is unknown")]
    Indeterminate,
    /// Not in the log. The replica is closed here.
    #[error("the replica is closed")]
    Closed,
}

/// An append on its way; resolves once the batch is committed and applied here, or known not to be.
///
/// Not bounded in time: without a majority it waits. When dropped the outcome is unknown. Its place among
/// the bytes in flight is given back by what becomes of it, not by asking, so it may wait unasked.
#[must_use = "a batch is acknowledged only after this resolved"]
pub struct PendingAppend(State);

enum State {
    Known(Appended),
    #[cfg(feature = "mutants")]
    Failed(AppendError),
    UnderWay(oneshot::Receiver<BatchOutcome>),
}

/// A command on its way.
pub(super) struct Proposal {
    pending: Pending<Reply>,
    leadership: watch::Receiver<quorate_raft::Leadership>,
}

impl Partition {
    /// Hands `batch` to the log; the future returned by this future says what became of it.
    ///
    /// `attachments`: what was taken out of it, and what is asked for besides. `leader_epoch`: that in which this replica was found to lead, before the batch was checked. `now_ms`: the
    /// wall clock. Waits for room a few seconds at most. If dropped before it returns nothing was handed over.
    pub async fn append(
        &self,
        batch: CheckedBatch,
        attachments: &Attachments,
        now_ms: i64,
        leader_epoch: i32,
    ) -> Result<PendingAppend, AppendError> {
        let term = self.fence()?;
        if epochs::of_term(term) != leader_epoch {
            return Err(AppendError::NotLeader { leader: self.leader() });
        }
        if let Some(appended) = self.known_duplicate(&batch) {
            return Ok(PendingAppend(State::Known(appended)));
        }
        if let Some(broker) = self.group.short_of_space() {
            return Err(AppendError::NoSpace { broker });
        }
        #[cfg(feature = "mutants")]
        let attachments = &super::mutants::judged_early(self, attachments)?;
        let attachments = attachments.encoded();
        let bytes = FRAME_OVERHEAD + batch.len() + attachments.len();
        let room = self.group.reserve(bytes, Some(term)).await;
        let room = room.map_err(|error| self.proposer.append_error(&error))?;
        let has_streams = self.settings().streams.is_some();
        let entry_bytes = if has_streams { STREAM_ENTRY_BYTES } else { ENTRY_BYTES };
        let sent = Sent { bytes: batch.bytes(), attachments: &attachments, entry_bytes };
        let outcome = self.proposer.add(term, now_ms, sent, room)?;
        drop(batch);
        let append = PendingAppend(State::UnderWay(outcome));
        #[cfg(feature = "mutants")]
        let append = super::mutants::impatient(append, self).await;
        Ok(append)
    }

    /// Returns the term in which this replica leads and may propose.
    pub(super) fn fence(&self) -> Result<u64, NotReady> {
        let leadership = self.leadership.borrow();
        if leadership.ready {
            return Ok(leadership.term);
        }
        Err(NotReady { leader: known_leader(&leadership) })
    }

    pub(super) async fn propose(&self, payload: Bytes, term: u64) -> Result<Proposal, AppendError> {
        let leadership = self.leadership.clone();
        match self.group.propose(payload, Some(term)).await {
            Ok(pending) => Ok(Proposal { pending, leadership }),
            Err(error) => Err(self.proposer.append_error(&error)),
        }
    }

    /// What is applied is committed, so the answer holds whoever leads by now. It also costs neither an
    /// entry nor a place among the rejected.
    fn known_duplicate(&self, batch: &CheckedBatch) -> Option<Appended> {
        let claim = Sequence::of(batch.header())?;
        let machine = self.group.machine();
        let stored = machine.duplicate(&claim)?;
        Some(Appended {
            base_offset: stored.base_offset,
            log_append_time: stored.log_append_time,
            log_start: machine.log_start(),
            version: -1,
        })
    }
}

#[cfg(feature = "mutants")]
impl PendingAppend {
    pub(super) fn known(outcome: Result<Appended, AppendError>) -> Self {
        Self(match outcome {
            Ok(appended) => State::Known(appended),
            Err(error) => State::Failed(error),
        })
    }
}

impl Future for Proposal {
    type Output = Result<Reply, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(pin!(&mut self.pending).poll(context));
        Poll::Ready(match outcome {
            Outcome::Applied { reply, .. } => Ok(reply),
            Outcome::Indeterminate => Err(AppendError::Indeterminate),
            // Another leader's entry took its place.
            Outcome::NotInLog => {
                let leader = known_leader(&self.leadership.borrow());
                Err(AppendError::NotLeader { leader })
            }
        })
    }
}

impl Future for PendingAppend {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match &mut self.0 {
            State::Known(appended) => return Poll::Ready(Ok(*appended)),
            #[cfg(feature = "mutants")]
            State::Failed(error) => return Poll::Ready(Err(*error)),
            State::UnderWay(outcome) => ready!(pin!(outcome).poll(context)),
        };
        // The entry was given up while its outcome was open, as when the replica is closed.
        Poll::Ready(outcome.unwrap_or(Err(AppendError::Indeterminate)))
    }
}

impl From<NotReady> for AppendError {
    fn from(not_ready: NotReady) -> Self {
        Self::NotLeader { leader: not_ready.leader }
    }
}
