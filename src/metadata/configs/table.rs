//! The table of topic configs, with what Kafka calls the same thing where it is every topic's default.

use super::{Allowed, ConfigEntry, ConfigKind};
use crate::metadata::FIRST_LEVEL;

pub(super) const CLEANUP_POLICY: &str = "cleanup.policy";
pub(super) const DELETE_RETENTION_MS: &str = "delete.retention.ms";
pub(super) const COMPACTION_LAG_MAX_MS: &str = "max.compaction.lag.ms";
pub(super) const DIRTY_RATIO: &str = "min.cleanable.dirty.ratio";
pub(super) const COMPACTION_LAG_MIN_MS: &str = "min.compaction.lag.ms";
pub(super) const SEGMENT_BYTES: &str = "segment.bytes";
pub(super) const SEGMENT_MS: &str = "segment.ms";
pub(super) const COMPRESSION_TYPE: &str = "compression.type";
pub(super) const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
pub(super) const RETENTION_BYTES: &str = "retention.bytes";
pub(super) const RETENTION_MS: &str = "retention.ms";
pub(super) const TIMESTAMP_AFTER_MAX_MS: &str = "message.timestamp.after.max.ms";
pub(super) const TIMESTAMP_BEFORE_MAX_MS: &str = "message.timestamp.before.max.ms";
pub(super) const TIMESTAMP_TYPE: &str = "message.timestamp.type";
pub(crate) const STREAMS: &str = "quorate.streams";
pub(super) const STREAMS_AGE_MAX: &str = "quorate.streams.max.age.ms";
pub(super) const STREAMS_COUNT_MAX: &str = "quorate.streams.max.count";
/// Of configs that a topic has for itself alone.
pub(super) const NO_BROKER_NAME: &str = "-";

/// Every topic config known, by name in alphabetical order.
pub const TOPIC_CONFIGS: &[ConfigEntry] = &[
    ConfigEntry {
        name: CLEANUP_POLICY,
        broker: "log.cleanup.policy",
        since: FIRST_LEVEL,
        kind: ConfigKind::List,
        default: "delete",
        allowed: Allowed::SomeOf(&["compact", "delete"]),
        doc: "What becomes of old records: delete removes them by age and size, compact those whose key has a newer \
              one; both may be.",
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
        name: DELETE_RETENTION_MS,
        broker: "log.cleaner.delete.retention.ms",
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "86400000",
        allowed: Allowed::Between(0, i64::MAX),
        doc: "How long a tombstone stays in a compacted topic after it could go, in milliseconds: a reader who takes \
              longer from the beginning to the end may miss that a key is deleted.",
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
        name: COMPACTION_LAG_MAX_MS,
        broker: "log.cleaner.max.compaction.lag.ms",
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "9223372036854775807",
        allowed: Allowed::Between(1, i64::MAX),
        doc: "After how many milliseconds a record of a compacted topic is compacted, however little is new.",
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
        name: DIRTY_RATIO,
        broker: "log.cleaner.min.cleanable.ratio",
        since: FIRST_LEVEL,
        kind: ConfigKind::Double,
        default: "0.5",
        allowed: Allowed::Ratio,
        doc: "How much of a compacted partition's bytes has to be new before it is compacted again, from 0 to 1.",
    },
    ConfigEntry {
        name: COMPACTION_LAG_MIN_MS,
        broker: "log.cleaner.min.compaction.lag.ms",
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "0",
        allowed: Allowed::Between(0, i64::MAX),
        doc: "How long a record of a compacted topic stays at least, in milliseconds.",
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
        name: STREAMS,
        broker: NO_BROKER_NAME,
        since: FIRST_LEVEL,
        kind: ConfigKind::Boolean,
        default: "false",
        allowed: Allowed::OneOf(&["false", "true"]),
        doc: "Whether the records of a key are a stream, with versions that appends may be conditional on. Every record \
              needs a key then, and has to be in its key's partition by Kafka's own partitioner.",
    },
    ConfigEntry {
        name: STREAMS_AGE_MAX,
        broker: NO_BROKER_NAME,
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "9223372036854775807",
        allowed: Allowed::Between(1, i64::MAX),
        doc: "Records older than this are not shown in their streams, in milliseconds by their timestamps.",
    },
    ConfigEntry {
        name: STREAMS_COUNT_MAX,
        broker: NO_BROKER_NAME,
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "9223372036854775807",
        allowed: Allowed::Between(1, i64::MAX),
        doc: "How many of its newest records a stream shows at most.",
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
        name: SEGMENT_BYTES,
        broker: "log.segment.bytes",
        since: FIRST_LEVEL,
        kind: ConfigKind::Int,
        default: "1073741824",
        allowed: Allowed::Between(262_144, i32::MAX as i64),
        doc: "How many bytes past their retention may stay until a segment is full: spans of 256 KiB are \
              deleted by themselves. A compacted partition is compacted again once so many bytes are new.",
    },
    ConfigEntry {
        name: SEGMENT_MS,
        broker: "log.roll.ms",
        since: FIRST_LEVEL,
        kind: ConfigKind::Long,
        default: "604800000",
        allowed: Allowed::Between(1, i64::MAX),
        doc: "How long records past their retention may stay until a segment is closed, in milliseconds: spans of at \
              most an hour are deleted by themselves. A compacted partition is compacted again once something new is \
              so old, however few bytes are.",
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
