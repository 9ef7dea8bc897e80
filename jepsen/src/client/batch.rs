//! Record batches, version 2, written and read by hand.
//!
//! What a broker serves is not trusted: every length is checked against what is there, the checksum is computed here,
//! and all that does not fit is [`Damage`], which a checker gets to see.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before the first record.
const HEADER_BYTES: usize = 61;
/// Attributes: the batch is part of a transaction; it is the end of one.
pub(super) const TRANSACTIONAL: i16 = 1 << 4;
pub(super) const CONTROL: i16 = 1 << 5;
/// Where the length counts from, and where the checksum does.
const LENGTH_FROM: usize = 12;
const CRC_FROM: usize = 21;

/// A record as written and as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Who writes a batch: -1 everywhere for a producer that is not idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Of the first record.
    pub sequence: i32,
}

/// A batch as served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub attributes: i16,
    pub write: Write,
    /// Records claimed, which are as many as `records` in a batch that is sound.
    pub count: i32,
    /// The offset behind it. A compacted batch may have no record there.
    pub end: i64,
    pub records: Vec<(i64, Record)>,
    /// The batch as served.
    pub bytes: Bytes,
}

/// What became of records since they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// Each is there.
    Whole,
    /// Any may be gone; the others keep their offsets.
    Compacted,
}

/// What is wrong with bytes that were served as records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub offset: i64,
    pub reason: String,
}

impl Batch {
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether it ends a transaction, and has no records of anybody's.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }
}

impl Write {
    pub const PLAIN: Write = Write { producer_id: -1, producer_epoch: -1, sequence: -1 };

    /// One batch with these records, uncompressed.
    pub fn batch(self, records: &[Record]) -> Bytes {
        self.batch_as(0, records)
    }

    /// One batch of the producer's transaction.
    pub fn transactional(self, records: &[Record]) -> Bytes {
        self.batch_as(TRANSACTIONAL, records)
    }

    pub(super) fn batch_as(self, attributes: i16, records: &[Record]) -> Bytes {
        let last = i64::try_from(records.len()).unwrap_or(i64::MAX) - 1;
        let placed: Vec<(i64, &Record)> = (0..).zip(records).collect();
        self.batch_of(attributes, &placed, last)
    }

    /// The same with records at these places, up to the last one, which may be none's.
    fn batch_of(self, attributes: i16, placed: &[(i64, &Record)], last_delta: i64) -> Bytes {
        let records = || placed.iter().map(|(_, record)| record);
        let first = records().next().map_or(0, |record| record.timestamp);
        let last = records().map(|record| record.timestamp).max().unwrap_or(0);
        let count = i32::try_from(placed.len()).unwrap_or(i32::MAX);
        let mut checked = BytesMut::new();
        checked.put_i16(attributes);
        checked.put_i32(i32::try_from(last_delta).unwrap_or(i32::MAX));
        checked.put_i64(first);
        checked.put_i64(last);
        checked.put_i64(self.producer_id);
        checked.put_i16(self.producer_epoch);
        checked.put_i32(self.sequence);
        checked.put_i32(count);
        for (delta, record) in placed {
            let body = record_body(record, *delta, record.timestamp - first);
            put_varint(&mut checked, length(&body));
            checked.put(&body[..]);
        }
        let mut batch = BytesMut::new();
        batch.put_i64(0);
        batch.put_i32(i32::try_from(checked.len() + CRC_FROM - LENGTH_FROM).unwrap_or(i32::MAX));
        batch.put_i32(-1);
        batch.put_i8(2);
        batch.put_u32(crc32c::crc32c(&checked));
        batch.put(checked);
        batch.freeze()
    }
}

