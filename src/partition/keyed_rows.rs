//! What a partition keeps by key besides its producers, in its keyed state: streams, tags and idempotency keys.
//!
//! ```text
//!  's' generation u32, key of the stream   counted u64s, see `Stream`
//!  't' generation u32, tag                 last offset i64
//!  'i' idempotency key                     log_ms i64 │ fingerprint u64 │ base offset, log append time, version i64
//! ```
//!
//! Nothing here is looked for by a sweep of the machine. What is over counts as none where it is read, and its place is
//! freed by name later (`forget.rs`): rows of an earlier generation, tags that are used before the log start only,
//! idempotency keys after a day of log time. A stream's row stays as long as its partition has streams, so that versions
//! never go back.

use bytes::Bytes;
use quorate_raft::Keyed;

use super::attachments::{Attachments, Condition, RecordKind};
use super::codec::{CodecError, Reader, Writer};
use super::producers::Stored;
use super::stream_index::Region;

const STREAM: u8 = b's';
const TAG: u8 = b't';
const ONCE: u8 = b'i';
/// For how long of log time a request with an idempotency key is remembered: as long as a producer is.
pub(super) const ONCE_MS: i64 = 86_400_000;

/// A stream: how many records its key has had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stream {
    /// Records from before streams were turned on, as far as they are counted, and since then.
    before: u64,
    since: u64,
    /// The last tombstone among either; 0: none.
    hidden_before: u64,
    hidden_since: u64,
    /// Nothing is appended any more.
    pub(super) closed: bool,
    /// Of its newest record.
    pub(super) last_offset: i64,
}

/// Where a tag was used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) last_offset: i64,
}

/// A request that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Once {
    /// Log time.
    pub(super) at_ms: i64,
    pub(super) fingerprint: u64,
    pub(super) stored: Stored,
    /// See `BatchReply`.
    pub(super) version: i64,
}

/// What says whether a row is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Horizon {
    /// 0 while there are no streams.
    pub(super) generation: u32,
    pub(super) log_start: i64,
    pub(super) log_ms: i64,
}

/// Returns the keys that judging and counting a batch with these attachments gets or changes.
pub(super) fn needs(attachments: &Attachments, needs: &mut Vec<Bytes>) {
    if let Some(keys) = &attachments.stream_keys {
        needs.extend(keys.keys.iter().map(|it| stream_key(keys.generation, &it.key)));
        needs.extend(keys.tags.iter().map(|(tag, _)| tag_key(keys.generation, tag)));
    }
    let generation = attachments.conditions.generation;
    needs.extend(attachments.conditions.all.iter().filter_map(|condition| match condition {
        Condition::EndOffset(_) => None,
        Condition::Version { key, .. } => Some(stream_key(generation, key)),
        Condition::NoTagAfter { tag, .. } => Some(tag_key(generation, tag)),
    }));
    needs.extend(attachments.idempotency.iter().map(|it| once_key(&it.key)));
}

/// Returns whether a row may go; false for what is none of these.
pub(super) fn is_over(key: &[u8], value: &[u8], horizon: Horizon) -> bool {
    let generation = key.get(1..5).and_then(|it| it.try_into().ok()).map(u32::from_be_bytes);
    match key.first() {
        Some(&STREAM) => generation != Some(horizon.generation),
        Some(&TAG) => {
            let is_trimmed = |tag: Tag| tag.last_offset < horizon.log_start;
            generation != Some(horizon.generation) || Tag::decode(value).is_ok_and(is_trimmed)
        }
        Some(&ONCE) => Once::decode(value).is_ok_and(|once| once.is_over(horizon.log_ms)),
        _ => false,
    }
}

/// Returns where to look on from `key`: behind the streams of this generation if that is among them.
pub(super) fn past_streams(generation: u32, key: Bytes) -> Bytes {
    let is_among = generation > 0 && key.starts_with(&stream_key(generation, &[]));
    match generation.checked_add(1).filter(|_| is_among) {
        Some(next) => stream_key(next, &[]),
        None => key,
    }
}

/// Returns where a stream's row is.
pub(super) fn stream_key(generation: u32, key: &[u8]) -> Bytes {
    row_key(STREAM, generation, key)
}

fn tag_key(generation: u32, tag: &[u8]) -> Bytes {
    row_key(TAG, generation, tag)
}

fn once_key(key: &[u8]) -> Bytes {
    Bytes::from([&[ONCE], key].concat())
}

fn row_key(prefix: u8, generation: u32, key: &[u8]) -> Bytes {
    Bytes::from([&[prefix], &generation.to_be_bytes()[..], key].concat())
}

