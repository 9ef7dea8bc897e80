//! Finding who coordinates a group, also before there is a coordinator: whoever asks first makes them all.

use tokio::time::{Instant, timeout_at};

use super::coordinators::{COORDINATORS, COUNT, home_of};
use crate::controller::Controller;
use crate::metadata::{Broker, InternalId};

/// Why nobody is known to coordinate a group now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotLocated {
    /// There are no coordinators, and they could not be made.
    NotMade,
    /// The coordinator has no leader.
    NoLeader,
}

/// Returns the broker that coordinates a group, and waits until the coordinators are there and that one has a leader.
///
/// # Errors
/// See [`NotLocated`].
pub async fn locate(
    controller: &Controller,
    group: &str,
    deadline: Instant,
) -> Result<Broker, NotLocated> {
    let id = InternalId { kind: COORDINATORS, number: home_of(group) };
    locate_internal(controller, id, COUNT, deadline).await
}

/// The same of an internal group of any kind, of which there are `count`.
///
/// # Errors
/// See [`NotLocated`].
pub async fn locate_internal(
    controller: &Controller,
    id: InternalId,
    count: u32,
    deadline: Instant,
) -> Result<Broker, NotLocated> {
    let metadata = controller.metadata();
    // Taken before looking, so that what changes in between is not missed.
    let mut changes = metadata.leaders().changes();
    if metadata.image().internal.get(id).is_none() {
        let wait = deadline.saturating_duration_since(Instant::now());
        let made = controller.make_internal_groups(id.kind, count, wait).await;
        made.map_err(|error| {
            tracing::info!(%error, kind = %id.kind, "coordinators are not made");
            NotLocated::NotMade
        })?;
    }
    loop {
        changes.borrow_and_update();
        let image = metadata.image();
        let home = image.internal.get(id);
        let leader = home.and_then(|info| metadata.leader(info.group));
        if let Some(broker) = leader.and_then(|leader| image.brokers.get(&leader.id)) {
            return Ok(broker.clone());
        }
        if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            return Err(NotLocated::NoLeader);
        }
    }
}
