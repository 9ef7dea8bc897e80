//! Sparse points into the log: where a batch stands, and what lies before it.
//!
//! The machine cuts a point when enough has passed since the last; a seek finds the point at or before
//! its goal and the rest is a short walk. All that is sought by offset, time or size is found by the one
//! key, the offset, where a key per measure would triple what is written for every point.
//!
//! A span is what lies between two neighbouring points. A point tells of the span that ends at it.
//!
//! Times do not grow along the log: producers' clocks differ, and a single record from the far future would
//! make "the largest so far" say nothing about all that follows. So a search by time skips what is too old, in
//! steps of 64: every 64 spans a block tells their largest time, and so does a block of 64 blocks.

use bytes::Bytes;
use quorate_storage::{Error as StorageError, Log, StateDelete, StatePut};

use super::codec::{CodecError, Reader, Writer};
use super::position::{Place, Position};

/// A span ends after this many bytes of batches: what a seek reads in vain at most, save the last batch.
pub(super) const SPAN_BYTES: u64 = 256 * 1024;
/// ... or this many batches, so that a seek among tiny ones is short too,
pub(super) const SPAN_BATCHES: u32 = 128;
/// ... or this long, so that retention by time cuts a slow partition to the hour.
pub(super) const SPAN_MS: i64 = 3_600_000;

/// First byte of the keys of points; the rest is the offset, so that keys sort as offsets do.
const PREFIX: u8 = b'o';
/// First bytes of the keys of blocks, by level: of spans, and of blocks of spans.
const BLOCK_PREFIXES: [u8; LEVELS] = [b'p', b'q'];
pub(super) const LEVELS: usize = 2;
/// Spans of a block, and blocks of a block of blocks: 16 MiB and 1 GiB of log.
pub(super) const BLOCK_SPANS: u32 = 64;
const VERSION: u8 = 3;
/// Points looked at per read when many have to be; the first read is short, for often one is enough.
const PAGES: std::ops::RangeInclusive<usize> = 8..=512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at: Position,
    pub(super) span: Span,
}

/// Many neighbouring spans; `at` is where the last of them ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) at: Position,
    pub(super) timestamp_max: i64,
}

/// What a span holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Largest timestamp of its batches, as their headers have it.
    pub(super) timestamp_max: i64,
    /// The same for retention: a batch without a timestamp counts with the time it was appended.
    pub(super) age_max: i64,
    /// When the last of its batches was appended, by its leader's wall clock: its age where `age_max` lies in
    /// the future.
    pub(super) appended_max: i64,
}

impl Span {
    /// A span that was not told about may hold anything.
    pub(super) const UNKNOWN: Span =
        Span { timestamp_max: i64::MAX, age_max: i64::MAX, appended_max: i64::MAX };
    pub(super) const EMPTY: Span =
        Span { timestamp_max: i64::MIN, age_max: i64::MIN, appended_max: i64::MIN };

    pub(super) fn add(&mut self, timestamp: i64, wall_ms: i64) {
        self.timestamp_max = self.timestamp_max.max(timestamp);
        self.age_max = self.age_max.max(if timestamp < 0 { wall_ms } else { timestamp });
        self.appended_max = self.appended_max.max(wall_ms);
    }
}

impl Point {
    pub(super) fn put(&self) -> StatePut {
        let mut writer = Writer::with_capacity(45);
        writer.u8(VERSION);
        self.at.place.encode(&mut writer);
        writer.u64(self.at.bytes);
        writer.i64(self.span.timestamp_max);
        writer.i64(self.span.age_max);
        writer.i64(self.span.appended_max);
        let key = key(PREFIX, self.at.offset);
        StatePut { key, value: Bytes::from(writer.finish()) }
    }

    fn decode(key: &[u8], value: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(value);
        let point = Self {
            at: take_position(PREFIX, key, &mut reader)?,
            span: Span {
                timestamp_max: reader.i64()?,
                age_max: reader.i64()?,
                appended_max: reader.i64()?,
            },
        };
        reader.end()?;
        Ok(point)
    }
}

impl Block {
    fn put(&self, level: usize) -> StatePut {
        let mut writer = Writer::with_capacity(29);
        writer.u8(VERSION);
        self.at.place.encode(&mut writer);
        writer.u64(self.at.bytes);
        writer.i64(self.timestamp_max);
        let key = key(BLOCK_PREFIXES[level], self.at.offset);
        StatePut { key, value: Bytes::from(writer.finish()) }
    }

    fn decode(level: usize, key: &[u8], value: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(value);
        let at = take_position(BLOCK_PREFIXES[level], key, &mut reader)?;
        let block = Self { at, timestamp_max: reader.i64()? };
        reader.end()?;
        Ok(block)
    }
}

