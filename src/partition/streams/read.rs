//! Reading a stream: the records of one key in the order of their versions.
//!
//! The row of the stream says which versions there are, the index where each record stands, and the record is read from its
//! entry or chunk alone; so a stream costs what it holds, whatever else the partition does. A record that retention or
//! compaction took is passed over, and so is what a tombstone hides.
//!
//! Says nothing about leadership: what is applied here is committed, and a reader who must not miss anything asks for a barrier
//! first ([`Partition::read_barrier`]).

use bytes::Bytes;
use quorate_raft::Group;
use quorate_storage::Log;

use crate::partition::codec::CodecError;
use crate::partition::command::Frames;
use crate::partition::disk::on_disk;
use crate::partition::keyed_rows::{self, Stream};
use crate::partition::machine::{PartitionMachine, View};
use crate::partition::read::ReadError;
use crate::partition::stream_index::{self, Region, Row, RowsError};
use crate::partition::tail::{Tail, TailBatch, to_signed, to_unsigned};
use crate::partition::walk::WalkError;
use crate::partition::{Partition, position::Place};
use crate::record::{Projection, Record, Records};

/// Rows read at once.
const ROWS: u64 = 256;
/// Bytes of a batch that are read from a chunk at least.
const CHUNK_READ_BYTES: usize = 1;
/// Tries while records move or are trimmed under the reader.
const TRIES: usize = 5;

/// What a partition knows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// How many records the key has had.
    pub version: i64,
    /// Records up to this version are hidden by a tombstone; 0: none are.
    pub hidden: i64,
    /// Nothing is appended any more.
    pub closed: bool,
    /// The offset of its newest record.
    pub last_offset: i64,
}

/// Which records of a stream are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRange {
    /// The first and the last version, both included.
    pub from: i64,
    pub to: i64,
    /// Newest first.
    pub backward: bool,
    pub events_max: usize,
    /// Bytes of records about at which it ends; the first is returned whatever its size.
    pub bytes_max: usize,
}

/// Some records of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRead {
    pub state: StreamState,
    pub events: Vec<StreamEvent>,
    /// The version to go on with; `None` when there is nothing more in the range.
    pub next: Option<i64>,
}

/// A record of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEvent {
    pub version: i64,
    pub offset: i64,
    pub record: Record,
}

impl StreamState {
    /// Returns whether there is anything that is not deleted.
    pub fn is_visible(&self) -> bool {
        self.hidden < self.version
    }
}

impl Partition {
    /// Returns what is known of a key; `None` if it has had no record, or there are no streams.
    pub async fn stream(&self, key: &[u8]) -> Result<Option<StreamState>, ReadError> {
        let Some(looking) = self.looking(key) else { return Ok(None) };
        let found = on_disk(&self.disk_reads, move || looking.stream()).await?;
        let stream = found.map_err(|error| self.unreadable(error, 0))?;
        Ok(stream.map(|stream| state_of(&stream)))
    }

    /// Returns records of a stream; `None` if the key has had none, or there are no streams.
    pub async fn read_stream(
        &self,
        key: &[u8],
        range: StreamRange,
    ) -> Result<Option<StreamRead>, ReadError> {
        let Some(looking) = self.looking(key) else { return Ok(None) };
        let count_max = self.settings().streams.map_or(i64::MAX, |it| it.count_max);
        let first = looking.clone();
        // All of it at once, which nearly always does.
        let looked = on_disk(&self.disk_reads, move || first.look(count_max, range)).await?;
        let stream = match looked.map_err(|error| self.unreadable(error, 0))? {
            Looked::Nothing => return Ok(None),
            Looked::Read(read) => return Ok(Some(read)),
            Looked::Stream(stream) => stream,
        };
        let mut applied = self.group.applied();
        let index = looking.index();
        if applied.wait_for(|applied| *applied >= index).await.is_err() {
            return Err(ReadError::Closed);
        }
        let mut tries = 0;
        loop {
            let view = self.group.machine().view();
            let seen = self.seen(&view);
            let reading = looking.reading(view, stream, count_max, range);
            match on_disk(&self.disk_reads, move || reading.read()).await? {
                Ok(read) => return Ok(Some(read)),
                Err(_) if tries < TRIES && self.has_changed_since(&seen) => tries += 1,
                Err(error) => return Err(self.unreadable(error, self.log_start())),
            }
        }
    }

