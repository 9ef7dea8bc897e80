//! Topic configs: the one table of those this broker knows.
//!
//! A config that is accepted is enforced; one that could not be is refused, because a producer that
//! asked for compaction and silently got deletion has lost data. Names, types and defaults are Kafka's.
//! A few of Kafka's keys are accepted with the single value that describes what this broker does anyway,
//! since tools write them out of habit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::levels::is_reached;
use super::{AdminError, FIRST_LEVEL, Levels, quote};

/// One config: what it is called, what it may be and what it means.
#[derive(Debug)]
pub struct ConfigEntry {
    pub name: &'static str,
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
    List,
}

/// The values a config may have.
#[derive(Debug, Clone, Copy)]
pub enum Allowed {
    Between(i64, i64),
    OneOf(&'static [&'static str]),
}

/// Every topic config known, by name in alphabetical order.
pub const TOPIC_CONFIGS: &[ConfigEntry] = &[
    ConfigEntry {
        name: "cleanup.policy",
        since: FIRST_LEVEL,
        kind: ConfigKind::List,
        default: "delete",
        allowed: Allowed::OneOf(&["delete"]),
        doc: "What becomes of old records: they are deleted. Compaction is not available.",
    },
    ConfigEntry {
        name: "compression.type",
        since: FIRST_LEVEL,
        kind: ConfigKind::String,
        default: "producer",
        allowed: Allowed::OneOf(&["producer"]),
        doc: "Batches are stored as the producer compressed them.",
    },
    ConfigEntry {
        name: MAX_MESSAGE_BYTES,
        since: FIRST_LEVEL,
        kind: ConfigKind::Int,
        default: "1048588",
        allowed: Allowed::Between(0, 50_331_648),
        doc: "The largest record batch taken, in bytes, after compression.",
    },
    ConfigEntry {
        name: TIMESTAMP_AFTER_MAX_MS,
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "3600000",
        allowed: Allowed::Between(0, i64::MAX),
        doc: "How far in the future a record's timestamp may lie, in milliseconds.",
    },
    ConfigEntry {
        name: TIMESTAMP_BEFORE_MAX_MS,
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "9223372036854775807",
        allowed: Allowed::Between(0, i64::MAX),
        doc: "How far in the past a record's timestamp may lie, in milliseconds.",
    },
    ConfigEntry {
        name: TIMESTAMP_TYPE,
        since: FIRST_LEVEL,
        kind: ConfigKind::String,
        default: "CreateTime",
        allowed: Allowed::OneOf(&["CreateTime", "LogAppendTime"]),
        doc: "Whether a record carries the producer's time or the time its leader took it.",
    },
    ConfigEntry {
        name: MIN_INSYNC_REPLICAS,
        since: FIRST_LEVEL,
        kind: ConfigKind::Int,
        default: "1",
        allowed: Allowed::Between(1, 15),
        doc: "Every acknowledged record is on disk at a majority of the replicas, so a number up to the \
              majority is met by all of them, and a larger one is refused.",
    },
    // What the next release has more, for tests of a cluster of two releases.
    #[cfg(feature = "mutants")]
    ConfigEntry {
        name: "next.release",
        since: FIRST_LEVEL + 1,
        kind: ConfigKind::Boolean,
        default: "false",
        allowed: Allowed::OneOf(&["false", "true"]),
        doc: "A config of the next release.",
    },
    ConfigEntry {
        name: RETENTION_BYTES,
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "-1",
        allowed: Allowed::Between(-1, i64::MAX),
        doc: "How many bytes of each partition are kept; -1 keeps all.",
    },
    ConfigEntry {
        name: RETENTION_MS,
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "604800000",
        allowed: Allowed::Between(-1, i64::MAX),
        doc: "How long records are kept, in milliseconds; -1 keeps them for ever.",
    },
    ConfigEntry {
        name: "segment.bytes",
        since: FIRST_LEVEL,
        kind: ConfigKind::Int,
        default: "1073741824",
        allowed: Allowed::Between(262_144, i32::MAX as i64),
        doc: "How many bytes past their retention may stay until a segment is full. Spans of 256 KiB are \
              deleted by themselves, so every value allowed is kept.",
    },
    ConfigEntry {
        name: "segment.ms",
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "604800000",
        allowed: Allowed::Between(3_600_000, i64::MAX),
        doc: "How long records past their retention may stay until a segment is closed, in milliseconds. \
              Spans of an hour are deleted by themselves, so every value allowed is kept.",
    },
    ConfigEntry {
        name: "unclean.leader.election.enable",
        since: FIRST_LEVEL,
        kind: ConfigKind::Boolean,
        default: "false",
        allowed: Allowed::OneOf(&["false"]),
        doc: "A replica that misses acknowledged records is never elected.",
    },
];

