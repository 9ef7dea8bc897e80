//! Records below a group's log, in immutable chunks.
//!
//! ```text
//!   meta:    a group's rows, by first offset      7:0 ──▶ chunk 41   7:900 ──▶ chunk 44
//!   chunks:  files, keyed (chunk, offset)         41:0 41:3 .. 41:897   44:900 ..
//! ```
//!
//! A chunk is one file: it is written beside the store, taken into it as it is, and dropped as a whole. It is durable
//! before a row names it, and its row is durably gone before the file is: what a crash leaves is a file that no row
//! names, and the next opening drops it. Numbers are the node's own, and none that a row has named is used again, so neither a reader nor a file
//! that is still to be dropped can be mistaken about one.
//!
//! What a record is, is the business of the layer above, and so is a chunk's description.

use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::Bytes;

use crate::{Error, GroupId, StateDelete, StatePut, keys};

/// A chunk that a group has, or will have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The node's number of it.
    pub(crate) number: u64,
    /// The first offset it stands for; its records may begin later.
    pub first: u64,
    /// Offset behind its records.
    pub end: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Index of the first log entry whose records are behind it.
    pub index: u64,
    /// What the layer above says of it.
    pub description: Bytes,
    /// It cannot be read.
    pub(crate) damaged: bool,
}

/// Bytes of a row before the description.
const ROW_HEADER: usize = 4 * 8 + 1;

impl Chunk {
    /// The value of its row; the key has the group and `first`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(ROW_HEADER + self.description.len());
        for number in [self.number, self.end, self.bytes, self.index] {
            value.extend_from_slice(&number.to_be_bytes());
        }
        value.push(u8::from(self.damaged));
        value.extend_from_slice(&self.description);
        value
    }

    pub(crate) fn decode(first: u64, value: &[u8]) -> Option<Chunk> {
        let (header, description) = value.split_at_checked(ROW_HEADER)?;
        let number = |at: usize| {
            header[at * 8..][..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let (damaged, end) = (header[ROW_HEADER - 1] != 0, number(1));
        let description = Bytes::copy_from_slice(description);
        let (number, bytes, index) = (number(0), number(2), number(3));
        (first < end).then_some(Chunk { number, first, end, bytes, index, description, damaged })
    }
}

/// What a group has after a reset, see [`crate::Log::reset_to`].
#[derive(Debug, Default)]
pub struct Reset {
    /// State with keys in these ranges stays: what was written there piece by piece, to take the place of the rest at once.
    pub keep: Vec<StateDelete>,
    /// State that is written.
    pub state: Vec<StatePut>,
    /// Records that were written piece by piece, seen from now on and all at once.
    pub chunks: Vec<NewChunk>,
}

/// A chunk that was written and that no group has yet. Unless one takes it, its file goes when this is dropped.
pub struct NewChunk {
    chunk: Chunk,
    unnamed: Option<Box<dyn FnOnce(u64) + Send + Sync>>,
}

impl std::fmt::Debug for NewChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.chunk.fmt(f)
    }
}

impl Deref for NewChunk {
    type Target = Chunk;

    fn deref(&self) -> &Chunk {
        &self.chunk
    }
}

impl Drop for NewChunk {
    fn drop(&mut self) {
        if let Some(unnamed) = self.unnamed.take() {
            unnamed(self.chunk.number);
        }
    }
}

impl NewChunk {
    /// `unnamed` is called if no group takes it.
    pub(crate) fn new(chunk: Chunk, unnamed: Box<dyn FnOnce(u64) + Send + Sync>) -> NewChunk {
        NewChunk { chunk, unnamed: Some(unnamed) }
    }

    /// A row is about to name it.
    pub(crate) fn named(mut self) -> Chunk {
        self.unnamed = None;
        self.chunk.clone()
    }
}

/// A group's chunks at some time, in order and without gaps. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Chunks(Option<Arc<Vec<Chunk>>>);

impl Deref for Chunks {
    type Target = [Chunk];

    fn deref(&self) -> &[Chunk] {
        self.0.as_ref().map_or(&[], |chunks| chunks.as_slice())
    }
}

impl Chunks {
    /// Chunks that follow on each other.
    pub(crate) fn new(group: GroupId, chunks: Vec<Chunk>) -> Result<Chunks, Error> {
        if let Some(gap) = chunks.windows(2).find(|two| two[0].end != two[1].first) {
            let (found, expected) = (gap[1].first, gap[0].end);
            return Err(Error::ChunkNotWritten(format!(
                "one of group {group} begins at offset {found}, but the one before it ends at {expected}"
            )));
        }
        Ok(Chunks((!chunks.is_empty()).then(|| Arc::new(chunks))))
    }

    /// Whether nothing changed between the two.
    pub fn is_same(&self, other: &Chunks) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    /// These with some replaced.
    pub(crate) fn spliced(
        &self,
        group: GroupId,
        gone: Range<usize>,
        new: &[Chunk],
    ) -> Result<Chunks, Error> {
        let mut chunks = self.to_vec();
        chunks.splice(gone, new.iter().cloned());
        Chunks::new(group, chunks)
    }

