//! A broker: what it is made of, in which order that starts and stops.
//!
//! Start: file descriptors divided, storage, identity (formed, joined or remembered), the node, the metadata group, the drivers, and
//! the interfaces last; Kafka clients are let in once the image is current. Stop: leaderships are handed over while the
//! interfaces still say who has them now, then interfaces drain, groups close, storage is flushed.
//!
//! Invariant: a data directory belongs to one broker id of one cluster for ever; the broker presents the
//! directory's own id with everything it does, so an emptied directory is never taken for the old one.

mod descriptors;
mod find;
mod group_levels;
mod join;
mod level;
mod register;
mod sockets;
mod space;
mod start;
mod stop;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::context::Context;

pub use descriptors::TooFewDescriptors;
pub use start::StartError;

/// A running broker. Dropping it stops it without ceremony, as a crash would.
pub struct Broker {
    context: Context,
    kafka_address: SocketAddr,
    http_address: SocketAddr,
    stopping: watch::Sender<bool>,
    /// Tasks that finish their work once `stopping` is true.
    graceful: JoinSet<()>,
    /// Tasks that lose nothing when they are aborted.
    drivers: JoinSet<()>,
    /// Why this broker cannot go on: the cluster turned it away, or its metadata group failed.
    refused: mpsc::Receiver<StartError>,
}

impl Broker {
    /// Returns what the handlers work with.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Returns where Kafka clients are accepted; the port is real even if 0 was configured.
    pub fn kafka_address(&self) -> SocketAddr {
        self.kafka_address
    }

    /// Returns where HTTP is accepted; the port is real even if 0 was configured.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }
}
