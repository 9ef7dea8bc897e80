//! What is inside a record, so that every byte of it can be checked when it comes back.
//!
//! A record's value says which key and value of the history it is, who wrote it, and when; its key, headers and
//! timestamp follow from that. So a record that is read can be compared with the one that must have been written,
//! without asking the writer.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rand::Rng;
use rand::rngs::StdRng;

use crate::client::{Log, Record};

const MAGIC: u32 = 0x51_4a_45_50;
/// Before the padding: magic, key, value, process, counter, timestamp.
const FIELDS_BYTES: usize = 4 + 5 * 8;
const CRC_BYTES: usize = 4;
/// The header in which a tombstone says what it is.
const SAYS: &str = "says";
/// Names that a partition's records have in a compacted topic: few that are used all the time, and many that are not.
const BUSY: u64 = 8;
const QUIET: u64 = 48;
/// Of the records of a compacted topic one in so many is a tombstone.
const TOMBSTONES: u64 = 8;

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub key: i64,
    pub value: i64,
    pub process: i64,
    /// How many records this process had written before.
    pub counter: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

/// What Kafka calls the key of the record with a value, in a compacted topic: its number.
pub fn name(value: i64) -> i64 {
    let drawn = mixed(value);
    let name = match drawn % 2 {
        0 => drawn / 2 % BUSY,
        _ => BUSY + drawn / 2 % QUIET,
    };
    name.cast_signed()
}

/// Whether the record with a value is a tombstone, in a compacted topic.
pub fn deletes(value: i64) -> bool {
    (mixed(value) >> 32).is_multiple_of(TOMBSTONES)
}