    /// Bytes of the files.
    pub(crate) fn bytes(&self) -> u64 {
        self.iter().map(|chunk| chunk.bytes).sum()
    }

    /// Index of the entry behind the first damaged chunk.
    pub(crate) fn damaged(&self) -> Option<u64> {
        self.iter().find(|chunk| chunk.damaged).map(|chunk| chunk.index)
    }

    /// The chunk with this number.
    pub(crate) fn find(&self, number: u64) -> Option<&Chunk> {
        self.iter().find(|chunk| chunk.number == number)
    }

    /// These with one that is damaged; None if it is not there any more, or is known to be.
    pub(crate) fn with_damage(&self, number: u64) -> Option<Chunks> {
        let at = self.iter().position(|chunk| chunk.number == number && !chunk.damaged)?;
        let mut chunks = self.to_vec();
        chunks[at].damaged = true;
        Some(Chunks(Some(Arc::new(chunks))))
    }

    /// The chunk in which a read from `offset` begins.
    pub(crate) fn holding(&self, offset: u64) -> Option<&Chunk> {
        self.get(self.partition_point(|chunk| chunk.end <= offset))
    }
}

/// Records of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRecords {
    /// Offset and value, in order.
    pub records: Vec<(u64, Bytes)>,
    /// Where to read on: the next record's offset, or the end of the chunk.
    pub next: u64,
}

const CRC: usize = 4;

/// The value of a record on disk: CRC-32C of where it is and of it, then it.
pub(crate) fn encode_record(chunk: u64, offset: u64, value: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&checksum(chunk, offset, value).to_be_bytes());
    out.extend_from_slice(value);
}

/// None: it is damaged.
pub(crate) fn decode_record(chunk: u64, offset: u64, stored: &[u8]) -> Option<Bytes> {
    let (crc, value) = stored.split_at_checked(CRC)?;
    let right = crc == checksum(chunk, offset, value).to_be_bytes();
    right.then(|| Bytes::copy_from_slice(value))
}

fn checksum(chunk: u64, offset: u64, value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&keys::record(chunk, offset)), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u64, first: u64, end: u64) -> Chunk {
        let description = Bytes::from_static(b"said above");
        Chunk { number, first, end, bytes: 10, index: end * 2, description, damaged: false }
    }

    fn chunks(bounds: &[(u64, u64)]) -> Result<Chunks, Error> {
        let number = |at: usize| at as u64 + 40;
        let all =
            bounds.iter().enumerate().map(|(at, (first, end))| chunk(number(at), *first, *end));
        Chunks::new(GroupId(1), all.collect())
    }

    #[test]
    fn a_row_decodes_to_what_was_encoded_and_no_cut_header_does() {
        let chunk = Chunk { damaged: true, ..chunk(7, 3, 900) };
        let row = chunk.encode();
        assert_eq!(Chunk::decode(3, &row), Some(chunk));
        (0..ROW_HEADER).for_each(|length| assert_eq!(Chunk::decode(3, &row[..length]), None));
        assert_eq!(Chunk::decode(900, &row), None, "it would end where it begins");
    }

    #[test]
    fn chunks_follow_on_each_other_and_are_found_by_offset() {
        assert!(chunks(&[(0, 5), (6, 9)]).is_err());
        let chunks = chunks(&[(2, 5), (5, 9), (9, 10)]).unwrap();
        let numbers = |offset| chunks.holding(offset).map(|chunk| chunk.number);
        let found: Vec<_> = [0, 2, 4, 5, 8, 9, 10].map(numbers).to_vec();
        let expected = [Some(40), Some(40), Some(40), Some(41), Some(41), Some(42), None];
        assert_eq!(found, expected);
        assert!(chunks.spliced(GroupId(1), 1..2, &[]).is_err(), "a gap");
        let spliced = chunks.spliced(GroupId(1), 1..3, &[chunk(50, 5, 12)]).unwrap();
        assert_eq!(spliced.len(), 2);
        assert!(!spliced.is_same(&chunks) && chunks.is_same(&chunks.clone()));
    }

    #[test]
    fn a_damaged_chunk_is_told_by_the_entry_behind_it() {
        let whole = chunks(&[(0, 5), (5, 9)]).unwrap();
        assert_eq!(whole.damaged(), None);
        let damaged = whole.with_damage(41).unwrap();
        assert_eq!(damaged.damaged(), Some(18));
        assert!(damaged.with_damage(41).is_none() && whole.with_damage(44).is_none());
    }

    #[test]
    fn every_flipped_bit_and_every_other_place_of_a_record_is_noticed() {
        let mut stored = Vec::new();
        encode_record(4, 9, b"a record", &mut stored);
        assert_eq!(decode_record(4, 9, &stored), Some(Bytes::from_static(b"a record")));
        assert_eq!(decode_record(5, 9, &stored), None);
        assert_eq!(decode_record(4, 8, &stored), None);
        for bit in 0..stored.len() * 8 {
            stored[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_record(4, 9, &stored), None, "bit {bit}");
            stored[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
