//! What can be asked of the metadata leader, and what it answers.
//!
//! A request says what somebody wants; the leader makes a [`Command`](super::Command) of it. Requests travel between
//! brokers and are in no log. One whose outcome was not learned is sent again under the same id, and takes effect once.
//!
//! Invariant: variants are only added at the end, and only variants: the codec writes fields by their place, so what
//! needs one more becomes a new variant.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    AdminError, ConfigResource, Explicit, HostPort, Image, InternalRequest, Levels, Topic,
};

/// A wish to change the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Names the cluster; the first of every cluster. `level` is the feature level it begins with.
    FormCluster {
        cluster_id: u128,
        level: u16,
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
    /// Asks for other replicas; the partition's leader moves them and then asks for the completion.
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
    /// Makes one of the replicas the preferred leader; leaves a change under way as it is.
    PreferLeader {
        topic: Uuid,
        partition: i32,
        broker: u64,
    },
    /// Takes the next `count` producer ids.
    AllocateProducerIds {
        count: u32,
    },
    /// Strikes a broker that is gone for good off the list; its id is never given out again.
    RemoveBroker {
        broker: u64,
    },
    /// Raises the feature level that the cluster keeps to. There is no way back.
    Finalize {
        level: u16,
    },
    /// Makes or moves internal groups.
    Internal(InternalRequest),
    /// Sets and removes configs of brokers or of a group.
    AlterResourceConfigs {
        resource: ConfigResource,
        set: Explicit,
        remove: Vec<String>,
    },
    /// [`Request::AlterConfigs`] of a topic of which all partitions were found empty by whoever asks.
    AlterEmptyTopic {
        topic: Uuid,
        set: BTreeMap<String, String>,
        remove: Vec<String>,
    },
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
    /// The feature levels its release supports.
    pub levels: Levels,
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

/// Configs of a topic to set, and to return to their defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlteredConfigs {
    pub topic: String,
    pub set: BTreeMap<String, String>,
    pub remove: Vec<String>,
}

/// The answer to a request.
pub type Reply = Result<Done, AdminError>;

/// What was done.
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

impl Request {
    /// Returns the topic that a request about one topic concerns, as `image` has it.
    pub fn topic_of<'i>(&self, image: &'i Image) -> Option<&'i Arc<Topic>> {
        match self {
            Self::CreateTopic { id, .. }
            | Self::AlterConfigs { topic: id, .. }
            | Self::AlterEmptyTopic { topic: id, .. } => image.topic_by_id(*id),
            Self::CreatePartitions(request) => image.topic(&request.topic),
            _ => None,
        }
    }
}
