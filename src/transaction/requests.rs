//! What the Kafka and HTTP interfaces ask of transactions.

use std::time::Duration;

use quorate_storage::mutant;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::command::Command;
use super::coordinator::TransactionCoordinator;
use super::reach::End;
use super::record::{Answer, EPOCH_LAST, Ending, Part};
use super::served::EnlistQuestion;
use super::transactions::{COUNT, Transactions, home};
use super::{
    Claim, ENLIST, Enlist, Init, TransactionDescription, TransactionError, TransactionResult,
};
use crate::controller::Controller;
use crate::coordinator::{NotLocated, home_of, locate_internal};
use crate::metadata::Broker;

/// How long a request waits for the transaction before to be completed, before the client is told to come again.
pub(super) const COMPLETION_WAIT: Duration = Duration::from_millis(500);
/// Before a coordinator is asked again that is not found or does not answer.
const AGAIN: Duration = Duration::from_millis(20);

impl Transactions {
    /// Returns the broker that coordinates a transactional id. Makes the coordinators when there are none, and waits until
    /// that one has a leader.
    ///
    /// # Errors
    /// See [`NotLocated`].
    pub async fn locate(&self, id: &str, deadline: Instant) -> Result<Broker, NotLocated> {
        let controller = self.reach.controller().ok_or(NotLocated::NoLeader)?;
        locate_internal(&controller, home(id), COUNT, deadline).await
    }

    /// Gives a producer its id and epoch, and ends what an earlier instance has left open (InitProducerId).
    ///
    /// # Errors
    /// [`TransactionError::InvalidTimeout`], [`TransactionError::ProducerFenced`], [`TransactionError::Concurrent`],
    /// [`TransactionError::Full`], [`TransactionError::TooLarge`], and that the coordinator is not here or cannot be
    /// reached.
    pub async fn init(&self, init: Init) -> Result<(i64, i16), TransactionError> {
        let Init { transactional_id: id, timeout_ms, producer: asked_as, fresh_id } = init;
        let coordinator = self.here(&id)?;
        let timeout = u64::try_from(timeout_ms).ok().filter(|it| *it > 0);
        if timeout.is_none_or(|it| u128::from(it) > self.settings.timeout_max.as_millis()) {
            return Err(TransactionError::InvalidTimeout);
        }
        let command = Command::Init { id: id.clone(), timeout_ms, asked_as, fresh_id };
        producer_of(coordinator.ask(&id, command, Instant::now() + COMPLETION_WAIT).await?)
    }

    /// Adds partitions to the producer's transaction, and begins one if there is none (AddPartitionsToTxn).
    ///
    /// # Errors
    /// [`TransactionError::InvalidProducerId`], [`TransactionError::ProducerFenced`], [`TransactionError::Concurrent`],
    /// [`TransactionError::Full`], [`TransactionError::TooLarge`], and that the coordinator is not here or cannot be
    /// reached.
    pub async fn add_partitions(
        &self,
        claim: &Claim,
        partitions: Vec<(Uuid, i32)>,
    ) -> Result<(), TransactionError> {
        let parts = partitions.into_iter().map(|(topic, number)| Part::Partition(topic, number));
        self.add(claim, parts.collect()).await
    }

    /// Adds the offsets of a group to the producer's transaction, and begins one if there is none (AddOffsetsToTxn).
    ///
    /// # Errors
    /// As [`Transactions::add_partitions`].
    pub async fn add_offsets(&self, claim: &Claim, group: &str) -> Result<(), TransactionError> {
        self.add(claim, vec![Part::Offsets(home_of(group))]).await
    }

    async fn add(&self, claim: &Claim, parts: Vec<Part>) -> Result<(), TransactionError> {
        let id = claim.transactional_id.clone();
        let coordinator = self.here(&id)?;
        let producer = (claim.producer_id, claim.epoch);
        let command = Command::Enlist { id: id.clone(), producer, parts, how: Enlist::Add };
        coordinator.ask(&id, command, Instant::now() + COMPLETION_WAIT).await.map(drop)
    }

