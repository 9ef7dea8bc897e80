//! What is told beside a batch, so that applying it opens no records: which keys and tags its records have, under which
//! conditions it may be appended, by which name a retry of it is known, and which transaction it belongs to.
//!
//! ```text
//!  count u8, then each: tag u16 │ length u32 │ body
//!    1 stream keys:     generation u32 │ keys u32, each: length u16, key, records u32, each: delta and kind u32
//!                                      │ tags u32, each: length u16, tag, delta u32
//!    2 conditions:      generation u32 │ conditions u32, each: kind u8 │ 1: end offset i64
//!                                      │ 2: length u16, key, expected version i64 │ 3: length u16, tag, offset i64
//!    3 idempotency key: length u16, key │ fingerprint u64
//!    4 transaction:     number u64
//! ```
//!
//! The generation is that of the partition's streams (`machine/streams.rs`): which rows of the keyed state an entry needs
//! must be told from the entry alone.

use std::borrow::Cow;

use bytes::Bytes;

use super::codec::{CodecError, Reader, Writer};

mod extract;

pub use extract::{AttachmentError, KeyRules};

const STREAM_KEYS: u16 = 1;
const CONDITIONS: u16 = 2;
const IDEMPOTENCY: u16 = 3;
const TRANSACTION: u16 = 4;
/// Attachments of a batch at most.
const COUNT_MAX: u8 = 4;

/// Longest key of a stream, bytes: it is part of keys on disk.
pub const STREAM_KEY_BYTES_MAX: usize = 512;
/// Longest tag, bytes.
pub const TAG_BYTES_MAX: usize = 256;
/// Conditions of a batch at most.
pub const CONDITIONS_MAX: usize = 64;
/// Tags of the records of a batch at most, equal ones once.
pub const TAGS_MAX: usize = 256;
/// Longest idempotency key, bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// Keys and records of a batch at most when it is decoded: far more than fit into the largest batch.
const KEYS_MAX: usize = 1 << 24;

/// See the file's header. The default is a batch with nothing beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachments {
    pub(super) stream_keys: Option<StreamKeys>,
    pub(super) conditions: Conditions,
    pub(super) idempotency: Option<Idempotency>,
    /// The number of the transaction that the batch is part of, or ends.
    pub(super) transaction: Option<u64>,
}

/// The keys and tags of a batch's records, in a partition with streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StreamKeys {
    pub(super) generation: u32,
    /// Each key once, in the order in which they first come.
    pub(super) keys: Vec<KeyRecords>,
    /// Each tag once, with the last record that has it.
    pub(super) tags: Vec<(Bytes, u32)>,
}

/// The records of one key in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyRecords {
    pub(super) key: Bytes,
    pub(super) records: Vec<KeyRecord>,
}

/// One record of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyRecord {
    /// Its offset within the batch.
    pub(super) delta: u32,
    pub(super) kind: RecordKind,
}

/// What a record does to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordKind {
    Event,
    /// Hides what was before.
    Tombstone,
    /// A tombstone that is the last record for ever.
    Close,
}

/// What must hold where the batch is appended, all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    pub(super) generation: u32,
    pub(super) all: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// The batch gets this offset.
    EndOffset(i64),
    Version {
        key: Bytes,
        expected: ExpectedVersion,
    },
    /// No record with the tag has a greater offset.
    NoTagAfter {
        tag: Bytes,
        offset: i64,
    },
}

/// Which version of a key is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVersion {
    Exactly(i64),
    /// -1: no record yet, or the stream is deleted.
    NoStream,
    /// -2
    Any,
    /// -3: there is a stream, and it is not deleted.
    Stream,
}

/// By which a repeated request is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Idempotency {
    pub(super) key: Bytes,
    /// Of the request, so that another one under the same key is noticed.
    pub(super) fingerprint: u64,
}

impl ExpectedVersion {
    /// Reads what clients write.
    pub fn of(number: i64) -> Option<Self> {
        match number {
            0.. => Some(Self::Exactly(number)),
            -1 => Some(Self::NoStream),
            -2 => Some(Self::Any),
            -3 => Some(Self::Stream),
            _ => None,
        }
    }

    /// Returns it as clients write it.
    pub fn number(self) -> i64 {
        match self {
            Self::Exactly(version) => version,
            Self::NoStream => -1,
            Self::Any => -2,
            Self::Stream => -3,
        }
    }
}

