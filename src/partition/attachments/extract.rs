//! Takes keys, tags and conditions out of the records of a batch.
//!
//! Conditions come as record headers, so that any Kafka client can state them. A condition is about the state just before its
//! record; what earlier records of the same batch do to it is subtracted, so that all conditions of a batch are judged on
//! the state before it. One that cannot hold however the state is contradicts the batch, and is refused here.
//!
//! | header | value | on a record |
//! |---|---|---|
//! | `quorate-expected-version` | decimal: n, -1 none, -2 any, -3 some | once |
//! | `quorate-expected-offset` | decimal | once |
//! | `quorate-no-tag-after` | decimal, a space, the tag | repeated |
//! | `quorate-tag` | the tag | repeated |
//! | `quorate-close` | nothing | once, on a tombstone |

use std::collections::HashMap;

use bytes::Bytes;

use super::{
    Attachments, CONDITIONS_MAX, Condition, Conditions, ExpectedVersion, KeyRecord, KeyRecords,
    RecordKind, STREAM_KEY_BYTES_MAX, StreamKeys, TAG_BYTES_MAX, TAGS_MAX,
};
use crate::record::{CheckedBatch, Projection, Record, RecordError, Records, partition_for_key};

const EXPECTED_VERSION: &[u8] = b"quorate-expected-version";
const EXPECTED_OFFSET: &[u8] = b"quorate-expected-offset";
const NO_TAG_AFTER: &[u8] = b"quorate-no-tag-after";
const TAG: &[u8] = b"quorate-tag";
const CLOSE: &[u8] = b"quorate-close";
/// Tags of a record at most.
const RECORD_TAGS_MAX: usize = 16;

/// What a partition with streams demands of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRules {
    /// Of its streams now.
    pub generation: u32,
    /// How many partitions its topic has, and its number.
    pub partitions: u32,
    pub partition: u32,
}