/// The longest number there is has a sign and 19 digits.
const NUMBER_BYTES_MAX: usize = 20;
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const RETENTION_BYTES: &str = "retention.bytes";
const RETENTION_MS: &str = "retention.ms";
const TIMESTAMP_AFTER_MAX_MS: &str = "message.timestamp.after.max.ms";
const TIMESTAMP_BEFORE_MAX_MS: &str = "message.timestamp.before.max.ms";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";

/// Which time a record carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

/// The configs of one topic: those set explicitly, and typed answers that fall back to the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicConfigs {
    explicit: BTreeMap<String, String>,
}

impl TopicConfigs {
    /// Returns the configs that were set explicitly, as they were decided on.
    pub fn new(explicit: BTreeMap<String, String>) -> Self {
        Self { explicit }
    }

    /// Says which value, if any, is refused at a feature level for a topic of `replicas` replicas, and why.
    pub fn check(
        explicit: &BTreeMap<String, String>,
        replicas: usize,
        level: u16,
    ) -> Result<(), AdminError> {
        for (name, value) in explicit {
            check(name, value, replicas, level)
                .map_err(|reason| AdminError::InvalidConfig { name: quote(name), reason })?;
        }
        Ok(())
    }

    /// Returns what was set explicitly, by name.
    pub fn explicit(&self) -> &BTreeMap<String, String> {
        &self.explicit
    }

    /// Returns the value in force of a known config, or `None` for an unknown name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let entry = find(name)?;
        Some(self.explicit.get(name).map_or(entry.default, String::as_str))
    }

    /// Returns the retention time in milliseconds; `None` keeps records for ever.
    pub fn retention_ms(&self) -> Option<i64> {
        Some(self.number(RETENTION_MS)).filter(|ms| *ms >= 0)
    }

    /// Returns the bytes kept of each partition; `None` keeps all.
    pub fn retention_bytes(&self) -> Option<u64> {
        u64::try_from(self.number(RETENTION_BYTES)).ok()
    }

    /// Returns the largest record batch taken, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        usize::try_from(self.number(MAX_MESSAGE_BYTES)).unwrap_or(0)
    }

    pub fn timestamp_type(&self) -> TimestampType {
        match self.get(TIMESTAMP_TYPE) {
            Some("LogAppendTime") => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        }
    }

    /// Returns how far in the past a record's timestamp may lie, in milliseconds.
    pub fn timestamp_before_max_ms(&self) -> i64 {
        self.number(TIMESTAMP_BEFORE_MAX_MS)
    }

    /// Returns how far in the future a record's timestamp may lie, in milliseconds.
    pub fn timestamp_after_max_ms(&self) -> i64 {
        self.number(TIMESTAMP_AFTER_MAX_MS)
    }

    pub fn min_insync_replicas(&self) -> i32 {
        i32::try_from(self.number(MIN_INSYNC_REPLICAS)).unwrap_or(1)
    }

    /// A stored value that no longer parses reads as the default: it was checked when it was set, so
    /// only a newer release can have written it.
    fn number(&self, name: &str) -> i64 {
        let value = self.get(name).and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| default_of(name))
    }
}

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
    let number = match entry.allowed {
        Allowed::OneOf(values) if values.contains(&value) => return Ok(()),
        Allowed::OneOf(values) => {
            return Err(format!(
                "it is {:?}, only {} is possible",
                quote(value),
                values.join(" or ")
            ));
        }
        Allowed::Between(least, most) => whole_number(value)
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| {
                let value = quote(value);
                format!("it is {value:?}, not a whole number from {least} to {most}")
            })?,
    };
    let majority = replicas / 2 + 1;
    if name == MIN_INSYNC_REPLICAS && usize::try_from(number).is_ok_and(|least| least > majority) {
        return Err(format!(
            "records are acknowledged by a majority, {majority} of {replicas} replicas, and never wait for more"
        ));
    }
    Ok(())
}

/// Reads a number. One with zeros in front for ever is none: the text is kept with the topic.
fn whole_number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|_| text.len() <= NUMBER_BYTES_MAX)
}

#[cfg(test)]
mod tests;
