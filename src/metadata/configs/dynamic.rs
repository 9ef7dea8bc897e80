//! Configs of brokers and groups that are changed while brokers run (KIP-226, KIP-848): part of the image, so every broker
//! has them at once and after a restart.
//!
//! A config of all brokers that is a topic's default holds for every topic that has none of its own. It is one for all
//! brokers, since a topic's replicas are on several and must agree. All other settings of a broker are in its file.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::table::{MIN_INSYNC_REPLICAS, NO_BROKER_NAME};
use super::{AdminError, Allowed, ConfigKind, Explicit, TOPIC_CONFIGS, quote};

/// What has configs beside a topic. Frozen: it stands in the metadata log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConfigResource {
    /// All brokers together.
    Brokers,
    Broker(u64),
    Group(String),
}

/// One config that is changed while brokers run.
#[derive(Debug, Clone, Copy)]
pub struct DynamicEntry {
    pub name: &'static str,
    pub kind: ConfigKind,
    pub allowed: Allowed,
    pub doc: &'static str,
    /// Whether a single broker may have another value than all.
    per_broker: bool,
}

/// The longest name of a group.
const GROUP_NAME_BYTES_MAX: usize = 1_024;
/// The image is in every broker's memory.
const GROUPS_MAX: usize = 10_000;

pub(crate) const AUTO_CREATE: &str = "auto.create.topics.enable";
pub(crate) const REPLICATION_FACTOR: &str = "default.replication.factor";
pub(crate) const CLEANER_ENABLED: &str = "log.cleaner.enable";
pub(crate) const CLEANER_RATE: &str = "log.cleaner.io.max.bytes.per.second";
pub(crate) const CONNECTIONS_MAX: &str = "max.connections";
pub(crate) const PARTITIONS: &str = "num.partitions";
/// How often a group's members of the consumer protocol are to be heard, and after which silence they are taken for dead.
pub const GROUP_HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
pub const GROUP_SESSION: &str = "consumer.session.timeout.ms";
/// What the two are where nothing was set, neither of the group nor in a broker's file, in milliseconds.
pub const GROUP_HEARTBEAT_DEFAULT: u64 = 5_000;
pub const GROUP_SESSION_DEFAULT: u64 = 45_000;

/// Configs of brokers that are no topic's defaults, by name.
const BROKER_ENTRIES: [DynamicEntry; 6] = [
    DynamicEntry {
        name: AUTO_CREATE,
        kind: ConfigKind::Boolean,
        allowed: Allowed::OneOf(&["false", "true"]),
        doc: "Whether a client that asks for a topic that does not exist creates it.",
        per_broker: false,
    },
    DynamicEntry {
        name: REPLICATION_FACTOR,
        kind: ConfigKind::Int,
        allowed: Allowed::Between(1, 15),
        doc: "Replicas of the partitions of a new topic.",
        per_broker: false,
    },
    DynamicEntry {
        name: CLEANER_ENABLED,
        kind: ConfigKind::Boolean,
        allowed: Allowed::OneOf(&["false", "true"]),
        doc: "Whether compacted topics are compacted; false pauses it, also in the middle.",
        per_broker: true,
    },
    DynamicEntry {
        name: CLEANER_RATE,
        kind: ConfigKind::Long,
        allowed: Allowed::Between(0, i64::MAX),
        doc: "How many bytes compaction reads and writes a second; 0 is no limit.",
        per_broker: true,
    },
    DynamicEntry {
        name: CONNECTIONS_MAX,
        kind: ConfigKind::Int,
        allowed: Allowed::Between(1, 1_000_000),
        doc: "The most client connections at a time; never more than the broker's file says, which its \
              file descriptors were counted for.",
        per_broker: true,
    },
    DynamicEntry {
        name: PARTITIONS,
        kind: ConfigKind::Int,
        allowed: Allowed::Between(1, 10_000),
        doc: "Partitions of a new topic.",
        per_broker: false,
    },
];

/// Configs of consumer groups, by name.
const GROUP_ENTRIES: [DynamicEntry; 2] = [
    DynamicEntry {
        name: GROUP_HEARTBEAT,
        kind: ConfigKind::Int,
        allowed: Allowed::Between(100, 600_000),
        doc: "How often a member of the consumer protocol is told to say that it is alive, in milliseconds.",
        per_broker: false,
    },
    DynamicEntry {
        name: GROUP_SESSION,
        kind: ConfigKind::Int,
        allowed: Allowed::Between(1_000, 3_600_000),
        doc: "How long a member of the consumer protocol is taken for alive without a word, in milliseconds.",
        per_broker: false,
    },
];

