//! A place of its own for every run: processes, mounts and networks that end with it.
//!
//! The program runs itself again inside new network, mount and process namespaces. Whatever a run makes there — hosts,
//! loop mounts, brokers — exists only in them, so that it is gone when the run ends, even by SIGKILL, and so that two
//! runs at a time with the same addresses do not meet.

mod broker;
mod cluster;
mod disk;
mod enter;
mod host;
mod process;
mod shim;
mod strobe;

pub use broker::{Broker, State};
pub use cluster::{Cluster, Spec};
pub use disk::{Disk, DiskKind};
pub use enter::{enter, inside, within};
pub use host::{Host, Hosts};
pub use process::Process;
pub use shim::{EIO, ENOSPC, Hits, Shim};
pub use strobe::Share;
