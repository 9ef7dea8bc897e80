//! What the log remembers of a transactional id, and by which rules that changes (KIP-98, KIP-360, KIP-890).
//!
//! ```text
//!            ┌──────────────── init ────────────────┐
//!            ▼                                      │
//!  init ─▶ Empty ─▶ Ongoing ─▶ Prepared ─▶ Completed ┤
//!                      ▲                            │
//!                      └───────── enlist ───────────┘
//! ```
//!
//! The producer's id and epoch are always those of what it may do next: they change as soon as an end is prepared, and the
//! markers that are still to be written are told apart from them ([`Ending`]). So whoever comes with an older epoch is
//! fenced from the moment that the end is decided.
//!
//! Invariant: a rule that refuses changes nothing.

mod describe;
mod parts;

use serde::{Deserialize, Serialize};

use super::{Enlist, TransactionError, TransactionResult};

pub(super) use parts::{Part, Parts};

/// The last epoch that a producer is given. The one behind it is for fencing, as in Kafka.
pub(super) const EPOCH_LAST: i16 = i16::MAX - 1;

/// A producer's id and its epoch.
pub(super) type Producer = (i64, i16);

/// A transactional id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    /// As whom the producer asked for what gave it the present id and epoch: whoever asks so again has not heard the answer.
    pub(super) former: Option<Former>,
    pub(super) timeout_ms: i32,
    pub(super) state: State,
    /// Of the transaction that is open or was the last; 0: there was none.
    pub(super) number: u64,
    /// What is in the transaction; empty when none is open.
    pub(super) parts: Parts,
    /// Log time at which the last one began.
    pub(super) started_ms: i64,
    /// The same by the wall clock of who led then, milliseconds since 1970.
    pub(super) started_wall_ms: i64,
    /// Log time of the last change.
    pub(super) changed_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Nothing was done since the producer was given its epoch.
    Empty,
    Ongoing,
    /// It is decided how the transaction ends, and not everywhere known.
    Prepared(Ending),
    Completed(TransactionResult),
}

/// What the markers of a transaction say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ending {
    pub(super) result: TransactionResult,
    pub(super) producer_id: i64,
    /// That of the transaction, or one above it, which keeps what comes late out of the partitions.
    pub(super) epoch: i16,
    /// The coordinator aborts it, and its producer is fenced.
    pub(super) fences: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Former {
    pub(super) producer: Producer,
    pub(super) asked: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Asked {
    Init,
    End,
}

/// When an entry is applied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Of the entry in the log.
    pub(super) index: u64,
    pub(super) log_ms: i64,
    /// By the leader's wall clock.
    pub(super) wall_ms: i64,
    /// One more transaction may be open.
    pub(super) has_room: bool,
}

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// What the producer is from now on.
    Producer(i64, i16),
    /// The open transaction is aborted first; to be asked again when that is done.
    Aborting,
    /// The transaction that it is in.
    Number(u64),
    Done,
}

/// What a rule says.
pub(super) type Judged = Result<Answer, TransactionError>;

impl Record {
    /// A transactional id that nobody had, or that was forgotten.
    pub(super) fn new(
        fresh_id: i64,
        timeout_ms: i32,
        asked_as: Option<Producer>,
        now: Now,
    ) -> Self {
        Self {
            producer_id: fresh_id,
            epoch: 0,
            former: asked_as.map(|producer| Former { producer, asked: Asked::Init }),
            timeout_ms,
            state: State::Empty,
            number: 0,
            parts: Parts::default(),
            started_ms: 0,
            started_wall_ms: -1,
            changed_ms: now.log_ms,
        }
    }

    pub(super) fn producer(&self) -> Producer {
        (self.producer_id, self.epoch)
    }

    /// Log time at which the transaction's time is over.
    pub(super) fn due_ms(&self) -> i64 {
        self.started_ms.saturating_add(i64::from(self.timeout_ms))
    }