/// Reads where a point or a block stands.
fn take_position(prefix: u8, key: &[u8], value: &mut Reader<'_>) -> Result<Position, CodecError> {
    let mut reader = Reader::new(key);
    if reader.u8()? != prefix {
        return Err(CodecError::Range("a point's key"));
    }
    let offset = reader.i64()?;
    reader.end()?;
    let version = value.u8()?;
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    Ok(Position { offset, place: Place::decode(value)?, bytes: value.u64()? })
}

/// The blocks that are not full yet, one of each level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenBlocks([OpenBlock; LEVELS]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OpenBlock {
    count: u32,
    timestamp_max: i64,
}

impl Default for OpenBlocks {
    fn default() -> Self {
        Self([OpenBlock { count: 0, timestamp_max: i64::MIN }; LEVELS])
    }
}

impl OpenBlocks {
    /// Adds a span that ends at `point`; returns the blocks that are full with it.
    pub(super) fn add(&mut self, point: &Point) -> Vec<StatePut> {
        let mut puts = Vec::new();
        let mut timestamp_max = point.span.timestamp_max;
        for (level, open) in self.0.iter_mut().enumerate() {
            open.count += 1;
            open.timestamp_max = open.timestamp_max.max(timestamp_max);
            if open.count < BLOCK_SPANS {
                break;
            }
            timestamp_max = open.timestamp_max;
            puts.push(Block { at: point.at, timestamp_max }.put(level));
            *open = OpenBlock { count: 0, timestamp_max: i64::MIN };
        }
        puts
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        for open in &self.0 {
            writer.u32(open.count);
            writer.i64(open.timestamp_max);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut blocks = Self::default();
        for open in &mut blocks.0 {
            *open = OpenBlock { count: reader.u32()?, timestamp_max: reader.i64()? };
            if open.count >= BLOCK_SPANS {
                return Err(CodecError::Range("the spans of an open block"));
            }
        }
        Ok(blocks)
    }
}

/// Returns the deletions that a log start moving from `from` to `to` brings, whatever a replica that was given its records
/// has kept from before. Blocks are few, so they stay until it has passed as much of the log as one of them tells of at
/// most.
pub(super) fn deletes(from: Position, to: Position) -> Vec<StateDelete> {
    let mut deletes = vec![StateDelete { from: key(PREFIX, 0), to: key(PREFIX, to.offset) }];
    let mut bytes = SPAN_BYTES;
    for prefix in BLOCK_PREFIXES {
        bytes *= u64::from(BLOCK_SPANS);
        if from.bytes / bytes != to.bytes / bytes {
            deletes.push(StateDelete { from: key(prefix, 0), to: key(prefix, to.offset) });
        }
    }
    deletes
}

/// The keys of all points and blocks.
pub(super) fn all() -> StateDelete {
    StateDelete { from: vec![PREFIX], to: vec![BLOCK_PREFIXES[LEVELS - 1] + 1] }
}

/// Returns points and blocks from `from` to `to` as they are on disk, the first `max` of them with keys behind `after`.
/// They say the same on every replica that applied as much: a replica that was not shown the entries is given them. Reads
/// the disk.
pub(super) fn stored(
    log: &Log,
    (from, to): (i64, i64),
    after: Option<&[u8]>,
    max: usize,
) -> Result<Vec<StatePut>, IndexError> {
    let mut found = Vec::new();
    for prefix in std::iter::once(PREFIX).chain(BLOCK_PREFIXES) {
        let mut begin = key(prefix, from);
        if let Some(after) = after.filter(|after| **after >= begin[..]) {
            begin = after.to_vec();
            // The least key above it.
            begin.push(0);
        }
        let end = key(prefix, to.saturating_add(1));
        let page = log.state_range(&begin, &end, max - found.len())?;
        found.extend(page.into_iter().map(|(key, value)| StatePut { key, value }));
    }
    Ok(found)
}

/// Fails if it is neither a point nor a block.
pub(super) fn check(put: &StatePut) -> Result<(), CodecError> {
    match put.key.first() {
        Some(&PREFIX) => Point::decode(&put.key, &put.value).map(drop),
        first => {
            let level = BLOCK_PREFIXES.iter().position(|prefix| Some(prefix) == first);
            let level = level.ok_or(CodecError::Range("a point's key"))?;
            Block::decode(level, &put.key, &put.value).map(drop)
        }
    }
}

/// Returns the last point at or before `offset`. Reads the disk.
pub(super) fn at_or_before(log: &Log, offset: i64) -> Result<Option<Point>, IndexError> {
    let found = log.state_at_or_before(PREFIX, &key(PREFIX, offset))?;
    Ok(found.map(|(key, value)| Point::decode(&key, &value)).transpose()?)
}

/// Returns the furthest place at or after `from`, a point's or the start of the log, up to which no batch of
/// `timestamp` or later stands, as far as blocks tell. Reads the disk.
pub(super) fn skip_older(
    log: &Log,
    from: Position,
    to: i64,
    timestamp: i64,
) -> Result<Position, IndexError> {
    let mut at = from;
    for level in (0..LEVELS).rev() {
        for block in blocks_after(log, level, at.offset, to) {
            let block = block?;
            if block.timestamp_max >= timestamp {
                break;
            }
            at = block.at;
        }
    }
    Ok(at)
}

/// Returns the largest timestamp of the spans between the points at `from` and `to`, and up to which point it
/// is told: the newest may still be on their way to the disk. Reads the disk.
pub(super) fn largest(log: &Log, from: Position, to: i64) -> Result<(i64, Position), IndexError> {
    let (mut at, mut largest) = (from, i64::MIN);
    let mut pass = |at: &mut Position, end: Position, timestamp_max: i64| {
        *at = end;
        largest = largest.max(timestamp_max);
    };
    // Fine to coarse, each as far as the next block of the next level begins; then coarse to fine.
    for point in after(log, at.offset) {
        let point = point?;
        if point.at.offset > to || is_block(log, 0, at.offset)? {
            break;
        }
        pass(&mut at, point.at, point.span.timestamp_max);
    }
    for block in blocks_after(log, 0, at.offset, to) {
        let block = block?;
        if is_block(log, 1, at.offset)? {
            break;
        }
        pass(&mut at, block.at, block.timestamp_max);
    }
    for level in (0..LEVELS).rev() {
        for block in blocks_after(log, level, at.offset, to) {
            let block = block?;
            pass(&mut at, block.at, block.timestamp_max);
        }
    }
    for point in after(log, at.offset) {
        let point = point?;
        if point.at.offset > to {
            break;
        }
        pass(&mut at, point.at, point.span.timestamp_max);
    }
    Ok((largest, at))
}

/// Returns whether a block of this level ends at `offset`.
fn is_block(log: &Log, level: usize, offset: i64) -> Result<bool, IndexError> {
    Ok(log.state_get(&key(BLOCK_PREFIXES[level], offset))?.is_some())
}

/// Returns the blocks of a level that end after `after` and at `to` at the latest.
fn blocks_after(
    log: &Log,
    level: usize,
    after: i64,
    to: i64,
) -> impl Iterator<Item = Result<Block, IndexError>> + '_ {
    let mut pages = Pages::new(log, BLOCK_PREFIXES[level], after);
    std::iter::from_fn(move || {
        let next = pages.advance().transpose()?;
        let block = next.and_then(|(key, value)| Ok(Block::decode(level, &key, &value)?));
        Some(block)
    })
    .take_while(move |block| block.as_ref().map_or(true, |block| block.at.offset <= to))
}

