//! What the metadata log says.
//!
//! A command carries a decision, not a request: the replicas of new partitions, their groups, the configs, and the
//! answer. The metadata leader decides (`decide.rs`) by tables that come with its release; a replica that applies the
//! command looks into none of them, so brokers of several releases arrive at the same image. The command also says on
//! which image it was decided, and on any other it does nothing: then the leader decides again.
//!
//! What a command does belongs to a feature level (`levels.rs`): a new kind, or an answer of a new kind, may be proposed
//! only once the level it came with is finalized.
//!
//! Invariant: variants are only added at the end, and only variants: the codec writes fields by their place, so what
//! needs one more becomes a new variant. The bytes are frozen by tests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Broker, ConfigResource, Explicit, InternalChange, PartitionInfo, Reply};

/// The decision on one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Which request: carried out the first time, answered alike every time.
    pub request: Uuid,
    /// The [`Image::version`](super::Image::version) it was decided on.
    pub base: u64,
    /// What changes; nothing if the request was refused or asked for what is so already.
    pub change: Option<Change>,
    /// What is answered.
    pub reply: Reply,
}

/// One change of the image, complete: nothing of it is left to be found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    FormCluster {
        cluster_id: u128,
        level: u16,
    },
    /// Sets all that is known of a broker.
    PutBroker(Broker),
    RemoveBroker {
        broker: u64,
    },
    CreateTopic {
        id: Uuid,
        name: String,
        partitions: NewGroups,
        configs: BTreeMap<String, String>,
    },
    DeleteTopic {
        id: Uuid,
    },
    AddPartitions {
        topic: Uuid,
        partitions: NewGroups,
    },
    /// Sets all explicit configs of a topic.
    SetConfigs {
        topic: Uuid,
        configs: BTreeMap<String, String>,
    },
    /// Sets all that is known of a partition.
    PutPartition {
        topic: Uuid,
        partition: i32,
        info: PartitionInfo,
    },
    TakeProducerIds {
        next: i64,
    },
    Finalize {
        level: u16,
    },
    /// Makes or moves internal groups.
    Internal(InternalChange),
    /// Sets all configs of brokers or of a group.
    SetResourceConfigs {
        resource: ConfigResource,
        configs: Explicit,
    },
    /// What the next release has more, for tests of a cluster of two releases: a broker's state alone.
    #[cfg(feature = "mutants")]
    SetFenced {
        broker: u64,
        fenced: bool,
    },
}

/// Partitions to be born: the group of the first, the others in order behind it, and the replicas of each, first the
/// preferred leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewGroups {
    pub first: u64,
    pub replicas: Vec<Vec<u64>>,
}

#[cfg(test)]
mod tests;
