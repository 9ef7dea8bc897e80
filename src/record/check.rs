//! The gate: what a producer sent becomes a [`CheckedBatch`] or an error that says why not.
//!
//! Everything is checked that a later reader relies on: exactly one batch, its length, checksum and magic, a
//! record count that agrees with the offsets it will take, and every record inside, decompressed as a stream.
//! What passes is stored as sent, with three exceptions that Kafka makes too: a topic with LogAppendTime
//! gets the broker's time, a largest timestamp that the records do not have is corrected, since
//! retention and time lookups believe it, and a topic with a `compression.type` of its own has all records
//! compressed so. Only then is the checksum computed anew.
//!
//! Invariant: no input makes [`check`] panic or take more memory than a few buffers.

use bytes::{Bytes, BytesMut};

use super::batch::{
    ATTRIBUTES_AT, CODEC_BITS, CRC_AT, HEADER_BYTES, Header, LOG_APPEND_TIME_BIT, MAGIC,
    MAX_TIMESTAMP_AT, checksum,
};
use super::compress::recompressed;
use super::compression::Codec;
use super::iter::{Projection, RecordError, Records};

/// A record without a time of its own.
const NO_TIMESTAMP: i64 = -1;
/// Records of a batch that are refused by name; clients take the rest for refused with them.
const NAMED_MAX: usize = 100;

/// What a batch must keep to in the topic it is for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest batch in bytes as stored, header included (`max.message.bytes`).
    pub bytes_max: usize,
    /// The broker's time in milliseconds since 1970.
    pub now_ms: i64,
    pub timestamps: TimestampRule,
    /// Whether the producer's protocol version may send zstd (Produce 7 and up, KIP-110).
    pub zstd: bool,
    /// Largest size of the records in bytes after decompression.
    pub inflated_bytes_max: u64,
    /// How batches are compressed in the log (`compression.type`); `None` keeps them as their producers sent them.
    pub codec: Option<Codec>,
    /// Whether every record needs a key, as in a compacted topic.
    pub keys: bool,
}

/// Whose clock a topic's records carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampRule {
    /// The broker's: `message.timestamp.type=LogAppendTime`.
    LogAppend,
    /// The producer's, at most so many milliseconds in the past and in the future.
    Create { before_ms_max: i64, after_ms_max: i64 },
}

/// Why a batch is refused. Nothing of it was stored; sending the same bytes again fails again.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("exactly one record batch is expected in a partition's records")]
    NotOne,
    #[error("record format {magic} is not supported, only 2 is")]
    Magic { magic: i8 },
    #[error("the checksum does not match the records")]
    Checksum,
    #[error("the batch of {bytes} bytes is larger than the topic's max.message.bytes {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("the record count {records} does not agree with the offsets {offsets}")]
    Count { records: i32, offsets: i64 },
    #[error("control batches are written by brokers only")]
    Control,
    #[error("a batch with a producer id needs an epoch and a sequence number of at least 0")]
    Producer,
    #[error("compression type {id} is not supported by this version of the request")]
    Codec { id: i16 },
    /// `records`: the first [`NAMED_MAX`] records that have such a timestamp.
    #[error("record {first} has the timestamp {timestamp}, outside of what the topic accepts")]
    Timestamps { first: i32, timestamp: i64, records: Vec<i32> },
    /// `records`: the first [`NAMED_MAX`] records without one.
    #[error("record {first} has no key, which a compacted topic needs")]
    Keys { first: i32, records: Vec<i32> },
    #[error("record {index} has offset {found} inside the batch, expected {index}")]
    OffsetDelta { index: i32, found: i32 },
    #[error(transparent)]
    Records(#[from] RecordError),
}

/// One record batch v2 that passed [`check`]: the bytes to store, base offset and leader epoch still to
/// be stamped.
#[derive(Clone, Debug)]
pub struct CheckedBatch {
    header: Header,
    bytes: Bytes,
    /// A record has a header that means something to this broker.
    has_reserved: bool,
}

