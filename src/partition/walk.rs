//! Walking a partition from a known place: what was moved to its tail as it stands there, then the log, counting offsets.
//!
//! An entry does not contain its offset: the leader that wrote it did not know it. So offsets are counted
//! from a place where they are known, over the batches and past what took none. A batch in the tail does say.
//!
//! Invariant: a walk ends before the first entry that was not applied when its view was taken.

use bytes::Bytes;
use quorate_storage::{Entry, EntryKind, Error as StorageError, Log};

use super::codec::CodecError;
use super::command::{Batch, Frames};
use super::epochs;
use super::index::{self, IndexError};
use super::machine::View;
use super::position::{Place, Position};
use super::rejected::{Page, Rejected, RejectedError};
use super::tail::{Tail, TailReader};
use crate::record::RecordError;

/// Read from the log at once: less would be a disk access per batch, more only more memory in flight.
const CHUNK_BYTES: std::ops::RangeInclusive<usize> = 64 * 1024..=1024 * 1024;

/// See the file's header. Moves between threads, as when it has to wait for the disk.
pub(super) struct Walk {
    log: Log,
    tail: TailReader,
    rejected: Rejected,
    page: Option<Page>,
    at: Position,
    /// Place and offset where it ends, exclusive.
    end: Position,
    read: std::vec::IntoIter<Entry>,
    /// The entry whose batches are passed.
    inside: Option<Inside>,
    chunk_bytes: usize,
}

/// An entry of which some batches are not passed yet.
struct Inside {
    entry: Entry,
    frames: Frames,
}

/// A batch and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub(super) at: Position,
    /// The offset after it.
    pub(super) end_offset: i64,
    pub(super) epoch: i32,
    /// When it was appended, by its leader's wall clock.
    pub(super) wall_ms: i64,
    /// How many batches its entry had.
    pub(super) of_batches: u32,
    pub(super) batch: Batch,
    /// The batch as its producer sent it.
    pub(super) bytes: Bytes,
}

#[derive(Debug)]
pub(super) enum Step {
    Batch(Located),
    /// Everything applied is passed.
    End,
    /// The next entry is not in memory, and going to the disk was not allowed.
    OnDisk,
}

/// Whether the caller may be kept waiting for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Memory,
    Disk,
}

impl Walk {
    /// Begins at `from`, or where the view does; reads about `bytes_max` from the log at once.
    pub(super) fn new(log: &Log, view: &View, from: Position, bytes_max: usize) -> Self {
        Self {
            log: log.clone(),
            tail: TailReader::new(Tail::of(log)),
            rejected: view.rejected.clone(),
            page: None,
            at: if from.place < view.start.place { view.start } else { from },
            end: view.end,
            read: Vec::new().into_iter(),
            inside: None,
            chunk_bytes: bytes_max.clamp(*CHUNK_BYTES.start(), *CHUNK_BYTES.end()),
        }
    }

    /// Passes over what is in the tail before the batch that holds `offset`.
    pub(super) fn toward(mut self, offset: i64) -> Self {
        self.tail.begin_at(offset);
        self
    }

    /// Returns where the next batch will stand, or a place before it with no accepted batch between.
    pub(super) fn position(&self) -> Position {
        self.at
    }

    /// Returns the next batch.
    pub(super) fn step(&mut self, source: Source) -> Result<Step, WalkError> {
        // What follows took no offsets. A replica that was given its records need not have it.
        if self.at.offset == self.end.offset {
            self.at = self.end;
        }
        loop {
            if self.at.place < self.end.place && self.tail.holds(self.at.place)? {
                match self.step_tail(source)? {
                    Some(step) => return Ok(step),
                    None => continue,
                }
            }
            if self.at.place < self.end.place && !self.skip_rejected(source)? {
                return Ok(Step::OnDisk);
            }
            if self.at.place >= self.end.place {
                return self.finish();
            }
            if self.inside.is_none() && self.read.as_slice().is_empty() && !self.load(source)? {
                return Ok(Step::OnDisk);
            }
            if self.inside.is_none() && !self.enter()? {
                continue;
            }
            if let Some(located) = self.pass()? {
                return Ok(Step::Batch(located));
            }
        }
    }

    /// Returns the next batch of the tail; none when that is behind.
    fn step_tail(&mut self, source: Source) -> Result<Option<Step>, WalkError> {
        if !self.tail.is_loaded() {
            if source == Source::Memory {
                return Ok(Some(Step::OnDisk));
            }
            self.tail.load(&self.log, self.at.offset, self.chunk_bytes)?;
        }
        let Some(batch) = self.tail.next()? else {
            self.at = self.tail.end().unwrap_or(self.at);
            return Ok(None);
        };
        // Applied since the view was taken, and moved since.
        if batch.at.place >= self.end.place {
            self.at = self.end;
            return Ok(None);
        }
        let located = batch.located()?;
        if located.end_offset <= self.at.offset {
            return Ok(None);
        }
        self.at = batch.next(located.end_offset, located.batch.size);
        Ok(Some(Step::Batch(located)))
    }

