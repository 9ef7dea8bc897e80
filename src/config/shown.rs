//! Configs as they are shown: the value in force, and where it and those behind it come from.

use super::Config;
use super::brokers::BROKER_SETTINGS;
use crate::metadata::{
    CONNECTIONS_MAX, ConfigKind, ConfigResource, DynamicConfigs, GROUP_HEARTBEAT, TOPIC_CONFIGS,
    TopicConfigs, dynamic_entries,
};

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    Topic,
    Group,
    /// Set for one broker while it ran.
    Broker,
    /// Set for all brokers while they ran.
    Brokers,
    /// The broker's configuration file, environment or command line.
    File,
    Default,
}

/// A value that a config has, or would have if those in front of it were removed; and its name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    pub value: String,
    pub source: ConfigSource,
}

/// One config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRow {
    pub name: &'static str,
    pub kind: ConfigKind,
    pub doc: &'static str,
    /// It is not changed while brokers run.
    pub read_only: bool,
    /// First the value in force; never empty.
    pub from: Vec<Synonym>,
}

impl ConfigRow {
    /// Returns the value in force.
    pub fn value(&self) -> &str {
        self.from.first().map_or("", |it| it.value.as_str())
    }

    /// Returns where it comes from.
    pub fn source(&self) -> ConfigSource {
        self.from.first().map_or(ConfigSource::Default, |it| it.source)
    }
}

fn synonym(name: &'static str, value: impl Into<String>, source: ConfigSource) -> Synonym {
    Synonym { name, value: value.into(), source }
}

/// Returns every config of a topic, by name.
pub fn topic_configs(configs: &TopicConfigs) -> impl Iterator<Item = ConfigRow> {
    let known = TOPIC_CONFIGS.iter().filter(|entry| configs.get(entry.name).is_some());
    known.map(|entry| {
        let own = configs.explicit().get(entry.name);
        let own = own.map(|value| synonym(entry.name, value, ConfigSource::Topic));
        let cluster = configs.inherited(entry);
        let cluster = cluster.map(|value| synonym(entry.broker, value, ConfigSource::Brokers));
        let broker = if entry.broker == "-" { entry.name } else { entry.broker };
        let default = synonym(broker, entry.default, ConfigSource::Default);
        ConfigRow {
            name: entry.name,
            kind: entry.kind,
            doc: entry.doc,
            read_only: false,
            from: own.into_iter().chain(cluster).chain([default]).collect(),
        }
    })
}

/// Returns what was set for all brokers while they ran, by name.
pub fn cluster_configs(configs: &DynamicConfigs) -> Vec<ConfigRow> {
    let entries = dynamic_entries(&ConfigResource::Brokers).into_iter();
    let set = entries.filter_map(|entry| {
        let value = configs.cluster().get(entry.name)?;
        Some(ConfigRow {
            name: entry.name,
            kind: entry.kind,
            doc: entry.doc,
            read_only: false,
            from: vec![synonym(entry.name, value, ConfigSource::Brokers)],
        })
    });
    set.collect()
}

/// Returns every config of the broker of that id and configuration, by name.
pub fn broker_configs(config: &Config, configs: &DynamicConfigs, id: u64) -> Vec<ConfigRow> {
    let changeable = dynamic_entries(&ConfigResource::Brokers);
    let fresh = Config::default();
    let in_file = BROKER_SETTINGS.iter().map(|it| {
        let value = (it.value)(config, id);
        let is_default = value == (it.value)(&fresh, id);
        let source = if is_default { ConfigSource::Default } else { ConfigSource::File };
        (it.name, it.kind, it.doc, synonym(it.name, value, source))
    });
    let others = TOPIC_CONFIGS.iter().filter(|entry| {
        let is_known = changeable.iter().any(|it| it.name == entry.broker);
        is_known && !BROKER_SETTINGS.iter().any(|it| it.name == entry.broker)
    });
    let others = others.map(|it| {
        let default = synonym(it.broker, it.default, ConfigSource::Default);
        (it.broker, it.kind, it.doc, default)
    });
    let mut rows: Vec<_> = in_file
        .chain(others)
        .map(|(name, kind, doc, behind)| {
            let set = configs.of_broker(id, name).map(|(value, own)| {
                let source = if own { ConfigSource::Broker } else { ConfigSource::Brokers };
                let most = || config.connections_max(configs, id).to_string();
                let value = if name == CONNECTIONS_MAX { most() } else { value.to_owned() };
                synonym(name, value, source)
            });
            let read_only = !changeable.iter().any(|it| it.name == name);
            let from = set.into_iter().chain([behind]).collect();
            ConfigRow { name, kind, doc, read_only, from }
        })
        .collect();
    rows.sort_by_key(|row| row.name);
    rows
}