impl CheckedBatch {
    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns whether any record has a header whose name begins with [`super::RESERVED`].
    pub fn has_reserved(&self) -> bool {
        self.has_reserved
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Returns how many records the batch holds, and so how many offsets it takes; at least 1.
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A batch is never empty; present because `len` is.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Checks the records that a producer sent for one partition.
pub fn check(bytes: Bytes, limits: &Limits) -> Result<CheckedBatch, BatchError> {
    let header = one_batch(&bytes, limits)?;
    check_header(&header, limits)?;
    let (newest, has_reserved) = walk(&bytes, &header, limits)?;
    let (attributes, max_timestamp) = match limits.timestamps {
        TimestampRule::LogAppend => (header.attributes | LOG_APPEND_TIME_BIT, limits.now_ms),
        TimestampRule::Create { .. } => (header.attributes, newest),
    };
    let is_as_sent = (attributes, max_timestamp) == (header.attributes, header.max_timestamp);
    let batch = if is_as_sent {
        CheckedBatch { header, bytes, has_reserved }
    } else {
        CheckedBatch { has_reserved, ..rewritten(&bytes, attributes, max_timestamp) }
    };
    match limits.codec.filter(|codec| batch.header.codec() != Some(*codec)) {
        None => Ok(batch),
        Some(codec) => compressed_anew(&batch, codec, limits),
    }
}

/// The same records, compressed as their topic has it; what the producer sent fitted, and this may not.
fn compressed_anew(
    batch: &CheckedBatch,
    codec: Codec,
    limits: &Limits,
) -> Result<CheckedBatch, BatchError> {
    let bounds = (limits.inflated_bytes_max, limits.bytes_max);
    let bytes = recompressed(&batch.bytes, &batch.header, codec, bounds)
        .map_err(RecordError::Decompress)?
        .map_err(|bytes| BatchError::TooLarge { bytes, bytes_max: limits.bytes_max })?;
    let header = Header::parse(&bytes).ok_or(BatchError::NotOne)?;
    Ok(CheckedBatch { header, bytes, has_reserved: batch.has_reserved })
}

/// Finds exactly one whole batch with the right magic, size and checksum.
fn one_batch(bytes: &Bytes, limits: &Limits) -> Result<Header, BatchError> {
    // The magic stands at the same place in every format, so old formats are told apart from garbage.
    match bytes.get(16).copied().map(u8::cast_signed) {
        None => return Err(BatchError::NotOne),
        Some(MAGIC) => {}
        Some(magic) => return Err(BatchError::Magic { magic }),
    }
    let header = Header::parse(bytes).ok_or(BatchError::NotOne)?;
    if header.total_bytes() != Some(bytes.len()) {
        return Err(BatchError::NotOne);
    }
    if bytes.len() > limits.bytes_max {
        let (bytes, bytes_max) = (bytes.len(), limits.bytes_max);
        return Err(BatchError::TooLarge { bytes, bytes_max });
    }
    if checksum(bytes) == header.crc { Ok(header) } else { Err(BatchError::Checksum) }
}

fn check_header(header: &Header, limits: &Limits) -> Result<(), BatchError> {
    let offsets = i64::from(header.last_offset_delta) + 1;
    if header.record_count <= 0 || offsets != i64::from(header.record_count) {
        return Err(BatchError::Count { records: header.record_count, offsets });
    }
    if header.is_control() {
        return Err(BatchError::Control);
    }
    let anonymous = header.producer_id < 0;
    if !anonymous && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return Err(BatchError::Producer);
    }
    let id = header.attributes & CODEC_BITS;
    match header.codec() {
        Some(Codec::Zstd) if !limits.zstd => Err(BatchError::Codec { id }),
        Some(_) => Ok(()),
        None => Err(BatchError::Codec { id }),
    }
}

/// Reads every record and returns the largest timestamp among them, and whether any has a reserved header.
fn walk(bytes: &Bytes, header: &Header, limits: &Limits) -> Result<(i64, bool), BatchError> {
    let mut newest = NO_TIMESTAMP;
    let mut refused: Option<(i64, Vec<i32>)> = None;
    let mut keyless = Vec::new();
    let mut records = Records::open_within(bytes, Projection::Heads, limits.inflated_bytes_max)?;
    for (index, record) in (0..).zip(records.by_ref()) {
        let record = record?;
        if record.offset_delta != index {
            return Err(BatchError::OffsetDelta { index, found: record.offset_delta });
        }
        if !limits.allow(record.timestamp, header) {
            let (_, records) = refused.get_or_insert((record.timestamp, Vec::new()));
            if records.len() < NAMED_MAX {
                records.push(index);
            }
        }
        if limits.keys && record.key_bytes < 0 && keyless.len() < NAMED_MAX {
            keyless.push(index);
        }
        newest = newest.max(record.timestamp);
    }
    if let Some(first) = keyless.first().copied() {
        return Err(BatchError::Keys { first, records: keyless });
    }
    match refused {
        None => Ok((newest, records.has_reserved())),
        Some((timestamp, records)) => {
            Err(BatchError::Timestamps { first: records[0], timestamp, records })
        }
    }
}

impl Limits {
    fn allow(&self, timestamp: i64, header: &Header) -> bool {
        let TimestampRule::Create { before_ms_max, after_ms_max } = self.timestamps else {
            return true;
        };
        let oldest = self.now_ms.saturating_sub(before_ms_max);
        let newest = self.now_ms.saturating_add(after_ms_max);
        let fits = (oldest..=newest).contains(&timestamp) || timestamp == NO_TIMESTAMP;
        fits && !header.is_log_append_time()
    }
}

#[cfg(test)]
impl Limits {
    /// What nearly every batch of a test keeps to.
    pub(crate) fn wide(now_ms: i64) -> Self {
        Self {
            bytes_max: 16 << 20,
            now_ms,
            timestamps: TimestampRule::Create { before_ms_max: i64::MAX, after_ms_max: i64::MAX },
            zstd: true,
            inflated_bytes_max: 16 << 20,
            codec: None,
            keys: false,
        }
    }
}

impl TimestampRule {
    /// Returns the rule of a broker that does not know the time: every time may be.
    pub fn unbounded(self) -> Self {
        match self {
            Self::LogAppend => Self::LogAppend,
            Self::Create { .. } => Self::Create { before_ms_max: i64::MAX, after_ms_max: i64::MAX },
        }
    }
}

fn rewritten(bytes: &Bytes, attributes: i16, max_timestamp: i64) -> CheckedBatch {
    let mut batch = BytesMut::from(bytes.as_ref());
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max_timestamp.to_be_bytes());
    let crc = checksum(&batch);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    debug_assert!(batch.len() >= HEADER_BYTES, "a checked batch has a header");
    let header = Header::parse(&batch).expect("a checked batch has a header");
    CheckedBatch { header, bytes: batch.freeze(), has_reserved: false }
}

#[cfg(test)]
mod tests;
