//! What each change does to the image. Nothing is judged here: that was done when it was decided.

use std::sync::Arc;

use quorate_storage::{GroupId, mutant};

use crate::metadata::command::{Change, NewGroups};
use crate::metadata::{ConfigResource, Explicit, Image, PartitionInfo, Topic, TopicConfigs};

/// Carries out a change that was decided on this very image.
pub(super) fn apply(image: &mut Image, change: Change) {
    image.version += 1;
    if let Some(groups) = new_groups(&change) {
        image.next_group = groups.first + groups.replicas.len() as u64;
    }
    if let Some(topic) = changed_topic(image, &change) {
        return image.insert_topic(topic);
    }
    match change {
        Change::FormCluster { cluster_id, level } => {
            image.cluster_id = cluster_id;
            image.level = level;
            // Ids begin at 1: 0 is the metadata group, and reads as "not set" in a broker's configuration.
            (image.next_group, image.next_broker) = (1, 1);
        }
        Change::PutBroker(broker) => {
            image.next_broker = image.next_broker.max(broker.id + 1);
            image.brokers.insert(broker.id, broker);
        }
        Change::RemoveBroker { broker } => {
            image.brokers.remove(&broker);
            image.removed.insert(broker);
            image.set_configs(ConfigResource::Broker(broker), Explicit::new());
        }
        Change::DeleteTopic { id } => {
            if let Some(name) = image.topic_names.get(&id).cloned() {
                image.remove_topic(&name);
            }
        }
        Change::TakeProducerIds { next } => image.next_producer_id = next,
        Change::Finalize { level } => image.level = level,
        Change::Internal(change) => image.apply_internal(change),
        Change::SetResourceConfigs { resource, configs } => image.set_configs(resource, configs),
        #[cfg(feature = "mutants")]
        Change::SetFenced { broker, fenced } => {
            if let Some(known) = image.brokers.get_mut(&broker) {
                known.fenced = fenced;
            }
        }
        // Of topics, which were seen to above.
        Change::CreateTopic { .. }
        | Change::AddPartitions { .. }
        | Change::SetConfigs { .. }
        | Change::PutPartition { .. } => {}
    }
}

/// Returns the topic that a change makes or leaves; `None` if it is about something else.
pub fn changed_topic(image: &Image, change: &Change) -> Option<Arc<Topic>> {
    let by_id = |id| image.topic_by_id(id).map(|topic| Topic::clone(topic));
    let mut topic = match change {
        Change::CreateTopic { id, name, partitions, configs } => Topic {
            name: name.clone(),
            id: *id,
            partitions: born(partitions).collect(),
            configs: TopicConfigs::new(configs.clone()),
        },
        Change::AddPartitions { topic, partitions } => {
            let mut topic = by_id(*topic)?;
            topic.partitions.extend(born(partitions));
            topic
        }
        Change::SetConfigs { topic, configs } => {
            let (topic, mut configs) = (by_id(*topic)?, configs.clone());
            if mutant::on("config-half-applied") && image.version.is_multiple_of(4) {
                configs.pop_last();
            }
            Topic { configs: TopicConfigs::new(configs), ..topic }
        }
        Change::PutPartition { topic, partition, info } => {
            let mut topic = by_id(*topic)?;
            let at = usize::try_from(*partition).ok()?;
            info.clone_into(topic.partitions.get_mut(at)?);
            topic
        }
        _ => return None,
    };
    topic.configs.inherit(image.configs.of_topics());
    Some(Arc::new(topic))
}

fn new_groups(change: &Change) -> Option<&NewGroups> {
    match change {
        Change::CreateTopic { partitions, .. } | Change::AddPartitions { partitions, .. } => {
            Some(partitions)
        }
        _ => None,
    }
}

fn born(groups: &NewGroups) -> impl Iterator<Item = PartitionInfo> {
    let numbered = (groups.first..).zip(groups.replicas.iter().cloned());
    numbered.map(|(group, replicas)| PartitionInfo::new(GroupId(group), replicas))
}
