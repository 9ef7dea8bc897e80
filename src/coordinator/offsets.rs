//! Committed offsets as they are kept: keyed state of a coordinator, one pair a partition.
//!
//! ```text
//!  key:    'o' │ incarnation of the group u64 │ topic id u128 │ partition i32      big-endian
//!  value:  offset, leader epoch, when it was committed, metadata, where in the log it was written
//! ```
//!
//! A group that is deleted takes its incarnation with it, and a topic its id, so offsets of either are never taken for
//! those of a namesake; they are swept later (`sweep.rs`).

use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// First byte of the keys.
const OFFSET: u8 = b'o';
const KEY_BYTES: usize = 29;

/// Whose offset it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct OffsetKey {
    pub(crate) incarnation: u64,
    pub(crate) topic: Uuid,
    pub(crate) partition: i32,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Committed {
    /// The next offset to be read.
    pub(crate) offset: i64,
    /// The leader epoch of the last record read, -1 if that is not known.
    pub(crate) leader_epoch: i32,
    /// Log time.
    pub(crate) committed_ms: i64,
    /// What the consumer wrote beside it.
    pub(crate) metadata: String,
    /// Of two commits the later one counts. One of a transaction is as late as it was asked for, not as it became visible.
    pub(crate) written: Place,
}

/// Where in the log something was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Of the entry.
    pub(crate) index: u64,
    /// Which of its commands, from 0.
    pub(crate) command: u32,
}

impl OffsetKey {
    /// No key of the group is before it.
    pub(super) fn first(incarnation: u64) -> Self {
        Self { incarnation, topic: Uuid::nil(), partition: i32::MIN }
    }

    /// No key of the group is behind it.
    pub(super) fn last(incarnation: u64) -> Self {
        Self { incarnation, topic: Uuid::max(), partition: i32::MAX }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut key = Vec::with_capacity(KEY_BYTES);
        key.put_u8(OFFSET);
        key.put_u64(self.incarnation);
        key.put_u128(self.topic.as_u128());
        // The sign is turned so that keys are in the order of partitions.
        key.put_i32(self.partition ^ i32::MIN);
        key.into()
    }

    /// Returns `None` for what is no such key.
    pub(super) fn decode(key: &[u8]) -> Option<Self> {
        let key: &[u8; KEY_BYTES] = key.try_into().ok()?;
        let rest = key.strip_prefix(&[OFFSET])?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (topic, partition) = rest.split_first_chunk()?;
        Some(Self {
            incarnation: u64::from_be_bytes(*incarnation),
            topic: Uuid::from_u128(u128::from_be_bytes(*topic)),
            partition: i32::from_be_bytes(partition.try_into().ok()?) ^ i32::MIN,
        })
    }
}

/// The range of the keys of a group.
pub(super) fn of_group(incarnation: u64) -> (Bytes, Bytes) {
    let from = |incarnation: u64| Bytes::from([&[OFFSET][..], &incarnation.to_be_bytes()].concat());
    let end = incarnation.checked_add(1).map_or_else(|| Bytes::from_static(&[OFFSET + 1]), from);
    (from(incarnation), end)
}

/// The range of all keys.
pub(super) fn all() -> (Bytes, Bytes) {
    (Bytes::from_static(&[OFFSET]), Bytes::from_static(&[OFFSET + 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(incarnation: u64, topic: u128, partition: i32) -> OffsetKey {
        OffsetKey { incarnation, topic: Uuid::from_u128(topic), partition }
    }

    #[test]
    fn keys_lead_back_and_are_in_order() {
        let keys = [
            key(0, 0, -1),
            key(0, 0, 0),
            key(0, 0, 300),
            key(0, 9, 1),
            key(7, 1, 0),
            key(u64::MAX, 0, 0),
        ];
        assert!(keys.is_sorted());
        let encoded = keys.map(|key| key.encode());
        assert!(encoded.is_sorted());
        assert_eq!(encoded.map(|key| OffsetKey::decode(&key)), keys.map(Some));
        assert_eq!(OffsetKey::decode(b"o"), None);
        assert_eq!(OffsetKey::decode(&[b'x'; KEY_BYTES]), None);
    }

    #[test]
    fn a_group_has_a_range_of_its_own() {
        for incarnation in [0, 7, 255, u64::MAX] {
            let (from, to) = of_group(incarnation);
            let holds = |key: OffsetKey| from <= key.encode() && key.encode() < to;
            assert!(
                holds(key(incarnation, 0, i32::MIN))
                    && holds(key(incarnation, u128::MAX, i32::MAX))
            );
            for other in [incarnation.wrapping_sub(1), incarnation.wrapping_add(1)] {
                assert!(!holds(key(other, 5, 5)), "{other}");
            }
        }
    }
}
