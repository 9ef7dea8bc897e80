//! What the leader of a coordinator does by itself: it writes the markers of what is prepared and aborts what is over time.
//!
//! Nothing is remembered: the machine says which transactions are prepared, so a new leader goes on where the one before
//! stopped, and writes markers again that were written, which does no harm. One that was deposed and does not know it
//! does the same as its successor: what the markers say was decided in the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_raft::{Group, Leadership};
use quorate_storage::failpoint;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::command::Command;
use super::coordinator::record;
use super::machine::TransactionMachine;
use super::proposer::Asker;
use super::reach::{End, Reach};
use super::record::{Answer, Ending, Part, State};
use super::waiting::Waiting;
use super::{TransactionError, TransactionResult};
use crate::replica::LogTime;
use crate::telemetry::metrics;

/// Between two looks at what is over time.
const LOOK: Duration = Duration::from_millis(250);
/// Before something that could not be told is told again, at first and at most.
const AGAIN: Duration = Duration::from_millis(20);
const AGAIN_MAX: Duration = Duration::from_secs(1);
/// What is still to be told is kept over a pause if it is no more than this, and otherwise all of it is told again.
const KEPT: usize = 4_096;

/// See the file's header.
pub(super) struct Finisher {
    pub(super) group: Group<TransactionMachine>,
    pub(super) asker: Asker,
    pub(super) log_time: Arc<LogTime>,
    pub(super) waiting: Arc<Waiting>,
    /// Told when there may be markers to write.
    pub(super) prepared: Arc<Notify>,
    pub(super) reads: Arc<Semaphore>,
    pub(super) reach: Arc<Reach>,
    /// Partitions that are being told of ends, over all coordinators of the broker.
    pub(super) telling: Arc<Semaphore>,
    pub(super) telling_max: u32,
}

/// A transaction by its id and number.
type Named = (String, u64);

/// Those that a task has in hand, by id.
type UnderWay = HashMap<String, u64>;

impl Finisher {
    /// Runs until the replica is closed.
    pub(super) async fn run(self) {
        let this = Arc::new(self);
        let mut leadership = this.group.leadership();
        loop {
            let now = *leadership.borrow_and_update();
            if now.ready {
                this.lead(now, &mut leadership).await;
                this.waiting.clear();
            }
            tokio::select! {
                changed = leadership.changed() => if changed.is_err() { return },
                () = sleep(LOOK), if now.ready => {}
            }
        }
    }

    /// Goes on until the leadership is lost.
    async fn lead(self: &Arc<Self>, led: Leadership, leadership: &mut watch::Receiver<Leadership>) {
        // Both are ended with this leadership.
        let mut tasks: JoinSet<Named> = JoinSet::new();
        let mut under_way = UnderWay::new();
        let mut looked = None;
        loop {
            while let Some(ended) = tasks.try_join_next() {
                // Which it was is not known. What is not done is found again.
                let Ok(named) = ended else { return };
                ended_with(&mut under_way, named);
            }
            for (named, parts) in self.prepared(&under_way) {
                under_way.insert(named.0.clone(), named.1);
                tasks.spawn(Arc::clone(self).finish(named, parts, led.term));
            }
            if looked.is_none_or(|it: Instant| it.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                for named in self.over_time(&led, &under_way) {
                    under_way.insert(named.0.clone(), named.1);
                    tasks.spawn(Arc::clone(self).time_out(named));
                }
            }
            tokio::select! {
                changed = leadership.changed() => {
                    let now = *leadership.borrow_and_update();
                    if changed.is_err() || !now.ready || now.term != led.term {
                        return;
                    }
                }
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => match ended {
                    Ok(named) => ended_with(&mut under_way, named),
                    // Which it was is not known. What is not done is found again.
                    Err(_) => return,
                },
                () = self.prepared.notified() => {}
                () = sleep(LOOK) => {}
            }
        }
    }

    /// The transactions for which nobody writes markers yet, and how many partitions they are in.
    fn prepared(&self, under_way: &UnderWay) -> Vec<(Named, u32)> {
        let machine = self.group.machine();
        let others =
            machine.prepared().iter().filter(|(id, it)| under_way.get(*id) != Some(&it.number));
        others.map(|(id, it)| ((id.clone(), it.number), it.parts)).collect()
    }

