//! Compaction: of records with one key the newest stays (`cleanup.policy=compact`).
//!
//! ```text
//!   leader:          decide.rs   how far, and which tombstones may go     ──▶ the log
//!   every replica:   worker.rs   one partition at a time, the dirtiest first
//!                    pass.rs     keys into offset_map.rs, then chunks anew, below the log
//! ```
//!
//! What is decided is replicated; when a replica does it is its own affair, so none waits for another and a replica that
//! was away catches up by itself. Until then it holds more records than others, and lacks none that they have. What a
//! reader sees is right on each: the newest record of every key is always there, and no older one behind it.
//!
//! Transactions: what is open is not compacted, what was aborted goes and supersedes nothing, and markers go as tombstones do,
//! behind the records that they are about.
//!
//! There are no segments here: `segment.bytes` and `segment.ms` say when there is enough to begin, as a segment that is
//! closed does in Kafka; then everything up to the high watermark that is older than `min.compaction.lag.ms` is compacted.

mod decide;
mod first_compacted;
mod offset_map;
mod pass;
mod progress;
mod worker;

use std::cell::RefCell;
use std::sync::Arc;

use quorate_storage::{Error as StorageError, NewChunk};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::aborted::AbortedRows;
use super::codec::CodecError;
use super::disk::in_background;
use super::machine::View;
use super::position::Position;
use super::relocate::RelocateError;
use super::tail::{Mark, Tail};
use super::tail_writer::TailWriteError;
use super::walk::WalkError;
use super::{Closed, Partition};
use crate::record::RecordError;
use pass::{Pass, Swap};
use progress::Progress;

pub use decide::CompactionState;
pub(super) use first_compacted::FirstCompacted;
pub use progress::{CompactionPace, CompactionTotals};
pub use worker::{AskControl, Compactor, CompactorControl, CompactorSettings};

/// Why a replica was not compacted. What was done is done; the next run goes on there.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// Trimmed, or filled by another replica, or filling one. Nothing is wrong.
    #[error("the log changed meanwhile")]
    Changed,
    #[error("the replica is closed, or compaction was paused")]
    Stopped,
    /// A single entry has more keys than memory is given, by far.
    #[error("an entry has too many keys; give compaction more memory")]
    TooManyKeys,
    #[error("a batch is damaged: {0}")]
    Damaged(String),
    /// The disk is short of space, or failed.
    #[error("chunks cannot be read or written: {0}")]
    Storage(String),
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Goal {
    upto: Position,
    tombstones_upto: i64,
}

impl Goal {
    fn is_reached_by(self, mark: Mark) -> bool {
        mark.upto >= self.upto.offset && mark.tombstones_upto >= self.tombstones_upto
    }
}

