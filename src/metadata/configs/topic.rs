//! A topic's configs: what was set, and what is in force.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::table::{
    CLEANUP_POLICY, COMPRESSION_TYPE, MAX_MESSAGE_BYTES, MIN_INSYNC_REPLICAS, RETENTION_BYTES,
    RETENTION_MS, TIMESTAMP_AFTER_MAX_MS, TIMESTAMP_BEFORE_MAX_MS, TIMESTAMP_TYPE,
};
use super::{AdminError, ConfigEntry, Explicit, check, default_of, find, list, quote};

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
    explicit: Explicit,
    /// What was set for all brokers and is topics' default, by the names that brokers have for it. Not the topic's: the image has it.
    #[serde(skip)]
    cluster: Arc<Explicit>,
}

impl TopicConfigs {
    /// Returns the configs that were set explicitly, as they were decided on.
    pub fn new(explicit: Explicit) -> Self {
        Self { explicit, cluster: Arc::default() }
    }

    /// Returns the configs of the same topic with others set explicitly.
    pub(in crate::metadata) fn with(&self, explicit: Explicit) -> Self {
        Self { explicit, cluster: Arc::clone(&self.cluster) }
    }

    /// Sets what holds where nothing was set for the topic.
    pub(in crate::metadata) fn inherit(&mut self, cluster: &Arc<Explicit>) {
        self.cluster = Arc::clone(cluster);
    }

    /// Returns what was set for all brokers of a config that was not set for the topic.
    pub fn inherited(&self, entry: &ConfigEntry) -> Option<&str> {
        self.cluster.get(entry.broker).map(String::as_str)
    }

    /// Says which value, if any, is refused at a feature level for a topic of `replicas` replicas, and why.
    pub fn check(explicit: &Explicit, replicas: usize, level: u16) -> Result<(), AdminError> {
        for (name, value) in explicit {
            check(name, value, replicas, level)
                .map_err(|reason| AdminError::InvalidConfig { name: quote(name), reason })?;
        }
        Ok(())
    }

    /// Returns what was set explicitly, by name.
    pub fn explicit(&self) -> &Explicit {
        &self.explicit
    }

    /// Returns the value in force of a known config, or `None` for an unknown name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let entry = find(name)?;
        let own = self.explicit.get(name).map(String::as_str);
        Some(own.or_else(|| self.inherited(entry)).unwrap_or(entry.default))
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

    /// Returns `compression.type`: a codec's name, `uncompressed`, or `producer` for what the producer chose.
    pub fn compression_type(&self) -> &str {
        self.get(COMPRESSION_TYPE).unwrap_or_default()
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

    /// Returns whether old records are deleted by age and size (`cleanup.policy`).
    pub fn deletes(&self) -> bool {
        self.has_policy("delete")
    }

    /// Returns whether records are deleted once their key has a newer one (`cleanup.policy`).
    pub fn compacts(&self) -> bool {
        self.has_policy("compact")
    }

    fn has_policy(&self, policy: &str) -> bool {
        list(self.get(CLEANUP_POLICY).unwrap_or_default()).any(|part| part == policy)
    }

    /// A stored value that no longer parses reads as the default: it was checked when it was set, so
    /// only a newer release can have written it.
    pub(super) fn number(&self, name: &str) -> i64 {
        let value = self.get(name).and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| default_of(name))
    }
}
