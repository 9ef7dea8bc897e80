//! What this broker knows of the cluster.
//!
//! The cluster's description is the state of one Raft group, number 0, of which every broker is a
//! replica: an [`Image`] is the fold of that group's [`Command`]s and nothing else. So a broker never
//! asks for metadata, it has it, at most a heartbeat late; and two brokers that applied the same
//! command hold the same image. Who leads a partition is deliberately not in the image: it is Raft's
//! knowledge, it changes without anybody's command, and [`Leaders`] carries it.
//!
//! Everything in here follows from the commands; nothing else of this crate is named.
//!
//! Invariant: this broker's image never goes back, and neither does the epoch it reports of a group.

mod address;
mod codec;
mod command;
mod configs;
mod decide;
mod error;
mod group;
mod image;
mod internal;
mod leaders;
mod levels;
mod machine;
mod placement;
mod request;
mod topic;

use std::sync::Arc;

use quorate_raft::Group;
use quorate_storage::GroupId;
use tokio::sync::watch;

pub use address::HostPort;
pub use codec::{CodecError, decode, encode};
pub use command::{Change, Command, NewGroups};
pub(crate) use configs::{
    AUTO_CREATE, CLEANER_ENABLED, CLEANER_RATE, CONNECTIONS_MAX, PARTITIONS, REPLICATION_FACTOR,
};
pub use configs::{
    Allowed, CompactionConfigs, ConfigEntry, ConfigKind, ConfigResource, DynamicConfigs,
    DynamicEntry, Explicit, GROUP_HEARTBEAT, GROUP_HEARTBEAT_DEFAULT, GROUP_SESSION,
    GROUP_SESSION_DEFAULT, StreamConfigs, TOPIC_CONFIGS, TimestampType, TopicConfigs,
    dynamic_entries, find as find_config,
};
pub use decide::{check_form, decide, preview};
pub(crate) use decide::{needs_empty, not_empty};
pub(crate) use error::quote;
pub use error::{AdminError, EXIT_REFUSED};
pub use group::{GroupKind, METADATA_GROUP};
pub use image::{Broker, Image, Load, cluster_id_text};
pub use internal::{
    INTERNAL_REPLICAS, InternalChange, InternalGroups, InternalId, InternalKind, InternalRequest,
};
pub use leaders::{Leader, LeaderClaim, Leaders};
pub use levels::{FEATURE, FIRST_LEVEL, Levels};
pub(crate) use levels::{check_checkpoint, end_if_unfit, end_unfit};
pub use machine::{Applied, MetadataMachine};
pub use placement::{Candidate, place};
pub use request::{AlteredConfigs, BrokerSpec, Done, NewPartitions, NewTopic, Reply, Request};
pub use topic::{PartitionInfo, Topic};

/// The local view of the cluster: the newest image applied here, and the leaders heard of.
///
/// All reads are immediate and lock nothing that another part holds for long.
#[derive(Debug)]
pub struct Metadata {
    images: watch::Sender<Arc<Image>>,
    leaders: Leaders,
}

impl Metadata {
    /// Returns a handle that shows `image` until it is told of a newer one.
    pub fn new(image: Image) -> Arc<Self> {
        Arc::new(Self { images: watch::Sender::new(Arc::new(image)), leaders: Leaders::default() })
    }

    /// Returns the newest image applied on this broker.
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.images.borrow())
    }

    /// Returns a receiver that sees every later image, or the latest of several.
    pub fn watch(&self) -> watch::Receiver<Arc<Image>> {
        self.images.subscribe()
    }

    /// Returns who leads `group`, as far as this broker knows; `None` when it does not, never a guess.
    pub fn leader(&self, group: GroupId) -> Option<Leader> {
        self.leaders.get(group)
    }

    /// Returns the table behind [`Metadata::leader`].
    pub fn leaders(&self) -> &Leaders {
        &self.leaders
    }

    /// Shows `image` to everybody, unless a newer one is shown already.
    pub fn publish(&self, image: Arc<Image>) {
        self.images.send_if_modified(|shown| {
            let newer = image.applied > shown.applied;
            if newer {
                *shown = image;
            }
            newer
        });
    }

    /// Publishes the images of `group` as they are applied; returns when the group is closed.
    ///
    /// A task beside the group, not a hook in its `apply`, because a machine restored from a checkpoint
    /// is a new value that knows no channel; several commands applied together publish one image.
    pub async fn follow(self: Arc<Self>, group: Group<MetadataMachine>) {
        let mut applied = group.applied();
        loop {
            applied.borrow_and_update();
            let image = group.machine().image();
            // What differs from the images of the others is shown to nobody; the last one shown before it was found stays.
            if group.divergence().is_none() {
                self.publish(image);
            }
            if applied.changed().await.is_err() {
                return;
            }
        }
    }
}
