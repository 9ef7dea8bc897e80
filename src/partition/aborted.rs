//! Which transactions were aborted: rows in the keyed state, so a million of them take disk and no memory.
//!
//! ```text
//!  'a' producer id i64 │ index u64, sub u32 of the marker    first offset i64 │ offset of the marker i64
//! ```
//!
//! The transactions of a producer come one after the other, so of a batch of a transaction that has ended the first row of
//! its producer behind it tells all: it is the batch's own if that transaction begins at or before the batch, and of a later
//! one otherwise. The row is named by the place of its marker, which the entry alone says. It is over once the log begins
//! behind the marker, and its place is freed like that of others (`forget.rs`).

use std::collections::HashMap;

use bytes::Bytes;
use quorate_raft::{Group, Keyed};

use super::codec::{CodecError, Reader, Writer};
use super::machine::PartitionMachine;
use super::position::Place;
use super::walk::WalkError;

const ABORTED: u8 = b'a';
/// Producers whose rows are remembered by who looks for many.
const KNOWN_MAX: usize = 4096;

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aborted {
    pub(super) first_offset: i64,
    pub(super) marker_offset: i64,
}

/// Returns where an aborted transaction is in the keyed state. `marker`: the place of its marker.
pub(super) fn key(producer_id: i64, marker: Place) -> Bytes {
    let mut writer = Writer::with_capacity(21);
    writer.u8(ABORTED);
    // Ids are never negative.
    writer.i64(producer_id);
    marker.encode(&mut writer);
    writer.finish().into()
}

/// Returns whether a key is that of an aborted transaction.
pub(super) fn is_key(key: &[u8]) -> bool {
    key.first() == Some(&ABORTED)
}

/// Returns whether a row may go, where the log begins at `log_start`.
pub(super) fn is_over(row: &[u8], log_start: i64) -> bool {
    Aborted::decode(row).is_ok_and(|aborted| aborted.marker_offset < log_start)
}

impl Aborted {
    pub(super) fn store(self, keyed: &mut Keyed, producer_id: i64, marker: Place) {
        let mut writer = Writer::with_capacity(16);
        writer.i64(self.first_offset);
        writer.i64(self.marker_offset);
        keyed.put(&key(producer_id, marker), writer.finish().into());
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let aborted = Self { first_offset: reader.i64()?, marker_offset: reader.i64()? };
        reader.end()?;
        Ok(aborted)
    }
}

/// Looks for the transactions of batches that were aborted. Blocks for the disk.
pub(super) struct AbortedRows {
    group: Group<PartitionMachine>,
    /// As of when it was made, which has to be before what is asked about was looked at.
    pub(super) installs: u64,
    known: HashMap<i64, Known>,
}

/// What was found for a producer: the first row behind a place.
struct Known {
    behind: Place,
    row: Option<(Place, Aborted)>,
}

impl AbortedRows {
    pub(super) fn new(group: &Group<PartitionMachine>) -> Self {
        let installs = group.snapshots_installed();
        Self { group: group.clone(), installs, known: HashMap::new() }
    }

    /// Returns the aborted transaction that a batch of a producer is part of; `None` if it was committed. To be asked of
    /// transactions that have ended, while the log begins at or before them.
    pub(super) fn of(
        &mut self,
        producer_id: i64,
        offset: i64,
        place: Place,
    ) -> Result<Option<Aborted>, WalkError> {
        let holds = |known: &&Known| {
            known.behind <= place && known.row.is_none_or(|(marker, _)| place < marker)
        };
        let row = match self.known.get(&producer_id).filter(holds) {
            Some(known) => known.row,
            None => self.look(producer_id, place)?,
        };
        Ok(row.map(|(_, aborted)| aborted).filter(|aborted| aborted.first_offset <= offset))
    }

    fn look(
        &mut self,
        producer_id: i64,
        behind: Place,
    ) -> Result<Option<(Place, Aborted)>, WalkError> {
        let to = key(producer_id, Place { index: u64::MAX, sub: u32::MAX });
        let found = self.group.keyed_range(&key(producer_id, behind), &to, 1)?;
        // Rows of before or after would be missing for what the machine says.
        if self.installs % 2 == 1 || self.group.snapshots_installed() != self.installs {
            return Err(WalkError::Replaced);
        }
        let row = found.first().map(|(key, row)| {
            let mut place = Reader::new(key.get(9..).ok_or(CodecError::Short)?);
            Ok::<_, CodecError>((Place::decode(&mut place)?, Aborted::decode(row)?))
        });
        let row = row.transpose()?;
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(producer_id, Known { behind, row });
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_row_are_frozen_and_rows_of_a_producer_are_in_the_order_of_the_log() {
        let place = Place { index: 7, sub: 2 };
        assert_eq!(key(5, place)[..], *b"a\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x07\0\0\0\x02");
        let row = [3_i64.to_be_bytes(), 9_i64.to_be_bytes()].concat();
        let aborted = Aborted { first_offset: 3, marker_offset: 9 };
        assert_eq!(Aborted::decode(&row), Ok(aborted));
        assert!(Aborted::decode(&row[..15]).is_err());
        assert!(!is_over(&row, 9) && is_over(&row, 10));
        let places = [(1, 9), (2, 0), (2, 1), (256, 0)];
        assert!(places.map(|(index, sub)| key(5, Place { index, sub })).is_sorted());
        assert!(key(5, Place { index: u64::MAX, sub: 9 }) < key(6, Place::default()));
    }
}
