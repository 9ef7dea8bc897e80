//! What this crate takes from the world outside: sockets, threads for blocking work, and the number
//! of its process.
//!
//! Everything else it does follows from its inputs, so with the feature `simulation` these three are
//! all that is exchanged: sockets are turmoil's, blocking work runs where it is asked for (the
//! simulated disk never blocks), and the process has no number. What is left of chance, the keys of
//! hash maps and the generators of tokio and the consensus core, comes from the system's `getrandom`,
//! which a simulation replaces as a whole.

#[cfg(not(feature = "simulation"))]
pub(crate) use real::{OwnedReadHalf, TcpListener, TcpStream, process_id, spawn_blocking};
#[cfg(feature = "simulation")]
pub(crate) use simulated::{OwnedReadHalf, TcpListener, TcpStream, process_id, spawn_blocking};

#[cfg(not(feature = "simulation"))]
mod real {
    pub use std::process::id as process_id;

    pub use tokio::net::tcp::OwnedReadHalf;
    pub use tokio::net::{TcpListener, TcpStream};
    pub use tokio::task::spawn_blocking;
}

#[cfg(feature = "simulation")]
mod simulated {
    use std::future::{Ready, ready};

    pub use turmoil::net::tcp::OwnedReadHalf;
    pub use turmoil::net::{TcpListener, TcpStream};

    pub fn process_id() -> u32 {
        0
    }

    pub fn spawn_blocking<R>(work: impl FnOnce() -> R) -> Ready<Result<R, std::io::Error>> {
        ready(Ok(work()))
    }
}
