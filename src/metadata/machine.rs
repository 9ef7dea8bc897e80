//! The metadata group's state machine: the image as the fold of commands.
//!
//! Whether a command is valid and what exactly it does is decided here, when it is applied, from the
//! image alone. So every broker decides alike, and a leader cannot act on an image that was overtaken.
//!
//! Invariant: a command that is refused changes nothing.

mod brokers;
mod replicas;
mod request_deduplication;
mod topics;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_raft::{Committed, DecodeError, Effects, Machine};
use serde::{Deserialize, Serialize};

pub(super) use replicas::check_replicas;
use request_deduplication::RequestDeduplication;
pub use trial::Trial;

use super::{
    AdminError, Broker, CodecError, Command, Done, Image, InternalId, InternalRequest,
    PartitionInfo, Reply, Topic, decode, encode, internal,
};

/// Entries kept behind the applied index for brokers that were away briefly; one that missed more gets
/// the image as a whole, which is small.
const ENTRIES_KEPT: u64 = 1_024;

/// The image, and what was answered to whom.
#[derive(Debug, Clone, Default)]
pub struct MetadataMachine {
    image: Arc<Image>,
    deduplication: RequestDeduplication,
}

impl MetadataMachine {
    /// Returns the image as of the last applied entry.
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image)
    }

    /// Refuses what no image would take, so that the log and the memory of answers are spared it.
    pub fn check_form(command: &Command) -> Result<(), AdminError> {
        match command {
            Command::CreateTopic { topic, .. } => topics::check_form(topic),
            Command::RegisterBroker(spec) => brokers::check_form(spec),
            _ => Ok(()),
        }
    }
}

impl Machine for MetadataMachine {
    type Reply = Reply;

    fn apply(&mut self, entry: Committed<'_>, _: &mut Effects) -> Reply {
        let image = Arc::make_mut(&mut self.image);
        image.applied = entry.index;
        let Some(payload) = entry.payload else { return Ok(Done::Changed) };
        match decode(payload) {
            Ok(Command::Deduplicated { request, command }) => {
                if let Some(reply) = self.deduplication.get(&request) {
                    return reply.clone();
                }
                let reply = judge(image, *command);
                self.deduplication.remember(request, reply.clone());
                reply
            }
            Ok(command) => judge(image, command),
            // Skipping it would leave this broker with another image than the brokers that understood it.
            Err(error) => {
                quorate_storage::fatal("a command of the metadata log is not readable", &error)
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let image = &self.image;
        let internal: Internal = image.internal.iter().map(|(id, it)| (id, it.clone())).collect();
        encode(&(Stored::of(image), self.deduplication.store(), &image.removed, internal))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (stored, deduplication, removed, internal) = decode(bytes)
            .or_else(|error| older(bytes).ok_or(error))
            .map_err(|error: CodecError| DecodeError(error.to_string()))?;
        let mut image = Image { removed, ..stored.into_image() };
        internal.into_iter().for_each(|(id, info)| image.put_internal(id, info));
        Ok(Self { image: Arc::new(image), deduplication: deduplication.into() })
    }

    /// Nothing is read from the log again; the bound moves in steps so that checkpoints are rare.
    fn needed_from(&self) -> u64 {
        self.image.applied.saturating_sub(ENTRIES_KEPT) / ENTRIES_KEPT * ENTRIES_KEPT
    }
}

/// Applies a command. `image.applied` is the command's own index.
fn judge(image: &mut Image, command: Command) -> Reply {
    match command {
        Command::FormCluster { cluster_id } => brokers::form(image, cluster_id),
        Command::RegisterBroker(spec) => brokers::register(image, spec),
        Command::Fence { broker } => brokers::set_fenced(image, broker, true),
        Command::Unfence { broker } => brokers::set_fenced(image, broker, false),
        Command::CreateTopic { id, topic } => topics::create(image, id, topic),
        Command::DeleteTopic { id } => topics::delete(image, id),
        Command::CreatePartitions(request) => topics::add_partitions(image, request),
        Command::AlterConfigs { topic, set, remove } => {
            topics::alter_configs(image, topic, set, &remove)
        }
        Command::SetReplicas { topic, partition, replicas } => {
            replicas::set(image, topic, partition, replicas)
        }
        Command::PreferLeader { topic, partition, broker } => {
            replicas::prefer(image, topic, partition, broker)
        }
        Command::CancelReplicas { topic, partition } => replicas::cancel(image, topic, partition),
        Command::CompleteReplicas { group, change } => replicas::complete(image, group, change),
        Command::AllocateProducerIds { count } => allocate_producer_ids(image, count),
        Command::Deduplicated { command, .. } => judge(image, *command),
        Command::RemoveBroker { broker } => brokers::remove(image, broker),
        Command::Internal(asked) => change_internal(image, &asked),
    }
}

fn change_internal(image: &mut Image, asked: &InternalRequest) -> Reply {
    if let Some(change) = internal::decide(image, asked, image.applied)? {
        image.apply_internal(change);
    }
    Ok(Done::Changed)
}

fn allocate_producer_ids(image: &mut Image, count: u32) -> Reply {
    let first = image.next_producer_id;
    let next = first.checked_add(i64::from(count)).ok_or(AdminError::ProducerIdsExhausted)?;
    image.next_producer_id = next;
    Ok(Done::ProducerIds { first, count })
}

/// The internal groups as they are stored.
type Internal = Vec<(InternalId, PartitionInfo)>;
/// A checkpoint: the image, the requests answered, the ids of the brokers removed, the internal groups.
type Checkpoint = (Stored, request_deduplication::Stored, BTreeSet<u64>, Internal);

/// Reads the checkpoint of an older release: the first wrote the image alone, the next remembered answers, the one
/// after that the brokers removed.
fn older(bytes: &[u8]) -> Option<Checkpoint> {
    let none = Internal::new;
    let removed =
        decode(bytes).map(|(stored, answers, removed)| (stored, answers, removed, none()));
    let answers =
        |_| decode(bytes).map(|(stored, answers)| (stored, answers, BTreeSet::new(), none()));
    let bare = |_| {
        let answers = request_deduplication::Stored::default();
        decode(bytes).map(|stored| (stored, answers, BTreeSet::new(), none()))
    };
    removed.or_else(answers).or_else(bare).ok()
}

/// The image as it is checkpointed: what cannot be computed from the rest. Frozen by a golden test.
#[derive(Serialize, Deserialize)]
struct Stored {
    applied: u64,
    cluster_id: u128,
    next_group: u64,
    next_broker: u64,
    next_producer_id: i64,
    brokers: Vec<Broker>,
    topics: Vec<Topic>,
}

impl Stored {
    fn of(image: &Image) -> Self {
        Self {
            applied: image.applied,
            cluster_id: image.cluster_id,
            next_group: image.next_group,
            next_broker: image.next_broker,
            next_producer_id: image.next_producer_id,
            brokers: image.brokers.values().cloned().collect(),
            topics: image.topics.values().map(|topic| Topic::clone(topic)).collect(),
        }
    }

    fn into_image(self) -> Image {
        let brokers: BTreeMap<_, _> =
            self.brokers.into_iter().map(|broker| (broker.id, broker)).collect();
        let mut image = Image {
            applied: self.applied,
            cluster_id: self.cluster_id,
            next_group: self.next_group,
            next_broker: self.next_broker,
            next_producer_id: self.next_producer_id,
            brokers,
            ..Image::default()
        };
        for topic in self.topics {
            image.insert_topic(Arc::new(topic));
        }
        image
    }
}

#[cfg(test)]
mod tests;