/// The finalizer of splitmix64: one bit more or less changes half of what comes out.
fn mixed(value: i64) -> u64 {
    let mut mixed = value.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Content {
    /// The record with this content and random padding, mostly of up to so many bytes.
    pub fn record(self, log: Log, most: usize, random: &mut StdRng) -> Record {
        let most = if random.random_ratio(1, 100) { most.max(20_000) } else { most };
        let mut padding = vec![0; random.random_range(0..=most)];
        random.fill(&mut padding[..]);
        self.padded(log, &padding)
    }

    fn padded(self, log: Log, padding: &[u8]) -> Record {
        let mut value = BytesMut::with_capacity(FIELDS_BYTES + padding.len() + CRC_BYTES);
        value.put_u32(MAGIC);
        for field in [self.key, self.value, self.process, self.counter, self.timestamp] {
            value.put_i64(field);
        }
        value.put(padding);
        value.put_u32(crc32c::crc32c(&value));
        if log == Log::Compacted {
            return self.keyed(value.freeze());
        }
        let name = format!("{}/{}", self.key, self.value);
        // All shapes a key and headers may have: null, empty, and the same name twice.
        let key = match self.value.rem_euclid(4) {
            0 => None,
            1 => Some(Bytes::new()),
            _ => Some(Bytes::from(name.clone())),
        };
        let header = |value: Option<&str>| {
            (Bytes::from_static(b"by"), value.map(|text| Bytes::from(text.to_owned())))
        };
        let headers = match self.value.rem_euclid(3) {
            0 => Vec::new(),
            1 => vec![header(Some(&name))],
            _ => vec![header(Some(&name)), header(None), header(Some(""))],
        };
        Record { timestamp: self.timestamp, key, value: Some(value.freeze()), headers }
    }

    /// A record of a compacted topic; a tombstone says in a header what it is.
    fn keyed(self, says: Bytes) -> Record {
        let key = match name(self.value) {
            0 => Bytes::new(),
            name => Bytes::from(format!("name-{name}")),
        };
        let (value, headers) = if deletes(self.value) {
            (None, vec![(Bytes::from_static(SAYS.as_bytes()), Some(says))])
        } else {
            (Some(says), Vec::new())
        };
        Record { timestamp: self.timestamp, key: Some(key), value, headers }
    }

    /// What a record that was read from `key` says; an error says how it differs from what was written.
    pub fn examine(key: i64, log: Log, record: &Record) -> Result<Content, String> {
        let header = || record.headers.first().and_then(|(_, says)| says.clone());
        let value = match log {
            Log::Compacted => record.value.clone().or_else(header),
            Log::Whole => record.value.clone(),
        };
        let value = value.unwrap_or_default();
        if value.len() < FIELDS_BYTES + CRC_BYTES {
            return Err(format!("a value of {} bytes", value.len()));
        }
        let (body, mut crc) = value.split_at(value.len() - CRC_BYTES);
        if crc.get_u32() != crc32c::crc32c(body) {
            return Err("the value's checksum differs".to_owned());
        }
        let (mut fields, padding) = body.split_at(FIELDS_BYTES);
        if fields.get_u32() != MAGIC {
            return Err("not a record of this tester".to_owned());
        }
        let content = Content {
            key: fields.get_i64(),
            value: fields.get_i64(),
            process: fields.get_i64(),
            counter: fields.get_i64(),
            timestamp: fields.get_i64(),
        };
        let written = content.padded(log, padding);
        if content.key != key {
            return Err(format!("value {} of key {}", content.value, content.key));
        }
        for (what, same) in [
            ("timestamp", written.timestamp == record.timestamp),
            ("key", written.key == record.key),
            ("headers", written.headers == record.headers),
            ("value", written.value == record.value),
        ] {
            if !same {
                return Err(format!("value {} came back with another {what}", content.value));
            }
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    fn content(value: i64) -> Content {
        Content { key: 3, value, process: 5, counter: 2, timestamp: 1_700_000_000_000 }
    }

    #[test]
    fn a_record_that_comes_back_the_same_is_accepted() {
        let mut random = StdRng::seed_from_u64(1);
        for (value, log) in (0..64).flat_map(|it| [(it, Log::Whole), (it, Log::Compacted)]) {
            let record = content(value).record(log, 200, &mut random);
            assert_eq!(Content::examine(3, log, &record), Ok(content(value)));
        }
    }

    #[test]
    fn any_difference_is_noticed() {
        let record = content(5).record(Log::Whole, 200, &mut StdRng::seed_from_u64(1));
        let mut bytes = record.value.as_ref().unwrap().to_vec();
        bytes[20] ^= 1;
        let damaged = [
            Record { timestamp: record.timestamp + 1, ..record.clone() },
            Record { key: None, ..record.clone() },
            Record { headers: record.headers[1..].to_vec(), ..record.clone() },
            Record { value: None, ..record.clone() },
            Record { value: Some(bytes.into()), ..record.clone() },
        ];
        for record in damaged {
            assert!(Content::examine(3, Log::Whole, &record).is_err(), "{record:?}");
        }
        assert!(Content::examine(4, Log::Whole, &record).is_err(), "in another key's partition");
    }

    #[test]
    fn names_are_written_again_and_deleted_and_a_tombstone_with_a_value_is_noticed() {
        let all = || 0..10_000;
        let names: BTreeSet<i64> = all().map(name).collect();
        assert_eq!(names.len() as u64, BUSY + QUIET);
        let deleted: BTreeSet<i64> = all().filter(|it| deletes(*it)).map(name).collect();
        assert_eq!(deleted, names, "each is deleted at times");
        let busy = all().filter(|it| name(*it) < BUSY.cast_signed()).count();
        assert!((4_500..5_500).contains(&busy), "{busy}");
        let value = all().find(|it| deletes(*it)).unwrap();
        let tombstone = content(value).record(Log::Compacted, 9, &mut StdRng::seed_from_u64(1));
        assert_eq!(tombstone.value, None);
        let says = tombstone.headers[0].1.clone();
        for wrong in
            [Record { value: says, ..tombstone.clone() }, Record { key: None, ..tombstone }]
        {
            assert!(Content::examine(3, Log::Compacted, &wrong).is_err(), "{wrong:?}");
        }
    }
}
