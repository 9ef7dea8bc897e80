//! Sparse points into the log: where a batch stands, and what lies before it.
//!
//! The machine cuts a point when enough has passed since the last; a seek finds the point at or before
//! its goal and the rest is a short walk. All that is sought by (offset, time, size) grows along the log,
//! so points are keyed by offset only and the other two are found by bisection: twenty reads of a few
//! bytes, where a key per measure would triple what is written for every point.
//!
//! A span is what lies between two neighbouring points. A point tells of the span that ends at it.

use bytes::Bytes;
use quorate_storage::{Error as StorageError, Log, StateDelete, StatePut};

use super::codec::{CodecError, Reader, Writer};
use super::position::Position;

/// A span ends after this many bytes of batches: what a seek reads in vain at most, save the last batch.
pub(super) const SPAN_BYTES: u64 = 256 * 1024;
/// ... or this many entries, so that a seek among tiny batches is short too,
pub(super) const SPAN_ENTRIES: u32 = 128;
/// ... or this long, so that retention by time cuts a slow partition to the hour.
pub(super) const SPAN_MS: i64 = 3_600_000;

/// First byte of the keys of points; the rest is the offset, so that keys sort as offsets do.
const PREFIX: u8 = b'o';
const VERSION: u8 = 1;
/// Points looked at per read when many have to be.
const PAGE: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at: Position,
    /// Largest timestamp of any batch before, those long trimmed included; bisected by.
    pub(super) timestamp_before: i64,
    pub(super) span: Span,
}

/// What a span holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Largest timestamp of its batches, as their headers have it.
    pub(super) timestamp_max: i64,
    /// The same for retention: a batch without a timestamp counts with the time it was appended.
    pub(super) age_max: i64,
}

impl Span {
    /// A span that was not told about may hold anything.
    pub(super) const UNKNOWN: Span = Span { timestamp_max: i64::MAX, age_max: i64::MAX };
    pub(super) const EMPTY: Span = Span { timestamp_max: i64::MIN, age_max: i64::MIN };

    pub(super) fn add(&mut self, timestamp: i64, now_ms: i64) {
        self.timestamp_max = self.timestamp_max.max(timestamp);
        self.age_max = self.age_max.max(if timestamp < 0 { now_ms } else { timestamp });
    }
}

impl Point {
    pub(super) fn put(&self) -> StatePut {
        let mut writer = Writer::with_capacity(41);
        writer.u8(VERSION);
        writer.u64(self.at.index);
        writer.u64(self.at.bytes);
        writer.i64(self.timestamp_before);
        writer.i64(self.span.timestamp_max);
        writer.i64(self.span.age_max);
        StatePut { key: key(self.at.offset), value: Bytes::from(writer.finish()) }
    }

    fn decode(key: &[u8], value: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(key);
        if reader.u8()? != PREFIX {
            return Err(CodecError::Range("a point's key"));
        }
        let offset = reader.i64()?;
        reader.end()?;
        let mut reader = Reader::new(value);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(CodecError::Version(version));
        }
        let point = Self {
            at: Position { offset, index: reader.u64()?, bytes: reader.u64()? },
            timestamp_before: reader.i64()?,
            span: Span { timestamp_max: reader.i64()?, age_max: reader.i64()? },
        };
        reader.end()?;
        Ok(point)
    }
}

/// Returns the deletion of the points at `from..to`.
pub(super) fn delete(from: i64, to: i64) -> StateDelete {
    StateDelete { from: key(from), to: key(to) }
}

/// Returns the last point at or before `offset`. Reads the disk.
pub(super) fn at_or_before(log: &Log, offset: i64) -> Result<Option<Point>, IndexError> {
    let found = log.state_at_or_before(PREFIX, &key(offset))?;
    Ok(found.map(|(key, value)| Point::decode(&key, &value)).transpose()?)
}

/// Returns the last point in `from..to` that `before` holds for, given that it holds up to some point
/// and for none after. Reads the disk some forty times at most.
pub(super) fn bisect(
    log: &Log,
    from: i64,
    to: i64,
    before: impl Fn(&Point) -> bool,
) -> Result<Option<Point>, IndexError> {
    let (mut low, mut high) = (from, to);
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        match at_or_before(log, middle)?.filter(|point| point.at.offset >= low) {
            // Nothing in low..=middle; what is left lies above.
            None => low = middle + 1,
            Some(point) if before(&point) => {
                found = Some(point);
                low = middle + 1;
            }
            Some(point) => high = point.at.offset,
        }
    }
    Ok(found)
}

/// Returns the points after `offset`, in order, reading a page at a time.
pub(super) fn after(log: &Log, offset: i64) -> PointsAfter<'_> {
    PointsAfter { log, next: offset.saturating_add(1), page: Vec::new().into_iter(), done: false }
}

pub(super) struct PointsAfter<'a> {
    log: &'a Log,
    next: i64,
    page: std::vec::IntoIter<(Vec<u8>, Bytes)>,
    done: bool,
}

impl PointsAfter<'_> {
    fn advance(&mut self) -> Result<Option<Point>, IndexError> {
        if self.page.as_slice().is_empty() && !self.done {
            let page = self.log.state_range(&key(self.next), &[PREFIX + 1], PAGE)?;
            self.done = page.len() < PAGE;
            self.page = page.into_iter();
        }
        let Some((key, value)) = self.page.next() else { return Ok(None) };
        let point = Point::decode(&key, &value)?;
        self.next = point.at.offset.saturating_add(1);
        Ok(Some(point))
    }
}

impl Iterator for PointsAfter<'_> {
    type Item = Result<Point, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

fn key(offset: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(9);
    key.push(PREFIX);
    key.extend_from_slice(&offset.to_be_bytes());
    key
}

/// A point cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("a point of the offset index is damaged")]
    Damaged(#[from] CodecError),
}

#[cfg(test)]
mod tests;
