//! Builds batches, for the command-line client, the benchmarks and the tests.

use bytes::Bytes;

use super::batch::{ATTRIBUTES_AT, CRC_AT, HEADER_BYTES, MAGIC, PREFIX_BYTES, checksum};
use super::compression::Codec;
use super::iter::Record;

/// Returns what a batch of `records` records takes at most, header included, when each has a value of `value_bytes`,
/// no key and no headers, and their times are within a quarter of an hour.
pub fn batch_bytes_max(records: usize, value_bytes: usize) -> usize {
    // Attributes, time, offset, no key, the value, no headers; and before all that its length.
    let body = 1 + 3 + varint_bytes(records) + 1 + varint_bytes(value_bytes) + value_bytes + 1;
    records.saturating_mul(varint_bytes(body) + body).saturating_add(HEADER_BYTES)
}

/// How long a length is written: zigzag takes one bit, and each byte holds seven.
fn varint_bytes(length: usize) -> usize {
    let bits = usize::BITS - length.leading_zeros() + 1;
    bits.div_ceil(7) as usize
}

/// Collects records and returns them as one batch v2 with a valid checksum.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    codec: Codec,
    attributes: i16,
    producer: (i64, i16, i32),
    records: Vec<Draft>,
}

#[derive(Clone, Debug)]
struct Draft {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Default for BatchBuilder {
    fn default() -> BatchBuilder {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    pub fn new() -> BatchBuilder {
        BatchBuilder { codec: Codec::None, attributes: 0, producer: (-1, -1, -1), records: vec![] }
    }

    #[must_use]
    pub fn codec(mut self, codec: Codec) -> BatchBuilder {
        self.codec = codec;
        self
    }

    /// Sets attribute bits beside the codec's.
    #[must_use]
    pub fn attributes(mut self, bits: i16) -> BatchBuilder {
        self.attributes |= bits;
        self
    }

    /// Makes the batch an idempotent producer's: id, epoch and sequence of the first record.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        self.producer = (id, epoch, base_sequence);
        self
    }

    /// Adds a record; `timestamp` in milliseconds since 1970.
    #[must_use]
    pub fn record(mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        self.records.push(Draft {
            timestamp,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers: Vec::new(),
        });
        self
    }

    /// Adds a header to the record added last.
    ///
    /// # Panics
    /// When there is no record yet.
    #[must_use]
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> BatchBuilder {
        let last = self.records.last_mut().expect("a header belongs to a record");
        last.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }

    /// Returns the batch with base offset 0 and leader epoch -1, as producers send it.
    ///
    /// # Panics
    /// When the batch would not fit the format's 32-bit length.
    pub fn build(&self) -> Bytes {
        let base = self.records.first().map_or(-1, |record| record.timestamp);
        let newest = self.records.iter().map(|record| record.timestamp).max().unwrap_or(-1);
        let mut plain = Vec::new();
        for (index, record) in self.records.iter().enumerate() {
            record.write(&mut plain, index, base);
        }
        let packed = self.codec.deflate(&plain).expect("compressing into memory does not fail");
        let count = i32::try_from(self.records.len()).expect("a batch has fewer than 2^31 records");
        let length = HEADER_BYTES - PREFIX_BYTES + packed.len();
        let length = i32::try_from(length).expect("a batch is smaller than 2 GiB");

        let mut out = Vec::with_capacity(HEADER_BYTES + packed.len());
        out.extend_from_slice(&0_i64.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&0_u32.to_be_bytes());
        debug_assert_eq!(out.len(), ATTRIBUTES_AT);
        out.extend_from_slice(&(self.codec.id() | self.attributes).to_be_bytes());
        out.extend_from_slice(&(count - 1).to_be_bytes());
        out.extend_from_slice(&base.to_be_bytes());
        out.extend_from_slice(&newest.to_be_bytes());
        out.extend_from_slice(&self.producer.0.to_be_bytes());
        out.extend_from_slice(&self.producer.1.to_be_bytes());
        out.extend_from_slice(&self.producer.2.to_be_bytes());
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&packed);
        let crc = checksum(&out);
        out[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(out)
    }
}

impl Draft {
    fn write(&self, out: &mut Vec<u8>, index: usize, base_timestamp: i64) {
        let count = self.headers.len();
        let headers = self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
        let place = (self.timestamp.wrapping_sub(base_timestamp), index);
        write_parts(out, place, (self.key.as_deref(), self.value.as_deref()), count, headers);
    }
}

/// Writes a record that was read whole, uncompressed, as it stands in a batch with this base timestamp.
pub(super) fn write_record(out: &mut Vec<u8>, record: &Record, base_timestamp: i64) {
    let (count, headers) = (record.headers.iter().count(), record.headers.iter());
    let index = usize::try_from(record.offset_delta).unwrap_or(0);
    let place = (record.timestamp.wrapping_sub(base_timestamp), index);
    write_parts(out, place, (record.key.as_deref(), record.value.as_deref()), count, headers);
}

/// `place`: timestamp and offset as the batch counts them.
fn write_parts<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    place: (i64, usize),
    (key, value): (Option<&[u8]>, Option<&[u8]>),
    header_count: usize,
    headers: impl Iterator<Item = (N, Option<V>)>,
) {
    let mut body = vec![0_u8];
    long(&mut body, place.0);
    length(&mut body, Some(place.1));
    blob(&mut body, key);
    blob(&mut body, value);
    length(&mut body, Some(header_count));
    for (name, value) in headers {
        blob(&mut body, Some(name.as_ref()));
        blob(&mut body, value.as_ref().map(AsRef::as_ref));
    }
    length(out, Some(body.len()));
    out.extend_from_slice(&body);
}

fn blob(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    length(out, bytes.map(<[u8]>::len));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn length(out: &mut Vec<u8>, length: Option<usize>) {
    let length = length.map_or(-1, |n| i64::try_from(n).expect("memory is smaller than 2^63"));
    long(out, length);
}

/// Zigzag and seven bits per byte; 32-bit fields have the same form.
fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_as_large_as_was_said_and_little_smaller() {
        for (records, value_bytes) in
            [(1, 0), (1, 63), (1, 64), (64, 100), (9_000, 100), (3, 900_000)]
        {
            let value = vec![7; value_bytes];
            let builder = (0..records).fold(BatchBuilder::new(), |builder, index| {
                builder.record(1_000 + i64::try_from(index).unwrap() % 900_000, None, Some(&value))
            });
            let (bytes, max) = (builder.build().len(), batch_bytes_max(records, value_bytes));
            assert!(
                bytes <= max && max <= bytes + 4 * records,
                "{records} {value_bytes}: {bytes} {max}"
            );
        }
    }
}