    fn looking(&self, key: &[u8]) -> Option<Looking> {
        let generation = self.streams_generation()?;
        Some(Looking { group: self.group.clone(), generation, key: Bytes::copy_from_slice(key) })
    }
}

/// Who looks for a stream, on threads that may block.
#[derive(Clone)]
struct Looking {
    group: Group<PartitionMachine>,
    generation: u32,
    key: Bytes,
}

/// What one look at a stream has found.
enum Looked {
    Nothing,
    Read(StreamRead),
    /// Its records could not be read: rows of them are not queued yet, or they moved meanwhile.
    Stream(Stream),
}

impl Looking {
    fn look(&self, count_max: i64, range: StreamRange) -> Result<Looked, WalkError> {
        let Some(stream) = self.stream()? else { return Ok(Looked::Nothing) };
        let index = self.index();
        if *self.group.applied().borrow() < index {
            return Ok(Looked::Stream(stream));
        }
        let view = self.group.machine().view();
        let read = self.reading(view, stream, count_max, range).read();
        Ok(read.map_or(Looked::Stream(stream), Looked::Read))
    }

    /// What has to be applied for the rows of all that is known by now: those of an entry are queued once it counts as applied.
    fn index(&self) -> u64 {
        self.group.machine().view().end.place.index.saturating_sub(1)
    }

    fn stream(&self) -> Result<Option<Stream>, WalkError> {
        let from = keyed_rows::stream_key(self.generation, &self.key);
        let mut to = from.to_vec();
        to.push(0);
        let pairs = self.group.keyed_range(&from, &to, 1)?;
        let Some((_, row)) = pairs.first() else { return Ok(None) };
        Ok(Some(Stream::decode(row)?))
    }

    /// Reads of a range what is to be shown of the stream.
    fn reading(&self, view: View, stream: Stream, count_max: i64, range: StreamRange) -> Reading {
        let first = stream.version().saturating_sub(count_max).max(stream.hidden()) + 1;
        let shown = StreamRange {
            from: range.from.max(first),
            to: range.to.min(stream.version()),
            ..range
        };
        let (log, key) = (self.group.log().clone(), self.key.clone());
        Reading { log, view, generation: self.generation, key, stream, range: shown }
    }
}

fn state_of(stream: &Stream) -> StreamState {
    StreamState {
        version: stream.version(),
        hidden: stream.hidden(),
        closed: stream.closed,
        last_offset: stream.last_offset,
    }
}

/// A read under way, on a thread that may block.
struct Reading {
    log: Log,
    view: View,
    generation: u32,
    key: Bytes,
    stream: Stream,
    range: StreamRange,
}

impl Reading {
    fn read(&self) -> Result<StreamRead, WalkError> {
        let StreamRange { from, to, backward, .. } = self.range;
        let mut found = Found::default();
        let (mut low, mut high) = (to_unsigned(from), to_unsigned(to));
        let mut next = None;
        while low <= high && high > 0 {
            let window = if backward {
                (high.saturating_sub(ROWS - 1).max(low), high)
            } else {
                (low, (low + ROWS - 1).min(high))
            };
            let mut rows = self.rows(window)?;
            if backward {
                rows.reverse();
            }
            // What is before was trimmed as well.
            let is_bottom = backward && rows.is_empty();
            for of_batch in rows.chunk_by(|(_, one), (_, other)| one.place == other.place) {
                next = self.take(of_batch, &mut found)?;
                if next.is_some() {
                    break;
                }
            }
            if next.is_some() || is_bottom {
                break;
            }
            if backward {
                high = window.0 - 1;
            } else {
                low = window.1 + 1;
            }
        }
        Ok(StreamRead { state: state_of(&self.stream), events: found.events, next })
    }

    fn is_full(&self, found: &Found) -> bool {
        let has_one = !found.events.is_empty();
        found.events.len() >= self.range.events_max
            || (has_one && found.bytes >= self.range.bytes_max)
    }