/// Why a batch is refused before it is proposed. Sent again as it is it fails again.
#[derive(Debug, thiserror::Error)]
pub enum AttachmentError {
    #[error("record {record}: {what}")]
    Malformed { record: i32, what: &'static str },
    #[error("record {record}: the topic has no streams (quorate.streams), so {what}")]
    NoStreams { record: i32, what: &'static str },
    #[error(
        "record {record}: its key belongs to partition {partition}, by murmur2 as in Kafka's Java client"
    )]
    WrongPartition { record: i32, partition: u32 },
    #[error("record {record}: {what} cannot hold behind the records before it in its batch")]
    Contradiction { record: i32, what: &'static str },
    #[error("record {record}: a batch has at most {max} {what}")]
    TooMany { record: i32, what: &'static str, max: usize },
    #[error(transparent)]
    Records(#[from] RecordError),
}

impl AttachmentError {
    /// Returns the record at fault.
    pub fn record(&self) -> Option<i32> {
        match self {
            Self::Malformed { record, .. }
            | Self::NoStreams { record, .. }
            | Self::WrongPartition { record, .. }
            | Self::Contradiction { record, .. }
            | Self::TooMany { record, .. } => Some(*record),
            Self::Records(_) => None,
        }
    }
}

impl Attachments {
    /// Reads the records of a batch. `rules`: of the partition's streams, none if it has none. Also returns which record
    /// each condition came from.
    pub fn of(
        batch: &CheckedBatch,
        rules: Option<KeyRules>,
    ) -> Result<(Self, Vec<i32>), AttachmentError> {
        let mut extraction = Extraction::new(rules);
        let is_transactional = batch.header().is_transactional();
        if is_transactional && rules.is_some() {
            return Err(malformed(0, "a topic with streams takes no transactions"));
        }
        for record in Records::open(batch.bytes(), Projection::KeysAndHeaders)? {
            let record = record?;
            if is_transactional && Conditional::of(&record)?.says_something() {
                let what = "a record of a transaction has neither conditions nor tags";
                return Err(malformed(record.offset_delta, what));
            }
            extraction.record(&record)?;
        }
        Ok(extraction.finish())
    }
}

/// What was found in the records so far.
pub(in crate::partition) struct Extraction {
    rules: Option<KeyRules>,
    keys: Vec<KeyRecords>,
    key_numbers: HashMap<Bytes, usize>,
    tags: Vec<(Bytes, u32)>,
    conditions: Vec<Condition>,
    origins: Vec<i32>,
}

impl Extraction {
    fn new(rules: Option<KeyRules>) -> Self {
        Self {
            rules,
            keys: Vec::new(),
            key_numbers: HashMap::new(),
            tags: Vec::new(),
            conditions: Vec::new(),
            origins: Vec::new(),
        }
    }

    fn finish(self) -> (Attachments, Vec<i32>) {
        let generation = self.rules.map_or(0, |rules| rules.generation);
        let stream_keys =
            self.rules.map(|_| StreamKeys { generation, keys: self.keys, tags: self.tags });
        // Without conditions nothing is written, and nothing is read again.
        let conditions = match self.conditions {
            none if none.is_empty() => Conditions::default(),
            all => Conditions { generation, all },
        };
        (Attachments { stream_keys, conditions, ..Attachments::default() }, self.origins)
    }

    fn record(&mut self, record: &Record) -> Result<(), AttachmentError> {
        let at = record.offset_delta;
        let headers = Conditional::of(record)?;
        if let Some(offset) = headers.offset {
            let before = offset.checked_sub(i64::from(at)).filter(|offset| *offset >= 0);
            let before = before.ok_or(contradiction(at, "its expected offset"))?;
            self.condition(at, Condition::EndOffset(before))?;
        }
        let Some(rules) = self.rules else { return headers.none_of_streams(at) };
        let key = rules.check(at, record.key.as_ref())?;
        if let Some(expected) = headers.version {
            self.expect(at, &key, expected)?;
        }
        for (tag, offset) in headers.no_tag_after {
            self.expect_no_tag(at, tag, offset)?;
        }
        for tag in headers.tags {
            self.tag(at, tag)?;
        }
        let kind = match (record.value_bytes < 0, headers.close) {
            (true, true) => RecordKind::Close,
            (true, false) => RecordKind::Tombstone,
            (false, false) => RecordKind::Event,
            (false, true) => return Err(malformed(at, "only a tombstone closes a stream")),
        };
        let before = self.note_key(at, key, kind);
        if before == Some(RecordKind::Close) { Err(contradiction(at, "a record")) } else { Ok(()) }
    }

    /// Counts a record of a key; returns what the one before it in the batch is.
    fn note_key(&mut self, at: i32, key: Bytes, kind: RecordKind) -> Option<RecordKind> {
        let number = *self.key_numbers.entry(key.clone()).or_insert(self.keys.len());
        if number == self.keys.len() {
            self.keys.push(KeyRecords { key, records: Vec::with_capacity(1) });
        }
        let records = &mut self.keys[number].records;
        let before = records.last().map(|last| last.kind);
        records.push(KeyRecord { delta: at.unsigned_abs(), kind });
        before
    }

    fn condition(&mut self, at: i32, condition: Condition) -> Result<(), AttachmentError> {
        if self.conditions.len() == CONDITIONS_MAX {
            return Err(too_many(at, "conditions", CONDITIONS_MAX));
        }
        self.conditions.push(condition);
        self.origins.push(at);
        Ok(())
    }

    /// A version is expected before record `at`; the records of the key before it in the batch will have raised it.
    fn expect(
        &mut self,
        at: i32,
        key: &Bytes,
        expected: ExpectedVersion,
    ) -> Result<(), AttachmentError> {
        let earlier = self.key_numbers.get(key).map(|number| &self.keys[*number].records);
        let Some(earlier) = earlier else {
            return self.condition(at, Condition::Version { key: key.clone(), expected });
        };
        let deleted = earlier.last().is_some_and(|last| last.kind != RecordKind::Event);
        let before = match expected {
            ExpectedVersion::Exactly(version) => {
                let count = i64::try_from(earlier.len()).unwrap_or(i64::MAX);
                let before = version.checked_sub(count).filter(|version| *version >= 0);
                Some(ExpectedVersion::Exactly(
                    before.ok_or(contradiction(at, "its expected version"))?,
                ))
            }
            // What the records before it do decides it.
            ExpectedVersion::NoStream if deleted => None,
            ExpectedVersion::Stream if !deleted => None,
            ExpectedVersion::Any => None,
            ExpectedVersion::NoStream | ExpectedVersion::Stream => {
                return Err(contradiction(at, "its expected version"));
            }
        };
        match before {
            Some(expected) => self.condition(at, Condition::Version { key: key.clone(), expected }),
            None => Ok(()),
        }
    }

    fn expect_no_tag(&mut self, at: i32, tag: Bytes, offset: i64) -> Result<(), AttachmentError> {
        if self.tags.iter().any(|(earlier, _)| *earlier == tag) {
            return Err(contradiction(at, "that there is no such tag"));
        }
        self.condition(at, Condition::NoTagAfter { tag, offset })
    }

    fn tag(&mut self, at: i32, tag: Bytes) -> Result<(), AttachmentError> {
        self.note_tag(at, tag);
        if self.tags.len() > TAGS_MAX {
            return Err(too_many(at, "different tags", TAGS_MAX));
        }
        Ok(())
    }

    fn note_tag(&mut self, at: i32, tag: Bytes) {
        let delta = at.unsigned_abs();
        match self.tags.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, last)) => *last = delta,
            None => self.tags.push((tag, delta)),
        }
    }
}

/// The headers of one record that mean something here.
#[derive(Default)]
struct Conditional {
    version: Option<ExpectedVersion>,
    offset: Option<i64>,
    no_tag_after: Vec<(Bytes, i64)>,
    tags: Vec<Bytes>,
    close: bool,
}

impl Conditional {
    fn of(record: &Record) -> Result<Self, AttachmentError> {
        let mut headers = Self::default();
        for (name, value) in record.headers.iter() {
            if name.starts_with(b"quorate-") {
                headers.take(record.offset_delta, &name, value)?;
            }
        }
        Ok(headers)
    }

