//! The coordinators this broker holds a replica of, as a kind of group.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use quorate_raft::Group;
use quorate_storage::GroupId;
use tokio::sync::{Semaphore, mpsc};

use super::Coordinator;
use super::classic::Limits;
use super::driver::Driver;
use super::machine::CoordinatorMachine;
use crate::metadata::{GroupKind, Image, InternalId, InternalKind, Metadata, PartitionInfo};
use crate::replica::{InUse, Kind, LogTime, Task};

/// The internal groups that coordinate.
pub const COORDINATORS: InternalKind = InternalKind(1);
/// How many there are. Never another number: a group's home follows from it.
pub(super) const COUNT: u32 = 32;
/// The longest name of a group, in bytes.
pub const GROUP_NAME_BYTES_MAX: usize = 1024;
/// Calls that wait for one coordinator.
const CALLS_MAX: usize = 4096;
/// Reads of offsets at once.
const READS_MAX: usize = 8;
/// Regular expressions that are matched at once.
const MATCHING_MAX: usize = 2;

/// What an operator sets.
#[derive(Debug, Clone, Copy)]
pub struct CoordinatorSettings {
    /// How long an empty group waits for more members after the first.
    pub initial_rebalance_delay: Duration,
    pub members_max: usize,
    /// How long a member of the consumer protocol may be silent.
    pub consumer_session: Duration,
    /// How long offsets stay that nobody reads on from.
    pub offsets_retention: Duration,
    /// Between two looks for those that are over.
    pub offsets_check: Duration,
}

/// All coordinators of one broker.
pub struct Coordinators {
    open: InUse<Coordinator>,
    pub(super) settings: CoordinatorSettings,
    reads: Arc<Semaphore>,
    matching: Arc<Semaphore>,
    metadata: Arc<Metadata>,
}

impl Coordinators {
    /// Returns the kind, with nothing open.
    pub fn new(settings: CoordinatorSettings, metadata: Arc<Metadata>) -> Arc<Self> {
        let reads = Arc::new(Semaphore::new(READS_MAX));
        let matching = Arc::new(Semaphore::new(MATCHING_MAX));
        Arc::new(Self { open: InUse::default(), settings, reads, matching, metadata })
    }

    /// Returns the replica of `group` if it is open.
    pub fn get(&self, group: GroupId) -> Option<Arc<Coordinator>> {
        self.open.get(group)
    }

    /// Returns all open replicas, in no order.
    pub fn all(&self) -> Vec<Arc<Coordinator>> {
        self.open.all()
    }

    /// Returns the coordinator of a consumer group; `None` before there are any.
    pub fn home<'i>(image: &'i Image, group: &str) -> Option<&'i PartitionInfo> {
        image.internal.get(InternalId { kind: COORDINATORS, number: home_of(group) })
    }
}

/// Returns the number of the coordinator of a group. Kafka's choice: Java's hash of the name, over its UTF-16.
pub fn home_of(group: &str) -> u32 {
    let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = group.encode_utf16().fold(0, step);
    // Of the least number there is no opposite.
    hash.checked_abs().unwrap_or(0).unsigned_abs() % COUNT
}

impl Kind for Coordinators {
    const KIND: GroupKind = GroupKind::Internal(COORDINATORS);
    type Machine = CoordinatorMachine;
    type Spec = InternalId;

    fn name(spec: &InternalId) -> String {
        format!("coordinator-{}", spec.number)
    }

    fn spec(image: &Image, group: GroupId) -> Option<InternalId> {
        image.internal.of(group).map(|(id, _)| id)
    }

    fn opened(&self, group: Group<CoordinatorMachine>, _: InternalId) {
        let (sender, calls) = mpsc::channel(CALLS_MAX);
        let limits = Limits {
            initial_delay: self.settings.initial_rebalance_delay,
            members_max: self.settings.members_max,
            consumer_session: self.settings.consumer_session,
        };
        let log_time = Arc::new(LogTime::default());
        let metadata = Arc::clone(&self.metadata);
        let driver = Driver { group: group.clone(), calls, limits, log_time, metadata };
        let (id, driver) = (group.id(), Task::spawn(driver.run()));
        let coordinator = Coordinator {
            group,
            calls: sender,
            reads: Arc::clone(&self.reads),
            matching: Arc::clone(&self.matching),
            regex_joins: AtomicU64::new(0),
            metadata: Arc::clone(&self.metadata),
            driver,
        };
        self.open.insert(id, coordinator);
    }

    fn closing(&self, group: GroupId) {
        if let Some(coordinator) = self.open.remove(group) {
            coordinator.driver.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_at_home_where_kafka_has_it() {
        // `Utils.abs("...".hashCode()) % 32` in Java.
        let homes = [("", 0), ("a", 1), ("test", 18), ("orders", 27), ("polygenelubricants", 0)];
        for (group, number) in homes {
            assert_eq!(home_of(group), number, "{group}");
        }
    }
}
