//! The task behind a coordinator that this broker leads: it feeds the groups (`groups.rs`), writes down what they decide, and
//! lets answers go when that is committed.
//!
//! ```text
//!  calls ─▶ groups.step ─▶ commands ─▶ one entry at a time ─▶ applied ─▶ answers
//!                │                          (those that come meanwhile share the next)
//!                └─ no command: the answer goes with the entry under way, or at once
//! ```
//!
//! One entry at a time, so that none can be lost while one behind it is not. Whatever becomes of it, the next leadership
//! begins with what the log says then: an outcome is awaited before the groups are read from it, for the term alone need
//! not have changed.
//!
//! An answer that needs no entry may come from a leader that was deposed and does not know; so a majority has to have
//! confirmed it not long ago.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use quorate_raft::{Group, Leadership, Outcome, ProposeError};
use quorate_storage::mutant;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::call::{Answer, Call};
use super::classic::{Limits, Output, Token};
use super::clock::OwnClock;
use super::command::{Command, Commands};
use super::groups::Groups;
use super::machine::{CoordinatorMachine, Verdict};
use crate::metadata::{Metadata, encode};
use crate::replica::LogTime;

/// Something asked, and where the answer goes. Dropped without one where the leadership is lost.
pub(super) type Asked = (Call, oneshot::Sender<Answer>);

/// How old the word of a majority may be that this is the leader.
const CONFIRMED_FOR: Duration = Duration::from_secs(2);
/// How long a majority may take to give it.
const CONFIRM_WAIT: Duration = Duration::from_secs(5);
/// Between two looks at what is due, at most.
const LOOK: Duration = Duration::from_millis(250);
/// How long a coordinator sleeps in whose groups nothing can be due.
const SLEEP: Duration = Duration::from_secs(60);
/// Before a proposal is tried again that there was no room for.
const AGAIN: Duration = Duration::from_millis(20);
/// Calls taken at once.
const CALLS: usize = 1024;
/// An entry takes no more commands beyond this.
const ENTRY_BYTES: usize = 1 << 20;
/// Bytes of commands that wait, beyond which no more calls are taken.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Calls that wait for an answer, most of them for a rebalance.
const ASKERS_MAX: usize = 1 << 16;

/// See the file's header.
pub(super) struct Driver {
    pub(super) group: Group<CoordinatorMachine>,
    pub(super) calls: mpsc::Receiver<Asked>,
    pub(super) limits: Limits,
    pub(super) log_time: Arc<LogTime>,
    pub(super) metadata: Arc<Metadata>,
}

/// One leadership.
struct Led {
    group: Group<CoordinatorMachine>,
    leadership: Leadership,
    log_time: Arc<LogTime>,
    metadata: Arc<Metadata>,
    clock: OwnClock,
    groups: Groups,
    askers: HashMap<Token, oneshot::Sender<Answer>>,
    last_token: u64,
    /// What is to be written, and what is answered then.
    waiting: VecDeque<Step>,
    under_way: Option<BoxFuture<'static, bool>>,
    /// When the entry under way was proposed.
    written: Instant,
    /// Answered when the entry under way is applied.
    held: Vec<(Token, Answer)>,
    /// Answered when a majority has confirmed the leadership.
    unconfirmed: Vec<(Token, Answer)>,
    confirming: Option<BoxFuture<'static, bool>>,
    /// When the newest confirmation was asked for.
    confirming_since: Instant,
    /// As of then a majority has confirmed the leadership.
    confirmed: Instant,
    /// Of the commands that wait.
    waiting_bytes: usize,
}

/// What one step came to.
struct Step {
    commands: Vec<Command>,
    answers: Vec<(Token, Answer)>,
    bytes: usize,
}

impl Driver {
    /// Runs until the replica is closed.
    pub(super) async fn run(mut self) {
        let mut leadership = self.group.leadership();
        loop {
            let now = *leadership.borrow_and_update();
            if now.ready {
                self.lead(now, &mut leadership).await;
                // Whoever has asked meanwhile is told by this to ask elsewhere, or again.
                while self.calls.try_recv().is_ok() {}
                if self.calls.is_closed() {
                    return;
                }
            }
            tokio::select! {
                // Whoever asks is told by this that somebody else leads.
                asked = self.calls.recv() => if asked.is_none() { return },
                changed = leadership.changed() => if changed.is_err() { return },
                () = sleep(LOOK), if now.ready => {}
            }
        }
    }

    /// Serves until the leadership is lost, or is not certain any more.
    async fn lead(&mut self, now: Leadership, leadership: &mut watch::Receiver<Leadership>) {
        let confirmed = Instant::now();
        if !matches!(timeout(CONFIRM_WAIT, self.group.read_barrier()).await, Ok(Ok(()))) {
            return;
        }
        let mut clock = OwnClock::new();
        let image = self.metadata.image();
        let (groups, outputs) =
            Groups::taken_over(&self.group.machine(), self.limits, &*image, clock.now());
        let mut led = Led {
            group: self.group.clone(),
            leadership: now,
            log_time: Arc::clone(&self.log_time),
            metadata: Arc::clone(&self.metadata),
            clock,
            groups,
            askers: HashMap::new(),
            last_token: 0,
            waiting: VecDeque::new(),
            under_way: None,
            written: confirmed,
            held: Vec::new(),
            unconfirmed: Vec::new(),
            confirming: None,
            confirming_since: confirmed,
            confirmed,
            waiting_bytes: 0,
        };
        outputs.into_iter().for_each(|output| led.take(output));
        led.run(&mut self.calls, leadership).await;
        // All who wait are told by this. Not before the outcome is known may the log be read again.
        let Some(mut under_way) = led.under_way.take() else { return };
        drop(led);
        loop {
            tokio::select! {
                _ = &mut under_way => return,
                asked = self.calls.recv() => if asked.is_none() { return },
            }
        }
    }
}