/// Returns the configs that such a resource may have, by name.
pub fn dynamic_entries(resource: &ConfigResource) -> Vec<DynamicEntry> {
    // Every topic has replicas enough for what it promises itself; for all topics at once nobody could say so.
    let defaults = TOPIC_CONFIGS
        .iter()
        .filter(|it| it.name != MIN_INSYNC_REPLICAS && it.broker != NO_BROKER_NAME);
    let of_topics = defaults.map(|it| DynamicEntry {
        name: it.broker,
        kind: it.kind,
        allowed: it.allowed,
        doc: it.doc,
        per_broker: false,
    });
    let mut entries: Vec<_> = match resource {
        ConfigResource::Brokers => of_topics.chain(BROKER_ENTRIES).collect(),
        ConfigResource::Broker(_) => {
            BROKER_ENTRIES.into_iter().filter(|it| it.per_broker).collect()
        }
        ConfigResource::Group(_) => GROUP_ENTRIES.to_vec(),
    };
    entries.sort_by_key(|it| it.name);
    entries
}

/// What was set of each resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DynamicConfigs {
    by_resource: BTreeMap<ConfigResource, Explicit>,
    /// What was set of all brokers.
    cluster: Explicit,
    /// What of it is topics' defaults, for topics to share.
    of_topics: Arc<Explicit>,
}

impl DynamicConfigs {
    /// Returns what was set of a resource, by name.
    pub fn of(&self, resource: &ConfigResource) -> Option<&Explicit> {
        self.by_resource.get(resource)
    }

    /// Returns what was set of all brokers.
    pub fn cluster(&self) -> &Explicit {
        &self.cluster
    }

    /// Returns what was set of all brokers and is every topic's default; the same one until something of it changes.
    pub(in crate::metadata) fn of_topics(&self) -> &Arc<Explicit> {
        &self.of_topics
    }

    /// Returns what was set of a broker: by itself, or else of all; and whether it was by itself.
    pub fn of_broker(&self, broker: u64, name: &str) -> Option<(&str, bool)> {
        let own = self.of(&ConfigResource::Broker(broker)).and_then(|set| set.get(name));
        let found = own.map(|value| (value, true));
        let found = found.or_else(|| Some((self.cluster.get(name)?, false)));
        found.map(|(value, own)| (value.as_str(), own))
    }

    /// Returns what was set of a group as a number.
    pub fn of_group(&self, group: &str, name: &str) -> Option<u64> {
        self.of(&ConfigResource::Group(group.to_owned()))?.get(name)?.parse().ok()
    }

    /// Returns the groups with configs, by name.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.by_resource.keys().filter_map(|resource| match resource {
            ConfigResource::Group(group) => Some(group.as_str()),
            ConfigResource::Brokers | ConfigResource::Broker(_) => None,
        })
    }

    /// Returns everything that was set.
    pub(in crate::metadata) fn iter(&self) -> impl Iterator<Item = (&ConfigResource, &Explicit)> {
        self.by_resource.iter()
    }

    /// Sets all configs of a resource.
    pub(in crate::metadata) fn put(&mut self, resource: ConfigResource, configs: Explicit) {
        if resource == ConfigResource::Brokers {
            let mut of_topics = configs.clone();
            of_topics.retain(|name, _| TOPIC_CONFIGS.iter().any(|entry| entry.broker == name));
            if *self.of_topics != of_topics {
                self.of_topics = Arc::new(of_topics);
            }
            self.cluster = configs.clone();
        }
        if configs.is_empty() {
            self.by_resource.remove(&resource);
        } else {
            self.by_resource.insert(resource, configs);
        }
    }

    /// Says why a resource cannot have such configs.
    ///
    /// # Errors
    /// [`AdminError::InvalidConfig`] for one that does not exist, has no such value or belongs elsewhere, and
    /// [`AdminError::InvalidRequest`] for a group of an impossible name, or one too many.
    pub(in crate::metadata) fn check(
        &self,
        resource: &ConfigResource,
        configs: &Explicit,
    ) -> Result<(), AdminError> {
        let entries = dynamic_entries(resource);
        for (name, value) in configs {
            let entry = entries.iter().find(|entry| entry.name == name);
            let checked = match entry {
                None => Err(unknown(resource, name)),
                Some(entry) => entry.allowed.check(value),
            };
            checked.map_err(|reason| AdminError::InvalidConfig { name: quote(name), reason })?;
        }
        let ConfigResource::Group(group) = resource else { return Ok(()) };
        check_times(configs)?;
        let why = match group.len() {
            0 => "a group without a name has no configs".to_owned(),
            bytes if bytes > GROUP_NAME_BYTES_MAX => {
                format!("the name of a group has {GROUP_NAME_BYTES_MAX} bytes at most, not {bytes}")
            }
            _ if self.of(resource).is_none() && self.groups().count() >= GROUPS_MAX => {
                format!("{GROUPS_MAX} groups have configs, which is the most")
            }
            _ => return Ok(()),
        };
        Err(AdminError::InvalidRequest(why))
    }
}

