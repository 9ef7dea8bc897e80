//! The tail of a partition: records that this replica keeps below its log.
//!
//! ```text
//!        log start            boundary                    high watermark
//!            │   tail: chunks    │   head: the Raft log        │
//!   ─────────┼────────┬──────────┼─────────────────────────────┼─ ─ not applied
//!            │ chunk  │  chunk   │ entries with batches        │
//! ```
//!
//! Only a replica that compacted its log, or was filled by a snapshot, has one. Each replica has its own boundary and its
//! own chunks, so nothing here is in the machine, whose bytes all replicas share; what they say of a record is the same.
//! The boundary lies between two entries. A batch is read where the tail has it, though the log may have it
//! still: rows of chunks are durable before the log may go.
//!
//! A batch in a chunk has with it what a walk would have counted, so it needs no neighbour: the batches between two that
//! took no offset are not there, and one that a compaction removed is missed by nobody.
//!
//! ```text
//!  key:    the batch's first offset
//!  value:  version u8 = 2 │ epoch i32 │ index u64 │ sub u32 │ batches of the entry u32 │ bytes before it u64 │ size u32
//!          │ wall_ms i64 │ the record batch v2 as sent
//! ```

use bytes::Bytes;
use quorate_storage::{Chunk, Chunks, Error as StorageError, Log};

use super::codec::{CodecError, Reader, Writer};
use super::command::Batch;
use super::position::{Place, Position};
use super::walk::Located;

const VERSION: u8 = 2;
/// Bytes of a value before the batch.
const HEADER: usize = 1 + 4 + 8 + 4 + 4 + 8 + 4 + 8;

/// A replica's tail at some time.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    chunks: Chunks,
    /// Where it begins, and the boundary.
    bounds: Option<(Position, Position)>,
}

/// What the row of a chunk says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Description {
    /// Where its first batch begins or began, and behind its last.
    pub(super) start: Position,
    pub(super) end: Position,
    /// Whether there may be a tombstone in it.
    pub(super) tombstones: bool,
    pub(super) mark: Mark,
}

/// How far the compaction of a replica has come, as one of its chunks says; the others know less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    /// No record before this offset is superseded by another one before it.
    pub(super) upto: i64,
    /// No tombstone is left before this offset.
    pub(super) tombstones_upto: i64,
}

impl Description {
    pub(super) fn encode(self) -> Bytes {
        let mut writer = Writer::with_capacity(74);
        writer.u8(VERSION);
        self.start.encode(&mut writer);
        self.end.encode(&mut writer);
        writer.u8(u8::from(self.tombstones));
        writer.i64(self.mark.upto);
        writer.i64(self.mark.tombstones_upto);
        Bytes::from(writer.finish())
    }

    pub(super) fn of(chunk: &Chunk) -> Result<Self, CodecError> {
        let mut reader = Reader::new(&chunk.description);
        take_version(&mut reader)?;
        let (start, end) = (Position::decode(&mut reader)?, Position::decode(&mut reader)?);
        let tombstones = reader.u8()? != 0;
        let mark = Mark { upto: reader.i64()?, tombstones_upto: reader.i64()? };
        reader.end()?;
        Ok(Self { start, end, tombstones, mark })
    }
}

fn take_version(reader: &mut Reader<'_>) -> Result<(), CodecError> {
    match reader.u8()? {
        VERSION => Ok(()),
        version => Err(CodecError::Version(version)),
    }
}

impl Tail {
    /// Returns the tail of this replica now. Looks at memory only.
    pub(super) fn of(log: &Log) -> Result<Self, CodecError> {
        let chunks = log.chunks();
        let first = chunks.first().map(Description::of).transpose()?;
        let last = chunks.last().map(Description::of).transpose()?;
        let bounds = first.zip(last).map(|(first, last)| (first.start, last.end));
        Ok(Self { chunks, bounds })
    }

    /// Returns where the log takes over; none without a tail.
    pub(super) fn end(&self) -> Option<Position> {
        self.bounds.map(|(_, end)| end)
    }