    /// Rows of the versions of a window, ascending, from both regions.
    fn rows(&self, (from, to): (u64, u64)) -> Result<Vec<(i64, Row)>, WalkError> {
        let before = self.stream.before();
        let max = usize::try_from(ROWS).unwrap_or(usize::MAX);
        let mut rows = Vec::new();
        if from <= before {
            let region = (self.generation, Region::Before, &self.key[..]);
            rows = stream_index::rows(&self.log, region, (from, to.min(before)), max)?;
        }
        if to > before {
            let region = (self.generation, Region::Since, &self.key[..]);
            let numbers = (from.max(before + 1) - before, to - before);
            let since = stream_index::rows(&self.log, region, numbers, max)?;
            rows.extend(since.into_iter().map(|(number, row)| (number + before, row)));
        }
        Ok(rows.into_iter().map(|(version, row)| (to_signed(version), row)).collect())
    }

    /// Takes records of one batch; returns the version for which there was no more room.
    fn take(&self, rows: &[(i64, Row)], found: &mut Found) -> Result<Option<i64>, WalkError> {
        let [(version, first), ..] = rows else { return Ok(None) };
        if self.is_full(found) {
            return Ok(Some(*version));
        }
        if rows.iter().all(|(_, row)| row.offset < self.view.log_start) {
            return Ok(None);
        }
        let tail = Tail::of(&self.log)?;
        if tail.holds(first.place) {
            let Some(batch) = self.batch_of_tail(&tail, *first)? else { return Ok(None) };
            return self.take_records(rows, batch.bytes(), found);
        }
        let Place { index, sub } = first.place;
        let taken = self
            .log
            .read_one(index, |payload| self.take_records(rows, batch_at(payload, sub)?, found))?;
        taken.ok_or(WalkError::Gone { index })?
    }

    fn take_records(
        &self,
        rows: &[(i64, Row)],
        batch: &[u8],
        found: &mut Found,
    ) -> Result<Option<i64>, WalkError> {
        for (version, row) in rows {
            if self.is_full(found) {
                return Ok(Some(*version));
            }
            if row.offset < self.view.log_start {
                continue;
            }
            if let Some(record) = self.record(batch, row.delta)? {
                let headers = record.headers.iter();
                let headers =
                    headers.map(|(name, value)| name.len() + value.map_or(0, |it| it.len()));
                let value = record.value.as_ref().map_or(0, Bytes::len);
                found.bytes += value + headers.sum::<usize>() + self.key.len();
                found.events.push(StreamEvent { version: *version, offset: row.offset, record });
            }
        }
        Ok(None)
    }

    /// Reads one record of a batch; `None` if compaction took it.
    fn record(&self, batch: &[u8], delta: u32) -> Result<Option<Record>, WalkError> {
        let delta = i32::try_from(delta).unwrap_or(i32::MAX);
        let mut records = Records::open(batch, Projection::Everything)?;
        records.pass(delta)?;
        for record in records {
            let record = record?;
            if record.offset_delta >= delta {
                // One that is behind it stands where the one that is sought was.
                let is_it = record.offset_delta == delta && record.key.as_ref() == Some(&self.key);
                return Ok(is_it.then_some(record));
            }
        }
        Ok(None)
    }

    /// Reads the batch that a row tells of from a chunk; `None` if it is not kept any more.
    fn batch_of_tail(&self, tail: &Tail, row: Row) -> Result<Option<TailBatch>, WalkError> {
        let first = row.offset - i64::from(row.delta);
        let part = self.log.read_chunk(tail.chunks(), to_unsigned(row.offset), CHUNK_READ_BYTES)?;
        let Some((offset, value)) = part.records.into_iter().next() else { return Ok(None) };
        let batch = TailBatch::decode(to_signed(offset), &value)?;
        Ok((to_signed(offset) == first).then_some(batch))
    }
}

/// Returns the batch of that number in an entry.
fn batch_at(payload: &[u8], sub: u32) -> Result<&[u8], CodecError> {
    let mut frames = Frames::of(payload)?.ok_or(CodecError::Range("the place of a record"))?;
    while let Some(frame) = frames.pass(payload)? {
        if frame.sub == sub {
            return Ok(frame.bytes);
        }
    }
    Err(CodecError::Range("the place of a record"))
}

/// What was read so far.
#[derive(Default)]
struct Found {
    events: Vec<StreamEvent>,
    bytes: usize,
}

impl From<RowsError> for WalkError {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Storage(error) => Self::Storage(error),
            RowsError::Damaged(error) => Self::Damaged(error),
        }
    }
}