fn record_body(record: &Record, delta: i64, time: i64) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_i8(0);
    put_varint(&mut body, time);
    put_varint(&mut body, delta);
    put_bytes(&mut body, record.key.as_ref());
    put_bytes(&mut body, record.value.as_ref());
    put_varint(&mut body, i64::try_from(record.headers.len()).unwrap_or(i64::MAX));
    for (name, value) in &record.headers {
        put_bytes(&mut body, Some(name));
        put_bytes(&mut body, value.as_ref());
    }
    body
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

fn put_bytes(to: &mut BytesMut, bytes: Option<&Bytes>) {
    put_varint(to, bytes.map_or(-1, |bytes| length(bytes)));
    to.put(bytes.map_or(&[][..], |bytes| &bytes[..]));
}

/// Zigzag, seven bits a byte.
fn put_varint(to: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        to.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    to.put_u8(rest as u8);
}

/// The batches in what a fetch returned. The last one may be cut off, which is no damage; reading ends at the first
/// that is damaged.
pub fn read_batches(mut served: Bytes, log: Log) -> (Vec<Batch>, Option<Damage>) {
    let mut batches = Vec::new();
    while served.len() >= LENGTH_FROM {
        let mut head = &served[..LENGTH_FROM];
        let (offset, claimed) = (head.get_i64(), head.get_i32());
        let damage = |reason: String| Some(Damage { offset, reason });
        let Ok(length) = usize::try_from(claimed) else {
            return (batches, damage(format!("a batch of {claimed} bytes")));
        };
        if length < HEADER_BYTES - LENGTH_FROM {
            return (batches, damage(format!("a batch of {length} bytes")));
        }
        if served.len() - LENGTH_FROM < length {
            break;
        }
        match read_batch(served.split_to(LENGTH_FROM + length), log) {
            Ok(batch) => batches.push(batch),
            Err(reason) => return (batches, damage(reason)),
        }
    }
    (batches, None)
}

/// Reads one whole batch, whose length was checked.
fn read_batch(bytes: Bytes, log: Log) -> Result<Batch, String> {
    let mut rest = bytes.clone();
    let base_offset = rest.get_i64();
    let _length = rest.get_i32();
    let leader_epoch = rest.get_i32();
    let magic = rest.get_i8();
    if magic != 2 {
        return Err(format!("magic {magic}"));
    }
    let (claimed, computed) = (rest.get_u32(), crc32c::crc32c(&bytes[CRC_FROM..]));
    if claimed != computed {
        return Err(format!("checksum {computed:08x} instead of {claimed:08x}"));
    }
    let attributes = rest.get_i16();
    let last_delta = rest.get_i32();
    let (first_time, _last_time) = (rest.get_i64(), rest.get_i64());
    let write = Write {
        producer_id: rest.get_i64(),
        producer_epoch: rest.get_i16(),
        sequence: rest.get_i32(),
    };
    let count = rest.get_i32();
    if attributes & 0b111 != 0 {
        return Err(format!("compressed, attributes {attributes:#x}, but it was not written so"));
    }
    let is_possible = match log {
        Log::Whole => count >= 1 && last_delta == count - 1,
        Log::Compacted => count >= 0 && last_delta >= 0 && count - 1 <= last_delta,
    };
    if !is_possible {
        return Err(format!("{count} records, last offset delta {last_delta}"));
    }
    let (mut records, mut next) = (Vec::new(), 0);
    for number in 0..count {
        let read = read_record(&mut rest, first_time);
        let is_due = |delta: &i64| match log {
            Log::Whole => *delta == next,
            Log::Compacted => (next..=i64::from(last_delta)).contains(delta),
        };
        let read = read.filter(|(delta, _)| is_due(delta));
        let (delta, record) =
            read.ok_or_else(|| format!("record {number} of {count} is malformed"))?;
        records.push((base_offset + delta, record));
        next = delta + 1;
    }
    let end = base_offset + i64::from(last_delta) + 1;
    match rest.len() {
        0 => Ok(Batch { base_offset, leader_epoch, attributes, write, count, end, records, bytes }),
        more => Err(format!("{more} bytes behind the last record")),
    }
}

