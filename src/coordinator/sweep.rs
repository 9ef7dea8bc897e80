//! Freeing the place of offsets that are over: those of topics and groups that were deleted, and those that nobody has read
//! on from for as long as an operator says (KIP-211).
//!
//! The leader looks and the log decides: what was found is named in a command, and whether it may expire is judged again when
//! that is applied, by the generation that was looked at. What belongs to nothing any more just goes. Time is log time, so wrong clocks make nothing expire.
//! Of a group with offsets in a transaction that has not ended nothing expires, nor does the group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use tokio::time::{Instant, sleep};

use super::call::{Found, OldOffset};
use super::machine::{self, CoordinatorMachine};
use super::offsets::{self, OffsetKey};
use super::{Coordinator, Coordinators, GroupError, PAGE};
use crate::controller::Controller;

/// How long the metadata may take to be current before a look is given up.
const BARRIER_WAIT: Duration = Duration::from_secs(5);
/// How long a group stays that has neither members nor offsets: who comes back soon goes on counting generations.
const EMPTY_KEPT_MS: i64 = 600_000;

/// Looks through the coordinators that this broker leads.
pub struct Sweeper {
    pub coordinators: Arc<Coordinators>,
    pub controller: Arc<Controller>,
}

impl Sweeper {
    /// Runs until dropped.
    pub async fn run(self) {
        loop {
            let factor = rand::rng().random_range(0.75..1.25);
            sleep(self.coordinators.settings.offsets_check.mul_f64(factor)).await;
            for coordinator in self.coordinators.all() {
                if let Err(error) = self.sweep(&coordinator).await {
                    let group = coordinator.group().id();
                    tracing::debug!(%group, %error, "offsets were not swept, looking again later");
                }
            }
        }
    }

    async fn sweep(&self, coordinator: &Coordinator) -> Result<(), GroupError> {
        if !coordinator.group().leadership().borrow().ready {
            return Ok(());
        }
        let retention = self.coordinators.settings.offsets_retention.as_millis();
        let retention_ms = i64::try_from(retention).unwrap_or(i64::MAX);
        if !coordinator.group().machine().groups().is_empty() {
            // Written also if nothing is found: log time is what entries say.
            let as_of = coordinator.swept(Found::default()).await?;
            let empty = empty_groups(&coordinator.group().machine());
            coordinator.swept(Found { empty, as_of, ..Found::default() }).await?;
        }
        let before_ms = coordinator.group().machine().log_ms().saturating_sub(retention_ms);
        let (mut from, to) = offsets::all();
        loop {
            let pairs = coordinator.read(from, to.clone(), PAGE).await?;
            let Some((last, _)) = pairs.last() else { return Ok(()) };
            from = [&last[..], &[0]].concat().into();
            let is_last = pairs.len() < PAGE;
            let found = self.judge(coordinator, &pairs, before_ms).await?;
            if !found.orphaned.is_empty() || !found.old.is_empty() {
                coordinator.swept(found).await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn judge(
        &self,
        coordinator: &Coordinator,
        pairs: &[(Bytes, Bytes)],
        before_ms: i64,
    ) -> Result<Found, GroupError> {
        // After the offsets were read: an image that lags has not heard of new topics.
        let current = self.controller.catch_up(Instant::now() + BARRIER_WAIT).await;
        current.map_err(|_| GroupError::NotAvailable)?;
        let image = self.controller.metadata().image();
        let mut found = Found { before_ms, ..Found::default() };
        let machine = coordinator.group().machine();
        for (key, value) in pairs {
            let Some(key) = OffsetKey::decode(key) else { continue };
            match (machine.named(key.incarnation), image.topic_by_id(key.topic)) {
                (Some((group, _)), Some(topic)) => {
                    if machine::read(value).committed_ms < before_ms {
                        let (group, topic) = (group.to_owned(), topic.name.clone());
                        found.old.push(OldOffset { group, topic, key });
                    }
                }
                (None, _) | (_, None) => found.orphaned.push(key),
            }
        }
        Ok(found)
    }
}

/// Groups that have had neither members nor offsets for a while, and of which no transaction has any.
fn empty_groups(machine: &CoordinatorMachine) -> Vec<String> {
    let before_ms = machine.log_ms().saturating_sub(EMPTY_KEPT_MS);
    let is_empty = |record: &super::record::GroupRecord| {
        let is_pending = machine.pending().has_group(record.incarnation);
        let has_something = record.offsets > 0 || record.membership.has_members() || is_pending;
        !has_something && record.emptied_ms < before_ms
    };
    let empty = machine.groups().iter().filter(|(_, record)| is_empty(record));
    empty.map(|(name, _)| name.clone()).take(PAGE).collect()
}
