//! Reading the keyed state of a replica, off the async workers and no more of it at once than there is room for.

use std::sync::Arc;

use bytes::Bytes;
use quorate_raft::GroupHandle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Returns the first `max` pairs with keys in `[from, to)`, once `gate` has room; `None` if they cannot be read.
///
/// If the caller goes away meanwhile the read still ends by itself and frees its place then.
pub(crate) async fn read_keyed(
    group: &GroupHandle,
    gate: &Arc<Semaphore>,
    from: Bytes,
    to: Bytes,
    max: usize,
) -> Option<Vec<(Bytes, Bytes)>> {
    let place = Arc::clone(gate).acquire_owned().await.ok()?;
    let (id, group) = (group.id(), group.clone());
    let read = spawn_blocking(move || {
        let pairs = group.keyed_range(&from, &to, max);
        drop(place);
        pairs
    });
    let pairs = read.await.ok()?;
    pairs.inspect_err(|error| tracing::debug!(group = %id, %error, "keyed state is not read")).ok()
}
