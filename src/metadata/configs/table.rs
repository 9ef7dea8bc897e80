//! The table of topic configs, with what Kafka calls the same thing where it is every topic's default.

use super::{Allowed, ConfigEntry, ConfigKind};
use crate::metadata::FIRST_LEVEL;

pub(super) const COMPRESSION_TYPE: &str = "compression.type";
pub(super) const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
pub(super) const RETENTION_BYTES: &str = "retention.bytes";
pub(super) const RETENTION_MS: &str = "retention.ms";
pub(super) const TIMESTAMP_AFTER_MAX_MS: &str = "message.timestamp.after.max.ms";
pub(super) const TIMESTAMP_BEFORE_MAX_MS: &str = "message.timestamp.before.max.ms";
pub(super) const TIMESTAMP_TYPE: &str = "message.timestamp.type";

/// Every topic config known, by name in alphabetical order.
pub const TOPIC_CONFIGS: &[ConfigEntry] = &[
    ConfigEntry {
        name: "cleanup.policy",
        broker: "log.cleanup.policy",
        since: FIRST_LEVEL,
        kind: ConfigKind::List,
        default: "delete",
        allowed: Allowed::OneOf(&["delete"]),
        doc: "What becomes of old records: they are deleted. Compaction is not available.",
    },
    ConfigEntry {
        name: COMPRESSION_TYPE,
        broker: "compression.type",
        since: FIRST_LEVEL,
        kind: ConfigKind::String,
        default: "producer",
        allowed: Allowed::OneOf(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
        doc: "How batches are compressed: producer keeps them as they were sent, and every other value compresses \
              them anew where they are not so.",
    },
    ConfigEntry {
        name: "flush.messages",
        broker: "log.flush.interval.messages",
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "9223372036854775807",
        allowed: Allowed::Between(1, i64::MAX),
        doc: "After how many records the log is synced at the latest. Every record is, before it is acknowledged, \
              so every value allowed is kept.",
    },
    ConfigEntry {
        name: "flush.ms",
        broker: "log.flush.interval.ms",
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "9223372036854775807",
        allowed: Allowed::Between(0, i64::MAX),
        doc: "After how many milliseconds the log is synced at the latest. It is before a record is acknowledged, so \
              every value allowed is kept.",
    },
    ConfigEntry {
        name: MAX_MESSAGE_BYTES,
        broker: "message.max.bytes",
        since: FIRST_LEVEL,
        kind: ConfigKind::Int,
        default: "1048588",
        allowed: Allowed::Between(0, 50_331_648),
        doc: "The largest record batch taken, in bytes, after compression.",
    },
    ConfigEntry {
        name: TIMESTAMP_AFTER_MAX_MS,
        broker: "log.message.timestamp.after.max.ms",
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "3600000",
        allowed: Allowed::Between(0, i64::MAX),
        doc: "How far in the future a record's timestamp may lie, in milliseconds.",
    },
    ConfigEntry {
        name: TIMESTAMP_BEFORE_MAX_MS,
        broker: "log.message.timestamp.before.max.ms",
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "9223372036854775807",
        allowed: Allowed::Between(0, i64::MAX),
        doc: "How far in the past a record's timestamp may lie, in milliseconds.",
    },
    ConfigEntry {
        name: TIMESTAMP_TYPE,
        broker: "log.message.timestamp.type",
        since: FIRST_LEVEL,
        kind: ConfigKind::String,
        default: "CreateTime",
        allowed: Allowed::OneOf(&["CreateTime", "LogAppendTime"]),
        doc: "Whether a record carries the producer's time or the time its leader took it.",
    },
    ConfigEntry {
        name: MIN_INSYNC_REPLICAS,
        broker: "min.insync.replicas",
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
        broker: "next.release",
        since: FIRST_LEVEL + 1,
        kind: ConfigKind::Boolean,
        default: "false",
        allowed: Allowed::OneOf(&["false", "true"]),
        doc: "A config of the next release.",
    },
    ConfigEntry {
        name: RETENTION_BYTES,
        broker: "log.retention.bytes",
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "-1",
        allowed: Allowed::Between(-1, i64::MAX),
        doc: "How many bytes of each partition are kept; -1 keeps all.",
    },
    ConfigEntry {
        name: RETENTION_MS,
        broker: "log.retention.ms",
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "604800000",
        allowed: Allowed::Between(-1, i64::MAX),
        doc: "How long records are kept, in milliseconds; -1 keeps them for ever.",
    },
    ConfigEntry {
        name: "segment.bytes",
        broker: "log.segment.bytes",
        since: FIRST_LEVEL,
        kind: ConfigKind::Int,
        default: "1073741824",
        allowed: Allowed::Between(262_144, i32::MAX as i64),
        doc: "How many bytes past their retention may stay until a segment is full. Spans of 256 KiB are \
              deleted by themselves, so every value allowed is kept.",
    },
    ConfigEntry {
        name: "segment.ms",
        broker: "log.roll.ms",
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "604800000",
        allowed: Allowed::Between(3_600_000, i64::MAX),
        doc: "How long records past their retention may stay until a segment is closed, in milliseconds. \
              Spans of an hour are deleted by themselves, so every value allowed is kept.",
    },
    ConfigEntry {
        name: "unclean.leader.election.enable",
        broker: "unclean.leader.election.enable",
        since: FIRST_LEVEL,
        kind: ConfigKind::Boolean,
        default: "false",
        allowed: Allowed::OneOf(&["false"]),
        doc: "A replica that misses acknowledged records is never elected.",
    },
];
