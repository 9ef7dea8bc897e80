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
//! proposal came to anything else than what was anticipated.

use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{Outcome, Pending, ProposeError};
use quorate_storage::mutant;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::Controller;
use super::forward::{BYTES_MAX, Verdict, too_large};
use crate::metadata::{Applied, Command, Done, MetadataMachine, Request, decide, encode};

/// How long the defect `metadata-before-commit` waits for the commit that it should wait for.
const IMPATIENCE: Duration = Duration::from_millis(50);

/// What this broker anticipates while it leads the metadata group.
#[derive(Debug, Default)]
pub(super) struct Decider(Mutex<Anticipation>);

#[derive(Debug, Default)]
struct Anticipation {
    /// The machine with every decision of `term` applied; `None` before the first.
    machine: Option<MetadataMachine>,
    term: u64,
    /// Which anticipation of this process it is, so that it is thrown away for its own failures alone.
    number: u64,
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
        loop {
            let proposed = match timeout_at(deadline, self.propose(request, asked)).await {
                Ok(Some(proposed)) => proposed,
                Ok(None) => return Verdict::NotInLog,
                Err(_) => return Verdict::Unknown,
            };
            let Proposed { pending, anticipation } = proposed;
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
                Ok(Outcome::Applied { .. }) => self.forget(anticipation).await,
                Ok(Outcome::NotInLog) => {
                    self.forget(anticipation).await;
                    return Verdict::NotInLog;
                }
                Ok(Outcome::Indeterminate) => {
                    self.forget(anticipation).await;
                    return Verdict::Unknown;
                }
            }
        }
    }

    /// Decides on the anticipated image and proposes the decision. `None`: nothing is in the log.
    ///
    /// Cancelled between the proposal and the anticipation it would leave the latter behind, so what is anticipated
    /// is taken out for as long as that lasts.
    async fn propose(&self, request: Uuid, asked: &Request) -> Option<Proposed> {
        let mut anticipation = self.decider.0.lock().await;
        let term = self.leading_term()?;
        let known = anticipation.machine.take().filter(|_| anticipation.term == term);
        let mut machine = match known {
            Some(machine) => machine,
            None => self.begin(&mut anticipation, term).await,
        };
        if mutant::on("decided-on-any-image") {
            machine = self.group.machine().clone();
        }
        let (command, payload) = bounded(decide(&machine.image(), request, asked));
        let proposed = self.group.propose(payload, Some(term)).await;
        if proposed.is_ok() {
            machine.carry_out(command);
        }
        anticipation.machine = Some(machine);
        match proposed {
            Ok(pending) => Some(Proposed { pending, anticipation: anticipation.number }),
            Err(ProposeError::NotLeader { .. } | ProposeError::Busy | ProposeError::Closed) => None,
        }
    }

    /// Begins from what is applied here. What an anticipation that failed has still under way is waited for.
    async fn begin(&self, anticipation: &mut Anticipation, term: u64) -> MetadataMachine {
        let logged = self.group.status().last_index.unwrap_or(0);
        let mut applied = self.group.applied();
        let _ = applied.wait_for(|applied| *applied >= logged).await;
        anticipation.term = term;
        anticipation.number += 1;
        self.group.machine().clone()
    }

    async fn forget(&self, number: u64) {
        let mut anticipation = self.decider.0.lock().await;
        if anticipation.number == number {
            anticipation.machine = None;
        }
    }

    /// Returns the term in which this broker leads the metadata group with all earlier decisions applied.
    fn leading_term(&self) -> Option<u64> {
        let leadership = *self.group.leadership().borrow();
        let leads = leadership.ready && leadership.leader == Some(self.node.id());
        leads.then_some(leadership.term)
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
