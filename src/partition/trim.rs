//! Moving the log start, for `DeleteRecords` and for retention.
//!
//! The leader looks up where the new first batch stands and proposes both; when the trim is applied each
//! replica stops needing the entries before it, and Raft frees them behind a checkpoint.

use super::append::AppendError;
use super::command::{Trim, trim_payload};
use super::disk::on_disk;
use super::machine::View;
use super::position::Position;
use super::walk::{Source, Step, Walk, WalkError};
use super::{Closed, NotReady, Partition, ReadError, Reply};
use crate::metadata::Leader;

/// The log start did not move, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum TrimError {
    /// Only the leader moves it; nothing happened.
    #[error("this replica does not lead the partition")]
    NotLeader { leader: Option<Leader> },
    /// There are no such offsets yet; nothing happened.
    #[error("the offset is above the high watermark {high_watermark}")]
    OutOfRange { high_watermark: i64 },
    /// Too much is in flight; nothing happened, ask again later.
    #[error("too much is in flight")]
    Busy,
    /// It may still happen. Asking again is harmless.
    #[error("the outcome is unknown")]
    Indeterminate,
    #[error("the replica is closed")]
    Closed,
    #[error(transparent)]
    Read(ReadError),
}

impl Partition {
    /// Deletes the records before offset `before`; -1 stands for all there are.
    ///
    /// Returns the first offset that is kept, once this is committed and applied here: it may be higher
    /// than asked. Not bounded in time by itself. If dropped the outcome is unknown.
    pub async fn delete_records(&self, before: i64) -> Result<i64, TrimError> {
        let term = self.fence()?;
        let view = self.group.machine().view();
        let high_watermark = view.end.offset;
        let log_start = if before == -1 { high_watermark } else { before };
        if !(0..=high_watermark).contains(&log_start) {
            return Err(TrimError::OutOfRange { high_watermark });
        }
        if log_start <= view.log_start {
            return Ok(view.log_start);
        }
        let start = self.locate(view, log_start).await?;
        self.propose_trim(Trim { log_start, start }, term).await
    }

    /// Returns where the batch that holds `offset` begins.
    async fn locate(&self, view: View, offset: i64) -> Result<Position, TrimError> {
        if offset == view.end.offset {
            return Ok(view.end);
        }
        let (log, seen) = (self.group.log().clone(), self.seen(&view));
        let located = on_disk(&self.disk_reads, move || {
            let from = view.seek(&log, offset)?;
            let mut walk = Walk::new(&log, &view, from, usize::MAX).toward(offset);
            // Where the batch before it ends: of what was compacted only that is known, and another replica has more there.
            let mut before = walk.position();
            while let Step::Batch(batch) = walk.step(Source::Disk)? {
                if batch.end_offset > offset {
                    return Ok(if batch.at.offset > offset { before } else { batch.at });
                }
                before = walk.position();
            }
            Err(WalkError::Miscounted { found: walk.position().offset, expected: offset })
        });
        match located.await? {
            // Another trim was first, or records moved. Asking again is harmless.
            Err(_) if self.has_changed_since(&seen) => Err(TrimError::Busy),
            located => located.map_err(|error| TrimError::Read(self.unreadable(error, offset))),
        }
    }

    /// Proposes a trim as the leader of `term` and waits until it is applied here.
    pub(super) async fn propose_trim(&self, trim: Trim, term: u64) -> Result<i64, TrimError> {
        let payload = trim_payload(self.times(self.clock.now_ms()), &trim);
        match self.propose(payload.into(), term).await?.await {
            Ok(Reply::Trimmed { log_start }) => Ok(log_start),
            // A trim is answered as a trim; anything else comes of another command.
            Ok(Reply::Nothing | Reply::Appended(_)) => Err(TrimError::Indeterminate),
            Err(error) => Err(error.into()),
        }
    }
}

impl From<AppendError> for TrimError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotLeader { leader } => Self::NotLeader { leader },
            AppendError::Busy | AppendError::NoSpace { .. } => Self::Busy,
            AppendError::Closed => Self::Closed,
            AppendError::Indeterminate | AppendError::Refused(_) => Self::Indeterminate,
        }
    }
}

impl From<NotReady> for TrimError {
    fn from(not_ready: NotReady) -> Self {
        Self::NotLeader { leader: not_ready.leader }
    }
}

impl From<Closed> for TrimError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}
