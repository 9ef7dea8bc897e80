//! Offset to records.
//!
//! A read walks the log from the nearest known place: a recent batch, the place where the same reader
//! stopped, the open span, or a point on disk. It tries memory first, on the caller's thread; the first
//! entry that is not there moves the walk, with what it gathered, to a thread that may block.
//!
//! Batches are returned whole and as sent, with base offset and leader epoch stamped in (their checksum
//! does not cover those). They are copied once, into the answer, as they are passed: beside the answer a read holds no
//! more than one piece of the log.
//!
//! Who wants what is committed alone (`read_committed`, KIP-98) is shown nothing from the last stable offset on, and is told
//! which transactions with records in the answer were aborted: the batches stay as they are, and the client leaves them out.
//! Markers are batches like others, as clients expect them.
//!
//! Invariant: nothing at or above the high watermark is returned.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_storage::Chunks;
use tokio::time::sleep;

use super::aborted::AbortedRows;
use super::disk::on_disk;
use super::machine::View;
use super::position::{Place, Position};
use super::walk::{Located, Source, Step, Walk, WalkError};
use super::{AbortedTransaction, Closed, Partition};
use crate::record;

/// Between two tries while a snapshot takes the place of the state.
const REPLACED_LOOK: Duration = Duration::from_millis(5);
/// What one read returns at most, a larger first batch excepted: bounds what a client's own limit,
/// which may be 2 GiB, makes this broker hold.
const READ_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whole batches, and what was true of the partition when they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// Record batches v2, one after the other, ready to be sent. Empty, never half a batch.
    pub bytes: Bytes,
    pub high_watermark: i64,
    /// See [`Partition::last_stable_offset`].
    pub last_stable_offset: i64,
    /// Where such a read ends: the last stable offset of one that wants committed records, else the high watermark.
    pub readable_upto: i64,
    pub log_start: i64,
    /// The offset after the last record returned; the asked offset when there is none.
    pub next_offset: i64,
    /// Bytes of all batches before the first one returned, in the measure of [`Partition::bytes_end`].
    pub bytes_before: u64,
}

impl Records {
    /// Returns whether there was another batch, for which the limits left no room.
    pub fn is_cut(&self) -> bool {
        self.next_offset < self.readable_upto
    }
}

/// Nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is trimmed, or not written yet. The client resets its position.
    #[error("the offset is outside of {log_start}..={high_watermark}")]
    OutOfRange { log_start: i64, high_watermark: i64 },
    /// The replica was closed here, or the broker stops. The client finds another.
    #[error("the replica is closed")]
    Closed,
    /// The log is damaged; it was logged, an operator has to look. Another replica may be whole.
    #[error("the partition's log cannot be read")]
    Unreadable(#[source] Unreadable),
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Unreadable(WalkError);

/// What a reader is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isolation {
    All,
    Committed,
}

/// A data batch of a transaction: its producer, first offset and place.
type Transactional = (i64, i64, Place);

/// Where the records of a view were when a walk began. Taken before it begins.
pub(super) struct Seen {
    start: Position,
    chunks: Chunks,
}

/// Why a try to read ended.
enum Failed {
    Walk(WalkError),
    Other(ReadError),
}

impl From<WalkError> for Failed {
    fn from(error: WalkError) -> Self {
        Self::Walk(error)
    }
}

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        Self::Other(error)
    }
}

impl From<Closed> for Failed {
    fn from(_: Closed) -> Self {
        Self::Other(ReadError::Closed)
    }
}

