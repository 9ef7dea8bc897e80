//! What can be asked of the metadata log, and what it answers.
//!
//! A command carries a request and the time, not a decision: whether it is valid and where replicas go
//! is decided when it is applied, from the image at that index, so two requests that raced are judged
//! in one order everywhere. A command is proposed again when its outcome was not learned; [`Command::Deduplicated`]
//! makes sure that it takes effect once, however many of its copies arrive and however late.
//!
//! Invariant: variants and fields are only added at the end; the bytes are frozen by tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AdminError, HostPort, Image, InternalRequest, Topic};

/// A change of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Names the cluster; the first command of every metadata log.
    FormCluster {
        cluster_id: u128,
    },
    /// Makes a broker known, or renews what is known of it.
    RegisterBroker(BrokerSpec),
    /// Takes a broker that is not seen alive out of service.
    Fence {
        broker: u64,
    },
    /// Takes it back.
    Unfence {
        broker: u64,
    },
    CreateTopic {
        id: Uuid,
        topic: NewTopic,
    },
    DeleteTopic {
        id: Uuid,
    },
    CreatePartitions(NewPartitions),
    /// Sets and removes explicit configs of a topic.
    AlterConfigs {
        topic: Uuid,
        set: BTreeMap<String, String>,
        remove: Vec<String>,
    },
    /// Asks for other replicas; the partition's leader moves them and then proposes the completion.
    SetReplicas {
        topic: Uuid,
        partition: i32,
        replicas: Vec<u64>,
    },
    /// Asks to go back to the replicas before the change under way.
    CancelReplicas {
        topic: Uuid,
        partition: i32,
    },
    /// States that the group's voters are exactly the target of `change`.
    CompleteReplicas {
        group: u64,
        change: u64,
    },
    /// Takes the next `count` producer ids.
    AllocateProducerIds {
        count: u32,
    },
    /// A command with the id of the request it is for: applied the first time, answered alike every time.
    Deduplicated {
        request: Uuid,
        command: Box<Command>,
    },
    /// Strikes a broker that is gone for good off the list; its id is never given out again.
    RemoveBroker {
        broker: u64,
    },
    /// Makes one of the replicas the preferred leader; leaves a change under way as it is.
    PreferLeader {
        topic: Uuid,
        partition: i32,
        broker: u64,
    },
    /// Makes or moves internal groups.
    Internal(InternalRequest),
}

/// A broker as it presents itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerSpec {
    /// `None` asks for an id that was never used.
    pub id: Option<u64>,
    pub directory_id: u128,
    pub rack: Option<String>,
    pub kafka: HostPort,
    pub http: HostPort,
    pub peer: HostPort,
}

/// A topic to create.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTopic {
    pub name: String,
    /// `None`: the default of the broker that takes the request.
    pub partitions: Option<u32>,
    /// `None`: three, or as many as there are registered brokers.
    pub replication: Option<u16>,
    /// Replicas by partition, first the preferred leader. Empty: chosen by placement; else `partitions`
    /// and `replication` are unset.
    pub assignment: Vec<Vec<u64>>,
    pub configs: BTreeMap<String, String>,
}

/// Partitions to add to a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPartitions {
    pub topic: String,
    /// How many there shall be in all.
    pub total: u32,
    /// Replicas of each added partition. Empty: chosen by placement.
    pub assignment: Vec<Vec<u64>>,
}

/// What applying a command came to.
pub type Reply = Result<Done, AdminError>;

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// Nothing more to say than that it is done.
    Changed,
    Registered {
        broker: u64,
    },
    /// The topic stands in the image.
    Created {
        id: Uuid,
    },
    /// The producer ids from `first` on.
    ProducerIds {
        first: i64,
        count: u32,
    },
}

impl Command {
    /// Returns the topic that a command about one topic concerns, as `image` has it.
    pub fn topic_of<'i>(&self, image: &'i Image) -> Option<&'i Arc<Topic>> {
        match self {
            Self::CreateTopic { id, .. } | Self::AlterConfigs { topic: id, .. } => {
                image.topic_by_id(*id)
            }
            Self::CreatePartitions(request) => image.topic(&request.topic),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
