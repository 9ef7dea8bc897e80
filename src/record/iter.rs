//! The records inside a batch, read one after the other.
//!
//! A record is a run of variable-length integers; none of its lengths is believed before it is seen to fit
//! into the record around it, and none makes the reader take memory before the bytes are there.
//! Callers say with [`Want`] how much they need: a timestamp lookup never copies a value.

use std::io::{self, BufRead};

use bytes::{Buf, Bytes};

use super::batch::{HEADER_BYTES, Header};
use super::compression::{INFLATED_BYTES_MAX, Inflated, skip, take};

/// What names of headers begin with that mean something to this broker.
pub const RESERVED: &[u8] = b"quorate-";

/// Bytes of a record's length at most.
const LENGTH_BYTES_MAX: usize = 5;

/// How much of each record a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Offset, timestamp and the sizes of key and value.
    Heads,
    /// Also the key.
    Keys,
    /// Also the headers.
    KeysAndHeaders,
    /// Also the value.
    Everything,
}

/// One record. Key, value and headers are present as far as they were wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset_delta: i32,
    /// Milliseconds since 1970; the batch's own time when the log stamps times (LogAppendTime).
    pub timestamp: i64,
    /// -1 for a null key.
    pub key_bytes: i32,
    /// -1 for a null value, a tombstone in a compacted topic.
    pub value_bytes: i32,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

/// The headers of one record, each seen to be whole, as the bytes they came in.
///
/// A header may be two bytes long, and a record of a hundred megabytes of such is valid; taken apart, it would take
/// gigabytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Bytes);

impl Headers {
    /// Names and values in the order sent; a name may come more than once.
    pub fn iter(&self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> + use<> {
        let mut rest = self.0.clone();
        std::iter::from_fn(move || {
            let name = next_blob(&mut rest)??;
            Some((name, next_blob(&mut rest)?))
        })
    }
}

/// Takes a length and so many bytes off the front; nothing for the length -1.
fn next_blob(rest: &mut Bytes) -> Option<Option<Bytes>> {
    let mut unread: &[u8] = rest;
    let length = Body { left: unread.len(), source: &mut unread, index: 0 }.int().ok()?;
    rest.advance(rest.len() - unread.len());
    match usize::try_from(length) {
        Ok(length) => (length <= rest.len()).then(|| Some(rest.split_to(length))),
        Err(_) => Some(None),
    }
}

/// Why the records of a batch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the batch is shorter than its header")]
    NoHeader,
    #[error("compression type {id} is not known")]
    UnknownCodec { id: i16 },
    #[error(
        "the records are larger than allowed after decompression, at most {INFLATED_BYTES_MAX} bytes"
    )]
    TooLarge,
    #[error("record {index} is malformed: {what}")]
    Malformed { index: i32, what: &'static str },
    #[error("the records cannot be decompressed")]
    Decompress(#[source] io::Error),
    #[error("bytes follow the last record")]
    Trailing,
}

/// Iterator over the records of one batch, in bytes that are borrowed or owned; ends after the first error.
pub struct Records<B: AsRef<[u8]>> {
    source: Inflated<B>,
    header: Header,
    want: Projection,
    index: i32,
    done: bool,
    has_reserved: bool,
}

impl<B: AsRef<[u8]>> Records<B> {
    /// Opens the records of `batch`, which starts with its header and ends with its last byte.
    pub fn open(batch: B, want: Projection) -> Result<Records<B>, RecordError> {
        Records::open_within(batch, want, INFLATED_BYTES_MAX)
    }

    /// The same with a bound of its own on the size after decompression.
    pub(super) fn open_within(
        batch: B,
        want: Projection,
        inflated_bytes_max: u64,
    ) -> Result<Records<B>, RecordError> {
        let header = Header::parse(batch.as_ref()).ok_or(RecordError::NoHeader)?;
        let id = header.attributes & super::batch::CODEC_BITS;
        let codec = header.codec().ok_or(RecordError::UnknownCodec { id })?;
        let source = Inflated::open(codec, batch, HEADER_BYTES, inflated_bytes_max)
            .map_err(RecordError::Decompress)?;
        Ok(Records { source, header, want, index: 0, done: false, has_reserved: false })
    }

    /// Whether records are left.
    pub fn has_more(&self) -> bool {
        !self.done && self.index < self.header.record_count
    }

    /// Passes over the first records of a batch by their lengths alone. Does nothing in a batch that lost records: of that
    /// nobody knows how many come before one.
    pub(crate) fn pass(&mut self, count: i32) -> Result<(), RecordError> {
        if self.header.record_count.checked_sub(1) != Some(self.header.last_offset_delta) {
            return Ok(());
        }
        while self.index < count && self.has_more() {
            let index = self.index;
            let length = Body { source: &mut self.source, left: LENGTH_BYTES_MAX, index }.int()?;
            let length = usize::try_from(length)
                .map_err(|_| RecordError::Malformed { index, what: "negative length" })?;
            skip(&mut self.source, length).map_err(classify)?;
            self.index += 1;
        }
        Ok(())
    }

    /// Whether any record read so far has a header whose name begins with [`RESERVED`].
    pub fn has_reserved(&self) -> bool {
        self.has_reserved
    }

    fn read(&mut self) -> Result<Record, RecordError> {
        let (index, want) = (self.index, self.want);
        let length = Body { source: &mut self.source, left: LENGTH_BYTES_MAX, index }.int()?;
        let left = usize::try_from(length)
            .map_err(|_| RecordError::Malformed { index, what: "negative length" })?;
        // Nearly every record lies there as a whole, and is then taken apart without asking for each of its fields.
        let ready = self.source.fill_buf().map_err(classify)?;
        let (mut record, has_reserved) = if let Some(mut whole) = ready.get(..left) {
            let read = Body { source: &mut whole, left, index }.record(want)?;
            self.source.consume(left);
            read
        } else {
            Body { source: &mut self.source, left, index }.record(want)?
        };
        self.has_reserved |= has_reserved;
        record.timestamp = if self.header.is_log_append_time() {
            self.header.max_timestamp
        } else {
            let time = self.header.base_timestamp.checked_add(record.timestamp);
            time.ok_or(RecordError::Malformed { index, what: "timestamp out of range" })?
        };
        Ok(record)
    }

    fn at_end(&mut self) -> Result<(), RecordError> {
        match self.source.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(RecordError::Trailing),
            Err(error) => Err(classify(error)),
        }
    }
}

