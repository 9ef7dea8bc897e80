//! The metadata leader decides, one request after the other.
//!
//! Each is decided on the image that all decisions before it will leave, applied or not, and carries that image's
//! version. So requests that come at once do not make each other void, however many are on their way; and a decision
//! that meets another image when it is applied, because one before it was lost with a leadership, does nothing and
//! is made again.
//!
//! ```text
//!   applied ── v7 ─────────────── v8 ── v9 ── v10    anticipated: what this leader proposed in its term
//!                                  ▲     ▲     ▲
//!   proposed, not yet applied:  base 7, base 8, base 9        the next is decided on v10
//! ```
//!
//! The anticipated image belongs to one term: a leader is ready when it has applied all that was proposed before its
//! term, and from then on only its own decisions reach the log. It is thrown away with the term, and whenever a
//! proposal came to anything else than what was anticipated. A feature level is not anticipated: what follows waits
//! until it is applied, because a command of the new level must not stand in a log that never got to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{Leadership, Outcome, Pending};
use quorate_storage::mutant;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::Controller;
use super::forward::{BYTES_MAX, Verdict, too_large};
use crate::metadata::{
    AdminError, Applied, Command, Done, Levels, MetadataMachine, Request, decide, encode,
};

/// How long the defect `metadata-before-commit` waits for the commit that it should wait for.
const IMPATIENCE: Duration = Duration::from_millis(50);

/// What this broker anticipates while it leads the metadata group.
#[derive(Debug, Default)]
pub(super) struct Decider {
    anticipation: Mutex<Anticipation>,
    /// The anticipations up to this number came to nothing.
    void: AtomicU64,
}

#[derive(Debug, Default)]
struct Anticipation {
    /// The machine with every decision of `term` applied; `None` before the first.
    machine: Option<MetadataMachine>,
    term: u64,
    /// Which anticipation of this process it is, so that it is thrown away for its own failures alone.
    number: u64,
}

/// The right to decide next, and what that is decided on.
struct Turn<'a> {
    anticipation: MutexGuard<'a, Anticipation>,
    machine: MetadataMachine,
}

/// A decision on its way.
struct Proposed {
    pending: Pending<Applied>,
    anticipation: u64,
}

impl Controller {
    /// Decides a request here, for whichever broker, and returns what came of it within `patience`.
    pub(super) async fn decide(
        &self,
        request: Uuid,
        asked: &Request,
        patience: Duration,
    ) -> Verdict {
        let deadline = Instant::now() + patience;
        if self.leading_term().is_none() {
            return Verdict::NotInLog;
        }
        if let Some(refusal) = unknown_here(self.node.id(), asked) {
            return Verdict::Applied { reply: Err(refusal), index: 0 };
        }
        loop {
            let proposed = self.propose(request, asked, deadline).await;
            let Proposed { pending, anticipation } = match proposed {
                Ok(proposed) => proposed,
                Err(verdict) => return verdict,
            };
            let patience = deadline.saturating_duration_since(Instant::now());
            let patience = if mutant::on("metadata-before-commit") { IMPATIENCE } else { patience };
            match timeout(patience, pending).await {
                Err(_) if mutant::on("metadata-before-commit") => {
                    return Verdict::Applied { reply: Ok(Done::Changed), index: 0 };
                }
                Err(_) => return Verdict::Unknown,
                Ok(Outcome::Applied { reply: Applied::Answered(reply), index, .. }) => {
                    return Verdict::Applied { reply, index };
                }
                Ok(Outcome::Applied { .. }) => self.forget(anticipation),
                Ok(Outcome::NotInLog) => {
                    self.forget(anticipation);
                    return Verdict::NotInLog;
                }
                Ok(Outcome::Indeterminate) => {
                    self.forget(anticipation);
                    return Verdict::Unknown;
                }
            }
        }
    }

