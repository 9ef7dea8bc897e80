//! What becomes of a request: the metadata leader's part; pure.
//!
//! Here is everything that a release may do differently from another: what is valid, where replicas go, which configs
//! there are, what the limits are. The outcome is a [`Command`] in which nothing of that is left open.
//!
//! Invariant: what is decided needs no more than the finalized feature level of the image.

mod brokers;
mod configs;
mod internal;
mod replicas;
mod topics;

use std::sync::Arc;

use uuid::Uuid;

use super::command::Change;
use super::machine::changed_topic;
use super::{AdminError, Command, Done, Image, Request, Topic};

pub(crate) use topics::{needs_empty, not_empty};

/// What is to change, if anything, and what is answered.
type Decision = Result<(Option<Change>, Done), AdminError>;

/// Decides the request of that id on `image`.
pub fn decide(image: &Image, request: Uuid, asked: &Request) -> Command {
    let (change, reply) = match judge(image, asked) {
        Ok((change, done)) => (change, Ok(done)),
        Err(error) => (None, Err(error)),
    };
    Command { request, base: image.version, change, reply }
}

/// Returns the topic that a request about one topic would leave, were it decided on `image`; nothing is changed.
pub fn preview(image: &Image, asked: &Request) -> Result<Arc<Topic>, AdminError> {
    let topic = match judge(image, asked)? {
        (Some(change), _) => changed_topic(image, &change),
        (None, _) => asked.topic_of(image).cloned(),
    };
    topic.ok_or_else(|| AdminError::InvalidRequest("it is not about one topic".to_owned()))
}

/// Refuses what would be decided so on every image, so that log and network are spared it.
pub fn check_form(request: &Request) -> Result<(), AdminError> {
    match request {
        Request::CreateTopic { topic, .. } => topics::check_form(topic),
        Request::RegisterBroker(spec) => brokers::check_form(spec),
        _ => Ok(()),
    }
}

fn judge(image: &Image, asked: &Request) -> Decision {
    match asked {
        Request::FormCluster { cluster_id, level } => brokers::form(image, *cluster_id, *level),
        Request::RegisterBroker(spec) => brokers::register(image, spec),
        Request::Fence { broker } => brokers::set_fenced(image, *broker, true),
        Request::Unfence { broker } => brokers::set_fenced(image, *broker, false),
        Request::CreateTopic { id, topic } => topics::create(image, *id, topic),
        Request::DeleteTopic { id } => topics::delete(image, *id),
        Request::CreatePartitions(request) => topics::add_partitions(image, request),
        Request::AlterConfigs { topic, set, remove } => {
            topics::alter_configs(image, *topic, (set, remove), false)
        }
        Request::AlterEmptyTopic { topic, set, remove } => {
            topics::alter_configs(image, *topic, (set, remove), true)
        }
        Request::SetReplicas { topic, partition, replicas } => {
            replicas::set(image, *topic, *partition, replicas)
        }
        Request::PreferLeader { topic, partition, broker } => {
            replicas::prefer(image, *topic, *partition, *broker)
        }
        Request::CancelReplicas { topic, partition } => replicas::cancel(image, *topic, *partition),
        Request::CompleteReplicas { group, change } => replicas::complete(image, *group, *change),
        Request::AllocateProducerIds { count } => allocate_producer_ids(image, *count),
        Request::RemoveBroker { broker } => brokers::remove(image, *broker),
        Request::Finalize { level } => brokers::finalize(image, *level),
        Request::Internal(asked) => internal::decide(image, asked),
        Request::AlterResourceConfigs { resource, set, remove } => {
            configs::alter(image, resource, set, remove)
        }
    }
}

fn allocate_producer_ids(image: &Image, count: u32) -> Decision {
    let first = image.next_producer_id;
    let next = first.checked_add(i64::from(count)).ok_or(AdminError::ProducerIdsExhausted)?;
    Ok((Some(Change::TakeProducerIds { next }), Done::ProducerIds { first, count }))
}

/// A change about which there is nothing more to say.
fn changed(change: Change) -> Decision {
    Ok((Some(change), Done::Changed))
}

/// What was asked for is so already.
fn unchanged() -> Decision {
    Ok((None, Done::Changed))
}
