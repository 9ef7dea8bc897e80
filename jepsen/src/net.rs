//! The network between the hosts of a sandbox, with every fault a network can have.
//!
//! There is one mechanism for all of them: a host's only device is a TUN, and what it sends arrives in this process,
//! where a thread forwards it by a table of directed links. A cut, a delay or a loss is a row of that table, asymmetric
//! by construction, swapped under one lock, and counted, so that a fault which met no packet is known to have done
//! nothing. The kernel's own tools (netem) are not there on every machine, and say less.

mod link;
mod router;
mod tcp;
mod tun;

pub use link::{Counters, Rule};
pub(crate) use router::Forwarding;
pub use router::Network;
pub(crate) use tun::{NAME as DEVICE, Tun};

/// A host's number: the last byte of its address.
pub type HostId = u8;

/// Largest packet, in bytes. Large, because every packet costs four system calls.
pub const MTU: usize = 9000;