    /// InitProducerId. `asked_as`: what the producer says that it is.
    pub(super) fn init(
        &mut self,
        timeout_ms: i32,
        asked_as: Option<Producer>,
        fresh_id: i64,
        now: Now,
    ) -> Judged {
        let is_retry = asked_as.is_some() && asked_as == self.former.map(|it| it.producer);
        if asked_as.is_some_and(|it| it != self.producer()) && !is_retry {
            return Err(TransactionError::ProducerFenced);
        }
        let former = asked_as.map(|producer| Former { producer, asked: Asked::Init });
        match self.state {
            // It has heard the answer since.
            State::Ongoing if is_retry => Ok(self.answer()),
            State::Ongoing => {
                self.prepare_fencing_abort(now);
                self.former = former;
                Ok(Answer::Aborting)
            }
            State::Prepared(_) => Err(TransactionError::Concurrent),
            State::Empty | State::Completed(_) if is_retry && self.epoch <= EPOCH_LAST => {
                Ok(self.answer())
            }
            State::Empty | State::Completed(_) => {
                self.former = former;
                (self.producer_id, self.epoch) = if self.epoch >= EPOCH_LAST {
                    (fresh_id, 0)
                } else {
                    (self.producer_id, self.epoch + 1)
                };
                self.timeout_ms = timeout_ms;
                self.state = State::Empty;
                self.changed_ms = now.log_ms;
                Ok(self.answer())
            }
        }
    }

    /// AddPartitionsToTxn, AddOffsetsToTxn, and what they are without a request of their own (KIP-890).
    pub(super) fn enlist(
        &mut self,
        producer: Producer,
        added: &[Part],
        how: Enlist,
        now: Now,
    ) -> Judged {
        self.check(producer)?;
        let is_open = match self.state {
            State::Prepared(_) if how == Enlist::Add => return Err(TransactionError::Concurrent),
            // The producer had no answer before it ended the transaction.
            State::Prepared(_) => return Err(TransactionError::InvalidState),
            State::Ongoing => true,
            State::Empty | State::Completed(_) => false,
        };
        let missing = added.iter().filter(|part| !is_open || !self.parts.contains(part));
        let missing: Vec<Part> = missing.copied().collect();
        if missing.is_empty() {
            return Ok(Answer::Number(if is_open { self.number } else { 0 }));
        }
        if how == Enlist::Verify {
            return Err(TransactionError::InvalidState);
        }
        if !is_open && !now.has_room {
            return Err(TransactionError::NotAvailable);
        }
        if !self.parts.has_room_for(&missing) {
            return Err(TransactionError::TooLarge);
        }
        if !is_open {
            self.state = State::Ongoing;
            self.number = now.index;
            self.started_ms = now.log_ms;
            self.started_wall_ms = now.wall_ms;
        }
        missing.into_iter().for_each(|part| self.parts.insert(part));
        self.changed_ms = now.log_ms;
        Ok(Answer::Number(self.number))
    }

    /// EndTxn. `bumps`: with an epoch of its own for the next transaction, for which `fresh_id` is there when epochs are
    /// used up.
    pub(super) fn end(
        &mut self,
        producer: Producer,
        result: TransactionResult,
        bumps: bool,
        fresh_id: Option<i64>,
        now: Now,
    ) -> Judged {
        let again = self.former == Some(Former { producer, asked: Asked::End });
        match self.state {
            State::Prepared(Ending { result: before, .. }) | State::Completed(before) if again => {
                return self.answer_if(before == result);
            }
            _ => self.check(producer)?,
        }
        let was_bumped = self.former.is_some_and(|it| it.asked == Asked::End);
        match self.state {
            State::Ongoing => {}
            // It is the end of the next transaction, to which nothing was added yet.
            State::Prepared(_) if was_bumped => return Err(TransactionError::Concurrent),
            State::Prepared(Ending { fences: true, .. }) => {
                return Err(TransactionError::Concurrent);
            }
            State::Prepared(Ending { result: before, .. }) => {
                return self.answer_if(before == result);
            }
            State::Completed(before) if !bumps => return self.answer_if(before == result),
            State::Empty | State::Completed(_) if bumps && result == TransactionResult::Abort => {}
            State::Empty | State::Completed(_) => return Err(TransactionError::InvalidState),
        }
        self.prepare(producer, result, bumps, fresh_id, now)?;
        Ok(self.answer())
    }

