//! A batch without some of its records, as compaction leaves it (record batch v2, KIP-98).
//!
//! What stays keeps its offset and its time: the header's base offset, base timestamp, last offset delta, producer and
//! sequence are as they were, so whoever reads on, or asks what a producer wrote last, finds no difference. A batch
//! without any record left is a header alone.
//!
//! Records pass one at a time, so that what unfolds to much takes no memory of its size.

use std::io::{self, Read};

use bytes::Bytes;
use quorate_storage::mutant;

use super::batch::{
    ATTRIBUTES_AT, BASE_TIMESTAMP_AT, CODEC_BITS, CRC_AT, HEADER_BYTES, Header, LENGTH_AT,
    MAX_TIMESTAMP_AT, PREFIX_BYTES, RECORD_COUNT_AT, checksum,
};
use super::build::write_record;
use super::iter::{Projection, Record, RecordError, Records};

/// What is left of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compacted {
    /// Every record.
    Whole,
    /// No record.
    Nothing,
    /// These: a batch with a checksum that fits.
    Rest(Bytes),
}

/// Returns a batch without the records that `keep` does not want. It is asked of each in order, with keys and the sizes of
/// values.
///
/// # Errors
/// What is wrong with the records; never, of a batch that was checked.
pub fn compacted(
    batch: &Bytes,
    mut keep: impl FnMut(&Record) -> bool,
) -> Result<Compacted, RecordError> {
    let mut kept = Kept::default();
    for record in Records::open(batch, Projection::Keys)? {
        let record = record?;
        let wanted = keep(&record);
        kept.push(wanted, record.timestamp);
    }
    if kept.count == kept.wanted.len() {
        return Ok(Compacted::Whole);
    }
    if kept.count == 0 {
        return Ok(Compacted::Nothing);
    }
    kept.of(batch).map(Compacted::Rest)
}

/// Returns a batch as it is without any record: its offsets, its producer and its sequence.
///
/// # Errors
/// If it has no header.
pub fn without_records(batch: &[u8]) -> Result<Bytes, RecordError> {
    let header = Header::parse(batch).ok_or(RecordError::NoHeader)?;
    let mut out = batch[..HEADER_BYTES].to_vec();
    out[BASE_TIMESTAMP_AT..BASE_TIMESTAMP_AT + 8].copy_from_slice(&(-1_i64).to_be_bytes());
    seal(&mut out, header.attributes & !CODEC_BITS, 0, -1)?;
    Ok(Bytes::from(out))
}

/// Which records stay.
#[derive(Debug, Default)]
struct Kept {
    wanted: Vec<bool>,
    count: usize,
    newest: Option<i64>,
}

impl Kept {
    fn push(&mut self, wanted: bool, timestamp: i64) {
        self.wanted.push(wanted);
        if wanted {
            self.count += 1;
            self.newest = self.newest.max(Some(timestamp));
        }
    }

    fn of(self, batch: &Bytes) -> Result<Bytes, RecordError> {
        let header = Header::parse(batch).ok_or(RecordError::NoHeader)?;
        let id = header.attributes & CODEC_BITS;
        let codec = header.codec().ok_or(RecordError::UnknownCodec { id })?;
        let mut plain = Plain {
            records: Records::open(batch, Projection::Everything)?,
            wanted: self.wanted.into_iter(),
            base_timestamp: header.base_timestamp,
            encoded: Vec::new(),
            read: 0,
            written: 0,
        };
        let out = codec.deflate_stream(&mut plain, batch[..HEADER_BYTES].to_vec());
        let mut out = out.map_err(RecordError::Decompress)?;
        let newest = self.newest.filter(|_| !header.is_log_append_time());
        let newest = newest.unwrap_or(header.max_timestamp);
        seal(&mut out, header.attributes, self.count, newest)?;
        Ok(Bytes::from(out))
    }
}

