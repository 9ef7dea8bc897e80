//! The batches inside of an append: putting them in, and passing them one by one.
//!
//! Every reader of an entry comes through [`Frames`], the machine as well as all walks, so that they find the same
//! batches at the same places.

use bytes::Bytes;

use super::{APPEND, Batch, PREFIX_BYTES, Times, put_prefix, take_prefix};
use crate::partition::attachments::Attachments;
use crate::partition::codec::{CodecError, Reader, Writer};
use crate::record::{EndMarker, HEADER_BYTES, Header};

/// Batches of one entry at most. Far more than a leader puts into one: what replicas refuse must not move with what a
/// leader finds useful.
const BATCHES_MAX: usize = 1 << 16;
/// Bytes of an append before its first batch.
const APPEND_PREFIX_BYTES: usize = PREFIX_BYTES + 4;
/// Bytes that a batch takes besides its own and those of its attachments.
const LENGTHS_BYTES: usize = 8;
/// Bytes that a batch without attachments takes besides its own.
const FRAME_BYTES: usize = LENGTHS_BYTES + 1;
/// Bytes that the payload of a single batch without attachments has besides the batch.
pub(in crate::partition) const FRAME_OVERHEAD: usize = APPEND_PREFIX_BYTES + FRAME_BYTES;

/// The payload of an append under construction: batches are copied in as they come, and the times it is proposed at are
/// put in last.
#[derive(Debug)]
pub(in crate::partition) struct AppendPayload {
    bytes: Vec<u8>,
    count: u32,
}

impl AppendPayload {
    /// `batch_bytes`: of the batches that are known to come.
    pub(in crate::partition) fn with_capacity(batch_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(FRAME_OVERHEAD + batch_bytes);
        bytes.resize(APPEND_PREFIX_BYTES, 0);
        Self { bytes, count: 0 }
    }

    /// Adds a batch that passed the gate, with its attachments encoded.
    pub(in crate::partition) fn push(&mut self, batch: &[u8], attachments: &[u8]) {
        let length = u32::try_from(batch.len()).expect("the gate bounds batches far below 4 GiB");
        self.bytes.reserve(LENGTHS_BYTES + attachments.len() + batch.len());
        for field in [length, length] {
            self.bytes.extend_from_slice(&field.to_be_bytes());
        }
        self.bytes.extend_from_slice(attachments);
        self.bytes.extend_from_slice(batch);
        self.count += 1;
    }

    pub(in crate::partition) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(in crate::partition) fn count(&self) -> u32 {
        self.count
    }

    pub(in crate::partition) fn finish(mut self, times: Times) -> Bytes {
        let mut writer = Writer::with_capacity(APPEND_PREFIX_BYTES);
        put_prefix(&mut writer, APPEND, times);
        writer.u32(self.count);
        self.bytes[..APPEND_PREFIX_BYTES].copy_from_slice(&writer.finish());
        // It lives on in the cache of the log's tail, which counts what is in it.
        if self.bytes.capacity() - self.bytes.len() > self.bytes.len() / 8 {
            self.bytes.shrink_to_fit();
        }
        Bytes::from(self.bytes)
    }
}

/// How far the batches of an append were passed. Holds none of its bytes; every call is given the same.
#[derive(Debug, Clone, Copy)]
pub(in crate::partition) struct Frames {
    /// The wall clock of the command.
    wall_ms: i64,
    count: u32,
    passed: u32,
    /// Where the next one begins.
    at: usize,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(in crate::partition) struct Frame<'a> {
    /// Its place in the entry.
    pub(in crate::partition) sub: u32,
    size: u32,
    /// Its attachments, encoded.
    attachments: &'a [u8],
    /// The record batch as it was sent.
    pub(in crate::partition) bytes: &'a [u8],
}

impl Frames {
    /// Returns the batches of an entry's payload; `None` when it is not an append.
    pub(in crate::partition) fn of(payload: &[u8]) -> Result<Option<Self>, CodecError> {
        let mut reader = Reader::new(payload);
        let (kind, Times { wall_ms, .. }) = take_prefix(&mut reader)?;
        if kind != APPEND {
            return Ok(None);
        }
        let count = reader.count(BATCHES_MAX, FRAME_BYTES + HEADER_BYTES)?;
        if count == 0 {
            return Err(CodecError::Range("the number of batches"));
        }
        let count = u32::try_from(count).map_err(|_| CodecError::Range("the number of batches"))?;
        Ok(Some(Self { wall_ms, count, passed: 0, at: APPEND_PREFIX_BYTES }))
    }

    /// Returns when they were appended, by their leader's wall clock.
    pub(in crate::partition) fn wall_ms(&self) -> i64 {
        self.wall_ms
    }

    /// Returns how many batches there are in all.
    pub(in crate::partition) fn count(&self) -> u32 {
        self.count
    }

    /// Returns the next batch; `None` behind the last one.
    pub(in crate::partition) fn pass<'a>(
        &mut self,
        payload: &'a [u8],
    ) -> Result<Option<Frame<'a>>, CodecError> {
        let rest = payload.get(self.at..).ok_or(CodecError::Short)?;
        let mut reader = Reader::new(rest);
        if self.passed == self.count {
            return reader.end().map(|()| None);
        }
        let (size, length) = (reader.u32()?, reader.u32()?);
        if size < length {
            return Err(CodecError::Range("the size of a compacted batch"));
        }
        let attachments = reader.bytes(Attachments::pass(reader.rest())?)?;
        let bytes = reader.bytes(usize::try_from(length).map_err(|_| CodecError::Short)?)?;
        let sub = self.passed;
        self.passed += 1;
        self.at += LENGTHS_BYTES + attachments.len() + bytes.len();
        Ok(Some(Frame { sub, size, attachments, bytes }))
    }
}

impl Frame<'_> {
    /// Reads the header of the batch, which was checked before it was proposed.
    pub(in crate::partition) fn batch(&self) -> Result<Batch, CodecError> {
        Batch::of(self.bytes, self.size)
    }

    /// Reads its attachments. `payload`: what it was passed in.
    fn attachments(&self, payload: &Bytes) -> Result<Attachments, CodecError> {
        let mut reader = Reader::new(self.attachments);
        let attachments = Attachments::decode(&mut reader, payload)?;
        reader.end()?;
        Ok(attachments)
    }
}

impl Batch {
    /// Reads the header of a batch of this logical size, and what a control batch says.
    pub(in crate::partition) fn of(bytes: &[u8], size: u32) -> Result<Self, CodecError> {
        let header = Header::parse(bytes).ok_or(CodecError::Short)?;
        if header.total_bytes() != Some(bytes.len()) {
            return Err(CodecError::Range("a batch's length"));
        }
        if header.last_offset_delta < 0 {
            return Err(CodecError::Range("a batch's last offset delta"));
        }
        let marker = if header.is_control() { EndMarker::of(bytes) } else { None };
        Ok(Self { header, size: u64::from(size), marker })
    }
}

/// Returns all batches of an append.
pub(super) fn decode(payload: &Bytes) -> Result<Vec<(Batch, Attachments)>, CodecError> {
    let Some(mut frames) = Frames::of(payload)? else { return Err(CodecError::Kind(APPEND)) };
    // No more than bytes are there for.
    let mut batches = Vec::with_capacity(frames.count() as usize);
    while let Some(frame) = frames.pass(payload)? {
        batches.push((frame.batch()?, frame.attachments(payload)?));
    }
    Ok(batches)
}
