//! What a topic asks of its partitions.
//!
//! Handed in by whoever opens the replica, so that a partition needs no view of the cluster and a test
//! needs no topic.

use std::sync::Arc;

/// The wall clock. Handed in so that tests tell it.
pub trait WallClock: Send + Sync {
    /// Returns the time in milliseconds since 1970, UTC.
    fn now_ms(&self) -> i64;

    /// Returns the same, unless the clock may be wrong: nothing is deleted for being old by such a time.
    fn trusted_ms(&self) -> Option<i64>;
}

/// A wall clock shared by all partitions of a broker.
pub type Clock = Arc<dyn WallClock>;

/// The settings of one partition. The default keeps everything forever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionSettings {
    /// `retention.ms`: records older than this go; `None` keeps them forever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`: the oldest records go while at least this much would remain; `None` is no limit.
    pub retention_bytes: Option<u64>,
}
