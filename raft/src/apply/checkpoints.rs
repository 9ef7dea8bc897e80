//! When the machine's task writes a checkpoint, which it keeps, and how far the log may go.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_storage::StatePut;
use tokio::time::Instant;

use super::StateMachine;
use crate::checkpoint::{self, Checkpoint, Uncovered};
use crate::error::storage_failed;
use crate::keyed;

impl StateMachine {
    pub(super) async fn checkpoint_if_due(&mut self) -> io::Result<()> {
        self.wanted.dirty(&self.shared);
        if self.uncovered.is_due(self.newest_size) || self.keyed.is_full() {
            return self.write_checkpoint().await;
        }
        // It moves by single entries otherwise.
        if !self.holder.is_streamed() {
            self.advance_boundary();
        }
        Ok(())
    }

    /// Writes a checkpoint if it is time for one, or asks to be looked at again.
    pub async fn look(&mut self) {
        let now = Instant::now();
        self.frozen.take_if(|frozen| Arc::strong_count(frozen) == 1 && frozen.is_forgotten(now));
        let arriving = self.shared.staging.forget(now);
        match self.checkpoint_if_old(now).await {
            Ok(true) if self.frozen.is_none() && !arriving => {}
            Ok(true) => self.wanted.look_later(self.shared.group),
            Ok(false) => self.wanted.look_later(self.shared.group),
            Err(error) => tracing::debug!(%error, "checkpoint of a stopping group not written"),
        }
    }

    /// Writes a checkpoint if it is worth one by `now`. True: everything applied is covered, and
    /// the group need not be looked at again.
    pub(super) async fn checkpoint_if_old(&mut self, now: Instant) -> io::Result<bool> {
        if let Some(since) = self.uncovered_since {
            let applied = self.applied_index();
            let is_behind = |index| self.kept.last().is_none_or(|newest| *newest < index);
            let frees = is_behind(applied) && self.would_free(applied);
            // After a restart it could not be applied again, nor anything behind it.
            let damaged =
                self.log.corrupt().is_some_and(|index| index <= applied && is_behind(index));
            let age = now.saturating_duration_since(since);
            if !self.uncovered.is_old(self.newest_size, age, frees || damaged) {
                return Ok(false);
            }
            self.write_checkpoint().await?;
        }
        self.shared.dirty.store(false, Ordering::Relaxed);
        self.advance_boundary();
        Ok(true)
    }

    pub(super) fn applied_index(&self) -> u64 {
        self.applied.map_or(0, |applied| applied.index)
    }

    /// A checkpoint of this size covers everything applied.
    pub(super) fn covered(&mut self, size: u64) {
        self.newest_size = size;
        self.uncovered = Uncovered::default();
        self.uncovered_since = None;
    }

    /// Writes a checkpoint if anything was applied since the last one.
    pub async fn write_checkpoint(&mut self) -> io::Result<()> {
        let Some(last) = self.applied.filter(|last| self.kept.last() != Some(&last.index)) else {
            self.covered(self.newest_size);
            self.advance_boundary();
            return Ok(());
        };
        let mut deletes = checkpoint::deletes(&self.make_room(last.index));
        let value = Checkpoint {
            last,
            members: self.members.clone(),
            kept: self.kept.clone(),
            keyed: self.keyed.hash(),
            slot: self.holder.is_streamed().then_some(self.slot),
            machine: self.holder.encode().into(),
        }
        .encode();
        self.covered(value.len() as u64);
        self.covered_members = self.members.clone();
        let mut puts = vec![StatePut { key: checkpoint::key(last.index), value }];
        if self.holder.is_keyed() {
            let changes = self.keyed.take_changes();
            self.keep_frozen(&changes, &mut puts, &mut deletes).await?;
            keyed::stage(self.slot, &changes, &mut puts, &mut deletes);
        }
        let needed = self.holder.needed_from();
        self.log.write_state(puts, deletes).await.map_err(storage_failed)?;
        self.keyed.changes_written();
        self.shared.set_covered_from(needed);
        self.advance_boundary();
        Ok(())
    }

    /// Notes a checkpoint among those that are kept, and gives those that are not any more.
    fn make_room(&mut self, index: u64) -> Vec<u64> {
        if self.holder.is_streamed() {
            // What belongs to the others is gone.
            return std::mem::replace(&mut self.kept, vec![index]);
        }
        let boundary = self.boundary.unwrap_or(0);
        let below = self.kept.partition_point(|index| *index < boundary);
        let mut gone: Vec<u64> = self.kept.drain(..below).collect();
        self.kept.push(index);
        gone.extend(checkpoint::thin(&mut self.kept));
        gone
    }

    /// Asks for a snapshot, and with it for purging, when a checkpoint fell below what is needed.
    fn advance_boundary(&self) {
        if self.next_boundary() > self.boundary {
            self.wanted.snapshot(self.shared.group);
        }
    }

    /// First index whose entry this replica still needs in its log.
    fn needed_from(&self) -> u64 {
        self.holder.needed_from().max(self.shared.freed_below.load(Ordering::Relaxed))
    }

    /// First index whose entry must stay in the log. With records those that the newest checkpoint begins with do: who is
    /// given it is given them.
    fn kept_from(&self) -> u64 {
        if self.holder.records().is_some() {
            return self.shared.covered_from().max(self.shared.freed_below.load(Ordering::Relaxed));
        }
        self.needed_from()
    }

    /// Whether a checkpoint at this index would let more of the log or its records go.
    fn would_free(&self, index: u64) -> bool {
        let has_records = self.holder.records().is_some();
        let passed = has_records && self.shared.covered_from() < self.holder.needed_from();
        index < self.needed_from() || passed
    }

    /// The greatest checkpoint below the first index that is still needed. If more belongs to a checkpoint than its bytes,
    /// any index there that the newest covers.
    pub(super) fn next_boundary(&self) -> Option<u64> {
        let needed = self.kept_from();
        if self.holder.is_streamed() {
            // Records that are being sent are read from the log, and whoever has them goes on with it.
            if self.frozen.as_ref().is_some_and(|frozen| frozen.holds_the_log(Instant::now())) {
                return self.boundary;
            }
            let covered = self.kept.last().copied();
            return covered.min(needed.checked_sub(1)).max(self.boundary);
        }
        self.kept.iter().copied().rfind(|index| *index < needed).max(self.boundary)
    }
}
