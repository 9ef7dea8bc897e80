//! Brings what the accumulator says into the log, and the outcomes back to who waits for them.
//!
//! Where nothing is in the way, as mostly, who hands over a batch proposes it itself and no task is woken. Otherwise a
//! task does, which lives as long as batches wait. A batch that was taken over enters the log under its term or not at
//! all, and then nothing that waits behind it does either: what stands in the way of a proposal (no majority in reach, a
//! disk that is behind) is waited out while the term lasts. Were one refused and the next
//! one not, a partition that has not heard of their producer would take the second for its first.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use quorate_raft::{Group, Leadership, Outcome, Prepared, ProposeError, Reservation};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::accumulator::{Accumulator, Entry, Next, Pushed, Sent};
use super::append::{AppendError, Appended};
use super::command::Times;
use super::known_leader;
use super::machine::{BatchReply, PartitionMachine, Reply};
use crate::replica::LogTime;
use crate::telemetry::metrics;

/// Between two tries to propose what cannot be proposed now.
const PAUSE: Duration = Duration::from_millis(50);

/// What becomes of a batch.
pub(super) type BatchOutcome = Result<Appended, AppendError>;

/// See the file's header.
pub(super) struct Proposer {
    group: Group<PartitionMachine>,
    leadership: watch::Receiver<Leadership>,
    log_time: LogTime,
    queue: Arc<Queue>,
}

/// Apart from the group, which holds it while entries are under way.
#[derive(Default)]
struct Queue {
    /// Held for a copy of one batch that may share an entry, so of less than 256 KiB.
    accumulator: Mutex<Accumulator<Waiter>>,
    woken: Notify,
    /// Entries that were refused though they had been handed to the core, as when its lease had run out.
    refused: AtomicU64,
}

/// Who waits for a batch that is not proposed yet, and the room that it takes.
struct Waiter {
    done: oneshot::Sender<BatchOutcome>,
    room: Reservation,
}

/// An entry that is ready to be proposed under a term.
struct Proposal {
    term: u64,
    /// What [`Queue::refused`] was when it was put together: one that is refused takes along what came behind it.
    refused: u64,
    prepared: Option<Prepared<Reply>>,
}

type Attempt = Pin<Box<dyn Future<Output = (Proposal, Result<(), ProposeError>)> + Send>>;

impl Proposer {
    pub(super) fn new(group: Group<PartitionMachine>) -> Arc<Self> {
        let leadership = group.leadership();
        Arc::new(Self { group, leadership, log_time: LogTime::default(), queue: Arc::default() })
    }

    /// Returns the times of a command proposed now; `wall_ms`: the leader's wall clock.
    pub(super) fn times(&self, wall_ms: i64) -> Times {
        let leadership = *self.leadership.borrow();
        let applied = || self.group.machine().log_ms();
        let log_ms = self.log_time.at(Instant::now(), &leadership, applied);
        Times { wall_ms, log_ms }
    }

    /// Takes over a batch that was checked under the leadership of `term`, behind all before it. Does not wait.
    ///
    /// An error means that it is not in the log and nothing has changed.
    pub(super) fn add(
        self: &Arc<Self>,
        term: u64,
        wall_ms: i64,
        batch: Sent<'_>,
        room: Reservation,
    ) -> Result<oneshot::Receiver<BatchOutcome>, AppendError> {
        let (done, outcome) = oneshot::channel();
        let waiter = Waiter { done, room };
        let accumulator = &self.queue.accumulator;
        let pushed = if batch.len() < batch.entry_bytes {
            accumulator.lock().push(term, wall_ms, batch, waiter)
        } else {
            let entry = Entry::new(term, wall_ms, batch, waiter);
            accumulator.lock().push_full(entry)
        };
        match pushed {
            Pushed::Waits => {}
            Pushed::Wake => self.queue.woken.notify_one(),
            Pushed::Drive => self.spawn(None, None)?,
            Pushed::Propose(entry) => self.propose_here(entry)?,
        }
        Ok(outcome)
    }

    /// Proposes an entry on the spot, and what came meanwhile, as far as nothing is in the way.
    fn propose_here(self: &Arc<Self>, entry: Entry<Waiter>) -> Result<(), AppendError> {
        let mut attempt = self.attempt(self.prepare(entry));
        let mut own = true;
        let mut failed = None;
        loop {
            match attempt.as_mut().now_or_never() {
                None => return self.spawn(failed, Some(attempt)),
                Some((_, Ok(()))) => {}
                // Who handed it over is told, and nobody who comes after.
                Some((_, Err(error))) if own => failed = Some(self.append_error(&error)),
                Some((proposal, Err(_))) => {
                    return self.spawn(failed, Some(self.attempt(proposal)));
                }
            }
            own = false;
            let next = self.queue.accumulator.lock().next();
            match next {
                Next::Propose(entry) => attempt = self.attempt(self.prepare(entry)),
                Next::Wait => return self.spawn(failed, None),
                Next::Idle => return failed.map_or(Ok(()), Err),
            }
        }
    }

    fn spawn(
        self: &Arc<Self>,
        failed: Option<AppendError>,
        attempt: Option<Attempt>,
    ) -> Result<(), AppendError> {
        tokio::spawn(Arc::clone(self).drive(attempt));
        failed.map_or(Ok(()), Err)
    }

