//! What a topic asks of its partitions.
//!
//! Handed in by whoever opens the replica, so that a partition needs no view of the cluster and a test
//! needs no topic.

use crate::metadata::{CompactionConfigs, StreamConfigs};

/// The settings of one partition. The default keeps everything forever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionSettings {
    /// `retention.ms`: records older than this go; `None` keeps them forever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`: the oldest records go while at least this much would remain; `None` is no limit.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy` has `compact`.
    pub compaction: Option<CompactionConfigs>,
    /// `quorate.streams`: the records of a key are a stream.
    pub streams: Option<StreamConfigs>,
    /// How many partitions its topic has.
    pub partitions: u32,
}