    fn says_something(&self) -> bool {
        let expects = self.version.is_some() || self.offset.is_some();
        expects || self.close || !self.no_tag_after.is_empty() || !self.tags.is_empty()
    }

    fn take(&mut self, at: i32, name: &[u8], value: Option<Bytes>) -> Result<(), AttachmentError> {
        let value = value.unwrap_or_default();
        match name {
            EXPECTED_VERSION => {
                let number = number(&value).and_then(ExpectedVersion::of);
                let expected = number
                    .ok_or(malformed(at, "quorate-expected-version is not a number from -3 on"))?;
                if self.version.replace(expected).is_some() {
                    return Err(malformed(at, "quorate-expected-version comes twice"));
                }
            }
            EXPECTED_OFFSET => {
                let offset = number(&value).filter(|offset| *offset >= 0);
                let offset =
                    offset.ok_or(malformed(at, "quorate-expected-offset is not an offset"))?;
                if self.offset.replace(offset).is_some() {
                    return Err(malformed(at, "quorate-expected-offset comes twice"));
                }
            }
            NO_TAG_AFTER => {
                let split = value.iter().position(|byte| *byte == b' ');
                let parsed = split.and_then(|space| {
                    let offset = number(&value[..space]).filter(|offset| *offset >= -1)?;
                    Some((checked_tag(value.slice(space + 1..))?, offset))
                });
                self.no_tag_after.push(parsed.ok_or(malformed(
                    at,
                    "quorate-no-tag-after is not an offset from -1 on, a space and a tag of 1 to 256 bytes",
                ))?);
            }
            TAG => {
                if self.tags.len() == RECORD_TAGS_MAX {
                    return Err(too_many(at, "tags a record", RECORD_TAGS_MAX));
                }
                let tag = checked_tag(value);
                self.tags.push(tag.ok_or(malformed(at, "a quorate-tag is 1 to 256 bytes long"))?);
            }
            CLOSE => self.close = true,
            // One that is misspelt must not be taken for none.
            _ if name.starts_with(b"quorate-expected") || name.starts_with(b"quorate-no-") => {
                return Err(malformed(at, "a header that begins with quorate- is not known"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Where there are no streams, nothing that needs them may be asked for. Tags do no harm.
    fn none_of_streams(&self, record: i32) -> Result<(), AttachmentError> {
        let what = if self.version.is_some() {
            "keys have no versions"
        } else if !self.no_tag_after.is_empty() {
            "tags are not known"
        } else if self.close {
            "none can be closed"
        } else {
            return Ok(());
        };
        Err(AttachmentError::NoStreams { record, what })
    }
}

impl KeyRules {
    fn check(&self, at: i32, key: Option<&Bytes>) -> Result<Bytes, AttachmentError> {
        let key = key.filter(|key| !key.is_empty());
        let key = key.ok_or(malformed(at, "a topic with streams needs keys"))?;
        if key.len() > STREAM_KEY_BYTES_MAX {
            return Err(malformed(at, "the key of a stream has at most 512 bytes"));
        }
        let partition = partition_for_key(key, self.partitions);
        if partition != self.partition {
            return Err(AttachmentError::WrongPartition { record: at, partition });
        }
        Ok(key.clone())
    }

    /// Returns the keys and tags of a batch from before there were streams, and how many of its records no stream takes. Only
    /// records from the offset `from` on are looked at.
    pub(in crate::partition) fn keys_of(
        &self,
        batch: &Bytes,
        base_offset: i64,
        from: i64,
    ) -> Result<(StreamKeys, u32), RecordError> {
        let mut extraction = Extraction::new(Some(*self));
        let mut misplaced = 0_u32;
        for record in Records::open(batch, Projection::KeysAndHeaders)? {
            let record = record?;
            if base_offset + i64::from(record.offset_delta) < from {
                continue;
            }
            for (name, value) in record.headers.iter() {
                if let (TAG, Some(tag)) = (&name[..], value.and_then(checked_tag)) {
                    extraction.note_tag(record.offset_delta, tag);
                }
            }
            match self.check(record.offset_delta, record.key.as_ref()) {
                Ok(key) => {
                    let kind = match record.value_bytes {
                        0.. => RecordKind::Event,
                        _ => RecordKind::Tombstone,
                    };
                    extraction.note_key(record.offset_delta, key, kind);
                }
                Err(_) => misplaced = misplaced.saturating_add(1),
            }
        }
        let (attachments, _) = extraction.finish();
        Ok((attachments.stream_keys.unwrap_or_default(), misplaced))
    }
}

fn checked_tag(tag: Bytes) -> Option<Bytes> {
    (1..=TAG_BYTES_MAX).contains(&tag.len()).then_some(tag)
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn malformed(record: i32, what: &'static str) -> AttachmentError {
    AttachmentError::Malformed { record, what }
}

fn contradiction(record: i32, what: &'static str) -> AttachmentError {
    AttachmentError::Contradiction { record, what }
}

fn too_many(record: i32, what: &'static str, max: usize) -> AttachmentError {
    AttachmentError::TooMany { record, what, max }
}
