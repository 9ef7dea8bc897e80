//! The 61-byte header of a record batch v2 and the fields that a broker may stamp.
//!
//! Everything is big endian. `crc` is CRC32C over the bytes from the attributes to the end, so base
//! offset and leader epoch (in front of it) change without touching the checksum.
//!
//! ```text
//!  0 base offset i64 | 8 length i32 | 12 leader epoch i32 | 16 magic i8 | 17 crc u32
//! 21 attributes i16 | 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64
//! 43 producer id i64 | 51 producer epoch i16 | 53 base sequence i32 | 57 record count i32 | 61 records
//! ```

use super::compression::Codec;

/// Bytes of a batch in front of its records.
pub const HEADER_BYTES: usize = 61;
/// Bytes that the length field does not count: base offset and the length itself.
pub(super) const PREFIX_BYTES: usize = 12;
/// The only record format that Kafka 4 clients write (KIP-98, KIP-724).
pub(super) const MAGIC: i8 = 2;

pub(super) const LENGTH_AT: usize = 8;
pub(super) const CRC_AT: usize = 17;
pub(super) const ATTRIBUTES_AT: usize = 21;
pub(super) const BASE_TIMESTAMP_AT: usize = 27;
pub(super) const MAX_TIMESTAMP_AT: usize = 35;
pub(super) const RECORD_COUNT_AT: usize = 57;

pub(super) const CODEC_BITS: i16 = 0b0000_0111;
pub(super) const LOG_APPEND_TIME_BIT: i16 = 0b0000_1000;
pub(super) const TRANSACTIONAL_BIT: i16 = 0b0001_0000;
pub(super) const CONTROL_BIT: i16 = 0b0010_0000;

/// The decoded header of one batch. Reading it proves nothing about the records behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub base_offset: i64,
    /// Bytes after the length field.
    pub length: i32,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    /// -1 when the producer is not idempotent.
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl Header {
    /// Reads the header in front of `bytes`; `None` when there are fewer than 61.
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        Some(Header {
            base_offset: i64::from_be_bytes(field(bytes, 0)),
            length: i32::from_be_bytes(field(bytes, 8)),
            leader_epoch: i32::from_be_bytes(field(bytes, 12)),
            magic: i8::from_be_bytes(field(bytes, 16)),
            crc: u32::from_be_bytes(field(bytes, CRC_AT)),
            attributes: i16::from_be_bytes(field(bytes, ATTRIBUTES_AT)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: i64::from_be_bytes(field(bytes, BASE_TIMESTAMP_AT)),
            max_timestamp: i64::from_be_bytes(field(bytes, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: i32::from_be_bytes(field(bytes, RECORD_COUNT_AT)),
        })
    }

    /// Returns the size of the whole batch as its length field says, if that is a possible size.
    pub fn total_bytes(&self) -> Option<usize> {
        let total = usize::try_from(self.length).ok()?.checked_add(PREFIX_BYTES)?;
        (total >= HEADER_BYTES).then_some(total)
    }

    /// Returns the codec of the records; `None` for a number that no Kafka release has defined.
    pub fn codec(&self) -> Option<Codec> {
        Codec::from_id(self.attributes & CODEC_BITS)
    }

    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_BIT != 0
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    pub fn is_idempotent(&self) -> bool {
        self.producer_id >= 0
    }

    /// Returns the offset of the last record; the next batch starts one above it.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Returns the sequence number of the last record. Sequences go from `i32::MAX` on to 0 (KIP-98).
    pub fn last_sequence(&self) -> i32 {
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        let wrapped = last.rem_euclid(i64::from(i32::MAX) + 1);
        i32::try_from(wrapped).expect("a remainder of 2^31 fits")
    }
}

/// Writes base offset and leader epoch into a batch. The checksum does not cover them.
///
/// # Panics
/// When `batch` is shorter than a header.
pub fn stamp(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    assert!(batch.len() >= HEADER_BYTES, "a batch has a header");
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Computes the checksum that belongs into a batch's header.
pub(super) fn checksum(batch: &[u8]) -> u32 {
    crc32c::crc32c(&batch[ATTRIBUTES_AT..])
}

/// The batches in a run of bytes as a fetch returns it, each with its header.
///
/// Ends at the first byte that does not begin a whole batch.
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    pub fn new(bytes: &'a [u8]) -> Batches<'a> {
        Batches { rest: bytes }
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = (Header, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = Header::parse(self.rest)?;
        let (batch, rest) = self.rest.split_at_checked(header.total_bytes()?)?;
        self.rest = rest;
        Some((header, batch))
    }
}

fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("every field ends inside the header")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    #[test]
    fn stamping_leaves_the_checksum_valid() {
        let mut batch = BatchBuilder::new().record(7, None, Some(b"value")).build().to_vec();
        stamp(&mut batch, 1 << 40, 9);
        let header = Header::parse(&batch).unwrap();
        assert_eq!((header.base_offset, header.leader_epoch), (1 << 40, 9));
        assert_eq!(header.crc, checksum(&batch));
    }

    #[test]
    fn sequences_wrap_to_zero_after_the_largest() {
        let batch = BatchBuilder::new()
            .producer(1, 0, i32::MAX)
            .record(0, None, None)
            .record(0, None, None)
            .build();
        assert_eq!(Header::parse(&batch).unwrap().last_sequence(), 0);
    }

    #[test]
    fn a_cut_batch_ends_the_walk() {
        let one = BatchBuilder::new().record(0, None, Some(b"a")).build();
        let mut two = [one.as_ref(), one.as_ref()].concat();
        assert_eq!(Batches::new(&two).count(), 2);
        two.pop();
        assert_eq!(Batches::new(&two).count(), 1);
        assert_eq!(Batches::new(&[0; 70]).count(), 0);
    }
}
