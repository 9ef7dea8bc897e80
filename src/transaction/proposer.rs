//! The way of what is asked into the log of a coordinator, and of the answers back.
//!
//! Nothing is decided here. What is asked while earlier entries are under way shares the next one, and a few entries are
//! under way at a time. A command enters the log in the term in which it was taken or not at all.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use quorate_raft::{Group, Leadership, Outcome, Pending, ProposeError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::TransactionError;
use super::command::{Command, Commands};
use super::machine::TransactionMachine;
use super::record::Judged;
use super::waiting::Waiting;
use crate::metadata::encode;
use crate::replica::LogTime;
use crate::wall_clock::Clock;

/// Commands that wait to be taken.
pub(super) const QUEUE: usize = 4_096;
/// Bytes of commands that are not answered.
const BYTES_MAX: usize = 16 << 20;
/// An entry takes no more commands beyond this.
const ENTRY_BYTES: usize = 256 << 10;
/// Commands taken at once.
const TAKEN: usize = 1_024;
/// Entries under way.
const ENTRIES_MAX: usize = 4;
/// How long a command may wait to be taken, and then a majority take for it.
const COMMIT_WAIT: Duration = Duration::from_secs(5);

/// Something asked; dropped without an answer where the leadership is lost.
pub(super) struct Asked {
    command: Command,
    answer: oneshot::Sender<Judged>,
    room: OwnedSemaphorePermit,
}

/// How others ask.
#[derive(Clone)]
pub(super) struct Asker {
    queue: mpsc::Sender<Asked>,
    room: Arc<Semaphore>,
}

impl Asker {
    pub(super) fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (queue, asked) = mpsc::channel(QUEUE);
        (Self { queue, room: Arc::new(Semaphore::new(BYTES_MAX)) }, asked)
    }

    /// Has a command judged by the log.
    ///
    /// # Errors
    /// What the machine says. After [`TransactionError::NotAvailable`] it may be carried out.
    pub(super) async fn ask(&self, command: Command) -> Judged {
        let answer = async { self.hand_over(command).await?.await.map_err(|_| unled()) };
        match timeout(COMMIT_WAIT, answer).await {
            Ok(Ok(judged)) => judged,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(TransactionError::NotAvailable),
        }
    }

    /// Returns once the command is in the queue: what is asked later stands behind it in the log.
    pub(super) async fn hand_over(
        &self,
        command: Command,
    ) -> Result<oneshot::Receiver<Judged>, TransactionError> {
        let bytes = u32::try_from(command.size().min(BYTES_MAX)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| unled())?;
        let (answer, answered) = oneshot::channel();
        let asked = Asked { command, answer, room };
        self.queue.send(asked).await.map_err(|_| unled())?;
        Ok(answered)
    }
}

fn unled() -> TransactionError {
    TransactionError::NotCoordinator
}

/// The task.
pub(super) struct Proposer {
    pub(super) group: Group<TransactionMachine>,
    pub(super) asked: mpsc::Receiver<Asked>,
    pub(super) log_time: Arc<LogTime>,
    pub(super) clock: Clock,
    pub(super) waiting: Arc<Waiting>,
    /// Told when there may be markers to write.
    pub(super) prepared: Arc<Notify>,
}

/// An entry, and who waits for it.
struct Entry {
    answers: Vec<oneshot::Sender<Judged>>,
    rooms: Vec<OwnedSemaphorePermit>,
    /// Transactional ids that it completes.
    completes: Vec<String>,
    may_prepare: bool,
}

type Proposed = (Result<Pending<Vec<Judged>>, ProposeError>, Entry);
type Settled = (Outcome<Vec<Judged>>, Entry);

impl Proposer {
    /// Runs until the replica is closed.
    pub(super) async fn run(mut self) {
        let mut leadership = self.group.leadership();
        let mut proposing: Option<BoxFuture<'static, Proposed>> = None;
        let mut under_way: FuturesUnordered<BoxFuture<'static, Settled>> = FuturesUnordered::new();
        let mut taken = Vec::new();
        loop {
            let hasroom = proposing.is_none() && under_way.len() < ENTRIES_MAX;
            tokio::select! {
                biased;
                (proposed, entry) = settled(&mut proposing) => {
                    proposing = None;
                    match proposed {
                        Ok(pending) => under_way.push(pending.map(|it| (it, entry)).boxed()),
                        Err(ProposeError::Busy) => self.give(entry, Err(TransactionError::NotAvailable)),
                        Err(ProposeError::NotLeader { .. } | ProposeError::Closed) => {
                            self.give(entry, Err(unled()));
                        }
                    }
                }
                Some((outcome, entry)) = under_way.next() => match outcome {
                    Outcome::Applied { reply, .. } => self.give(entry, Ok(reply)),
                    Outcome::NotInLog => self.give(entry, Err(unled())),
                    Outcome::Indeterminate => self.give(entry, Err(TransactionError::NotAvailable)),
                },
                count = self.asked.recv_many(&mut taken, TAKEN), if hasroom && taken.is_empty() => {
                    if count == 0 {
                        return;
                    }
                }
                changed = leadership.changed() => if changed.is_err() { return },
            }
            while proposing.is_none() && under_way.len() < ENTRIES_MAX && !taken.is_empty() {
                let now = *leadership.borrow();
                if now.ready {
                    proposing = self.propose(&mut taken, now);
                } else {
                    // Whoever asks is told by this that somebody else leads.
                    taken.clear();
                }
            }
        }
    }

    /// Proposes what was taken, or as much of it as an entry takes.
    fn propose(
        &self,
        taken: &mut Vec<Asked>,
        leadership: Leadership,
    ) -> Option<BoxFuture<'static, Proposed>> {
        let (mut bytes, mut count) = (0, 0);
        while count < taken.len() && bytes < ENTRY_BYTES {
            bytes += taken[count].command.size();
            count += 1;
        }
        let mut commands = Vec::with_capacity(count);
        let (answers, rooms, completes) = Default::default();
        let mut entry = Entry { answers, rooms, completes, may_prepare: false };
        for Asked { command, answer, room } in taken.drain(..count) {
            // Whoever gave up while it waited here did not do it.
            if answer.is_closed() && !matches!(command, Command::Complete { .. }) {
                continue;
            }
            if let Command::Complete { id, .. } = &command {
                entry.completes.push(id.clone());
            }
            entry.may_prepare |= command.may_prepare();
            entry.answers.push(answer);
            entry.rooms.push(room);
            commands.push(command);
        }
        if commands.is_empty() {
            return None;
        }
        let applied = || self.group.machine().log_ms();
        let log_ms = self.log_time.at(Instant::now(), &leadership, applied);
        let wall_ms = self.clock.now_ms();
        let payload = Bytes::from(encode(&Commands { log_ms, wall_ms, commands }));
        let group = self.group.clone();
        let propose = async move { (group.propose(payload, Some(leadership.term)).await, entry) };
        Some(propose.boxed())
    }

    fn give(&self, entry: Entry, outcome: Result<Vec<Judged>, TransactionError>) {
        entry.completes.iter().for_each(|id| self.waiting.settled(id));
        match outcome {
            Ok(judged) => {
                if entry.may_prepare {
                    self.prepared.notify_one();
                }
                for (answer, judged) in entry.answers.into_iter().zip(judged) {
                    // Nobody waits any more where a connection was closed.
                    let _ = answer.send(judged);
                }
            }
            Err(error) => {
                for answer in entry.answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
        drop(entry.rooms);
    }
}

/// Waits for a future that may not be there.
async fn settled<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