    /// Proposes until nothing waits.
    async fn drive(self: Arc<Self>, mut attempt: Option<Attempt>) {
        loop {
            if let Some(attempt) = attempt.take() {
                let (proposal, proposed) = attempt.await;
                self.insist(proposal, proposed).await;
            }
            let next = self.queue.accumulator.lock().next();
            match next {
                Next::Propose(entry) => attempt = Some(self.attempt(self.prepare(entry))),
                Next::Wait => self.queue.woken.notified().await,
                Next::Idle => return,
            }
        }
    }

    /// Repeats a proposal until it is made or its term is over; then all that waits for that term is given up.
    async fn insist(&self, mut proposal: Proposal, mut proposed: Result<(), ProposeError>) {
        while let Err(error) = proposed {
            let closed = error == ProposeError::Closed;
            if closed || self.is_over(proposal.term) || self.queue.refused() != proposal.refused {
                let term = if closed { u64::MAX } else { proposal.term };
                self.queue.give_up(term, self.append_error(&error));
                if let Some(prepared) = proposal.prepared {
                    (prepared.done)(Outcome::NotInLog);
                }
                return;
            }
            sleep(PAUSE).await;
            (proposal, proposed) = self.attempt(proposal).await;
        }
    }

    /// Returns whether nothing can enter the log under `term` any more, for certain: a leader that has stepped aside may
    /// come back in the same term.
    fn is_over(&self, term: u64) -> bool {
        self.leadership.borrow().term != term
    }

    pub(super) fn append_error(&self, error: &ProposeError) -> AppendError {
        match error {
            ProposeError::NotLeader { .. } => {
                AppendError::NotLeader { leader: known_leader(&self.leadership.borrow()) }
            }
            ProposeError::Busy => AppendError::Busy,
            ProposeError::Closed => AppendError::Closed,
        }
    }

    fn attempt(&self, mut proposal: Proposal) -> Attempt {
        let group = self.group.clone();
        Box::pin(async move {
            let proposed = group.submit(&mut proposal.prepared, Some(proposal.term)).await;
            (proposal, proposed)
        })
    }

    fn prepare(&self, entry: Entry<Waiter>) -> Proposal {
        let Entry { term, wall_ms, payload, waiters, .. } = entry;
        let (queue, refused) = (Arc::clone(&self.queue), self.queue.refused());
        metrics().partition_entry_batches.observe(f64::from(payload.count()));
        let mut answers = Vec::with_capacity(waiters.len());
        let mut reserved: Option<Reservation> = None;
        for Waiter { done, room } in waiters {
            answers.push(done);
            match &mut reserved {
                Some(reserved) => reserved.merge(room),
                None => reserved = Some(room),
            }
        }
        let payload = payload.finish(self.times(wall_ms));
        let leadership = self.leadership.clone();
        let in_flight = InFlight { term, answers, leadership, queue: Arc::clone(&self.queue) };
        let done = Box::new(move |outcome| in_flight.end(outcome));
        let wanted = Box::new(move || queue.refused() == refused);
        let prepared = reserved.map(|room| Prepared { payload, room, wanted, done });
        Proposal { term, refused, prepared }
    }
}

impl Queue {
    fn refused(&self) -> u64 {
        self.refused.load(Ordering::Acquire)
    }

    /// Tells those whose batches wait to enter under `term` or an earlier one that they do not.
    fn give_up(&self, term: u64, error: AppendError) {
        let given_up = self.accumulator.lock().give_up(term);
        for waiter in given_up.into_iter().flat_map(|entry| entry.waiters) {
            tell(waiter.done, Err(error));
        }
    }
}

/// An entry under way, for those who wait for its batches. Dropped, it leaves their outcome unknown.
struct InFlight {
    term: u64,
    answers: Vec<oneshot::Sender<BatchOutcome>>,
    leadership: watch::Receiver<Leadership>,
    queue: Arc<Queue>,
}

impl InFlight {
    fn end(mut self, outcome: Outcome<Reply>) {
        let answers = std::mem::take(&mut self.answers);
        let replies = match outcome {
            Outcome::Applied { reply: Reply::Appended(replies), .. } => replies,
            // Another leader's entry took its place, or the core refused it.
            Outcome::NotInLog => {
                let leader = known_leader(&self.leadership.borrow());
                let error = AppendError::NotLeader { leader };
                self.queue.refused.fetch_add(1, Ordering::AcqRel);
                self.queue.give_up(self.term, error);
                answers.into_iter().for_each(|answer| tell(answer, Err(error)));
                return;
            }
            // An append is answered as an append; anything else comes of another command.
            Outcome::Applied { .. } | Outcome::Indeterminate => return,
        };
        #[cfg(feature = "mutants")]
        let replies = super::mutants::neighbours(replies);
        for (answer, reply) in answers.into_iter().zip(replies) {
            tell(answer, outcome_of(reply));
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let wake = self.queue.accumulator.lock().landed();
        if wake {
            self.queue.woken.notify_one();
        }
    }
}

fn tell(answer: oneshot::Sender<BatchOutcome>, outcome: BatchOutcome) {
    // When it cannot be sent nobody waits any more.
    let _ = answer.send(outcome);
}

fn outcome_of(reply: BatchReply) -> BatchOutcome {
    match reply {
        BatchReply::Appended { base_offset, log_append_time, log_start, version, .. } => {
            Ok(Appended { base_offset, log_append_time, log_start, version })
        }
        BatchReply::Refused(refusal) => Err(AppendError::Refused(refusal)),
    }
}
