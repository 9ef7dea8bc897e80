//! The metadata group's state machine: the image as the fold of commands.
//!
//! Nothing is decided here. A command says what changes and on which version of the image that was decided; on
//! another version it changes nothing. So every broker, of whatever release, arrives at the same image, and a leader
//! cannot act on an image that was overtaken.
//!
//! Invariant: what a command does follows from its bytes and the image alone, from no table of this release.

mod changes;
mod request_deduplication;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_raft::{Committed, DecodeError, Effects, Machine};
use quorate_storage::mutant;
use serde::{Deserialize, Serialize};

pub(super) use changes::changed_topic;
use request_deduplication::RequestDeduplication;

use super::{
    Broker, CodecError, Command, ConfigResource, Explicit, Image, InternalId, PartitionInfo, Reply,
    Topic, check_checkpoint, decode, encode, end_if_unfit,
};

/// Entries kept behind the applied index for brokers that were away briefly; one that missed more gets
/// the image as a whole, which is small.
const ENTRIES_KEPT: u64 = 1_024;

/// The image, and what was answered to whom.
#[derive(Debug, Clone, Default)]
pub struct MetadataMachine {
    image: Arc<Image>,
    /// Shared with a machine that runs ahead until one of them changes it.
    deduplication: Arc<RequestDeduplication>,
}

/// What came of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// An entry of Raft's own.
    Nothing,
    /// The answer to the request, this time or the first.
    Answered(Reply),
    /// It was decided on another version of the image than this one, and did nothing.
    Superseded,
}

impl MetadataMachine {
    /// Returns the image as of the last applied entry.
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image)
    }

    /// Applies a command. Also to a machine that runs ahead of the log, to see what the next is decided on.
    pub fn carry_out(&mut self, command: Command) -> Applied {
        let Command { request, base, change, reply } = command;
        if let Some(reply) = self.deduplication.get(&request) {
            return Applied::Answered(reply.clone());
        }
        if base != self.image.version && !mutant::on("decided-on-any-image") {
            return Applied::Superseded;
        }
        if let Some(change) = change {
            changes::apply(Arc::make_mut(&mut self.image), change);
        }
        Arc::make_mut(&mut self.deduplication).remember(request, reply.clone());
        Applied::Answered(reply)
    }
}

impl Machine for MetadataMachine {
    const FORMAT: u32 = super::codec::VERSION as u32;

    type Reply = Applied;

    fn apply(&mut self, entry: Committed<'_>, _: &mut Effects) -> Applied {
        Arc::make_mut(&mut self.image).applied = entry.index;
        let Some(payload) = entry.payload else { return Applied::Nothing };
        match decode(payload) {
            Ok(command) => {
                let applied = self.carry_out(command);
                end_if_unfit(self.image.level);
                applied
            }
            // Skipping it would leave this broker with another image than the brokers that understood it.
            Err(error) => {
                quorate_storage::fatal("a command of the metadata log is not readable", &error)
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        encode(&(Stored::of(&self.image), self.deduplication.store()))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (stored, deduplication): (Stored, request_deduplication::Stored) =
            decode(bytes).map_err(|error: CodecError| DecodeError(error.to_string()))?;
        check_checkpoint(stored.level).map_err(|error| DecodeError(error.to_string()))?;
        Ok(Self {
            image: Arc::new(stored.into_image()),
            deduplication: Arc::new(deduplication.into()),
        })
    }

    /// Nothing is read from the log again; the bound moves in steps so that checkpoints are rare.
    fn needed_from(&self) -> u64 {
        self.image.applied.saturating_sub(ENTRIES_KEPT) / ENTRIES_KEPT * ENTRIES_KEPT
    }
}

/// The image as it is checkpointed: what cannot be computed from the rest. Frozen by a golden test.
#[derive(Serialize, Deserialize)]
struct Stored {
    applied: u64,
    version: u64,
    level: u16,
    cluster_id: u128,
    next_group: u64,
    next_broker: u64,
    next_producer_id: i64,
    brokers: Vec<Broker>,
    topics: Vec<Topic>,
    removed: BTreeSet<u64>,
    internal: Vec<(InternalId, PartitionInfo)>,
    configs: Vec<(ConfigResource, Explicit)>,
}

impl Stored {
    fn of(image: &Image) -> Self {
        Self {
            applied: image.applied,
            version: image.version,
            level: image.level,
            cluster_id: image.cluster_id,
            next_group: image.next_group,
            next_broker: image.next_broker,
            next_producer_id: image.next_producer_id,
            brokers: image.brokers.values().cloned().collect(),
            topics: image.topics.values().map(|topic| Topic::clone(topic)).collect(),
            removed: image.removed.clone(),
            internal: image.internal.iter().map(|(id, info)| (id, info.clone())).collect(),
            configs: image.configs.iter().map(|(of, set)| (of.clone(), set.clone())).collect(),
        }
    }

    fn into_image(self) -> Image {
        let brokers: BTreeMap<_, _> =
            self.brokers.into_iter().map(|broker| (broker.id, broker)).collect();
        let mut image = Image {
            applied: self.applied,
            version: self.version,
            level: self.level,
            cluster_id: self.cluster_id,
            next_group: self.next_group,
            next_broker: self.next_broker,
            next_producer_id: self.next_producer_id,
            brokers,
            removed: self.removed,
            ..Image::default()
        };
        for (resource, configs) in self.configs {
            image.set_configs(resource, configs);
        }
        for mut topic in self.topics {
            topic.configs.inherit(image.configs.of_topics());
            image.insert_topic(Arc::new(topic));
        }
        for (id, info) in self.internal {
            image.put_internal(id, info);
        }
        image
    }
}

#[cfg(test)]
mod tests;