impl<B: AsRef<[u8]>> Iterator for Records<B> {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.index >= self.header.record_count {
            self.done = true;
            return self.at_end().err().map(Err);
        }
        let record = self.read();
        self.done = record.is_err();
        self.index += 1;
        Some(record)
    }
}

/// One record being read: `left` is what its length still allows.
struct Body<'r, S> {
    source: &'r mut S,
    left: usize,
    index: i32,
}

impl<S: BufRead> Body<'_, S> {
    /// A record behind its length, its timestamp still relative to its batch's; and whether a header of it has a reserved
    /// name.
    fn record(mut self, want: Projection) -> Result<(Record, bool), RecordError> {
        self.byte()?;
        let timestamp = self.long()?;
        let offset_delta = self.int()?;
        let (key_bytes, key) = self.blob(want != Projection::Heads)?;
        let (value_bytes, value) = self.blob(want == Projection::Everything)?;
        let wants_headers = matches!(want, Projection::KeysAndHeaders | Projection::Everything);
        let (headers, has_reserved) = self.headers(wants_headers)?;
        if self.left != 0 {
            return Err(self.malformed("its parts are shorter than its length"));
        }
        let record =
            Record { offset_delta, timestamp, key_bytes, value_bytes, key, value, headers };
        Ok((record, has_reserved))
    }

    fn byte(&mut self) -> Result<u8, RecordError> {
        self.spend(1)?;
        let ready = self.source.fill_buf().map_err(classify)?;
        let Some(byte) = ready.first().copied() else {
            return Err(self.malformed("the batch ends inside it"));
        };
        self.source.consume(1);
        Ok(byte)
    }

    /// A zigzag integer of at most 32 bits.
    fn int(&mut self) -> Result<i32, RecordError> {
        let raw = u32::try_from(self.unsigned(5)?)
            .map_err(|_| self.malformed("an integer is too large"))?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A zigzag integer of at most 64 bits.
    fn long(&mut self) -> Result<i64, RecordError> {
        let raw = self.unsigned(10)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    fn unsigned(&mut self, bytes_max: usize) -> Result<u64, RecordError> {
        let ready = self.source.fill_buf().map_err(classify)?;
        let mut value = 0_u64;
        for (position, byte) in ready.iter().take(bytes_max).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                self.spend(position + 1)?;
                self.source.consume(position + 1);
                return Ok(value);
            }
        }
        self.unsigned_by_bytes(bytes_max)
    }

    /// One whose bytes are not all there at once.
    fn unsigned_by_bytes(&mut self, bytes_max: usize) -> Result<u64, RecordError> {
        let mut value = 0_u64;
        for position in 0..bytes_max {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("an integer is too long"))
    }

    fn blob(&mut self, wanted: bool) -> Result<(i32, Option<Bytes>), RecordError> {
        let length = self.int()?;
        if length < -1 {
            return Err(self.malformed("negative length"));
        }
        let Ok(bytes) = usize::try_from(length) else { return Ok((-1, None)) };
        self.spend(bytes)?;
        let taken = if wanted {
            take(self.source, bytes).map(Some)
        } else {
            skip(self.source, bytes).map(|()| None)
        };
        Ok((length, taken.map_err(classify)?))
    }

    /// The headers come last in a record.
    fn headers(&mut self, wanted: bool) -> Result<(Headers, bool), RecordError> {
        let count = usize::try_from(self.int()?)
            .map_err(|_| self.malformed("negative number of headers"))?;
        // A header takes two bytes at least, so a larger count is a lie and ends here.
        if count > self.left / 2 {
            return Err(self.malformed("more headers than bytes"));
        }
        if !wanted {
            let has_reserved = self.pass_headers(count)?;
            return Ok((Headers::default(), has_reserved));
        }
        let bytes = take(self.source, self.left).map_err(classify)?;
        let mut unread: &[u8] = &bytes;
        let mut body = Body { source: &mut unread, left: self.left, index: self.index };
        let has_reserved = body.pass_headers(count)?;
        self.left = body.left;
        Ok((Headers(bytes), has_reserved))
    }

    /// Returns whether any of them has a reserved name.
    fn pass_headers(&mut self, count: usize) -> Result<bool, RecordError> {
        let mut has_reserved = false;
        for _ in 0..count {
            has_reserved |= self.pass_name()?;
            self.blob(false)?;
        }
        Ok(has_reserved)
    }

    /// Passes the name of a header; returns whether it is a reserved one.
    fn pass_name(&mut self) -> Result<bool, RecordError> {
        let length = self.int()?;
        let Ok(length) = usize::try_from(length) else {
            return Err(self.malformed("a header without a name"));
        };
        let mut is_reserved = length >= RESERVED.len();
        let looked_at = length.min(RESERVED.len());
        for reserved in &RESERVED[..looked_at] {
            is_reserved &= self.byte()? == *reserved;
        }
        self.spend(length - looked_at)?;
        skip(self.source, length - looked_at).map_err(classify)?;
        Ok(is_reserved)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), RecordError> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| self.malformed("its parts are longer than its length"))?;
        Ok(())
    }

    fn malformed(&self, what: &'static str) -> RecordError {
        RecordError::Malformed { index: self.index, what }
    }
}

fn classify(error: io::Error) -> RecordError {
    match error.kind() {
        io::ErrorKind::FileTooLarge => RecordError::TooLarge,
        _ => RecordError::Decompress(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Codec};

    #[test]
    fn records_come_back_as_they_were_built() {
        for codec in Codec::ALL {
            let batch = BatchBuilder::new()
                .codec(codec)
                .record(100, Some(b"k"), Some(b"v"))
                .record(90, None, None)
                .header("trace", Some(b"1"))
                .header("trace", None)
                .build();
            let records: Vec<Record> = Records::open(&batch, Projection::Everything)
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(records.len(), 2, "{codec:?}");
            assert_eq!(records[0].key.as_deref(), Some(b"k".as_slice()));
            assert_eq!((records[0].timestamp, records[1].timestamp), (100, 90));
            assert_eq!((records[1].key_bytes, records[1].value_bytes), (-1, -1));
            let headers: Vec<_> = records[1].headers.iter().collect();
            let name = Bytes::from_static(b"trace");
            let value = Some(Bytes::from_static(b"1"));
            assert_eq!(headers, [(name.clone(), value), (name, None)], "a header name may repeat");
        }
    }
}
