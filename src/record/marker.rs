//! The end of a transaction in a partition: a control batch of one record, written by brokers only (KIP-98).
//!
//! ```text
//!  key:   version i16 = 0 │ type i16: 0 abort, 1 commit
//!  value: version i16 = 0 │ epoch of the coordinator i32
//! ```

use bytes::Bytes;

use super::batch::{CONTROL_BIT, TRANSACTIONAL_BIT};
use super::build::BatchBuilder;
use super::iter::{Projection, Records};

const ABORT: [u8; 4] = [0, 0, 0, 0];
const COMMIT: [u8; 4] = [0, 0, 0, 1];

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndMarker {
    pub commit: bool,
    pub coordinator_epoch: i32,
}

impl EndMarker {
    /// Returns the batch that says so, of a producer and its epoch. `now_ms`: milliseconds since 1970.
    pub fn batch(self, producer_id: i64, epoch: i16, now_ms: i64) -> Bytes {
        let key = if self.commit { COMMIT } else { ABORT };
        let value = [&[0, 0][..], &self.coordinator_epoch.to_be_bytes()].concat();
        BatchBuilder::new()
            .attributes(TRANSACTIONAL_BIT | CONTROL_BIT)
            .producer(producer_id, epoch, -1)
            .record(now_ms, Some(&key), Some(&value))
            .build()
    }

    /// Reads a control batch; `None` if it is another one, or was emptied by compaction.
    pub fn of(batch: &[u8]) -> Option<Self> {
        let record = Records::open(batch, Projection::Everything).ok()?.next()?.ok()?;
        let (key, value) = (record.key?, record.value?);
        let commit = match *key.get(2..4)? {
            [0, 0] => false,
            [0, 1] => true,
            _ => return None,
        };
        let coordinator_epoch = i32::from_be_bytes(value.get(2..6)?.try_into().ok()?);
        Some(Self { commit, coordinator_epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Header, without_records};

    #[test]
    fn a_marker_is_read_as_it_was_written_and_its_bytes_are_kafkas() {
        for (commit, coordinator_epoch) in [(true, 7), (false, -1)] {
            let marker = EndMarker { commit, coordinator_epoch };
            let batch = marker.batch(9, 3, 1_000);
            let header = Header::parse(&batch).unwrap();
            assert!(header.is_control() && header.is_transactional());
            let producer = (header.producer_id, header.producer_epoch, header.base_sequence);
            assert_eq!((producer, header.record_count), ((9, 3, -1), 1));
            assert_eq!(EndMarker::of(&batch), Some(marker));
            assert_eq!(EndMarker::of(&without_records(&batch).unwrap()), None);
        }
        let batch = EndMarker { commit: true, coordinator_epoch: 7 }.batch(9, 3, 1_000);
        // Length, attributes, time, offset, the key with its length, the value with its length, no headers.
        let record = [32, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 7, 0];
        assert_eq!(batch[61..], record);
    }
}