/// Writes into the header what changed.
fn seal(out: &mut [u8], attributes: i16, count: usize, newest: i64) -> Result<(), RecordError> {
    let length = i32::try_from(out.len() - PREFIX_BYTES).map_err(|_| RecordError::TooLarge)?;
    let count = i32::try_from(count).map_err(|_| RecordError::TooLarge)?;
    out[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    out[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    out[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&newest.to_be_bytes());
    out[RECORD_COUNT_AT..RECORD_COUNT_AT + 4].copy_from_slice(&count.to_be_bytes());
    let crc = checksum(out);
    out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    Ok(())
}

/// The records that stay, uncompressed, one after the other.
struct Plain<'a> {
    records: Records<&'a Bytes>,
    wanted: std::vec::IntoIter<bool>,
    base_timestamp: i64,
    encoded: Vec<u8>,
    /// Bytes of the record in `encoded` that were given.
    read: usize,
    /// Records that were given.
    written: i32,
}

impl Read for Plain<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.read == self.encoded.len() {
            let Some(record) = self.records.next() else { return Ok(0) };
            let mut record = record.map_err(io::Error::other)?;
            self.encoded.clear();
            self.read = 0;
            if self.wanted.next() == Some(true) {
                if mutant::on("compacted-offsets-renumbered") {
                    record.offset_delta = self.written;
                }
                self.written += 1;
                write_record(&mut self.encoded, &record, self.base_timestamp);
            }
        }
        let rest = &self.encoded[self.read..];
        let bytes = rest.len().min(out.len());
        out[..bytes].copy_from_slice(&rest[..bytes]);
        self.read += bytes;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Codec};

    fn batch(codec: Codec) -> Bytes {
        let value = vec![b'v'; 40_000];
        let builder = BatchBuilder::new().codec(codec).producer(7, 2, 90);
        let builder = builder.record(100, Some(b"a"), Some(&value)).header("h", None);
        let builder = builder.record(300, Some(b"b"), None).record(200, Some(b"c"), Some(b"last"));
        builder.header("x", Some(b"1")).header("x", Some(b"2")).build()
    }

    fn records(batch: &Bytes) -> Vec<Record> {
        Records::open(batch, Projection::Everything).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn what_stays_is_as_it_was_with_every_codec() {
        for codec in Codec::ALL {
            let whole = batch(codec);
            let all = records(&whole);
            for mask in 0_u8..8 {
                let wanted = |delta: i32| mask & (1 << delta) != 0;
                let left = compacted(&whole, |record| wanted(record.offset_delta)).unwrap();
                let rest = match left {
                    Compacted::Whole => {
                        assert_eq!(mask, 7);
                        continue;
                    }
                    Compacted::Nothing => {
                        assert_eq!(mask, 0);
                        continue;
                    }
                    Compacted::Rest(rest) => rest,
                };
                let expected: Vec<_> =
                    all.iter().filter(|record| wanted(record.offset_delta)).cloned().collect();
                assert_eq!(records(&rest), expected, "{codec:?} {mask}");
                let (old, new) = (Header::parse(&whole).unwrap(), Header::parse(&rest).unwrap());
                let newest = expected.iter().map(|record| record.timestamp).max().unwrap();
                let changed = Header {
                    length: new.length,
                    crc: checksum(&rest),
                    max_timestamp: newest,
                    record_count: i32::try_from(expected.len()).unwrap(),
                    ..old
                };
                assert_eq!(new, changed);
                assert_eq!(new.total_bytes(), Some(rest.len()));
            }
        }
    }

    #[test]
    fn a_batch_without_records_keeps_its_offsets_and_its_producer() {
        let whole = batch(Codec::Zstd);
        let empty = without_records(&whole).unwrap();
        let (old, new) = (Header::parse(&whole).unwrap(), Header::parse(&empty).unwrap());
        assert_eq!((new.last_offset_delta, new.producer_id, new.base_sequence), (2, 7, 90));
        assert_eq!((new.record_count, new.codec(), empty.len()), (0, Some(Codec::None), 61));
        assert_eq!((new.max_timestamp, new.crc), (-1, checksum(&empty)));
        assert_eq!(new.last_sequence(), old.last_sequence());
        assert_eq!(records(&empty), []);
    }

    #[test]
    fn the_time_that_the_log_gave_stays_though_its_record_goes() {
        let mut stamped = batch(Codec::None).to_vec();
        let bits =
            Header::parse(&stamped).unwrap().attributes | super::super::batch::LOG_APPEND_TIME_BIT;
        seal(&mut stamped, bits, 3, 9_000).unwrap();
        let stamped = Bytes::from(stamped);
        let left = compacted(&stamped, |record| record.offset_delta == 0).unwrap();
        let Compacted::Rest(rest) = left else { panic!("{left:?}") };
        assert_eq!(records(&rest)[0].timestamp, 9_000);
    }
}
