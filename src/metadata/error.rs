//! Why a request to change the cluster failed, in terms the caller can act on.
//!
//! The Kafka interface maps each to an error code and the HTTP interface to a problem; both maps are exhaustive.
//! The type travels between brokers and stands in the metadata log, so variants are only ever added at the end, and one
//! that a release adds is used once its feature level is finalized: until then `InvalidRequest` says it in words.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Levels, cluster_id_text};

/// The exit code of a broker that its cluster refuses.
pub const EXIT_REFUSED: u8 = 4;
/// Characters quoted of what a request says. Errors are remembered by the cluster, so a long text must not be.
const QUOTED_CHARS_MAX: usize = 100;

/// Returns the beginning of a text that a request brought, to be quoted in an error.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Why an administrative request failed. Except for `Timeout`, nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AdminError {
    #[error("topic {0} exists already")]
    TopicExists(String),
    #[error("there is no topic {0}")]
    UnknownTopic(String),
    #[error("there is no topic with id {0}")]
    UnknownTopicId(Uuid),
    #[error("topic {topic} has no partition {partition}")]
    UnknownPartition { topic: String, partition: i32 },
    /// Choose another name.
    #[error("the topic name is not usable: {0}")]
    InvalidName(String),
    #[error("the replication factor is not usable: {0}")]
    InvalidReplicationFactor(String),
    #[error("the number of partitions is not usable: {0}")]
    InvalidPartitions(String),
    /// The replicas asked for by name are not usable.
    #[error("the replicas are not usable: {0}")]
    InvalidAssignment(String),
    #[error("config {name} is refused: {reason}")]
    InvalidConfig { name: String, reason: String },
    /// More replicas than brokers, or no majority of them in service; ask for fewer or bring brokers back.
    #[error(
        "{wanted} replicas need {wanted} brokers, {} of them in service; there are {registered}, {live} of them in \
         service",
        wanted / 2 + 1
    )]
    NotEnoughBrokers { wanted: u64, registered: u64, live: u64 },
    #[error("there is no broker {0}")]
    UnknownBroker(u64),
    /// The id belongs to another data directory.
    #[error(
        "broker id {id} is registered with data directory {registered:032x}, but this broker's directory \
         is {offered:032x}: start it with its old directory, or join as a new broker with another node id"
    )]
    BrokerIdTaken { id: u64, registered: u128, offered: u128 },
    /// The caller belongs to another cluster.
    #[error("this cluster is {}, not {}", cluster_id_text(*ours), cluster_id_text(*theirs))]
    WrongCluster { ours: u128, theirs: u128 },
    /// The partition's replicas are not being changed.
    #[error("no change of replicas is under way")]
    NoChangeUnderWay,
    /// The change that was to be completed is no longer the one wanted.
    #[error("the change of replicas was replaced by another")]
    ChangeSuperseded,
    /// The partition has no leader now; retry.
    #[error("the partition has no leader")]
    NoLeader,
    /// The leadership could not be handed over.
    #[error("leadership was not handed to broker {to}: {reason}")]
    TransferFailed { to: u64, reason: String },
    /// The request is too large or malformed for this broker.
    #[error("the request is not usable: {0}")]
    InvalidRequest(String),
    /// No metadata leader was found in time; retry.
    #[error("the cluster has no metadata leader that answers")]
    NoController,
    /// The outcome was not learned in time: the change may have happened or may yet happen.
    #[error("timed out waiting for the outcome; the change may have been made")]
    Timeout,
    /// This broker is stopping; ask another.
    #[error("the broker is shutting down")]
    ShuttingDown,
    /// No producer ids are left.
    #[error("every producer id has been given out")]
    ProducerIdsExhausted,
    /// Only a broker that is out of service can be removed.
    #[error(
        "broker {0} is in service and cannot be removed: stop it, wait until the cluster has fenced it, ask again"
    )]
    BrokerAlive(u64),
    /// Somebody still counts on what the broker has; `named` are the first of `partitions`.
    #[error(
        "broker {broker} keeps, or is to keep, replicas of {partitions} partitions ({named}): move them to other \
         brokers, wait until they have moved, ask again"
    )]
    BrokerHasReplicas { broker: u64, partitions: u64, named: String },
    #[error(
        "broker {0} is the only one of this cluster: let another broker join before it is removed"
    )]
    LastBroker(u64),
    /// The id was taken from the broker for good.
    #[error(
        "broker {0} was removed from the cluster, and its id is never used again: to join anew, start with an empty \
         data directory and another node id, or none"
    )]
    BrokerRemoved(u64),
    /// `named` are the first of `groups`.
    #[error(
        "{groups} internal groups ({named}) need broker {broker}, or are moving away from it: start it again, or those \
         that are missing beside it; where they are moving, ask again when they have moved"
    )]
    InternalGroupsNeed { broker: u64, groups: u64, named: String },
    /// The feature level is raised only.
    #[error(
        "the cluster is finalized at feature level {finalized}, which is never lowered, so not to {wanted} either"
    )]
    LevelNotLowered { finalized: u16, wanted: u16 },
    /// Somebody could not read what is written at the level.
    #[error(
        "feature level {level} is not supported by every registered broker: upgrade or remove broker {brokers}, and \
         ask again"
    )]
    LevelNotSupported { level: u16, brokers: String },
    /// The broker's release does not know the finalized level any more, or not yet.
    #[error(
        "the cluster is finalized at feature level {level}, from which there is no way back, and this release supports \
         {levels}: {}",
        if *level > levels.highest {
            "start this broker with a release that supports the level, such as the one the others run"
        } else {
            "go by a release that supports both, start every broker with it and finalize a higher level first"
        }
    )]
    ReleaseUnfit { level: u16, levels: Levels },
    /// Whether the partition is empty, which the change depends on, was not learned; retry.
    #[error(
        "the leader of partition {topic}-{partition} did not say whether it is empty; nothing was changed, ask again"
    )]
    EmptinessUnknown { topic: String, partition: i32 },
}