    /// Ends a transaction (EndTxn). Returns the producer's id and epoch for the next. `bumps`: each transaction has an
    /// epoch of its own (KIP-890 part 2).
    ///
    /// Returns once it is certain how it ends; what follows may find that not everybody knows yet. Where the epoch stays, it waits
    /// a while for everybody to know.
    ///
    /// # Errors
    /// [`TransactionError::InvalidProducerId`], [`TransactionError::ProducerFenced`], [`TransactionError::InvalidState`],
    /// [`TransactionError::Concurrent`], and that the coordinator is not here or cannot be reached.
    pub async fn end(
        &self,
        claim: &Claim,
        result: TransactionResult,
        bumps: bool,
    ) -> Result<(i64, i16), TransactionError> {
        let id = claim.transactional_id.clone();
        let coordinator = self.here(&id)?;
        let fresh_id = if bumps && claim.epoch >= EPOCH_LAST {
            let controller = self.reach.controller().ok_or(TransactionError::NotAvailable)?;
            Some(self.fresh_ids.next(&controller).await?)
        } else {
            None
        };
        let producer = (claim.producer_id, claim.epoch);
        if mutant::on("marker-before-prepare") {
            self.tell_early(&coordinator, claim, result, bumps).await;
        }
        let command = Command::End { id: id.clone(), producer, result, bumps, fresh_id };
        let ended = coordinator.ask(&id, command, Instant::now() + COMPLETION_WAIT).await?;
        if !bumps {
            // The next transaction has this one's epoch. A producer that writes without adding partitions first would write more
            // of this one, where it has not ended yet.
            coordinator.completed(&id, Instant::now() + COMPLETION_WAIT).await;
        }
        producer_of(ended)
    }

    /// Describes a transactional id whose coordinator is here. Linearizable.
    ///
    /// # Errors
    /// [`TransactionError::NotFound`], and that the coordinator is not here or cannot be reached.
    pub async fn describe(&self, id: &str) -> Result<TransactionDescription, TransactionError> {
        self.here(id)?.describe(id).await
    }