    /// Decides on the anticipated image and proposes the decision; or says what is known when that did not work.
    ///
    /// Cancelled between the proposal and the anticipation it would leave the latter behind, so what is anticipated
    /// is taken out for as long as that lasts.
    async fn propose(
        &self,
        request: Uuid,
        asked: &Request,
        deadline: Instant,
    ) -> Result<Proposed, Verdict> {
        let turn = timeout_at(deadline, self.turn()).await.ok().flatten();
        // Nothing was proposed yet, whatever it was that took so long.
        let Some(Turn { mut anticipation, mut machine }) = turn else {
            return Err(Verdict::NotInLog);
        };
        if mutant::on("decided-on-any-image") {
            machine = self.group.machine().clone();
        }
        let level = machine.image().level;
        let (command, payload) = bounded(decide(&machine.image(), request, asked));
        let proposing = self.group.propose(payload, Some(anticipation.term));
        let proposed = timeout_at(deadline, proposing).await.map_err(|_| Verdict::Unknown)?.ok();
        if proposed.is_some() {
            machine.carry_out(command);
        }
        anticipation.machine = Some(machine).filter(|machine| machine.image().level == level);
        let pending = proposed.ok_or(Verdict::NotInLog)?;
        Ok(Proposed { pending, anticipation: anticipation.number })
    }

    /// Waits for the turn to decide. `None`: this broker does not lead, or no longer.
    async fn turn(&self) -> Option<Turn<'_>> {
        self.leading_term()?;
        let mut anticipation = self.decider.anticipation.lock().await;
        let term = self.leading_term()?;
        let is_void = anticipation.number <= self.decider.void.load(Ordering::Acquire);
        let is_good = anticipation.term == term && !is_void;
        let machine = match anticipation.machine.take().filter(|_| is_good) {
            Some(machine) => machine,
            None => self.begin(&mut anticipation, term).await?,
        };
        Some(Turn { anticipation, machine })
    }

    /// Begins from what is applied here. What an anticipation that failed has still under way is waited for, as long
    /// as this broker leads in `term`.
    async fn begin(&self, anticipation: &mut Anticipation, term: u64) -> Option<MetadataMachine> {
        let logged = self.group.status().last_index.unwrap_or(0);
        let (mut applied, mut leadership) = (self.group.applied(), self.group.leadership());
        tokio::select! {
            _ = applied.wait_for(|applied| *applied >= logged) => {}
            _ = leadership.wait_for(|now| self.led_in(now) != Some(term)) => return None,
        }
        anticipation.term = term;
        anticipation.number += 1;
        Some(self.group.machine().clone())
    }

    /// Gives back the memory of what was anticipated; for a broker that does not lead.
    pub(super) fn anticipate_nothing(&self) {
        // Whoever has the turn finds that this broker leads no longer.
        if let Ok(mut anticipation) = self.decider.anticipation.try_lock() {
            anticipation.machine = None;
        }
    }

    /// The anticipation of that number came to nothing, and all before it.
    fn forget(&self, number: u64) {
        self.decider.void.fetch_max(number, Ordering::AcqRel);
    }

    /// Returns the term in which this broker leads the metadata group with all earlier decisions applied.
    fn leading_term(&self) -> Option<u64> {
        self.led_in(&self.group.leadership().borrow())
    }

    fn led_in(&self, leadership: &Leadership) -> Option<u64> {
        let leads = leadership.ready && leadership.leader == Some(self.node.id());
        leads.then_some(leadership.term)
    }
}

/// Refuses to finalize a level that this broker's own release does not know. What the image says of that may be old:
/// a broker that was just taken back to another release has not registered with it yet.
fn unknown_here(me: u64, asked: &Request) -> Option<AdminError> {
    let levels = Levels::supported();
    match asked {
        Request::Finalize { level } if *level > levels.highest => {
            let brokers = format!("{me} (levels {levels})");
            Some(AdminError::LevelNotSupported { level: *level, brokers })
        }
        _ => None,
    }
}

/// Returns the command and its bytes, or a refusal of what came to more than the log should keep.
fn bounded(command: Command) -> (Command, Bytes) {
    let payload = encode(&command);
    if payload.len() <= BYTES_MAX {
        return (command, payload.into());
    }
    let refusal = Command { change: None, reply: Err(too_large(payload.len())), ..command };
    let payload = encode(&refusal).into();
    (refusal, payload)
}

#[cfg(test)]
mod tests;
