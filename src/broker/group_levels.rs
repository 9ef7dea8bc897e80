//! Each group's log gets the feature level that the cluster has finalized.
//!
//! A group is opened with the level that its log says, so raising it is an entry like any other, proposed by whoever
//! leads the group. Nothing is remembered: the driver looks at what it leads and does what is missing.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use quorate_storage::GroupId;
use tokio::time::{sleep, timeout};

use crate::coordinator::{Coordinator, Coordinators};
use crate::metadata::Metadata;
use crate::partition::{Partition, Partitions};
use crate::transaction::{TransactionCoordinator, Transactions};

/// Between two looks when nothing changed: a group may be led here since, or again.
const LOOK: Duration = Duration::from_secs(1);
/// How long one partition may take before it is looked at again.
const STEP: Duration = Duration::from_secs(5);
/// Groups whose level is raised at a time.
const CONCURRENT: usize = 64;

/// The driver.
pub(super) struct GroupLevels {
    pub(super) metadata: Arc<Metadata>,
    pub(super) partitions: Arc<Partitions>,
    pub(super) coordinators: Arc<Coordinators>,
    pub(super) transactions: Arc<Transactions>,
}

impl GroupLevels {
    /// Runs until dropped.
    pub(super) async fn run(self) {
        let mut images = self.metadata.watch();
        loop {
            let level = images.borrow_and_update().level;
            stream::iter(self.below(level))
                .for_each_concurrent(CONCURRENT, |partition| raise(partition, level))
                .await;
            stream::iter(self.coordinators_below(level))
                .for_each_concurrent(CONCURRENT, |coordinator| raise_of(coordinator, level))
                .await;
            stream::iter(self.transactions_below(level))
                .for_each_concurrent(CONCURRENT, |coordinator| {
                    raise_transactions(coordinator, level)
                })
                .await;
            tokio::select! {
                changed = images.changed() => if changed.is_err() { return },
                () = sleep(LOOK) => {}
            }
        }
    }

    /// The partitions led here whose logs have not reached the level.
    fn below(&self, level: u16) -> Vec<Arc<Partition>> {
        let mut partitions = self.partitions.all();
        partitions.retain(|it| it.level() < level && it.leader_epoch_if_ready().is_ok());
        partitions
    }

    /// The coordinators led here whose logs have not reached the level.
    fn coordinators_below(&self, level: u16) -> Vec<Arc<Coordinator>> {
        let mut coordinators = self.coordinators.all();
        coordinators.retain(|it| it.level() < level && it.group().leadership().borrow().ready);
        coordinators
    }

    /// The same of transaction coordinators.
    fn transactions_below(&self, level: u16) -> Vec<Arc<TransactionCoordinator>> {
        let mut coordinators = self.transactions.all();
        coordinators.retain(|it| it.level() < level && it.group().leadership().borrow().ready);
        coordinators
    }
}

/// The same of a coordinator.
async fn raise_of(coordinator: Arc<Coordinator>, level: u16) {
    raised(coordinator.group().id(), level, coordinator.set_level(level)).await;
}

/// The same of a transaction coordinator.
async fn raise_transactions(coordinator: Arc<TransactionCoordinator>, level: u16) {
    raised(coordinator.group().id(), level, coordinator.set_level(level)).await;
}

async fn raised<E: Display>(group: GroupId, level: u16, set: impl Future<Output = Result<(), E>>) {
    match timeout(STEP, set).await {
        Ok(Ok(())) => tracing::debug!(%group, level, "feature level raised"),
        Ok(Err(error)) => tracing::debug!(%group, level, %error, "level not raised yet"),
        Err(_) => tracing::debug!(%group, level, "level not raised in time, looking again"),
    }
}

async fn raise(partition: Arc<Partition>, level: u16) {
    let name = format!("{}-{}", partition.topic(), partition.number());
    match timeout(STEP, partition.set_level(level)).await {
        Ok(Ok(())) => tracing::debug!(partition = name, level, "feature level raised"),
        Ok(Err(error)) => tracing::debug!(partition = name, level, %error, "level not raised yet"),
        Err(_) => {
            tracing::debug!(partition = name, level, "level not raised in time, looking again");
        }
    }
}
