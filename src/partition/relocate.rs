//! Changing the tail: putting chunks in the place of others, and dropping what is trimmed.
//!
//! ```text
//!   1  chunks are written and durable; no row names them      a crash: they are dropped, what was there is there
//!   2  rows are durable                                       a crash: what the log has too is read in the tail
//!   3  the log may go up to the boundary                      Raft purges it behind a checkpoint, in its own time
//! ```
//!
//! Who writes them is compaction (`compaction/pass.rs`), or another replica (`transfer.rs`).

use std::time::Duration;

use quorate_storage::NewChunk;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::tail::Tail;
use super::tail_writer::TailWriteError;
use super::walk::WalkError;
use super::{Closed, Partition};

/// Records stay where they are.
#[derive(Debug, thiserror::Error)]
pub enum RelocateError {
    /// They moved otherwise meanwhile, or were trimmed. Ask again.
    #[error("the log changed meanwhile")]
    Changed,
    #[error("the replica is closed")]
    Closed,
    /// The disk; nothing changed.
    #[error("the tail cannot be written: {0}")]
    Failed(String),
}

impl Partition {
    /// Notes where the tail ends now; the log may go up to there, in time.
    pub(super) fn note_boundary(&self) {
        if let Ok(tail) = Tail::of(self.group.log())
            && let Some(end) = tail.end()
        {
            self.boundaries.lock().push_back((Instant::now(), end.place.index));
        }
    }

    /// Lets the log go up to where the tail ended so long ago. Whoever lacks what has gone is given all records anew, so a
    /// broker that was away for less finds it. It does not wait where the disk is short of space.
    pub(super) fn free_log(&self, kept: Duration) {
        let kept = if self.group.short_of_space().is_some() { Duration::ZERO } else { kept };
        let mut boundaries = self.boundaries.lock();
        while let Some((since, index)) = boundaries.front().copied()
            && since.elapsed() >= kept
        {
            boundaries.pop_front();
            self.group.free_log_below(index);
        }
    }

    /// Drops the chunks of the tail whose records are all trimmed; returns how many.
    pub async fn drop_trimmed(&self) -> Result<usize, RelocateError> {
        if self.group.log().chunks().is_empty() {
            return Ok(0);
        }
        let _changing = self.tail_changes.lock().await;
        let tail = Tail::of(self.group.log()).map_err(failed)?;
        let gone = self.trimmed(&tail);
        if gone == 0 || self.change_tail(&tail, 0..gone, Vec::new()).await? {
            return Ok(gone);
        }
        Err(RelocateError::Changed)
    }

    /// Returns how many chunks lie below the log start of the newest checkpoint. Not of now: whoever is given that
    /// checkpoint is given its records.
    pub(super) fn trimmed(&self, tail: &Tail) -> usize {
        let kept_from = self.group.covered_from();
        tail.chunks().partition_point(|chunk| chunk.index <= kept_from)
    }

    /// Puts chunks in the place of others; returns once that is durable, false if the tail is not as seen any more.
    pub(super) async fn change_tail(
        &self,
        seen: &Tail,
        gone: std::ops::Range<usize>,
        new: Vec<NewChunk>,
    ) -> Result<bool, RelocateError> {
        let (done, durable) = oneshot::channel();
        let done = Box::new(move || {
            // Who waited may have gone away.
            let _ = done.send(());
        });
        let changed = self.group.log().change_chunks(seen.chunks(), gone, new, done).await;
        let changed = changed.map_err(failed)?;
        if changed {
            durable.await.map_err(|_| RelocateError::Closed)?;
        }
        Ok(changed)
    }
}

impl From<WalkError> for TailWriteError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Storage(error) => Self::Storage(error),
            error => Self::Unreadable(error),
        }
    }
}

impl From<Closed> for RelocateError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

pub(super) fn failed(error: impl std::fmt::Display) -> RelocateError {
    RelocateError::Failed(error.to_string())
}
