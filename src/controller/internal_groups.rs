//! Making internal groups, and the metadata leader's care for where they are.
//!
//! A partition is moved by an operator; an internal group has none, so what is decided about the votes of the metadata
//! group (`voters.rs`) is decided about its replicas too: one becomes three when there are three brokers to take them,
//! who was removed is replaced, and three spread over the racks there are. The decision becomes a target in the image,
//! and from there it is moved as a partition is (`replicas.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::voters::{Brokers, Situation, settle};
use super::{Controller, STEP};
use crate::metadata::{AdminError, Image, InternalKind, InternalRequest, PartitionInfo, Request};

/// Between two looks when nothing woke the driver.
const LOOK: Duration = Duration::from_secs(1);

impl Controller {
    /// Makes those of the first `count` internal groups of a kind that are missing, and returns when this broker's
    /// image shows them. Every broker must know the kind: one that does not cannot keep its replica.
    ///
    /// # Errors
    /// [`AdminError::NotEnoughBrokers`] when none is in service, [`AdminError::InvalidRequest`] for a count that is out
    /// of bounds; otherwise as every request.
    pub async fn make_internal_groups(
        &self,
        kind: InternalKind,
        count: u32,
        timeout: Duration,
    ) -> Result<(), AdminError> {
        if self.metadata().image().internal.count(kind) >= count {
            return Ok(());
        }
        let request = Request::Internal(InternalRequest::Make { kind, count });
        self.submit(request, Instant::now() + timeout).await.map(drop)
    }
}

/// The driver. Rests where the metadata group is led elsewhere.
pub(crate) struct InternalGroups {
    pub(crate) controller: Arc<Controller>,
}

impl InternalGroups {
    /// Runs until dropped.
    pub(crate) async fn run(self) {
        let mut images = self.controller.metadata().watch();
        let mut leadership = self.controller.group().leadership();
        loop {
            images.borrow_and_update();
            leadership.borrow_and_update();
            if self.controller.leads() {
                self.look().await;
            }
            let waits =
                self.controller.leads() && !self.controller.metadata().image().internal.is_empty();
            tokio::select! {
                shown = images.changed() => if shown.is_err() { return },
                led = leadership.changed() => if led.is_err() { return },
                () = sleep(LOOK), if waits => {}
            }
        }
    }

    /// Moves one group after the other: each is decided with the load that those before it have become.
    async fn look(&self) {
        let groups = Arc::clone(&self.controller.metadata().image().internal);
        for (id, _) in groups.iter() {
            let image = self.controller.metadata().image();
            let Some(info) = image.internal.get(id) else { continue };
            let Some(replicas) = wanted(&image, info) else { continue };
            tracing::info!(group = info.group.0, %id, ?replicas, "internal group is to move");
            let group = info.group.0;
            let request = Request::Internal(InternalRequest::SetReplicas { group, replicas });
            if let Err(error) = self.controller.submit(request, Instant::now() + STEP).await {
                tracing::info!(group, %id, %error, "internal group stays, looking again");
                return;
            }
        }
    }
}

/// Returns the replicas that a group should have next, the preferred leader first; `None` when that is settled.
fn wanted(image: &Image, info: &PartitionInfo) -> Option<Vec<u64>> {
    let fit: BTreeSet<u64> = image.live_brokers().map(|broker| broker.id).collect();
    if let Some(target) = &info.target {
        let newcomers = target.iter().filter(|broker| !info.replicas.contains(broker));
        // A move under way goes on, unless it waits for a broker that may never come.
        if newcomers.copied().all(|broker| fit.contains(&broker)) {
            return None;
        }
    }
    let leader = info.preferred()?;
    let now = Situation {
        voters: &info.replicas.iter().copied().collect(),
        joint: false,
        leader,
        removed: &image.removed,
        fit: &fit,
    };
    let settled = settle(now, image);
    // Who waits for a broker in vain goes back at least.
    let target = match (settled, &info.target) {
        (Some(target), _) => target,
        (None, Some(_)) => info.replicas.iter().copied().collect(),
        (None, None) => return None,
    };
    let stay = info.replicas.iter().copied().filter(|broker| target.contains(broker));
    let mut come: Vec<u64> =
        target.iter().copied().filter(|broker| !info.replicas.contains(broker)).collect();
    come.sort_by_key(|broker| (image.load(*broker), *broker));
    Some(stay.chain(come).collect())
}

#[cfg(test)]
mod tests;
