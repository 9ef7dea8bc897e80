//! A replica of one transaction coordinator on this broker, and what can be asked of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{Group, Leadership};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::command::{self, Command, key};
use super::machine::{self, TransactionMachine};
use super::proposer::Asker;
use super::record::{Answer, Judged, Part, Producer, Record};
use super::waiting::Waiting;
use super::{Enlist, TransactionDescription, TransactionError};
use crate::replica::{self, LogTime, NotServing, Task, read_keyed};

/// How long a majority may take to confirm a leadership.
const CONFIRM_WAIT: Duration = Duration::from_secs(5);
/// Records read at once.
pub(super) const PAGE: usize = 100;

/// See the file's header.
pub struct TransactionCoordinator {
    pub(super) group: Group<TransactionMachine>,
    pub(super) asker: Asker,
    pub(super) waiting: Arc<Waiting>,
    pub(super) log_time: Arc<LogTime>,
    pub(super) reads: Arc<Semaphore>,
    /// What waits here for an answer ends with it.
    pub(super) driver: Task,
}

impl TransactionCoordinator {
    /// Returns the Raft group behind it.
    pub fn group(&self) -> &Group<TransactionMachine> {
        &self.group
    }

    /// Returns the feature level that its log has reached here.
    #[must_use]
    pub fn level(&self) -> u16 {
        self.group.machine().level()
    }

    /// Raises the level of its log; returns once that is committed and applied here. Only the leader can. Asking again is
    /// harmless, and a lower level changes nothing.
    ///
    /// # Errors
    /// That the coordinator is not here, or cannot be reached.
    pub async fn set_level(&self, level: u16) -> Result<(), TransactionError> {
        self.ready().await?;
        self.asker.ask(Command::SetLevel(level)).await.map(drop)
    }

    /// Has a command judged, and once more when a transaction that stood in its way is completed by `deadline`.
    pub(super) async fn ask(&self, id: &str, command: Command, deadline: Instant) -> Judged {
        self.ready().await?;
        loop {
            self.completed(id, deadline).await;
            match self.asker.ask(command.clone()).await {
                Err(TransactionError::Concurrent) | Ok(Answer::Aborting)
                    if Instant::now() < deadline => {}
                Ok(Answer::Aborting) => return Err(TransactionError::Concurrent),
                judged => return judged,
            }
        }
    }

    /// Waits until no transaction of the id is prepared any more, or its completion is on its way.
    pub(super) async fn completed(&self, id: &str, deadline: Instant) {
        let is_prepared = || self.group.machine().prepared().contains_key(id);
        while is_prepared() {
            let Some(woken) = self.waiting.register(id) else { return };
            // What was completed before this was registered wakes nobody.
            if !is_prepared() || timeout_at(deadline, woken).await.is_err() {
                return;
            }
        }
    }

    /// Returns the number of the transaction that something is in for certain. What a deposed leader says was true once,
    /// and who is told it judges by the number.
    pub(super) async fn number_of(
        &self,
        id: &str,
        producer: Producer,
        part: Part,
    ) -> Result<Option<u64>, TransactionError> {
        self.ready().await?;
        let Some(mut record) = self.record(id).await? else { return Ok(None) };
        let now = super::record::Now { index: 0, log_ms: 0, wall_ms: 0, has_room: false };
        match record.enlist(producer, &[part], Enlist::Verify, now) {
            Ok(Answer::Number(number)) => Ok(Some(number)),
            _ => Ok(None),
        }
    }

    /// Describes an id. Linearizable (ReadIndex, Raft § 6.4).
    pub(super) async fn describe(
        &self,
        id: &str,
    ) -> Result<TransactionDescription, TransactionError> {
        let term = self.confirmed().await?;
        let record = self.record(id).await?;
        self.still(term).await?;
        let record = record.ok_or(TransactionError::NotFound)?;
        Ok(record.describe(id, self.log_ms(), true))
    }

    /// Lists the first ids that are wanted, `max` at most, without their partitions. Linearizable.
    pub(super) async fn list(
        &self,
        max: usize,
        wanted: &(dyn Fn(&TransactionDescription) -> bool + Send + Sync),
    ) -> Result<Vec<TransactionDescription>, TransactionError> {
        let term = self.confirmed().await?;
        let mut listed = Vec::new();
        let mut from = Bytes::from_static(&[command::ID]);
        loop {
            let (page, next) = self.page(from).await?;
            let log_ms = self.log_ms();
            let all = page.iter().map(|(id, record)| record.describe(id, log_ms, false));
            listed.extend(all.filter(|it| wanted(it)).take(max - listed.len()));
            match next.filter(|_| listed.len() < max) {
                Some(next) => from = next,
                None => break,
            }
        }
        // Of a replica that is given a snapshot meanwhile there is nothing to be read for a moment.
        self.still(term).await?;
        Ok(listed)
    }