impl Partition {
    /// Compacts this replica as far as was decided, if it is not yet.
    ///
    /// `map_bytes`: what the map of keys may take. `stopped`: whether to give up, asked at every batch. Returns whether
    /// there was anything to do. If dropped, it goes on by itself until told to stop.
    pub async fn compact(
        self: &Arc<Self>,
        map_bytes: usize,
        pace: &Arc<CompactionPace>,
        stopped: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<bool, CompactError> {
        let aborted = AbortedRows::new(&self.group);
        let Some((view, goal)) = self.to_compact()? else { return Ok(false) };
        if self.group.is_sending_records() {
            // Who is being filled must not get early records as they were, and their tombstone not any more.
            return Err(CompactError::Changed);
        }
        // What is trimmed altogether has nothing to go behind.
        self.drop_trimmed().await?;
        let _changing = self.tail_changes.lock().await;
        let begun = Instant::now();
        self.compactions.lock().running = true;
        let (partition, pace) = (Arc::clone(self), Arc::clone(pace));
        let runtime = Handle::current();
        let work = move || {
            let log = partition.group.log();
            let is_stopped =
                || stopped() || partition.is_closed() || partition.group.is_sending_records();
            let swap = |tail: &Tail, gone, new: Vec<NewChunk>| {
                let changed = runtime.block_on(partition.change_tail(tail, gone, new))?;
                partition.note_boundary();
                Ok(changed)
            };
            let (swap, totals): (&Swap<'_>, _) = (&swap, &partition.compactions);
            let progress = Progress { pace: &pace, totals, stopped: &is_stopped };
            let (view, secret, progress) = (&view, rand::random(), &progress);
            let aborted = &RefCell::new(aborted);
            Pass { log, view, goal, map_bytes, secret, swap, progress, aborted }.run()
        };
        let ended = in_background("compaction", work).await;
        let result = ended.map_err(CompactError::from).and_then(|result| result);
        self.note_compaction(begun, result.as_ref().err());
        if let Ok(mark) = Tail::of(self.group.log()).and_then(|tail| tail.mark()) {
            self.first_compacted.lock().note(mark.upto, Instant::now());
        }
        result.map(|()| true)
    }

    /// Returns what its compactions came to since the broker started.
    pub fn compactions(&self) -> CompactionTotals {
        *self.compactions.lock()
    }

    /// Returns what there is to compact; none if that was done.
    fn to_compact(&self) -> Result<Option<(View, Goal)>, CodecError> {
        let (view, goal) = {
            let machine = self.group.machine();
            let cleaned = machine.cleaned();
            let goal = Goal { upto: cleaned.upto, tombstones_upto: cleaned.tombstones_upto };
            (machine.view(), goal)
        };
        if view.start.offset >= goal.upto.offset {
            return Ok(None);
        }
        let mark = Tail::of(self.group.log())?.mark()?;
        let goal = Goal { tombstones_upto: self.ripe(mark).min(goal.tombstones_upto), ..goal };
        Ok((!goal.is_reached_by(mark)).then_some((view, goal)))
    }

    /// Returns before which offset this replica may drop tombstones: it has compacted up to there for as long as they are to
    /// stay. What was decided may be older; but a replica that is late must not drop a value and its tombstone at once, or
    /// who has read the one would not come to the other.
    fn ripe(&self, mark: Mark) -> i64 {
        let retention = self.settings().compaction.map_or(i64::MAX, |it| it.delete_retention_ms);
        let mut first = self.first_compacted.lock();
        first.note(mark.upto, Instant::now());
        if retention == 0 { i64::MAX } else { first.older_than(retention, Instant::now()) }
    }

    fn note_compaction(&self, begun: Instant, error: Option<&CompactError>) {
        // What was paused or made way goes on later.
        let gave_way = matches!(error, Some(CompactError::Changed | CompactError::Stopped));
        let mut totals = self.compactions.lock();
        totals.running = false;
        if gave_way {
            return;
        }
        totals.runs += u64::from(error.is_none());
        totals.failures += u64::from(error.is_some());
        totals.last_ended_ms = Some(self.clock.now_ms());
        totals.last_took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    }
}

impl CompactError {
    fn damaged(what: &str) -> Self {
        Self::Damaged(what.to_owned())
    }
}

impl From<CodecError> for CompactError {
    fn from(error: CodecError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<RecordError> for CompactError {
    fn from(error: RecordError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<StorageError> for CompactError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Closed => Self::Stopped,
            StorageError::ChunkDropped { .. } => Self::Changed,
            error => Self::Storage(error.to_string()),
        }
    }
}

impl From<WalkError> for CompactError {
    fn from(error: WalkError) -> Self {
        match error {
            error if error.is_closed() => Self::Stopped,
            WalkError::Gone { .. } | WalkError::Replaced => Self::Changed,
            WalkError::Storage(error) => error.into(),
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<TailWriteError> for CompactError {
    fn from(error: TailWriteError) -> Self {
        match error {
            TailWriteError::Storage(error) => error.into(),
            TailWriteError::Unreadable(error) => error.into(),
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<RelocateError> for CompactError {
    fn from(error: RelocateError) -> Self {
        match error {
            RelocateError::Changed => Self::Changed,
            RelocateError::Closed => Self::Stopped,
            RelocateError::Failed(reason) => Self::Storage(reason),
        }
    }
}

impl From<Closed> for CompactError {
    fn from(_: Closed) -> Self {
        Self::Stopped
    }
}
