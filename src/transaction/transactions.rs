//! The transaction coordinators this broker holds a replica of, as a kind of group.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use quorate_raft::Group;
use quorate_storage::GroupId;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::command::TRANSACTIONAL_ID_BYTES_MAX;
use super::coordinator::{TransactionCoordinator, speaks};
use super::finisher::Finisher;
use super::fresh_ids::FreshIds;
use super::machine::TransactionMachine;
use super::outbox::{self, Mailbox, Post};
use super::proposer::{Asker, Proposer};
use super::reach::Reach;
use super::served::Handlers;
use super::waiting::Waiting;
use super::{TRANSACTIONS, TransactionError, expiry};
use crate::controller::Controller;
use crate::coordinator::{Coordinators, home_of};
use crate::metadata::{GroupKind, Image, InternalId, Metadata, PartitionInfo};
use crate::partition::Partitions;
use crate::replica::{InUse, Kind, LogTime, Task};
use crate::wall_clock::Clock;

/// How many there are. Never another number: where an id is at home follows from it.
pub(super) const COUNT: u32 = 32;
/// Reads of ids at once.
const READS_MAX: usize = 16;
/// Partitions that are being told of the end of transactions.
const TELLING_MAX: u32 = 200_000;

/// What an operator sets.
#[derive(Debug, Clone, Copy)]
pub struct TransactionSettings {
    /// The longest timeout that a producer may ask for.
    pub timeout_max: Duration,
    /// How long an id is remembered that nobody uses; in log time.
    pub id_expiration: Duration,
    /// Between two looks for those that are over.
    pub id_check: Duration,
}

/// The transactions that this broker coordinates, and its way to those of the others.
pub struct Transactions {
    open: InUse<TransactionCoordinator>,
    pub(super) settings: TransactionSettings,
    pub(super) reach: Arc<Reach>,
    pub(super) fresh_ids: FreshIds,
    clock: Clock,
    reads: Arc<Semaphore>,
    /// Held by who lists ids, of which there may be millions.
    pub(super) listing: Semaphore,
    telling: Arc<Semaphore>,
    /// Until the outbox runs.
    posted: Mutex<Option<mpsc::Receiver<Post>>>,
}

impl Transactions {
    /// Returns the kind, with nothing open.
    pub fn new(
        settings: TransactionSettings,
        metadata: Arc<Metadata>,
        partitions: Arc<Partitions>,
        coordinators: Arc<Coordinators>,
        clock: Clock,
    ) -> Arc<Self> {
        let (mailbox, posted) = Mailbox::new();
        Arc::new(Self {
            open: InUse::default(),
            settings,
            reach: Reach::new(metadata, partitions, coordinators, mailbox),
            fresh_ids: FreshIds::default(),
            clock,
            reads: Arc::new(Semaphore::new(READS_MAX)),
            listing: Semaphore::new(1),
            telling: Arc::new(Semaphore::new(TELLING_MAX as usize)),
            posted: Mutex::new(Some(posted)),
        })
    }

    /// Says whom to ask about the cluster. Until then others cannot be reached.
    pub(crate) fn reach_by(&self, controller: &Arc<Controller>) {
        let _ = self.reach.controller.set(Arc::downgrade(controller));
    }

    /// Returns what is answered to other brokers, to be registered with what serves their calls.
    pub(crate) fn handlers(self: &Arc<Self>) -> Handlers {
        super::served::handlers(self)
    }

    /// Returns the replica of `group` if it is open.
    pub fn get(&self, group: GroupId) -> Option<Arc<TransactionCoordinator>> {
        self.open.get(group)
    }

    /// Returns all open replicas, in no order.
    pub fn all(&self) -> Vec<Arc<TransactionCoordinator>> {
        self.open.all()
    }