/// Returns every config of a group, by name.
pub fn group_configs(config: &Config, configs: &DynamicConfigs, group: &str) -> Vec<ConfigRow> {
    let resource = ConfigResource::Group(group.to_owned());
    let set = configs.of(&resource);
    let fresh = Config::default();
    let of_all = |of: &Config, name: &str| match name {
        GROUP_HEARTBEAT => of.groups.consumer_heartbeat_interval_ms,
        _ => of.groups.consumer_session_timeout_ms,
    };
    let of_brokers = |name| match name {
        GROUP_HEARTBEAT => "group.consumer.heartbeat.interval.ms",
        _ => "group.consumer.session.timeout.ms",
    };
    let row = |entry: crate::metadata::DynamicEntry| {
        let own = set.and_then(|set| set.get(entry.name));
        let own = own.map(|value| synonym(entry.name, value, ConfigSource::Group));
        let value = of_all(config, entry.name);
        let is_default = value == of_all(&fresh, entry.name);
        let source = if is_default { ConfigSource::Default } else { ConfigSource::File };
        let behind = synonym(of_brokers(entry.name), value.to_string(), source);
        let from = own.into_iter().chain([behind]).collect();
        ConfigRow { name: entry.name, kind: entry.kind, doc: entry.doc, read_only: false, from }
    };
    dynamic_entries(&resource).into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Explicit, Image};

    fn set(pairs: &[(&str, &str)]) -> Explicit {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn sources(rows: &[ConfigRow], name: &str) -> Vec<(String, String, ConfigSource)> {
        let row = rows.iter().find(|row| row.name == name).unwrap();
        let all = row.from.iter();
        all.map(|it| (it.name.to_owned(), it.value.clone(), it.source)).collect()
    }

    #[test]
    fn a_topic_shows_every_config_and_where_it_comes_from() {
        let configs = TopicConfigs::new(set(&[("retention.ms", "5000")]));
        let rows: Vec<_> = topic_configs(&configs).collect();
        assert_eq!(rows.len(), TOPIC_CONFIGS.len());
        let expected = [
            ("retention.ms".to_owned(), "5000".to_owned(), ConfigSource::Topic),
            ("log.retention.ms".to_owned(), "604800000".to_owned(), ConfigSource::Default),
        ];
        assert_eq!(sources(&rows, "retention.ms"), expected);
        let row = rows.iter().find(|row| row.name == "cleanup.policy").unwrap();
        assert_eq!((row.value(), row.source()), ("delete", ConfigSource::Default));
    }

    #[test]
    fn a_broker_lists_its_settings_in_order_and_where_they_come_from() {
        let mut image = Image::default();
        image.set_configs(ConfigResource::Brokers, set(&[("log.retention.ms", "7")]));
        image.set_configs(ConfigResource::Broker(7), set(&[("max.connections", "8")]));
        let mut config = Config::default();
        config.topics.partitions = 4;
        let rows = broker_configs(&config, &image.configs, 7);
        assert!(rows.is_sorted_by(|one, other| one.name < other.name));
        let of = |name| {
            let row = rows.iter().find(|row| row.name == name).unwrap();
            (row.value(), row.source(), row.read_only)
        };
        assert_eq!(of("broker.id"), ("7", ConfigSource::Default, true));
        assert_eq!(of("log.retention.ms"), ("7", ConfigSource::Brokers, false));
        assert_eq!(of("max.connections"), ("8", ConfigSource::Broker, false));
        assert_eq!(of("num.partitions"), ("4", ConfigSource::File, false));
        assert_eq!(of("compression.type"), ("producer", ConfigSource::Default, false));
        let set = cluster_configs(&image.configs);
        assert_eq!(set.iter().map(|row| row.name).collect::<Vec<_>>(), ["log.retention.ms"]);
    }

    #[test]
    fn a_group_has_what_was_set_of_it_or_what_the_coordinators_file_says() {
        let mut image = Image::default();
        let group = ConfigResource::Group("g".to_owned());
        image.set_configs(group, set(&[("consumer.session.timeout.ms", "60000")]));
        let rows = group_configs(&Config::default(), &image.configs, "g");
        let shown: Vec<_> = rows.iter().map(|row| (row.value(), row.source())).collect();
        assert_eq!(shown, [("5000", ConfigSource::Default), ("60000", ConfigSource::Group)]);
        let behind = rows[1].from.last().map(|it| (it.name, it.value.as_str()));
        assert_eq!(behind, Some(("group.consumer.session.timeout.ms", "45000")));
    }
}