    fn over_time(&self, led: &Leadership, under_way: &UnderWay) -> Vec<Named> {
        let machine = self.group.machine();
        let log_ms = self.log_time.at(Instant::now(), led, || machine.log_ms());
        let over = machine.ongoing().iter().filter(|(_, it)| it.due_ms <= log_ms);
        let others = over.filter(|(id, it)| under_way.get(*id) != Some(&it.number));
        others.map(|(id, it)| (id.clone(), it.number)).collect()
    }

    /// Aborts a transaction whose time is over.
    async fn time_out(self: Arc<Self>, (id, number): Named) -> Named {
        let abort = Command::Abort { id: id.clone(), number: Some(number), if_timed_out: true };
        match self.asker.ask(abort).await {
            Ok(_) => {
                metrics().transactions_timed_out.inc();
                tracing::info!(
                    transactional_id = id,
                    transaction = number,
                    "a transaction was open for too long and is aborted"
                );
            }
            Err(error) => {
                tracing::debug!(transactional_id = id, %error, "not aborted");
                sleep(LOOK).await;
            }
        }
        (id, number)
    }

    /// Tells everybody how a transaction ends, and notes that this is done.
    async fn finish(self: Arc<Self>, named: Named, parts: u32, term: u64) -> Named {
        failpoint::hit("transaction.prepared");
        if let Some(result) = self.tell(&named, parts, term).await {
            let (id, number) = &named;
            let complete = Command::Complete { id: id.clone(), number: *number };
            match self.asker.hand_over(complete).await {
                Ok(answered) => {
                    self.waiting.completing(id);
                    match answered.await {
                        Ok(Ok(Answer::Done)) => {
                            match result {
                                TransactionResult::Commit => &metrics().transactions_committed,
                                TransactionResult::Abort => &metrics().transactions_aborted,
                            }
                            .inc();
                            tracing::debug!(
                                transactional_id = id,
                                transaction = number,
                                "completed"
                            );
                        }
                        // It is still found among those that are prepared, unless somebody else has completed it.
                        refused => {
                            tracing::debug!(transactional_id = id, ?refused, "not completed");
                            sleep(AGAIN).await;
                        }
                    }
                    self.waiting.settled(id);
                }
                Err(error) => {
                    tracing::debug!(transactional_id = id, %error, "not completed");
                    sleep(AGAIN).await;
                }
            }
        }
        named
    }

    /// Returns how the transaction ends, once everything that it is in has been told; `None` if that is not for this task
    /// to do.
    async fn tell(&self, (id, number): &Named, parts: u32, term: u64) -> Option<TransactionResult> {
        let mut left: Option<Vec<Part>> = None;
        let mut pause = AGAIN;
        loop {
            // A small rest is told without a place, so that it need not wait for others.
            let place = match &left {
                Some(_) => None,
                None => {
                    let places = parts.clamp(1, self.telling_max);
                    Some(self.telling.acquire_many(places).await.ok()?)
                }
            };
            let (ending, all) = match self.ending(id, *number).await {
                Ok(found) => found?,
                Err(error) => {
                    tracing::debug!(transactional_id = id, %error, "what is to be told is not read");
                    drop(place);
                    sleep(pause).await;
                    continue;
                }
            };
            let parts = left.take().unwrap_or(all);
            let rest = self.reach.tell(End::new(&ending, *number, term), parts).await;
            if rest.is_empty() {
                return Some(ending.result);
            }
            tracing::debug!(
                transactional_id = id,
                left = rest.len(),
                "markers are not all written yet"
            );
            left = (rest.len() <= KEPT).then_some(rest);
            drop(place);
            sleep(pause).await;
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }

    /// How a transaction ends, and what it is in; `None` if it is not prepared any more.
    async fn ending(
        &self,
        id: &str,
        number: u64,
    ) -> Result<Option<(Ending, Vec<Part>)>, TransactionError> {
        let record = record(&self.group, &self.reads, id).await?;
        let Some(record) = record else { return Ok(None) };
        Ok(match record.state {
            State::Prepared(ending) if record.number == number => {
                Some((ending, record.parts.all()))
            }
            _ => None,
        })
    }
}

/// A task has done with a transaction; another one of the same id may be in hand by now.
fn ended_with(under_way: &mut UnderWay, (id, number): Named) {
    if under_way.get(&id) == Some(&number) {
        under_way.remove(&id);
    }
}