    /// Reads what is known of an id, as far as it is applied here.
    pub(super) async fn record(&self, id: &str) -> Result<Option<Record>, TransactionError> {
        record(&self.group, &self.reads, id).await
    }

    /// Reads ids from a key on, and where to go on, if there may be more.
    pub(super) async fn page(
        &self,
        from: Bytes,
    ) -> Result<(Vec<(String, Record)>, Option<Bytes>), TransactionError> {
        let to = Bytes::from_static(&[command::ID + 1]);
        let pairs = read_keyed(&self.group, &self.reads, from, to, PAGE).await;
        let pairs = pairs.ok_or(TransactionError::NotAvailable)?;
        let is_last = pairs.len() < PAGE;
        let last = pairs.last().map(|(key, _)| Bytes::from([&key[..], &[0]].concat()));
        let named = |(key, value): &(Bytes, Bytes)| {
            Some((command::id_of(key)?.to_owned(), machine::read(value)))
        };
        Ok((pairs.iter().filter_map(named).collect(), last.filter(|_| !is_last)))
    }

    /// The log time now, if this replica leads.
    pub(super) fn log_ms(&self) -> i64 {
        let leadership = *self.group.leadership().borrow();
        self.log_time.at(Instant::now(), &leadership, || self.group.machine().log_ms())
    }

    /// Has a majority confirm that this replica leads; returns the term.
    async fn confirmed(&self) -> Result<u64, TransactionError> {
        let term = self.ready().await?;
        match timeout(CONFIRM_WAIT, self.group.read_barrier()).await {
            Ok(confirmed) => confirmed.map(|()| term).map_err(|error| unconfirmed(&error)),
            Err(_) => Err(TransactionError::NotAvailable),
        }
    }

    async fn still(&self, term: u64) -> Result<(), TransactionError> {
        if self.ready().await? == term { Ok(()) } else { Err(TransactionError::NotCoordinator) }
    }

    /// Waits a moment for a replica that has won its election and is about to serve; returns the term it leads in.
    pub(super) async fn ready(&self) -> Result<u64, TransactionError> {
        replica::ready(&self.group).await.map_err(|error| match error {
            NotServing::Elsewhere => TransactionError::NotCoordinator,
            NotServing::NotYet => TransactionError::NotAvailable,
        })
    }
}

/// What it means that no majority has confirmed a leadership. Only somebody else's is one that others are asked about instead:
/// otherwise it may lead all the same.
fn unconfirmed(error: &quorate_raft::Error) -> TransactionError {
    match error {
        quorate_raft::Error::NotLeader { .. } => TransactionError::NotCoordinator,
        _ => TransactionError::NotAvailable,
    }
}

/// Returns whether a replica's ids are for its broker to tell of, or to say that it cannot: it leads, or was elected to.
pub(super) fn speaks(now: &Leadership, me: u64) -> bool {
    now.ready || now.leader == Some(me)
}

/// Reads what is known of an id, as far as it is applied here.
pub(super) async fn record(
    group: &Group<TransactionMachine>,
    reads: &Arc<Semaphore>,
    id: &str,
) -> Result<Option<Record>, TransactionError> {
    let from = key(id);
    let to = Bytes::from([&from[..], &[0]].concat());
    let pairs = read_keyed(group, reads, from, to, 1).await;
    let pairs = pairs.ok_or(TransactionError::NotAvailable)?;
    Ok(pairs.first().map(|(_, value)| machine::read(value)))
}

#[cfg(test)]
mod tests {
    use quorate_raft::Error;

    use super::*;

    #[test]
    fn only_who_knows_that_another_leads_says_that_it_does_not_coordinate() {
        let deposed = Error::NotLeader { leader: None };
        assert_eq!(unconfirmed(&deposed), TransactionError::NotCoordinator);
        for error in [Error::Timeout("a majority"), Error::Stopped] {
            assert_eq!(unconfirmed(&error), TransactionError::NotAvailable, "{error}");
        }
    }

    #[test]
    fn who_was_elected_and_serves_not_yet_is_asked_for_its_ids_as_well() {
        let of = |leader, ready| Leadership { leader, ready, ..Leadership::default() };
        assert!(speaks(&of(Some(1), true), 1));
        assert!(speaks(&of(Some(1), false), 1), "left out, its ids would be missing in silence");
        assert!(!speaks(&of(Some(2), false), 1) && !speaks(&of(None, false), 1));
    }
}