    /// Returns the coordinator of a transactional id; `None` before there are any.
    pub fn home<'i>(image: &'i Image, id: &str) -> Option<&'i PartitionInfo> {
        image.internal.get(home(id))
    }

    /// Returns which broker coordinates a transactional id, as far as this one knows.
    pub fn owner(&self, id: &str) -> Option<u64> {
        let image = self.reach.metadata.image();
        let group = Self::home(&image, id)?.group;
        self.reach.metadata.leader(group).map(|leader| leader.id)
    }

    /// The coordinator of an id, if its replica is here.
    pub(super) fn here(&self, id: &str) -> Result<Arc<TransactionCoordinator>, TransactionError> {
        if id.len() > TRANSACTIONAL_ID_BYTES_MAX {
            return Err(TransactionError::TooLarge);
        }
        let image = self.reach.metadata.image();
        let home = Self::home(&image, id).ok_or(TransactionError::NotCoordinator)?;
        self.get(home.group).ok_or(TransactionError::NotCoordinator)
    }

    /// Those that this broker leads, or was elected to.
    pub(super) fn led(&self) -> Vec<Arc<TransactionCoordinator>> {
        let mut led = self.all();
        led.retain(|it| speaks(&it.group.leadership().borrow(), it.group.node()));
        led.sort_by_key(|it| it.group.id().0);
        led
    }
}

/// Kafka's choice, as that of the coordinator of a consumer group.
pub(super) fn home(id: &str) -> InternalId {
    InternalId { kind: TRANSACTIONS, number: home_of(id) % COUNT }
}

/// Ends what runs for the replicas when what looks after them is dropped, so with the broker.
struct CloseAll(Arc<Transactions>);

impl Drop for CloseAll {
    fn drop(&mut self) {
        self.0.open.remove_all().iter().for_each(|it| it.driver.end());
    }
}

impl Kind for Transactions {
    const KIND: GroupKind = GroupKind::Internal(TRANSACTIONS);
    type Machine = TransactionMachine;
    type Spec = InternalId;

    fn name(spec: &InternalId) -> String {
        format!("transactions-{}", spec.number)
    }

    fn spec(image: &Image, group: GroupId) -> Option<InternalId> {
        image.internal.of(group).map(|(id, _)| id)
    }

    fn opened(&self, group: Group<TransactionMachine>, _: InternalId) {
        let (asker, asked) = Asker::new();
        let (log_time, waiting) = (Arc::new(LogTime::default()), Arc::new(Waiting::default()));
        let (prepared, reads) = (Arc::new(Notify::new()), Arc::clone(&self.reads));
        let proposer = Proposer {
            group: group.clone(),
            asked,
            log_time: Arc::clone(&log_time),
            clock: Arc::clone(&self.clock),
            waiting: Arc::clone(&waiting),
            prepared: Arc::clone(&prepared),
        };
        let finisher = Finisher {
            group: group.clone(),
            asker: asker.clone(),
            log_time: Arc::clone(&log_time),
            waiting: Arc::clone(&waiting),
            prepared,
            reads: Arc::clone(&reads),
            reach: Arc::clone(&self.reach),
            telling: Arc::clone(&self.telling),
            telling_max: TELLING_MAX,
        };
        // Without the one the other has nothing to do.
        let driver = Task::spawn(async move {
            tokio::select! {
                () = proposer.run() => {}
                () = finisher.run() => {}
            }
        });
        let id = group.id();
        let coordinator = TransactionCoordinator { group, asker, waiting, log_time, reads, driver };
        self.open.insert(id, coordinator);
    }

    fn closing(&self, group: GroupId) {
        if let Some(coordinator) = self.open.remove(group) {
            coordinator.driver.end();
        }
    }

    /// Carries calls to other brokers and lets ids expire.
    fn beside(self: Arc<Self>) -> BoxFuture<'static, ()> {
        let close = CloseAll(Arc::clone(&self));
        let run = async move {
            let posted = self.posted.lock().take();
            let (Some(controller), Some(posted)) = (self.reach.controller(), posted) else {
                return;
            };
            let node = Arc::clone(controller.node());
            drop(controller);
            tokio::join!(outbox::carry(node, posted), expiry::run(&self));
            drop(close);
        };
        run.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_at_home_where_kafka_has_it() {
        // `Utils.abs("...".hashCode()) % 32` in Java.
        for (id, number) in [("", 0), ("a", 1), ("test", 18), ("orders", 27)] {
            assert_eq!(home(id), InternalId { kind: TRANSACTIONS, number }, "{id}");
        }
    }
}