impl Attachments {
    /// Adds that the batch has to get this offset.
    pub fn expect_offset(&mut self, offset: i64) {
        self.conditions.all.push(Condition::EndOffset(offset));
    }

    /// Adds which version a key has to have before the batch. `generation`: see [`super::Partition::streams_generation`].
    pub fn expect_version(&mut self, generation: u32, key: Bytes, expected: ExpectedVersion) {
        self.conditions.generation = generation;
        self.conditions.all.push(Condition::Version { key, expected });
    }

    /// Adds that no record with the tag may have a greater offset.
    pub fn no_tag_after(&mut self, generation: u32, tag: Bytes, offset: i64) {
        self.conditions.generation = generation;
        self.conditions.all.push(Condition::NoTagAfter { tag, offset });
    }

    /// Has the batch appended once, however often it is asked for under this key. `fingerprint`: of the request.
    pub fn once(&mut self, key: Bytes, fingerprint: u64) {
        self.idempotency = Some(Idempotency { key, fingerprint });
    }

    /// Makes the batch part of a transaction. `number`: given by its coordinator, see [`super::Partition::transaction_of`].
    pub fn in_transaction(&mut self, number: u64) {
        self.transaction = Some(number);
    }

    /// Returns whether it says what no transaction may have beside it.
    pub(super) fn is_conditional(&self) -> bool {
        self.stream_keys.is_some() || !self.conditions.all.is_empty() || self.idempotency.is_some()
    }

    /// Returns the first record of each key.
    pub fn first_records(&self) -> Vec<i32> {
        let keys = self.stream_keys.iter().flat_map(|keys| &keys.keys);
        let first = keys.filter_map(|of_key| of_key.records.first());
        first.map(|record| i32::try_from(record.delta).unwrap_or(i32::MAX)).collect()
    }

    /// Returns them as they stand beside a batch. Most batches have none, which takes no memory.
    pub(super) fn encoded(&self) -> Cow<'static, [u8]> {
        let is_empty = !self.is_conditional() && self.transaction.is_none();
        if is_empty { Cow::Borrowed(&[0]) } else { Cow::Owned(self.encode()) }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(1);
        let has_conditions = !self.conditions.all.is_empty();
        let (has_keys, has_name) = (self.stream_keys.is_some(), self.idempotency.is_some());
        let parts = [has_keys, has_conditions, has_name, self.transaction.is_some()];
        writer.u8(parts.into_iter().map(u8::from).sum());
        if let Some(keys) = &self.stream_keys {
            put(&mut writer, STREAM_KEYS, |body| keys.encode(body));
        }
        if has_conditions {
            put(&mut writer, CONDITIONS, |body| self.conditions.encode(body));
        }
        if let Some(Idempotency { key, fingerprint }) = &self.idempotency {
            put(&mut writer, IDEMPOTENCY, |body| {
                body.short_bytes(key);
                body.u64(*fingerprint);
            });
        }
        if let Some(number) = self.transaction {
            put(&mut writer, TRANSACTION, |body| body.u64(number));
        }
        writer.finish()
    }

    /// Takes them off the front of what follows a batch's lengths. `whole`: the bytes that `reader` reads, to share them.
    pub(super) fn decode(reader: &mut Reader<'_>, whole: &Bytes) -> Result<Self, CodecError> {
        let mut found = Self::default();
        for _ in 0..count(reader)? {
            let (tag, body) = next(reader)?;
            let mut body = Reader::new(body);
            match tag {
                STREAM_KEYS => found.stream_keys = Some(StreamKeys::decode(&mut body, whole)?),
                CONDITIONS => found.conditions = Conditions::decode(&mut body, whole)?,
                IDEMPOTENCY => {
                    let key = whole.slice_ref(body.short_bytes()?);
                    let fingerprint = body.u64()?;
                    found.idempotency = Some(Idempotency { key, fingerprint });
                }
                TRANSACTION => found.transaction = Some(body.u64()?),
                unknown => return Err(CodecError::Attachment(unknown)),
            }
            body.end()?;
        }
        Ok(found)
    }

    /// Passes them; returns how many bytes they take.
    pub(super) fn pass(bytes: &[u8]) -> Result<usize, CodecError> {
        let mut reader = Reader::new(bytes);
        for _ in 0..count(&mut reader)? {
            let (tag, _) = next(&mut reader)?;
            if !(STREAM_KEYS..=TRANSACTION).contains(&tag) {
                return Err(CodecError::Attachment(tag));
            }
        }
        Ok(bytes.len() - reader.rest().len())
    }
}

