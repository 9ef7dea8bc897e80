//! What this crate takes from the world outside: sockets, threads for blocking work, the number of its
//! process, and the wall clock, which it passes on to peers and does not go by.
//!
//! Everything else it does follows from its inputs, so with the feature `simulation` these are
//! all that is exchanged: sockets are turmoil's, blocking work runs where it is asked for (the
//! simulated disk never blocks), the process has no number and the wall clock stands still. What is left of chance, the keys of
//! hash maps and the generators of tokio and the consensus core, comes from the system's `getrandom`,
//! which a simulation replaces as a whole.

#[cfg(not(feature = "simulation"))]
pub(crate) use real::{OwnedReadHalf, TcpListener, TcpStream, process_id, spawn_blocking, wall_ms};
#[cfg(feature = "simulation")]
pub(crate) use simulated::{
    OwnedReadHalf, TcpListener, TcpStream, process_id, spawn_blocking, wall_ms,
};

#[cfg(not(feature = "simulation"))]
mod real {
    pub use std::process::id as process_id;
    use std::time::UNIX_EPOCH;

    pub use tokio::net::tcp::OwnedReadHalf;
    pub use tokio::net::{TcpListener, TcpStream};

    pub fn wall_ms() -> i64 {
        let since = UNIX_EPOCH.elapsed().unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// Runs work that blocks on a thread of its own. A panic in it goes on in the caller.
    ///
    /// Nobody cancels such work but a runtime that ends, and it ends the caller as well: so there is no answer then, and
    /// in particular none that could be taken for a failure of the disk.
    pub async fn spawn_blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    }

    #[cfg(test)]
    mod tests {
        use std::sync::mpsc;
        use std::time::Duration;

        #[test]
        fn work_that_is_cancelled_with_its_runtime_has_no_outcome() {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).max_blocking_threads(1).build().unwrap();
            let ((running, runs), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
            let (outcome, told) = mpsc::channel();
            runtime.block_on(async {
                // The only thread for such work is taken, so the next piece waits for it.
                drop(tokio::spawn(super::spawn_blocking(move || {
                    running.send(()).unwrap();
                    released.recv().unwrap_err();
                })));
                runs.recv().unwrap();
                let (asked, waits) = tokio::sync::oneshot::channel();
                drop(tokio::spawn(async move {
                    let work = super::spawn_blocking(|| ());
                    asked.send(()).unwrap();
                    work.await;
                    outcome.send("done").unwrap();
                }));
                waits.await.unwrap();
            });
            runtime.shutdown_background();
            drop(release);
            let told = told.recv_timeout(Duration::from_secs(60));
            assert_eq!(told, Err(mpsc::RecvTimeoutError::Disconnected));
        }
    }
}

#[cfg(feature = "simulation")]
mod simulated {
    pub use turmoil::net::tcp::OwnedReadHalf;
    pub use turmoil::net::{TcpListener, TcpStream};

    pub fn process_id() -> u32 {
        0
    }

    /// All clocks of a simulation agree; nothing in this crate decides by them.
    pub fn wall_ms() -> i64 {
        0
    }

    pub async fn spawn_blocking<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
}