    /// Aborts the open transaction in the place of its producer, which is fenced by that.
    pub(super) fn abort(&mut self, number: Option<u64>, if_timed_out: bool, now: Now) -> Judged {
        match self.state {
            State::Ongoing => {}
            State::Prepared(_) => return Err(TransactionError::Concurrent),
            State::Empty | State::Completed(_) => return Err(TransactionError::InvalidState),
        }
        let is_other = number.is_some_and(|number| number != self.number);
        if is_other || (if_timed_out && now.log_ms < self.due_ms()) {
            return Err(TransactionError::InvalidState);
        }
        self.prepare_fencing_abort(now);
        Ok(Answer::Done)
    }

    /// All markers of a transaction are written.
    pub(super) fn complete(&mut self, number: u64, now: Now) -> Judged {
        match self.state {
            State::Prepared(ending) if self.number == number => {
                self.state = State::Completed(ending.result);
                self.parts = Parts::default();
                self.changed_ms = now.log_ms;
                Ok(Answer::Done)
            }
            _ => Err(TransactionError::InvalidState),
        }
    }

    /// Whether nothing of it has changed since then and nothing is open.
    pub(super) fn is_over(&self, before_ms: i64) -> bool {
        let is_idle = matches!(self.state, State::Empty | State::Completed(_));
        is_idle && self.changed_ms < before_ms
    }

    fn check(&self, (id, epoch): Producer) -> Result<(), TransactionError> {
        if id != self.producer_id {
            return Err(TransactionError::InvalidProducerId);
        }
        if epoch != self.epoch {
            return Err(TransactionError::ProducerFenced);
        }
        Ok(())
    }

    fn answer(&self) -> Answer {
        Answer::Producer(self.producer_id, self.epoch)
    }

    fn answer_if(&self, same: bool) -> Judged {
        if same { Ok(self.answer()) } else { Err(TransactionError::InvalidState) }
    }

    fn prepare(
        &mut self,
        producer: Producer,
        result: TransactionResult,
        bumps: bool,
        fresh_id: Option<i64>,
        now: Now,
    ) -> Result<(), TransactionError> {
        let (producer_id, mut epoch) = producer;
        let mut next = producer;
        if bumps {
            next = match fresh_id {
                Some(fresh_id) if epoch >= EPOCH_LAST => (fresh_id, 0),
                None if epoch >= EPOCH_LAST => return Err(TransactionError::NotAvailable),
                _ => (producer_id, epoch + 1),
            };
            epoch = epoch.saturating_add(1);
        }
        let ending = Ending { result, producer_id, epoch, fences: false };
        self.state = match self.state {
            State::Ongoing => State::Prepared(ending),
            // Nobody is to be told of what nothing was in.
            _ => State::Completed(result),
        };
        (self.producer_id, self.epoch) = next;
        self.former = bumps.then_some(Former { producer, asked: Asked::End });
        self.changed_ms = now.log_ms;
        Ok(())
    }

    fn prepare_fencing_abort(&mut self, now: Now) {
        self.epoch = self.epoch.saturating_add(1);
        self.former = None;
        self.state = State::Prepared(Ending {
            result: TransactionResult::Abort,
            producer_id: self.producer_id,
            epoch: self.epoch,
            fences: true,
        });
        self.changed_ms = now.log_ms;
    }
}

#[cfg(test)]
mod tests;