fn count(reader: &mut Reader<'_>) -> Result<u8, CodecError> {
    let count = reader.u8()?;
    if count > COUNT_MAX {
        return Err(CodecError::TooMany { count: count.into(), max: COUNT_MAX.into() });
    }
    Ok(count)
}

fn next<'a>(reader: &mut Reader<'a>) -> Result<(u16, &'a [u8]), CodecError> {
    let (tag, length) = (reader.u16()?, reader.u32()?);
    let length = usize::try_from(length).map_err(|_| CodecError::Short)?;
    Ok((tag, reader.bytes(length)?))
}

fn put(writer: &mut Writer, tag: u16, encode: impl FnOnce(&mut Writer)) {
    let mut body = Writer::with_capacity(64);
    encode(&mut body);
    writer.u16(tag);
    writer.count(body.len());
    writer.bytes(&body.finish());
}

impl StreamKeys {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u32(self.generation);
        writer.count(self.keys.len());
        for KeyRecords { key, records } in &self.keys {
            writer.short_bytes(key);
            writer.count(records.len());
            for KeyRecord { delta, kind } in records {
                writer.u32(delta << 2 | kind.bits());
            }
        }
        writer.count(self.tags.len());
        for (tag, delta) in &self.tags {
            writer.short_bytes(tag);
            writer.u32(*delta);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>, whole: &Bytes) -> Result<Self, CodecError> {
        let generation = reader.u32()?;
        let count = reader.count(KEYS_MAX, 10)?;
        let mut keys = Vec::with_capacity(count);
        for _ in 0..count {
            let key = whole.slice_ref(reader.short_bytes()?);
            let records = reader.count(KEYS_MAX, 4)?;
            let records =
                (0..records).map(|_| KeyRecord::decode(reader)).collect::<Result<_, _>>()?;
            keys.push(KeyRecords { key, records });
        }
        let count = reader.count(KEYS_MAX, 6)?;
        let mut tags = Vec::with_capacity(count);
        for _ in 0..count {
            tags.push((whole.slice_ref(reader.short_bytes()?), reader.u32()?));
        }
        Ok(Self { generation, keys, tags })
    }
}

impl KeyRecord {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let word = reader.u32()?;
        let kind = match word & 3 {
            0 => RecordKind::Event,
            1 => RecordKind::Tombstone,
            2 => RecordKind::Close,
            _ => return Err(CodecError::Range("the kind of a record")),
        };
        Ok(Self { delta: word >> 2, kind })
    }
}

impl RecordKind {
    fn bits(self) -> u32 {
        match self {
            Self::Event => 0,
            Self::Tombstone => 1,
            Self::Close => 2,
        }
    }
}

impl Conditions {
    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn encode(&self, writer: &mut Writer) {
        writer.u32(self.generation);
        writer.count(self.all.len());
        for condition in &self.all {
            match condition {
                Condition::EndOffset(offset) => {
                    writer.u8(1);
                    writer.i64(*offset);
                }
                Condition::Version { key, expected } => {
                    writer.u8(2);
                    writer.short_bytes(key);
                    writer.i64(expected.number());
                }
                Condition::NoTagAfter { tag, offset } => {
                    writer.u8(3);
                    writer.short_bytes(tag);
                    writer.i64(*offset);
                }
            }
        }
    }

    fn decode(reader: &mut Reader<'_>, whole: &Bytes) -> Result<Self, CodecError> {
        let generation = reader.u32()?;
        let count = reader.count(CONDITIONS_MAX, 9)?;
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(match reader.u8()? {
                1 => Condition::EndOffset(reader.i64()?),
                2 => {
                    let key = whole.slice_ref(reader.short_bytes()?);
                    let expected = ExpectedVersion::of(reader.i64()?);
                    let expected = expected.ok_or(CodecError::Range("an expected version"))?;
                    Condition::Version { key, expected }
                }
                3 => {
                    let tag = whole.slice_ref(reader.short_bytes()?);
                    Condition::NoTagAfter { tag, offset: reader.i64()? }
                }
                kind => return Err(CodecError::Kind(kind)),
            });
        }
        Ok(Self { generation, all })
    }
}

#[cfg(test)]
mod tests;