/// Going on without a row that is there would decide otherwise than the other replicas.
fn read<T>(row: Option<Bytes>, decode: impl FnOnce(&[u8]) -> Result<T, CodecError>) -> Option<T> {
    Some(decode(&row?).unwrap_or_else(|error| {
        quorate_storage::fatal("read a row of a partition's keyed state", &error);
    }))
}

impl Stream {
    pub(super) fn stored_in(keyed: &Keyed, generation: u32, key: &[u8]) -> Option<Self> {
        read(keyed.get(&stream_key(generation, key)), Self::decode)
    }

    pub(super) fn store(self, keyed: &mut Keyed, generation: u32, key: &[u8]) {
        keyed.put(&stream_key(generation, key), self.encode());
    }

    /// Returns how many records the key has had.
    pub(super) fn version(&self) -> i64 {
        i64::try_from(self.before + self.since).unwrap_or(i64::MAX)
    }

    /// Returns up to which version its records are hidden by a tombstone; 0: none is.
    pub(super) fn hidden(&self) -> i64 {
        let hidden = match self.hidden_since {
            0 => self.hidden_before,
            since => self.before + since,
        };
        i64::try_from(hidden).unwrap_or(i64::MAX)
    }

    /// Returns whether there is anything in it that is not deleted.
    pub(super) fn is_visible(&self) -> bool {
        self.hidden() < self.version()
    }

    /// Returns how many of its records are from before streams were turned on.
    pub(super) fn before(&self) -> u64 {
        self.before
    }

    /// Counts one more; returns its number in the region.
    pub(super) fn add(&mut self, region: Region, kind: RecordKind) -> u64 {
        let (count, hidden) = match region {
            Region::Before => (&mut self.before, &mut self.hidden_before),
            Region::Since => (&mut self.since, &mut self.hidden_since),
        };
        *count += 1;
        if kind != RecordKind::Event {
            *hidden = *count;
        }
        self.closed |= kind == RecordKind::Close && region == Region::Since;
        *count
    }

    fn encode(self) -> Bytes {
        let mut writer = Writer::with_capacity(16);
        writer.u8(u8::from(self.closed));
        for number in [self.before, self.since, self.hidden_before, self.hidden_since] {
            writer.varint(number);
        }
        writer.varint(self.last_offset.unsigned_abs());
        Bytes::from(writer.finish())
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let closed = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(CodecError::Range("whether a stream is closed")),
        };
        let (before, since) = (reader.varint()?, reader.varint()?);
        let (hidden_before, hidden_since) = (reader.varint()?, reader.varint()?);
        let last_offset = i64::try_from(reader.varint()?);
        let last_offset = last_offset.map_err(|_| CodecError::Range("an offset"))?;
        reader.end()?;
        if hidden_before > before || hidden_since > since || before.checked_add(since).is_none() {
            return Err(CodecError::Range("the numbers of a stream"));
        }
        Ok(Self { before, since, hidden_before, hidden_since, closed, last_offset })
    }
}

impl Tag {
    pub(super) fn stored_in(keyed: &Keyed, generation: u32, tag: &[u8]) -> Option<Self> {
        read(keyed.get(&tag_key(generation, tag)), Self::decode)
    }

    pub(super) fn store(self, keyed: &mut Keyed, generation: u32, tag: &[u8]) {
        let value = Bytes::copy_from_slice(&self.last_offset.to_be_bytes());
        keyed.put(&tag_key(generation, tag), value);
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let last_offset = reader.i64()?;
        reader.end()?;
        Ok(Self { last_offset })
    }
}

impl Once {
    pub(super) fn stored_in(keyed: &Keyed, key: &[u8]) -> Option<Self> {
        read(keyed.get(&once_key(key)), Self::decode)
    }

    pub(super) fn store(self, keyed: &mut Keyed, key: &[u8]) {
        let mut writer = Writer::with_capacity(40);
        writer.i64(self.at_ms);
        writer.u64(self.fingerprint);
        writer.i64(self.stored.base_offset);
        writer.i64(self.stored.log_append_time);
        writer.i64(self.version);
        keyed.put(&once_key(key), Bytes::from(writer.finish()));
    }

    pub(super) fn is_over(self, log_ms: i64) -> bool {
        log_ms.saturating_sub(self.at_ms) > ONCE_MS
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let (at_ms, fingerprint) = (reader.i64()?, reader.u64()?);
        let stored = Stored { base_offset: reader.i64()?, log_append_time: reader.i64()? };
        let version = reader.i64()?;
        reader.end()?;
        Ok(Self { at_ms, fingerprint, stored, version })
    }
}
