//! What the Kafka and HTTP handlers work with: the parts of a running broker, made by `broker`.

pub mod identity;
mod readiness;

use std::sync::Arc;

use quorate_raft::Node;
use quorate_storage::Db;

use crate::config::Config;
use crate::controller::Controller;
use crate::coordinator::Coordinators;
use crate::metadata::Metadata;
use crate::partition::Partitions;
use crate::transaction::Transactions;

pub use identity::Identity;
pub use readiness::Readiness;
pub(crate) use readiness::voters_missing;

/// The parts of a running broker.
#[derive(Clone)]
pub struct Context {
    pub config: Arc<Config>,
    pub identity: Identity,
    pub metadata: Arc<Metadata>,
    pub controller: Arc<Controller>,
    pub partitions: Arc<Partitions>,
    pub coordinators: Arc<Coordinators>,
    pub transactions: Arc<Transactions>,
    pub node: Arc<Node>,
    pub db: Arc<Db>,
    /// Whether this broker can serve clients, and if not, why.
    pub readiness: Arc<Readiness>,
}
