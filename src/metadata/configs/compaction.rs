//! What a topic's configs say of its compaction.

use super::table::{
    COMPACTION_LAG_MAX_MS, COMPACTION_LAG_MIN_MS, DELETE_RETENTION_MS, DIRTY_RATIO, SEGMENT_BYTES,
    SEGMENT_MS,
};
use super::{TopicConfigs, ratio};

/// When a partition is compacted, and what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionConfigs {
    /// `min.compaction.lag.ms`: younger records are not touched.
    pub min_lag_ms: i64,
    /// `max.compaction.lag.ms`: older ones are not left, however little there is to gain.
    pub max_lag_ms: i64,
    /// `delete.retention.ms`: how long a tombstone stays that could go.
    pub delete_retention_ms: i64,
    /// `min.cleanable.dirty.ratio`, in millionths: how much of the bytes has to be new.
    pub dirty_millionths: u32,
    /// `segment.bytes`: less than this that is new waits,
    pub segment_bytes: u64,
    /// `segment.ms`: but not for longer.
    pub segment_ms: i64,
}

impl TopicConfigs {
    /// Returns how its partitions are compacted; `None` if they are not.
    pub fn compaction(&self) -> Option<CompactionConfigs> {
        self.compacts().then(|| CompactionConfigs {
            min_lag_ms: self.number(COMPACTION_LAG_MIN_MS),
            max_lag_ms: self.number(COMPACTION_LAG_MAX_MS),
            delete_retention_ms: self.number(DELETE_RETENTION_MS),
            dirty_millionths: self.dirty_millionths(),
            segment_bytes: u64::try_from(self.number(SEGMENT_BYTES)).unwrap_or(0),
            segment_ms: self.number(SEGMENT_MS),
        })
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1")]
    fn dirty_millionths(&self) -> u32 {
        let share = self.get(DIRTY_RATIO).and_then(ratio).unwrap_or(0.5);
        (share * 1e6).round() as u32
    }
}