/// Returns the points after `offset`, in order.
pub(super) fn after(
    log: &Log,
    offset: i64,
) -> impl Iterator<Item = Result<Point, IndexError>> + '_ {
    let mut pages = Pages::new(log, PREFIX, offset);
    std::iter::from_fn(move || {
        let next = pages.advance().transpose()?;
        Some(next.and_then(|(key, value)| Ok(Point::decode(&key, &value)?)))
    })
}

/// The records of one prefix after an offset, read a page at a time.
struct Pages<'a> {
    log: &'a Log,
    prefix: u8,
    next: Vec<u8>,
    page: std::vec::IntoIter<(Vec<u8>, Bytes)>,
    page_len: usize,
    done: bool,
}

impl<'a> Pages<'a> {
    fn new(log: &'a Log, prefix: u8, offset: i64) -> Self {
        let next = key(prefix, offset.saturating_add(1));
        let page_len = *PAGES.start();
        Self { log, prefix, next, page: Vec::new().into_iter(), page_len, done: false }
    }

    fn advance(&mut self) -> Result<Option<(Vec<u8>, Bytes)>, IndexError> {
        if self.page.as_slice().is_empty() && !self.done {
            let page = self.log.state_range(&self.next, &[self.prefix + 1], self.page_len)?;
            self.done = page.len() < self.page_len;
            self.page_len = (self.page_len * 4).min(*PAGES.end());
            if let Some((last, _)) = page.last() {
                self.next.clone_from(last);
                // The least key above it.
                self.next.push(0);
            }
            self.page = page.into_iter();
        }
        Ok(self.page.next())
    }
}

fn key(prefix: u8, offset: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(9);
    key.push(prefix);
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