impl From<Closed> for ReadError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl Partition {
    /// Returns batches from the one that holds `offset` on, about `bytes_max` bytes of them.
    ///
    /// `at_least_one`: a first batch larger than `bytes_max` is returned all the same. Gives an empty
    /// answer at the high watermark. Says nothing about leadership; ask before, and after.
    /// Safe to drop.
    pub async fn read(
        &self,
        offset: i64,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<Records, ReadError> {
        let read = self.read_isolated(offset, bytes_max, at_least_one, Isolation::All).await;
        read.map(|(records, _)| records)
    }

    /// As [`Partition::read`], below the last stable offset, and the aborted transactions that have records among those
    /// returned, by first offset (KIP-98). Empty from the last stable offset up to the high watermark.
    pub async fn read_committed(
        &self,
        offset: i64,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<(Records, Vec<AbortedTransaction>), ReadError> {
        self.read_isolated(offset, bytes_max, at_least_one, Isolation::Committed).await
    }

    async fn read_isolated(
        &self,
        offset: i64,
        bytes_max: usize,
        at_least_one: bool,
        isolation: Isolation,
    ) -> Result<(Records, Vec<AbortedTransaction>), ReadError> {
        loop {
            let committed = matches!(isolation, Isolation::Committed);
            let rows = committed.then(|| AbortedRows::new(&self.group));
            let (view, recent) = {
                let machine = self.group.machine();
                (machine.view(), machine.recent(offset))
            };
            let seen = self.seen(&view);
            let gather =
                Gather::new(offset, bytes_max.min(READ_BYTES_MAX), at_least_one, isolation);
            match self.read_of(view, recent, gather).await {
                // The walk began before what was deleted or moved meanwhile, and found it gone; the offset is still there.
                Err(Failed::Walk(_)) if self.has_changed_since(&seen) => {}
                Err(Failed::Walk(error)) => return Err(self.unreadable(error, offset)),
                Err(Failed::Other(error)) => return Err(error),
                Ok((records, of_transactions)) => {
                    let Some(rows) = rows.filter(|_| !of_transactions.is_empty()) else {
                        return Ok((records, Vec::new()));
                    };
                    let aborted = match self.aborted_among(rows, of_transactions).await {
                        Ok(aborted) => aborted,
                        Err(Failed::Walk(WalkError::Replaced)) if !self.is_closed() => {
                            sleep(REPLACED_LOOK).await;
                            continue;
                        }
                        Err(Failed::Walk(error)) => return Err(self.unreadable(error, offset)),
                        Err(Failed::Other(error)) => return Err(error),
                    };
                    // A row goes once the log begins behind its marker, so before that none of these was missing.
                    if self.log_start() <= offset {
                        return Ok((records, aborted));
                    }
                }
            }
        }
    }

    async fn read_of(
        &self,
        view: View,
        recent: Option<Position>,
        mut gather: Gather,
    ) -> Result<(Records, Vec<Transactional>), Failed> {
        let offset = gather.offset;
        #[cfg(feature = "mutants")]
        let view = super::mutants::with_uncommitted(view, self.group.log());
        view.check(offset)?;
        gather.begin(&view);
        if offset >= gather.upto || !gather.wants_more() {
            return Ok(gather.finish(&view));
        }
        let known = recent.or_else(|| self.hints.take(offset));
        let known =
            known.or_else(|| (offset >= view.open_start.offset).then(|| view.nearest(offset)));
        let mut walk = known.map(|from| gather.walk(self, &view, from));
        if let Some(walk) = &mut walk
            && gather.run(walk, Source::Memory)?
        {
            return Ok(self.answer(gather, &view));
        }
        let (gather, view) = self.read_disk(gather, walk, view).await?;
        Ok(self.answer(gather, &view))
    }

    /// Returns the bytes of all batches up to the high watermark since the partition was created; it only grows.
    pub fn bytes_end(&self) -> u64 {
        self.group.machine().bytes_end()
    }

    /// Returns a place at or before the batch that holds `offset`, in the measure of [`Partition::bytes_end`], without
    /// reading anything: the place itself for the newest batches. What lies between it and the end is the most
    /// that a read from `offset` can find.
    pub fn bytes_before(&self, offset: i64) -> u64 {
        self.group.machine().bytes_before(offset)
    }

    async fn read_disk(
        &self,
        mut gather: Gather,
        walk: Option<Walk>,
        view: View,
    ) -> Result<(Gather, View), Failed> {
        let offset = gather.offset;
        let log = self.group.log().clone();
        let read = move || -> Result<_, WalkError> {
            let mut walk = match walk {
                Some(walk) => walk,
                None => {
                    let from = view.seek(&log, offset)?;
                    Walk::new(&log, &view, from, gather.bytes_max).toward(offset)
                }
            };
            gather.run(&mut walk, Source::Disk)?;
            Ok((gather, view))
        };
        Ok(on_disk(&self.disk_reads, read).await??)
    }

    /// Returns which of these batches are of transactions that were aborted. `rows`: from before the batches were looked for.
    async fn aborted_among(
        &self,
        mut rows: AbortedRows,
        batches: Vec<Transactional>,
    ) -> Result<Vec<AbortedTransaction>, Failed> {
        let look = move || -> Result<_, WalkError> {
            let mut found = Vec::new();
            for (producer_id, offset, place) in batches {
                if let Some(aborted) = rows.of(producer_id, offset, place)? {
                    found.push((aborted.first_offset, producer_id));
                }
            }
            Ok(found)
        };
        let mut found = on_disk(&self.disk_reads, look).await??;
        // Of two transactions none begins where the other does.
        found.sort_unstable();
        found.dedup();
        let aborted = found
            .into_iter()
            .map(|(first_offset, producer_id)| AbortedTransaction { producer_id, first_offset });
        Ok(aborted.collect())
    }

    fn answer(&self, gather: Gather, view: &View) -> (Records, Vec<Transactional>) {
        if let Some(next) = gather.next
            && next.offset < view.end.offset
        {
            self.hints.put(next);
        }
        gather.finish(view)
    }

    /// Returns where the records of a view are now.
    pub(super) fn seen(&self, view: &View) -> Seen {
        Seen { start: view.start, chunks: self.group.log().chunks() }
    }

    /// Returns whether the log was trimmed since, or records moved to the tail: what lay there may be gone.
    pub(super) fn has_changed_since(&self, seen: &Seen) -> bool {
        self.group.machine().view().start != seen.start
            || !self.group.log().chunks().is_same(&seen.chunks)
    }

    /// Says what a failed walk means that was not disturbed by a trim: at best that the log was closed under it.
    pub(super) fn unreadable(&self, error: WalkError, offset: i64) -> ReadError {
        if self.is_closed() || error.is_closed() {
            return ReadError::Closed;
        }
        if let Err(out_of_range) = self.group.machine().view().check(offset) {
            return out_of_range;
        }
        let partition = format!("{}-{}", self.topic, self.number);
        tracing::error!(%partition, group = %self.id(), offset, %error, "partition log unreadable");
        ReadError::Unreadable(Unreadable(error))
    }
}

impl View {
    fn check(&self, offset: i64) -> Result<(), ReadError> {
        if (self.log_start..=self.end.offset).contains(&offset) {
            return Ok(());
        }
        let (log_start, high_watermark) = (self.log_start, self.end.offset);
        Err(ReadError::OutOfRange { log_start, high_watermark })
    }
}

/// The batches of one answer, as they are found.
struct Gather {
    offset: i64,
    bytes_max: usize,
    at_least_one: bool,
    isolation: Isolation,
    /// Nothing from this offset on is taken.
    upto: i64,
    /// Where the log ends, in bytes.
    bytes_end: u64,
    bytes: BytesMut,
    /// The first batch taken.
    first: Option<Position>,
    /// Behind the last batch taken.
    next: Option<Position>,
    /// Batches that may be of aborted transactions.
    of_transactions: Vec<Transactional>,
}

impl Gather {
    fn new(offset: i64, bytes_max: usize, at_least_one: bool, isolation: Isolation) -> Self {
        Self {
            offset,
            bytes_max,
            at_least_one,
            isolation,
            upto: 0,
            bytes_end: 0,
            bytes: BytesMut::new(),
            first: None,
            next: None,
            of_transactions: Vec::new(),
        }
    }

    /// Takes from a view what there is to read.
    fn begin(&mut self, view: &View) {
        self.bytes_end = view.end.bytes;
        self.upto = match self.isolation {
            Isolation::All => view.end.offset,
            Isolation::Committed => view.stable,
        };
    }

    fn walk(&self, partition: &Partition, view: &View, from: Position) -> Walk {
        Walk::new(partition.group.log(), view, from, self.bytes_max)
    }

    fn forced(&self) -> bool {
        self.at_least_one && self.first.is_none()
    }

    fn wants_more(&self) -> bool {
        self.bytes.len() < self.bytes_max || self.forced()
    }

    fn fits(&self, batch: &Located) -> bool {
        self.forced() || self.bytes.len() + batch.bytes.len() <= self.bytes_max
    }

    /// Takes batches until the answer is full or the log ends; false when the disk is needed first.
    fn run(&mut self, walk: &mut Walk, source: Source) -> Result<bool, WalkError> {
        while self.wants_more() {
            match walk.step(source)? {
                Step::OnDisk => return Ok(false),
                Step::End => break,
                Step::Batch(batch) if batch.at.offset >= self.upto => break,
                Step::Batch(batch) if batch.end_offset <= self.offset => {}
                Step::Batch(batch) if self.fits(&batch) => {
                    self.take(&batch);
                    self.note(&batch);
                    self.next = Some(walk.position());
                }
                Step::Batch(_) => break,
            }
        }
        Ok(true)
    }

    fn take(&mut self, batch: &Located) {
        if self.first.is_none() {
            self.first = Some(batch.at);
            // As much as there will be at most, or the buffer would be copied whenever it has to grow.
            let behind = self.bytes_end.saturating_sub(batch.at.bytes);
            let behind = usize::try_from(behind).unwrap_or(usize::MAX);
            self.bytes.reserve(behind.min(self.bytes_max).max(batch.bytes.len()));
        }
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&batch.bytes);
        record::stamp(&mut self.bytes[begin..], batch.at.offset, batch.epoch);
    }

    /// Notes a batch of a transaction. One without records has nothing that could be left out, and the marker behind it may be
    /// compacted away: told of that, a client would leave out what comes next.
    fn note(&mut self, batch: &Located) {
        let header = &batch.batch.header;
        let has_records = !header.is_control() && header.record_count > 0;
        if self.isolation == Isolation::Committed && header.is_transactional() && has_records {
            let (offset, place) = (batch.at.offset, batch.at.place);
            self.of_transactions.push((header.producer_id, offset, place));
        }
    }

    fn finish(self, view: &View) -> (Records, Vec<Transactional>) {
        let before = self.first.unwrap_or_else(|| {
            if self.offset == view.end.offset { view.end } else { view.nearest(self.offset) }
        });
        let records = Records {
            bytes: self.bytes.freeze(),
            high_watermark: view.end.offset,
            last_stable_offset: view.stable,
            readable_upto: self.upto,
            log_start: view.log_start,
            next_offset: self.next.map_or(self.offset, |next| next.offset),
            bytes_before: before.bytes,
        };
        let of_transactions = if view.has_aborted { self.of_transactions } else { Vec::new() };
        (records, of_transactions)
    }
}
