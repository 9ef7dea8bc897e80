//! Changes of the cluster: the handle that any broker's Kafka and HTTP interfaces call, and the drivers that
//! make the cluster become what its image says.
//!
//! Every broker takes every request (KIP-590 in spirit): it forwards the request to the metadata group's
//! leader, which decides, learns the verdict, and answers once its own image shows the result, so that a client that
//! asks the same broker next sees what it did. The drivers are level-triggered: each looks at what is and
//! what should be, takes one step, and looks again; none keeps a plan that a crash could lose.

mod calls;
mod clock;
mod current;
mod decider;
mod emptiness;
mod fenced_status;
mod forward;
mod gossip;
mod internal_groups;
mod leadership;
mod liveness;
mod members;
mod peers;
mod quorum;
mod read_index;
mod rebalance;
mod reconcile;
mod removal;
mod replicas;
mod requests;
mod voters;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quorate_raft::{Group, Node};

use crate::config::Topics;
use crate::metadata::{Metadata, MetadataMachine};
use crate::replica::Replicas;

use current::Barrier;
use decider::Decider;

pub(crate) use calls::{Calls, Handler, JOIN, JoinAnswer, JoinRequest, PEERS, Peer};
pub(crate) use clock::Clocks;
pub use clock::{BrokerClock, Judgement};
pub(crate) use emptiness::AskEnds;
pub(crate) use fenced_status::FencedStatus;
pub(crate) use gossip::Gossip;
pub(crate) use internal_groups::InternalGroups;
pub(crate) use members::Members;
pub(crate) use peers::follow_peers;
pub(crate) use quorum::{Quorum, QuorumMember};
pub(crate) use rebalance::Rebalance;
pub use reconcile::Progress;
pub(crate) use reconcile::Reconciler;
pub use removal::Removal;
pub(crate) use replicas::Reassignments;
pub use requests::{PARTITIONS_AT_ONCE, TopicRef};

/// How long one driver step may wait for the cluster before it looks again.
const STEP: Duration = Duration::from_secs(5);

/// The handle by which this broker asks the cluster to change. Works on every broker.
pub struct Controller {
    node: Arc<Node>,
    group: Group<MetadataMachine>,
    metadata: Arc<Metadata>,
    replicas: Arc<Replicas>,
    defaults: Topics,
    clock: Arc<BrokerClock>,
    barrier: Barrier,
    decider: Decider,
    ends: OnceLock<AskEnds>,
}

impl Controller {
    /// Returns a handle on the metadata group, which must be open.
    pub fn new(
        node: Arc<Node>,
        group: Group<MetadataMachine>,
        metadata: Arc<Metadata>,
        replicas: Arc<Replicas>,
        defaults: Topics,
        clock: Arc<BrokerClock>,
    ) -> Arc<Self> {
        let (barrier, decider) = (Barrier::default(), Decider::default());
        let ends = OnceLock::new();
        Arc::new(Self { node, group, metadata, replicas, defaults, clock, barrier, decider, ends })
    }

    /// Returns the local view of the cluster.
    pub fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// Returns the metadata group as it runs here.
    pub fn group(&self) -> &Group<MetadataMachine> {
        &self.group
    }

    /// Returns this broker's wall clock.
    pub fn clock(&self) -> &Arc<BrokerClock> {
        &self.clock
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(crate) fn replicas(&self) -> &Arc<Replicas> {
        &self.replicas
    }

    fn defaults(&self) -> &Topics {
        &self.defaults
    }

    /// Returns whether this broker leads the metadata group and may act on its image.
    fn leads(&self) -> bool {
        let leadership = *self.group.leadership().borrow();
        leadership.ready && leadership.leader == Some(self.node.id())
    }
}
