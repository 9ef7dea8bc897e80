//! A broker: what it is made of, in which order that starts and stops.
//!
//! Start: storage, identity (formed, joined or remembered), the node, the metadata group, registration,
//! the drivers, and the faces last, so that no client is let in before the broker can answer. Stop is the
//! reverse: faces drain, leaderships are handed over, groups close, storage is flushed.
//!
//! Invariant: a data directory belongs to one broker id of one cluster for ever; the broker presents the
//! directory's own id with everything it does, so an emptied directory is never taken for the old one.

mod identity;
mod join;
mod readiness;
mod start;
mod stop;

use std::sync::Arc;

use quorate_raft::Node;
use quorate_storage::Db;

use crate::config::Config;
use crate::controller::Controller;
use crate::metadata::Metadata;
use crate::partition::Partitions;

pub use identity::Identity;
pub use readiness::Readiness;
pub use start::StartError;

/// What the Kafka and HTTP handlers work with.
#[derive(Clone)]
pub struct Context {
    pub config: Arc<Config>,
    pub identity: Identity,
    pub metadata: Arc<Metadata>,
    pub controller: Arc<Controller>,
    pub partitions: Arc<Partitions>,
    pub node: Arc<Node>,
    pub db: Arc<Db>,
    /// Whether this broker can serve clients, and if not, why.
    pub readiness: Arc<Readiness>,
}
