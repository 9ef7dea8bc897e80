//! Work that waits for the disk, kept off the async workers and bounded.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

use rustix::process::setpriority_process;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;

use super::Closed;

/// Reads waiting for the disk at once on this broker; each holds at most what it may return.
pub(super) const DISK_READS_MAX: usize = 64;

/// How much less of the processor work in the background gets than requests do, in steps of `nice`: a tenth of an equal
/// share where both want all of it, and all that is left otherwise.
const BACKGROUND_NICE: i32 = 10;

/// Runs long `work` on a thread of its own, which gives way to everything that clients wait for.
///
/// If the caller goes away meanwhile the work still ends by itself.
pub(super) async fn in_background<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Closed> {
    let (done, result) = oneshot::channel();
    let run = move || {
        // On Linux a thread has a priority of its own. Without it the work is merely in the way.
        let _ = setpriority_process(None, BACKGROUND_NICE);
        // Nobody waits any more when it cannot be sent.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|_| Closed)?;
    match result.await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(Closed),
    }
}

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
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(Closed),
        },
    }
}