    /// Returns whether the batch at `place` is in it, or was.
    pub(super) fn holds(&self, place: Place) -> bool {
        self.bounds.is_some_and(|(start, end)| (start.place..end.place).contains(&place))
    }

    pub(super) fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// Returns how far it is compacted.
    pub(super) fn mark(&self) -> Result<Mark, CodecError> {
        let mut marks = self.chunks.iter().map(|chunk| Description::of(chunk).map(|it| it.mark));
        marks.try_fold(Mark::default(), |newest, mark| Ok(newest.max(mark?)))
    }

    /// Returns where to begin a walk to `offset`, if it is in the tail: where its chunk begins.
    pub(super) fn seek(&self, offset: i64) -> Option<Position> {
        let at = self.chunks.partition_point(|chunk| to_signed(chunk.end) <= offset);
        let chunk = self.chunks.get(at).filter(|chunk| to_signed(chunk.first) <= offset)?;
        Description::of(chunk).ok().map(|it| it.start)
    }
}

/// A batch as it stands in a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TailBatch {
    pub(super) at: Position,
    epoch: i32,
    of_batches: u32,
    size: u32,
    wall_ms: i64,
    bytes: Bytes,
}

impl TailBatch {
    pub(super) fn of(located: &Located) -> Result<Self, CodecError> {
        let size = u32::try_from(located.batch.size);
        Ok(Self {
            at: located.at,
            epoch: located.epoch,
            of_batches: located.of_batches,
            size: size.map_err(|_| CodecError::Range("the size of a batch"))?,
            wall_ms: located.wall_ms,
            bytes: located.bytes.clone(),
        })
    }

    /// Returns it with other bytes, as compaction leaves them: it stands where it did.
    pub(super) fn with(self, bytes: Bytes) -> Self {
        Self { bytes, ..self }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Encodes all but the offset.
    pub(super) fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(HEADER + self.bytes.len());
        writer.u8(VERSION);
        writer.i32(self.epoch);
        self.at.place.encode(&mut writer);
        writer.u32(self.of_batches);
        writer.u64(self.at.bytes);
        writer.u32(self.size);
        writer.i64(self.wall_ms);
        writer.bytes(&self.bytes);
        Bytes::from(writer.finish())
    }

    pub(super) fn decode(offset: i64, value: &Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(value);
        take_version(&mut reader)?;
        let epoch = reader.i32()?;
        let place = Place::decode(&mut reader)?;
        let (of_batches, bytes_before) = (reader.u32()?, reader.u64()?);
        if place.sub >= of_batches {
            return Err(CodecError::Range("a place in an entry"));
        }
        let (size, wall_ms) = (reader.u32()?, reader.i64()?);
        let end = bytes_before.checked_add(u64::from(size)).and(place.index.checked_add(1));
        if end.is_none() || offset < 0 {
            return Err(CodecError::Range("a batch's position"));
        }
        let at = Position { offset, place, bytes: bytes_before };
        let bytes = value.slice_ref(reader.rest());
        Ok(Self { at, epoch, of_batches, size, wall_ms, bytes })
    }

    pub(super) fn located(&self) -> Result<Located, CodecError> {
        let batch = Batch::of(&self.bytes, self.size)?;
        let end_offset = self.at.offset.checked_add(batch.offsets());
        Ok(Located {
            at: self.at,
            end_offset: end_offset.ok_or(CodecError::Range("an offset"))?,
            epoch: self.epoch,
            wall_ms: self.wall_ms,
            of_batches: self.of_batches,
            batch,
            bytes: self.bytes.clone(),
        })
    }

    /// Returns where the batch behind it begins, or would.
    pub(super) fn next(&self, end_offset: i64, size: u64) -> Position {
        let place = self.at.place.next(self.of_batches);
        Position { offset: end_offset, place, bytes: self.at.bytes + size }
    }
}

/// The tail as a walk passes it.
pub(super) struct TailReader {
    tail: Result<Tail, CodecError>,
    read: std::vec::IntoIter<(u64, Bytes)>,
    /// Where to read on.
    next: Option<u64>,
}