impl Led {
    async fn run(
        &mut self,
        calls: &mut mpsc::Receiver<Asked>,
        leadership: &mut watch::Receiver<Leadership>,
    ) {
        let mut asked = Vec::new();
        loop {
            self.write();
            let rest = self.rest();
            tokio::select! {
                biased;
                changed = leadership.changed() => {
                    let now = *leadership.borrow_and_update();
                    if changed.is_err() || !now.ready || now.term != self.leadership.term {
                        return;
                    }
                }
                applied = settled(&mut self.under_way) => {
                    self.under_way = None;
                    if !applied {
                        return;
                    }
                    self.confirmed = self.written;
                    let held = std::mem::take(&mut self.held);
                    self.give(held);
                }
                confirmed = settled(&mut self.confirming) => {
                    self.confirming = None;
                    if !confirmed {
                        return;
                    }
                    self.confirmed = self.confirming_since;
                    let unconfirmed = std::mem::take(&mut self.unconfirmed);
                    self.give(unconfirmed);
                }
                count = calls.recv_many(&mut asked, CALLS), if self.has_room() => {
                    if count == 0 {
                        return;
                    }
                    let now = self.clock.now();
                    asked.drain(..).for_each(|(call, asker)| self.step(call, asker, now));
                }
                () = sleep(rest) => {}
            }
            let now = self.clock.now();
            while let Some(output) = self.groups.pass(now) {
                self.take(output);
            }
        }
    }

    /// Whether more may be asked; until then it waits in the queue, and is refused there in the end.
    fn has_room(&self) -> bool {
        self.waiting_bytes < WAITING_BYTES_MAX && self.askers.len() < ASKERS_MAX
    }

    /// How long there is nothing to do unless something happens.
    fn rest(&mut self) -> Duration {
        let now = self.clock.now();
        self.groups.deadline().map_or(SLEEP, |due| due.saturating_duration_since(now).min(LOOK))
    }

    fn step(&mut self, call: Call, asker: oneshot::Sender<Answer>, now: std::time::Instant) {
        // Whoever gave up while it waited here did not do it.
        if asker.is_closed() {
            return;
        }
        self.last_token += 1;
        let (token, mut output) = (Token(self.last_token), Output::default());
        self.askers.insert(token, asker);
        let image = self.metadata.image();
        self.groups.step(call, token, now, &*image, &mut output);
        self.take(output);
    }

    /// Takes what a step came to.
    fn take(&mut self, output: Output) {
        let Output { commands, answers } = output;
        if !commands.is_empty() {
            let mut answers = answers;
            if mutant::on("commit-before-durable") {
                self.give(std::mem::take(&mut answers));
            }
            let bytes = encode(&commands).len();
            self.waiting_bytes += bytes;
            self.waiting.push_back(Step { commands, answers, bytes });
        } else if let Some(last) = self.waiting.back_mut() {
            last.answers.extend(answers);
        } else if self.under_way.is_some() {
            self.held.extend(answers);
        } else if self.confirmed.elapsed() < CONFIRMED_FOR {
            self.give(answers);
        } else if !answers.is_empty() {
            self.unconfirmed.extend(answers);
            self.confirm();
        }
    }

    fn confirm(&mut self) {
        if self.confirming.is_some() {
            return;
        }
        let group = self.group.clone();
        self.confirming_since = Instant::now();
        let confirming =
            async move { matches!(timeout(CONFIRM_WAIT, group.read_barrier()).await, Ok(Ok(()))) };
        self.confirming = Some(confirming.boxed());
    }

    fn give(&mut self, answers: Vec<(Token, Answer)>) {
        for (token, answer) in answers {
            if let Some(asker) = self.askers.remove(&token) {
                // Nobody waits any more where a connection was closed.
                let _ = asker.send(answer);
            }
        }
    }

    /// Proposes what waits, unless an entry is under way.
    fn write(&mut self) {
        if self.under_way.is_some() || self.waiting.is_empty() {
            return;
        }
        let (mut commands, mut bytes) = (Vec::new(), 0);
        while bytes < ENTRY_BYTES
            && let Some(step) = self.waiting.pop_front()
        {
            bytes += step.bytes;
            self.waiting_bytes -= step.bytes;
            commands.extend(step.commands);
            self.held.extend(step.answers);
        }
        let applied = || self.group.machine().log_ms();
        let log_ms = self.log_time.at(Instant::now(), &self.leadership, applied);
        let payload = Bytes::from(encode(&Commands { log_ms, commands }));
        let (group, term) = (self.group.clone(), self.leadership.term);
        self.written = Instant::now();
        self.under_way = Some(propose(group, payload, term).boxed());
    }
}

/// Proposes an entry; returns whether all of it was carried out.
async fn propose(group: Group<CoordinatorMachine>, payload: Bytes, term: u64) -> bool {
    let pending = loop {
        match group.propose(payload.clone(), Some(term)).await {
            Ok(pending) => break pending,
            // The groups have gone on already, so it has to be written or all of them be given up.
            Err(ProposeError::Busy) => sleep(AGAIN).await,
            Err(ProposeError::NotLeader { .. } | ProposeError::Closed) => return false,
        }
    };
    match pending.await {
        Outcome::Applied { reply, .. } => {
            let whole = reply.iter().all(|verdict| *verdict == Verdict::Done);
            if !whole {
                tracing::warn!(group = %group.id(), "a decision was void, groups are read anew");
            }
            whole
        }
        Outcome::Indeterminate | Outcome::NotInLog => false,
    }
}

/// Waits for a future that may not be there.
async fn settled(future: &mut Option<BoxFuture<'static, bool>>) -> bool {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