    /// Lists transactional ids whose coordinators are here and that are wanted, without their partitions: of each
    /// coordinator the first `max`. One list at a time is made. Linearizable.
    ///
    /// # Errors
    /// That a coordinator that was here cannot be reached.
    pub async fn list(
        &self,
        max: usize,
        wanted: &(dyn Fn(&TransactionDescription) -> bool + Send + Sync),
    ) -> Result<Vec<TransactionDescription>, TransactionError> {
        let turn = self.listing.acquire().await;
        let _turn = turn.map_err(|_| TransactionError::NotAvailable)?;
        let mut listed = Vec::new();
        for coordinator in self.led() {
            match coordinator.list(max, wanted).await {
                Ok(ids) => listed.extend(ids),
                // Led elsewhere since, and listed there.
                Err(TransactionError::NotCoordinator) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listed)
    }

    /// Returns the number of the newest transaction of an id whose coordinator is here.
    ///
    /// # Errors
    /// [`TransactionError::NotFound`], and that the coordinator is not here or cannot be reached.
    pub async fn number(&self, id: &str) -> Result<u64, TransactionError> {
        let coordinator = self.here(id)?;
        coordinator.ready().await?;
        let record = coordinator.record(id).await?;
        record.map(|it| it.number).ok_or(TransactionError::NotFound)
    }

    /// Aborts a transaction, if it is open, of an id whose coordinator is here, as if its time were over.
    ///
    /// # Errors
    /// [`TransactionError::NotFound`], [`TransactionError::InvalidState`] if none is open,
    /// [`TransactionError::Concurrent`] if it ends already, and that the coordinator is not here or cannot be reached.
    pub async fn abort(&self, id: &str, number: u64) -> Result<(), TransactionError> {
        let coordinator = self.here(id)?;
        coordinator.ready().await?;
        let number = Some(number);
        let command = Command::Abort { id: id.to_owned(), number, if_timed_out: false };
        coordinator.asker.ask(command).await?;
        tracing::info!(transactional_id = id, "an open transaction is aborted by an operator");
        Ok(())
    }

    /// Returns the number of the transaction a partition is in. Asks the coordinator, wherever it is. `wait`: how long it
    /// is tried, and waited for the transaction before.
    ///
    /// # Errors
    /// As [`Transactions::add_partitions`], and [`TransactionError::InvalidState`] for what is to be in it and is not.
    pub async fn enlist(
        &self,
        claim: &Claim,
        partition: (Uuid, i32),
        how: Enlist,
        wait: Duration,
    ) -> Result<u64, TransactionError> {
        let (topic, number) = partition;
        self.enlist_part(claim, Part::Partition(topic, number), how, wait).await
    }

    /// Returns the number of the transaction that the offsets of a group are in. Asks the coordinator, wherever it is.
    ///
    /// # Errors
    /// As [`Transactions::enlist`].
    pub async fn enlist_offsets(
        &self,
        claim: &Claim,
        group: &str,
        how: Enlist,
        wait: Duration,
    ) -> Result<u64, TransactionError> {
        self.enlist_part(claim, Part::Offsets(home_of(group)), how, wait).await
    }

    async fn enlist_part(
        &self,
        claim: &Claim,
        part: Part,
        how: Enlist,
        wait: Duration,
    ) -> Result<u64, TransactionError> {
        let deadline = Instant::now() + wait;
        let controller = self.reach.controller().ok_or(TransactionError::NotAvailable)?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let question = EnlistQuestion { claim: claim.clone(), part, how, wait_ms };
            let asked = timeout(left, self.ask_owner(&controller, question, left)).await;
            match asked.unwrap_or(Err(TransactionError::NotAvailable)) {
                Err(
                    TransactionError::NotCoordinator
                    | TransactionError::NotAvailable
                    | TransactionError::Concurrent,
                ) if Instant::now() + AGAIN < deadline => sleep(AGAIN).await,
                Err(TransactionError::NotCoordinator) => {
                    return Err(TransactionError::NotAvailable);
                }
                answer => return answer,
            }
        }
    }

    async fn ask_owner(
        &self,
        controller: &Controller,
        question: EnlistQuestion,
        wait: Duration,
    ) -> Result<u64, TransactionError> {
        let owner = self.owner(&question.claim.transactional_id);
        match owner.ok_or(TransactionError::NotAvailable)? {
            owner if owner == controller.node().id() => self.enlist_here(question, wait).await,
            owner => {
                let answer = self.reach.mailbox.ask(owner, ENLIST, &question).await;
                answer.unwrap_or(Err(TransactionError::NotAvailable))
            }
        }
    }

    /// What the invariant forbids: partitions are told how a transaction ends before that is certain.
    async fn tell_early(
        &self,
        coordinator: &TransactionCoordinator,
        claim: &Claim,
        result: TransactionResult,
        bumps: bool,
    ) {
        let Ok(term) = coordinator.ready().await else { return };
        let Ok(Some(record)) = coordinator.record(&claim.transactional_id).await else { return };
        if record.producer() == (claim.producer_id, claim.epoch) {
            let epoch = claim.epoch.saturating_add(i16::from(bumps));
            let ending = Ending { result, producer_id: claim.producer_id, epoch, fences: false };
            let end = End::new(&ending, record.number, term);
            self.reach.tell(end, record.parts.all()).await;
        }
    }
}

fn producer_of(answer: Answer) -> Result<(i64, i16), TransactionError> {
    match answer {
        Answer::Producer(id, epoch) => Ok((id, epoch)),
        Answer::Aborting | Answer::Number(_) | Answer::Done => Err(TransactionError::NotAvailable),
    }
}