impl TailReader {
    pub(super) fn new(tail: Result<Tail, CodecError>) -> Self {
        Self { tail, read: Vec::new().into_iter(), next: None }
    }

    /// Returns whether the batch at `place` is read here.
    pub(super) fn holds(&self, place: Place) -> Result<bool, CodecError> {
        Ok(self.tail.as_ref().map_err(|error| *error)?.holds(place))
    }

    pub(super) fn end(&self) -> Option<Position> {
        self.tail.as_ref().ok().and_then(Tail::end)
    }

    /// Returns whether there is something to pass without going to the disk.
    pub(super) fn is_loaded(&self) -> bool {
        !self.read.as_slice().is_empty()
    }

    /// Has reading begin with the batch that holds `offset`, or behind the tail if that is there.
    pub(super) fn begin_at(&mut self, offset: i64) {
        self.next = Some(to_unsigned(offset));
    }

    /// Reads on, the first time from the batch that holds `offset`.
    pub(super) fn load(
        &mut self,
        log: &Log,
        offset: i64,
        bytes_max: usize,
    ) -> Result<(), StorageError> {
        let Ok(tail) = &self.tail else { return Ok(()) };
        let from = self.next.unwrap_or_else(|| to_unsigned(offset));
        let part = log.read_chunk(&tail.chunks, from, bytes_max)?;
        self.next = Some(part.next);
        self.read = part.records.into_iter();
        Ok(())
    }

    /// Returns the next batch of what was read; none behind the last of the tail.
    pub(super) fn next(&mut self) -> Result<Option<TailBatch>, CodecError> {
        let Some((offset, value)) = self.read.next() else { return Ok(None) };
        TailBatch::decode(to_signed(offset), &value).map(Some)
    }
}

/// Offsets are never negative.
pub(super) fn to_unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

pub(super) fn to_signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;

    fn batch() -> TailBatch {
        let bytes = BatchBuilder::new().record(5, None, Some(b"value")).build();
        let at = Position { offset: 40, place: Place { index: 7, sub: 1 }, bytes: 900 };
        let size = u32::try_from(bytes.len()).unwrap() + 100;
        TailBatch { at, epoch: 3, of_batches: 4, size, wall_ms: 77, bytes }
    }

    #[test]
    fn a_batch_in_a_chunk_is_what_it_was_in_the_log() {
        let batch = batch();
        let decoded = TailBatch::decode(40, &batch.encode()).unwrap();
        assert_eq!(decoded, batch);
        let located = decoded.located().unwrap();
        assert_eq!((located.end_offset, located.epoch), (41, 3));
        assert_eq!(located.batch.size, u64::from(batch.size));
        assert_eq!(TailBatch::of(&located).unwrap(), batch);
        let next = decoded.next(located.end_offset, located.batch.size);
        assert_eq!((next.offset, next.place), (41, Place { index: 7, sub: 2 }));
    }

    #[test]
    fn the_bytes_of_a_batch_in_a_chunk_are_frozen() {
        let header: Vec<u8> = [
            &[2][..],
            &3_i32.to_be_bytes(),
            &7_u64.to_be_bytes(),
            &1_u32.to_be_bytes(),
            &4_u32.to_be_bytes(),
            &900_u64.to_be_bytes(),
            &batch().size.to_be_bytes(),
            &77_i64.to_be_bytes(),
        ]
        .concat();
        let value = batch().encode();
        assert_eq!((&value[..HEADER], &value[HEADER..]), (&header[..], &batch().bytes[..]));
    }

    #[test]
    fn no_cut_of_a_batch_is_taken_for_one_nor_one_of_another_version() {
        let whole = batch().encode();
        for length in 0..whole.len() {
            let cut = TailBatch::decode(40, &whole.slice(..length));
            assert!(cut.and_then(|batch| batch.located()).is_err(), "{length}");
        }
        let mut other = whole.to_vec();
        other[0] = 9;
        let refused = TailBatch::decode(40, &Bytes::from(other));
        assert_eq!(refused, Err(CodecError::Version(9)));
    }
}