/// A record and how far its offset is beyond the batch's.
fn read_record(from: &mut Bytes, first_time: i64) -> Option<(i64, Record)> {
    let length = usize::try_from(varint(from)?).ok()?;
    if length > from.len() {
        return None;
    }
    let mut body = from.split_to(length);
    let _attributes = body.try_get_i8().ok()?;
    let timestamp = first_time.checked_add(varint(&mut body)?)?;
    let delta = varint(&mut body)?;
    let (key, value) = (nullable(&mut body)?, nullable(&mut body)?);
    let mut headers = Vec::new();
    for _ in 0..varint(&mut body)? {
        headers.push((nullable(&mut body)??, nullable(&mut body)?));
    }
    body.is_empty().then_some((delta, Record { timestamp, key, value, headers }))
}

/// `None` is damage, `Some(None)` is null.
fn nullable(from: &mut Bytes) -> Option<Option<Bytes>> {
    let length = varint(from)?;
    if length == -1 {
        return Some(None);
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= from.len())?;
    Some(Some(from.split_to(length)))
}

fn varint(from: &mut Bytes) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = from.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    prop_compose! {
        fn record()(
            timestamp in 0i64..1 << 42,
            key in prop::option::of(bytes()),
            value in prop::option::of(bytes()),
            headers in prop::collection::vec((bytes(), prop::option::of(bytes())), 0..4),
        ) -> Record {
            Record { timestamp, key, value, headers }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in prop::collection::vec(record(), 1..6), sequence: i32) {
            let write = Write { producer_id: 7, producer_epoch: 1, sequence };
            let mut served = BytesMut::new();
            served.put(write.batch(&records));
            let whole = served.len();
            served.put(&write.batch(&records)[..20]);
            let (batches, damage) = read_batches(served.freeze(), Log::Whole);
            prop_assert_eq!((batches.len(), damage), (1, None));
            prop_assert_eq!((batches[0].write, batches[0].bytes.len()), (write, whole));
            let read: Vec<_> = batches[0].records.iter().map(|(_, record)| record.clone()).collect();
            prop_assert_eq!(read, records);
        }

        #[test]
        fn what_compaction_leaves_is_read_where_it_was(
            records in prop::collection::vec(record(), 1..6),
            gaps in prop::collection::vec(0i64..3, 6),
        ) {
            let deltas: Vec<i64> =
                gaps.iter().scan(-1, |at, gap| { *at += gap + 1; Some(*at) }).collect();
            let placed: Vec<_> = deltas.iter().copied().zip(&records).collect();
            let served = Write::PLAIN.batch_of(0, &placed, deltas[5]);
            let (batches, damage) = read_batches(served.clone(), Log::Compacted);
            prop_assert_eq!((batches.len(), damage), (1, None));
            let read: Vec<_> = batches[0].records.iter().map(|(at, record)| (*at, record)).collect();
            prop_assert_eq!(read, placed);
            prop_assert_eq!(batches[0].end, deltas[5] + 1);
            let (whole, damage) = read_batches(served, Log::Whole);
            prop_assert!(whole.is_empty() && damage.is_some());
        }

        #[test]
        fn no_bytes_do_harm(served: Vec<u8>) {
            read_batches(Bytes::from(served.clone()), Log::Whole);
            read_batches(Bytes::from(served), Log::Compacted);
        }

        #[test]
        fn a_flipped_bit_is_noticed(
            records in prop::collection::vec(record(), 1..4),
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let sound = Write::PLAIN.batch(&records);
            let mut served = sound.to_vec();
            // Offset, length and leader epoch are the broker's to write, and lie outside the checksum.
            let at = 16 + at.index(served.len() - 16);
            served[at] ^= 1 << bit;
            let (batches, damage) = read_batches(Bytes::from(served), Log::Whole);
            prop_assert!(batches.is_empty() && damage.is_some());
        }
    }
}