/// A member that is to be heard less often than it is taken for dead would be so all the time.
fn check_times(configs: &Explicit) -> Result<(), AdminError> {
    let time = |name: &str, default: u64| {
        configs.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let session = time(GROUP_SESSION, GROUP_SESSION_DEFAULT);
    if session > time(GROUP_HEARTBEAT, GROUP_HEARTBEAT_DEFAULT) {
        return Ok(());
    }
    let reason = format!("it must be larger than {GROUP_HEARTBEAT}");
    Err(AdminError::InvalidConfig { name: GROUP_SESSION.to_owned(), reason })
}

fn unknown(resource: &ConfigResource, name: &str) -> String {
    let of_all = dynamic_entries(&ConfigResource::Brokers).iter().any(|entry| entry.name == name);
    match resource {
        ConfigResource::Group(_) => "groups have no such config".to_owned(),
        ConfigResource::Broker(_) if of_all => {
            "it is set for all brokers together, not for one: leave the broker's id out".to_owned()
        }
        ConfigResource::Broker(_) | ConfigResource::Brokers => {
            "it is not changed while brokers run: set it in the configuration file and start the \
             broker again"
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::metadata::{Image, Topic, TopicConfigs};

    fn set(pairs: &[(&str, &str)]) -> Explicit {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn refusal(resource: &ConfigResource, pairs: &[(&str, &str)]) -> String {
        DynamicConfigs::default().check(resource, &set(pairs)).unwrap_err().to_string()
    }

    #[test]
    fn what_a_resource_cannot_have_is_refused_with_the_reason() {
        let (all, one) = (ConfigResource::Brokers, ConfigResource::Broker(1));
        let group = ConfigResource::Group("g".to_owned());
        assert!(refusal(&one, &[("log.retention.ms", "1")]).contains("for all brokers together"));
        assert!(refusal(&all, &[("log.dirs", "/x")]).contains("configuration file"));
        assert!(refusal(&all, &[("log.retention.ms", "soon")]).contains("whole number"));
        assert!(refusal(&all, &[("min.insync.replicas", "1")]).contains("configuration file"));
        assert!(refusal(&group, &[("retention.ms", "1")]).contains("no such config"));
        let slow = [(GROUP_HEARTBEAT, "45000")];
        assert!(refusal(&group, &slow).contains("larger than consumer.heartbeat"));
        let none = ConfigResource::Group(String::new());
        assert!(refusal(&none, &[]).contains("without a name"));
    }

    #[test]
    fn a_broker_has_its_own_value_or_that_of_all() {
        let mut configs = DynamicConfigs::default();
        configs.put(ConfigResource::Brokers, set(&[(CONNECTIONS_MAX, "5")]));
        assert_eq!(configs.of_broker(1, CONNECTIONS_MAX), Some(("5", false)));
        configs.put(ConfigResource::Broker(1), set(&[(CONNECTIONS_MAX, "7")]));
        assert_eq!(configs.of_broker(1, CONNECTIONS_MAX), Some(("7", true)));
        assert_eq!(configs.of_broker(2, CONNECTIONS_MAX), Some(("5", false)));
        configs.put(ConfigResource::Broker(1), Explicit::new());
        assert_eq!(configs.of_broker(1, CONNECTIONS_MAX), Some(("5", false)));
    }

    #[test]
    fn topics_are_handed_what_is_their_default_and_only_when_it_changes() {
        let mut image = Image::default();
        let (name, configs) = ("t".to_owned(), TopicConfigs::default());
        let topic = Topic { name, id: Uuid::nil(), partitions: Vec::new(), configs };
        image.insert_topic(Arc::new(topic));
        let before = Arc::clone(image.topic("t").unwrap());
        image.set_configs(ConfigResource::Brokers, set(&[(PARTITIONS, "5")]));
        assert!(Arc::ptr_eq(&before, image.topic("t").unwrap()), "it is about new topics");
        let both = set(&[(PARTITIONS, "5"), ("log.retention.ms", "7")]);
        image.set_configs(ConfigResource::Brokers, both.clone());
        assert_eq!(image.topic("t").unwrap().configs.retention_ms(), Some(7));
        assert_eq!(image.configs.cluster(), &both);
        image.set_configs(ConfigResource::Brokers, set(&[(PARTITIONS, "6")]));
        assert_eq!(image.topic("t").unwrap().configs, before.configs);
    }

    #[test]
    fn every_topic_config_is_some_brokers_default_under_its_own_name() {
        let names: Vec<_> =
            dynamic_entries(&ConfigResource::Brokers).iter().map(|it| it.name).collect();
        assert!(names.is_sorted_by(|one, other| one < other), "{names:?}");
    }
}
