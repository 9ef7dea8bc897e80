//! The cluster as of one index of the metadata log.
//!
//! The image is a value: it is cloned when it must change while somebody looks at it, which costs one
//! pointer per topic. What can be computed from the topics (names by id, groups, load, moves) is kept
//! beside them and rebuilt on load, never stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use quorate_storage::GroupId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    ConfigResource, DynamicConfigs, Explicit, HostPort, InternalGroups, Levels, PartitionInfo,
    Topic,
};

/// Everything the cluster agreed on, as of `applied`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// The metadata index this is the state of.
    pub applied: u64,
    /// How many changes made it: what was decided on another version is not applied.
    pub version: u64,
    /// The finalized feature level (`levels.rs`), 0 until the cluster is formed.
    pub level: u16,
    /// 0 until the cluster is formed.
    pub cluster_id: u128,
    pub brokers: BTreeMap<u64, Broker>,
    /// The ids of brokers that were removed: nobody may come back under one.
    pub removed: BTreeSet<u64>,
    pub topics: BTreeMap<String, Arc<Topic>>,
    pub topic_names: HashMap<Uuid, String>,
    /// Where each living partition group belongs.
    pub groups: BTreeMap<GroupId, (Uuid, i32)>,
    pub internal: Arc<InternalGroups>,
    /// What was set of brokers and groups while they run.
    pub configs: Arc<DynamicConfigs>,
    /// The groups whose replicas are changing.
    pub moving: BTreeSet<GroupId>,
    /// What each broker already carries; placement evens it out.
    pub load: BTreeMap<u64, Load>,
    /// The next id of each kind; none is ever used twice.
    pub next_group: u64,
    pub next_broker: u64,
    pub next_producer_id: i64,
}

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    pub id: u64,
    pub rack: Option<String>,
    /// Where Kafka clients reach it.
    pub kafka: HostPort,
    pub http: HostPort,
    /// Where other brokers reach it.
    pub peer: HostPort,
    /// Names the data directory: the same id with another directory is another, empty broker.
    pub directory_id: u128,
    /// Not seen alive; it gets no new replicas and clients are not sent to it.
    pub fenced: bool,
    /// The feature levels its release supports, as it last registered.
    pub levels: Levels,
}

/// How many replicas a broker keeps, and how many of those it should lead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    pub replicas: u64,
    pub leaders: u64,
}

/// Returns a cluster's id as people see it: the same text over Kafka, over HTTP and in the log.
pub fn cluster_id_text(id: u128) -> String {
    Uuid::from_u128(id).to_string()
}

impl Image {
    /// Returns the topic of that name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// Returns the topic of that id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.topic_names.get(&id).and_then(|name| self.topics.get(name))
    }

    /// Returns which partition a group is: its topic, number and description.
    pub fn partition_of(&self, group: GroupId) -> Option<(&Arc<Topic>, i32, &PartitionInfo)> {
        let (id, index) = *self.groups.get(&group)?;
        let topic = self.topic_by_id(id)?;
        Some((topic, index, topic.partition(index)?))
    }

    /// Returns the brokers that are not fenced.
    pub fn live_brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// Returns the highest feature level that every registered broker supports: what can be finalized.
    pub fn level_possible(&self) -> u16 {
        let highest = self.brokers.values().map(|broker| broker.levels.highest).min();
        highest.unwrap_or(self.level).max(self.level)
    }

    /// Returns whether the group was deleted: its id was given out and nothing has it any more.
    ///
    /// False for a group this image is too old to know.
    pub fn deleted(&self, group: GroupId) -> bool {
        (1..self.next_group).contains(&group.0)
            && !self.groups.contains_key(&group)
            && self.internal.of(group).is_none()
    }

    /// Sets all configs of brokers or of a group; every topic has what was set for all brokers.
    pub(crate) fn set_configs(&mut self, resource: ConfigResource, configs: Explicit) {
        let before = Arc::clone(self.configs.of_topics());
        Arc::make_mut(&mut self.configs).put(resource, configs);
        let now = self.configs.of_topics();
        if !Arc::ptr_eq(&before, now) {
            for topic in self.topics.values_mut() {
                Arc::make_mut(topic).configs.inherit(now);
            }
        }
    }

    pub(super) fn insert_topic(&mut self, topic: Arc<Topic>) {
        self.remove_topic(&topic.name.clone());
        for (index, partition) in topic.numbered() {
            self.groups.insert(partition.group, (topic.id, index));
            self.place_changed(None, Some(partition));
        }
        self.topic_names.insert(topic.id, topic.name.clone());
        self.topics.insert(topic.name.clone(), topic);
    }

    pub(super) fn remove_topic(&mut self, name: &str) {
        let Some(topic) = self.topics.remove(name) else { return };
        self.topic_names.remove(&topic.id);
        for partition in &topic.partitions {
            self.groups.remove(&partition.group);
            self.place_changed(Some(partition), None);
        }
    }

    /// Keeps what is computed from the places of groups.
    pub(super) fn place_changed(
        &mut self,
        before: Option<&PartitionInfo>,
        now: Option<&PartitionInfo>,
    ) {
        if let Some(before) = before {
            self.moving.remove(&before.group);
            self.add_load(before, Load::discount);
        }
        if let Some(now) = now {
            if now.target.is_some() {
                self.moving.insert(now.group);
            }
            self.add_load(now, Load::count);
        }
    }

    /// A group counts where it will be, so that placement does not pile onto the target of a move.
    fn add_load(&mut self, partition: &PartitionInfo, count: fn(&mut Load, bool)) {
        let replicas = partition.target.as_ref().unwrap_or(&partition.replicas);
        for (position, broker) in replicas.iter().enumerate() {
            count(self.load.entry(*broker).or_default(), position == 0);
        }
        self.load.retain(|_, load| *load != Load::default());
    }
}

impl Load {
    fn count(&mut self, leads: bool) {
        self.replicas += 1;
        self.leaders += u64::from(leads);
    }

    fn discount(&mut self, leads: bool) {
        self.replicas -= 1;
        self.leaders -= u64::from(leads);
    }
}
