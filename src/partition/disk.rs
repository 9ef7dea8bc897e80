//! Work that waits for the disk, kept off the async workers and bounded.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::Closed;

/// Reads waiting for the disk at once on this broker; each holds at most what it may return.
pub(super) const DISK_READS_MAX: usize = 64;

/// Runs `work` on a thread that may block, once `gate` has room.
///
/// If the caller goes away meanwhile the work still ends by itself and frees its place then.
pub(super) async fn on_disk<T: Send + 'static>(
    gate: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Closed> {
    let place = Arc::clone(gate).acquire_owned().await.map_err(|_| Closed)?;
    let running = spawn_blocking(move || {
        let result = work();
        drop(place);
        result
    });
    match running.await {
        Ok(result) => Ok(result),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(Closed),
        },
    }
}
