//! Configs of topics, brokers and groups: the tables of those this broker knows.
//!
//! A config that is accepted is enforced; one that could not be is refused, because a producer that
//! asked for compaction and silently got deletion has lost data. Names, types and defaults are Kafka's.
//! A few of Kafka's keys are accepted with the single value that describes what this broker does anyway,
//! since tools write them out of habit.

mod compaction;
mod dynamic;
mod streams;
mod table;
mod topic;

use std::collections::BTreeMap;

use super::levels::is_reached;
use super::{AdminError, Levels, quote};

pub use compaction::CompactionConfigs;
pub(crate) use dynamic::{
    AUTO_CREATE, CLEANER_ENABLED, CLEANER_RATE, CONNECTIONS_MAX, PARTITIONS, REPLICATION_FACTOR,
};
pub use dynamic::{
    ConfigResource, DynamicConfigs, DynamicEntry, GROUP_HEARTBEAT, GROUP_HEARTBEAT_DEFAULT,
    GROUP_SESSION, GROUP_SESSION_DEFAULT, dynamic_entries,
};
pub use streams::StreamConfigs;
use table::MIN_INSYNC_REPLICAS;
pub(in crate::metadata) use table::STREAMS;
pub use table::TOPIC_CONFIGS;
pub use topic::{TimestampType, TopicConfigs};

/// What was set, by name.
pub type Explicit = BTreeMap<String, String>;

/// One config: what it is called, what it may be and what it means.
#[derive(Debug)]
pub struct ConfigEntry {
    pub name: &'static str,
    /// What Kafka calls it as a config of brokers, where it is the default of every topic.
    pub broker: &'static str,
    /// The feature level it came with: before that is finalized, brokers that do not know it may be there.
    pub since: u16,
    pub kind: ConfigKind,
    /// As text, the form in which configs travel.
    pub default: &'static str,
    pub allowed: Allowed,
    pub doc: &'static str,
}

/// The type of a config, as Kafka's DescribeConfigs names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    Boolean,
    String,
    Int,
    Long,
    Double,
    List,
}

/// The values a config may have.
#[derive(Debug, Clone, Copy)]
pub enum Allowed {
    Between(i64, i64),
    OneOf(&'static [&'static str]),
    /// One or more of these, separated by commas.
    SomeOf(&'static [&'static str]),
    /// A number from 0 to 1.
    Ratio,
}

/// The longest number there is has a sign and 19 digits.
const NUMBER_BYTES_MAX: usize = 20;

/// Returns the table's entry of that name.
pub fn find(name: &str) -> Option<&'static ConfigEntry> {
    let at = TOPIC_CONFIGS.binary_search_by(|entry| entry.name.cmp(name)).ok()?;
    Some(&TOPIC_CONFIGS[at]).filter(|entry| entry.since <= Levels::supported().highest)
}

fn default_of(name: &str) -> i64 {
    find(name).and_then(|entry| entry.default.parse().ok()).unwrap_or(0)
}

fn check(name: &str, value: &str, replicas: usize, level: u16) -> Result<(), String> {
    let entry = find(name).ok_or_else(|| "this broker does not know the config".to_owned())?;
    if !is_reached(level, entry.since) {
        return Err(format!(
            "it came with feature level {}, and the cluster is finalized at {level}",
            entry.since
        ));
    }
    entry.allowed.check(value)?;
    let (number, majority) = (value.parse::<usize>(), replicas / 2 + 1);
    if name == MIN_INSYNC_REPLICAS && number.is_ok_and(|least| least > majority) {
        return Err(format!(
            "records are acknowledged by a majority, {majority} of {replicas} replicas, and never wait for more"
        ));
    }
    Ok(())
}

impl Allowed {
    /// Says why such a value is none of these.
    fn check(self, value: &str) -> Result<(), String> {
        match self {
            Self::OneOf(values) if values.contains(&value) => Ok(()),
            Self::OneOf(values) => {
                let (value, possible) = (quote(value), values.join(" or "));
                Err(format!("it is {value:?}, only {possible} is possible"))
            }
            Self::SomeOf(values) => {
                let parts: Vec<&str> = list(value).collect();
                let known = parts.iter().all(|part| values.contains(part));
                let twice = parts.iter().enumerate().any(|(at, part)| parts[..at].contains(part));
                if known && !twice {
                    return Ok(());
                }
                let (value, possible) = (quote(value), values.join(", "));
                Err(format!("it is {value:?}, only one or more of {possible} is possible"))
            }
            Self::Ratio => ratio(value)
                .map(drop)
                .ok_or_else(|| format!("it is {:?}, not a number from 0 to 1", quote(value))),
            Self::Between(least, most) => whole_number(value)
                .filter(|number| (least..=most).contains(number))
                .map(drop)
                .ok_or_else(|| {
                    let value = quote(value);
                    format!("it is {value:?}, not a whole number from {least} to {most}")
                }),
        }
    }
}

/// The parts of a list.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// Reads a number from 0 to 1.
fn ratio(text: &str) -> Option<f64> {
    let short = text.len() <= NUMBER_BYTES_MAX;
    text.parse().ok().filter(|ratio| short && (0.0..=1.0).contains(ratio))
}

/// Reads a number. One with zeros in front for ever is none: the text is kept with the topic.
fn whole_number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|_| text.len() <= NUMBER_BYTES_MAX)
}

#[cfg(test)]
mod tests;