    /// Moves past rejected batches; false when only the disk knows them.
    fn skip_rejected(&mut self, source: Source) -> Result<bool, WalkError> {
        let page = match self.page.take().filter(|page| page.covers(self.at.place)) {
            Some(page) => page,
            None if source == Source::Memory && self.rejected.needs_disk(self.at.place) => {
                return Ok(false);
            }
            None => self.rejected.page(self.at.place, &self.log)?,
        };
        if let Some(end) = page.skip(self.at.place) {
            self.at.place = end;
            self.inside.take_if(|inside| inside.entry.id.index < end.index);
            // Skipped entries that were read already go; the rest of the chunk is still good.
            while self.read.as_slice().first().is_some_and(|entry| entry.id.index < end.index) {
                self.read.next();
            }
        }
        self.page = Some(page);
        Ok(true)
    }

    /// Reads on; false when that takes the disk.
    fn load(&mut self, source: Source) -> Result<bool, WalkError> {
        let (from, to) = (self.at.place.index, self.end.place.index);
        let entries = match source {
            Source::Disk => self.log.read(from, to, self.chunk_bytes)?,
            Source::Memory => match self.log.read_cached(from, to, self.chunk_bytes) {
                Some(entries) => entries?,
                None => return Ok(false),
            },
        };
        if entries.first().is_none_or(|first| first.id.index != from) {
            return Err(WalkError::Gone { index: from });
        }
        self.read = entries.into_iter();
        Ok(true)
    }

    /// Takes the next entry that was read; false when it holds no batches and is passed.
    fn enter(&mut self) -> Result<bool, WalkError> {
        let Some(entry) = self.read.next() else { return Ok(false) };
        debug_assert_eq!(entry.id.index, self.at.place.index, "entries come in order");
        let is_command = entry.kind == EntryKind::Normal;
        let frames = if is_command { Frames::of(&entry.payload)? } else { None };
        match frames {
            Some(frames) => self.inside = Some(Inside { entry, frames }),
            None => self.at.place = Place::of_entry(entry.id.index + 1),
        }
        Ok(self.inside.is_some())
    }

    /// Moves past the next batch of the entry; none when it is one before the place to begin at.
    fn pass(&mut self) -> Result<Option<Located>, WalkError> {
        let Some(Inside { entry, frames }) = &mut self.inside else { return Ok(None) };
        let Some(frame) = frames.pass(&entry.payload)? else {
            return Err(CodecError::Range("a place in an entry").into());
        };
        let at = self.at;
        if frame.sub < at.place.sub {
            return Ok(None);
        }
        let (batch, bytes) = (frame.batch()?, entry.payload.slice_ref(frame.bytes));
        let (epoch, wall_ms) = (epochs::of_term(entry.id.term), frames.wall_ms());
        let of_batches = frames.count();
        self.at = Position {
            offset: at.offset + batch.offsets(),
            place: at.place.next(frames.count()),
            bytes: at.bytes + batch.size,
        };
        let left = self.at.place.index > at.place.index;
        self.inside.take_if(|_| left);
        let end_offset = self.at.offset;
        Ok(Some(Located { at, end_offset, epoch, wall_ms, of_batches, batch, bytes }))
    }

    fn finish(&self) -> Result<Step, WalkError> {
        // The machine counted the same entries. If they disagree, offsets served from here are wrong.
        if self.at.place == self.end.place && self.at.offset != self.end.offset {
            let (found, expected) = (self.at.offset, self.end.offset);
            return Err(WalkError::Miscounted { found, expected });
        }
        Ok(Step::End)
    }
}

impl View {
    /// Returns the nearest place before `offset` that is known without looking on the disk.
    pub(super) fn nearest(&self, offset: i64) -> Position {
        self.start.nearer(self.open_start, offset)
    }

    /// Returns the nearest place before `offset` that is known at all. May read the disk.
    pub(super) fn seek(&self, log: &Log, offset: i64) -> Result<Position, IndexError> {
        let nearest = self.nearest(offset);
        if let Some(place) = Tail::of(log)?.seek(offset) {
            return Ok(place);
        }
        if offset >= self.open_start.offset {
            return Ok(nearest);
        }
        let point = index::at_or_before(log, offset)?;
        Ok(point.map_or(nearest, |point| nearest.nearer(point.at, offset)))
    }
}

/// The log cannot be walked.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    /// Also what a walk sees whose entries are trimmed meanwhile.
    #[error("the entry at index {index} is not in the log any more")]
    Gone { index: u64 },
    /// What was found does not belong together; it is to be looked for again.
    #[error("a snapshot has taken the place of the state")]
    Replaced,
    #[error("counted to offset {found} where the log ends at {expected}")]
    Miscounted { found: i64, expected: i64 },
    #[error("an entry of the log is damaged")]
    Damaged(#[from] CodecError),
    #[error(transparent)]
    Rejected(#[from] RejectedError),
    #[error("the records of a batch cannot be read")]
    Records(#[from] RecordError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl WalkError {
    /// Returns whether the database was closed under the walk, as when the broker stops.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Storage(error)
            | Self::Index(IndexError::Storage(error))
            | Self::Rejected(RejectedError::Storage(error)) => {
                matches!(error, StorageError::Closed)
            }
            Self::Gone { .. }
            | Self::Replaced
            | Self::Miscounted { .. }
            | Self::Damaged(_)
            | Self::Records(_)
            | Self::Index(_)
            | Self::Rejected(_) => false,
        }
    }
}
