//! Which record has which version of its key: rows beside the log, written with the record.
//!
//! ```text
//!  key:   'n' │ generation u32 │ region u8 │ length u16 │ key of the stream │ number u64
//!  value: offset │ index │ sub │ delta      as varints: where its batch stands, and which of its records it is
//! ```
//!
//! The machine writes rows and never reads them. They say the same on every replica, and a replica that fell behind is given
//! them with its records (`transfer.rs`). A row whose record is trimmed or compacted away does no harm: a reader finds no
//! record there. Rows before the log start are removed by each replica in its own time (`streams/sweep.rs`).

use bytes::Bytes;
use quorate_storage::{Error as StorageError, Log, StateDelete, StatePut};

use super::codec::{CodecError, Reader, Writer};
use super::position::Place;

/// First byte of their keys, right before that of points.
const PREFIX: u8 = b'n';
/// Behind all rows.
pub(super) const END: &[u8] = &[PREFIX + 1];

/// From which of two runs of numbers a record has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Region {
    /// It was there before streams were turned on.
    Before,
    Since,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) offset: i64,
    /// Of its batch.
    pub(super) place: Place,
    /// Its offset within the batch.
    pub(super) delta: u32,
}

impl Region {
    fn byte(self) -> u8 {
        match self {
            Self::Before => 0,
            Self::Since => 1,
        }
    }
}

impl Row {
    pub(super) fn put(self, generation: u32, region: Region, key: &[u8], number: u64) -> StatePut {
        let mut writer = Writer::with_capacity(16);
        writer.varint(self.offset.unsigned_abs());
        writer.varint(self.place.index);
        writer.varint(self.place.sub.into());
        writer.varint(self.delta.into());
        let key = row_key(generation, region, key, number);
        StatePut { key, value: Bytes::from(writer.finish()) }
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(value);
        let offset = i64::try_from(reader.varint()?);
        let offset = offset.map_err(|_| CodecError::Range("an offset"))?;
        let index = reader.varint()?;
        let small = |number: u64| u32::try_from(number).map_err(|_| CodecError::Range("a place"));
        let (sub, delta) = (small(reader.varint()?)?, small(reader.varint()?)?);
        reader.end()?;
        Ok(Self { offset, place: Place { index, sub }, delta })
    }
}

fn stream_prefix(generation: u32, region: Region, key: &[u8]) -> Writer {
    let mut writer = Writer::with_capacity(16 + key.len());
    writer.u8(PREFIX);
    writer.u32(generation);
    writer.u8(region.byte());
    writer.short_bytes(key);
    writer
}

fn row_key(generation: u32, region: Region, key: &[u8], number: u64) -> Vec<u8> {
    let mut writer = stream_prefix(generation, region, key);
    writer.u64(number);
    writer.finish()
}

/// Returns all rows of a generation.
pub(super) fn all_of(generation: u32) -> StateDelete {
    let of = |generation: u64| {
        // One more byte than a generation has, so that there is one behind the last.
        let [.., a, b, c, d, e] = generation.to_be_bytes();
        if a == 0 { vec![PREFIX, b, c, d, e] } else { END.to_vec() }
    };
    StateDelete { from: of(generation.into()), to: of(u64::from(generation) + 1) }
}

/// Returns the first key that any row may have.
pub(super) fn begin() -> Vec<u8> {
    vec![PREFIX]
}

/// Returns whether it is the key of a row.
pub(super) fn is_row(key: &[u8]) -> bool {
    key.first() == Some(&PREFIX)
}

/// Returns the generation that the key of a row is of.
pub(super) fn generation_of(key: &[u8]) -> Option<u32> {
    key.get(1..5)?.try_into().ok().map(u32::from_be_bytes)
}

/// Returns whether two rows are of one stream, from one region.
pub(super) fn is_same_stream(key: &[u8], other: &[u8]) -> bool {
    let stream = key.len().saturating_sub(8);
    key.len() == other.len() && key[..stream] == other[..stream]
}

/// Fails if it is not a row.
pub(super) fn check(put: &StatePut) -> Result<(), CodecError> {
    let mut reader = Reader::new(&put.key);
    if reader.u8()? != PREFIX {
        return Err(CodecError::Range("the key of a row"));
    }
    let (_, region) = (reader.u32()?, reader.u8()?);
    reader.short_bytes()?;
    reader.u64()?;
    reader.end()?;
    if region > 1 {
        return Err(CodecError::Range("the region of a row"));
    }
    Row::decode(&put.value).map(drop)
}

/// Returns the rows of a stream with numbers from `from` to `to`, both included, ascending. Reads the disk.
pub(super) fn rows(
    log: &Log,
    (generation, region, key): (u32, Region, &[u8]),
    (from, to): (u64, u64),
    max: usize,
) -> Result<Vec<(u64, Row)>, RowsError> {
    let begin = row_key(generation, region, key, from);
    let end = row_key(generation, region, key, to.saturating_add(1));
    let found = log.state_range(&begin, &end, max)?;
    let rows = found.into_iter().map(|(key, value)| {
        let number = key.last_chunk().copied().map(u64::from_be_bytes);
        Ok((number.ok_or(CodecError::Short)?, Row::decode(&value)?))
    });
    rows.collect()
}

/// The rows of a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowsError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("a row of a stream's index is damaged")]
    Damaged(#[from] CodecError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_row_are_frozen() {
        let row = Row { offset: 300, place: Place { index: 7, sub: 1 }, delta: 2 };
        let put = row.put(9, Region::Since, b"ab", 5);
        assert_eq!(put.key, b"n\0\0\0\x09\x01\0\x02ab\0\0\0\0\0\0\0\x05");
        assert_eq!(&put.value[..], b"\xac\x02\x07\x01\x02");
        assert_eq!(Row::decode(&put.value), Ok(row));
        check(&put).unwrap();
    }

    #[test]
    fn no_generation_reaches_into_the_next() {
        let last = all_of(u32::MAX);
        assert_eq!(last.to, END);
        let one = all_of(1);
        let inside = Row { offset: 0, place: Place::default(), delta: 0 };
        let put = inside.put(1, Region::Since, &[0xff; 512], u64::MAX);
        assert!((one.from..one.to.clone()).contains(&put.key));
        let next = inside.put(2, Region::Before, b"", 0);
        assert!(next.key >= one.to);
    }
}
