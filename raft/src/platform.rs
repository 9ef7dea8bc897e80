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
    pub use tokio::task::spawn_blocking;

    pub fn wall_ms() -> i64 {
        let since = UNIX_EPOCH.elapsed().unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(feature = "simulation")]
mod simulated {
    use std::future::{Ready, ready};

    pub use turmoil::net::tcp::OwnedReadHalf;
    pub use turmoil::net::{TcpListener, TcpStream};

    pub fn process_id() -> u32 {
        0
    }

    /// All clocks of a simulation agree; nothing in this crate decides by them.
    pub fn wall_ms() -> i64 {
        0
    }

    pub fn spawn_blocking<R>(work: impl FnOnce() -> R) -> Ready<Result<R, std::io::Error>> {
        ready(Ok(work()))
    }
}
