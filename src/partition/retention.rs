//! Deleting what a topic no longer wants to keep.
//!
//! Each leader looks at its partitions now and then, finds how far the log start can move and proposes
//! that; the replicas trim when they apply it, and drop what is below it of their tails at their own looks. Nothing is remembered between two looks: what was missed
//! (leadership lost, no majority) is found again by whoever leads at the next. Brokers look at different
//! moments, so that the deletions of a cluster do not fall together.
//!
//! Time is the leader's wall clock, and while that is not trusted nothing is deleted for its age.
//!
//! The log is cut at points only, so up to a span (256 KiB, 128 batches or an hour) stays longer than
//! asked. Never is anything deleted early: who is behind the metadata may not have heard that records are to stay
//! longer, so what is in force is asked for before anything goes, and where that cannot be found out nothing does.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use quorate_storage::{GroupId, Log};
use rand::Rng;
use tokio::time::{sleep, timeout};

use super::command::Trim;
use super::disk::on_disk;
use super::index::{self, Span};
use super::machine::View;
use super::position::Position;
use super::tail::{Tail, to_signed};
use super::{Partition, PartitionSettings, Partitions, TrimError};

/// How long one partition's trim may take before the look goes on to the next.
const TRIM_WAIT_MAX: Duration = Duration::from_secs(10);
/// Between two looks for producers that are forgotten, so many for retention.
const FORGET_EVERY: u64 = 20;
/// Entries without records (of elections, of refused batches) that an empty log may hold.
const EMPTY_ENTRIES_MAX: u64 = 4096;

/// How far a producer's clock may be ahead of its leader's. A record stamped later than that does not keep its span
/// for longer than the span's last batch would.
const AHEAD_MS: i64 = 3_600_000;

/// How often to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPace {
    /// Between the end of one look and the next, give or take a quarter.
    pub interval: Duration,
}

/// Says what a partition has to obey now, as the metadata's leader has it; `None` if that cannot be found out.
pub type CurrentSettings =
    Arc<dyn Fn(GroupId) -> BoxFuture<'static, Option<PartitionSettings>> + Send + Sync>;

/// Looks at all open partitions for ever. Drop it to stop; that leaves nothing half done.
pub(super) async fn run(partitions: Arc<Partitions>, pace: RetentionPace) {
    for look in 0_u64.. {
        let factor = rand::rng().random_range(0.75..1.25);
        sleep(pace.interval.mul_f64(factor)).await;
        for partition in partitions.all() {
            partition.look_for_expired(partitions.current()).await;
            partition.look_for_trimmed().await;
            // They are forgotten after a day, and reading them all costs more.
            if look.is_multiple_of(FORGET_EVERY) {
                partition.look_for_forgotten().await;
            }
        }
    }
}

impl Partition {
    async fn look_for_expired(&self, current: Option<&CurrentSettings>) {
        match timeout(TRIM_WAIT_MAX, self.enforce_retention_of(current)).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(log_start))) => {
                let partition = format!("{}-{}", self.topic, self.number);
                tracing::debug!(%partition, log_start, "retention moved the log start");
            }
            // All of these pass or were logged, and the next look tries again.
            Ok(Err(error)) => {
                tracing::debug!(group = %self.id(), %error, "retention did not run");
            }
            Err(_) => {
                tracing::debug!(group = %self.id(), "retention waits for a majority");
            }
        }
    }

    /// Gives the disk back what a trim has left of the tail, on every replica.
    async fn look_for_trimmed(&self) {
        // The next look tries again.
        if let Ok(Err(error)) = timeout(TRIM_WAIT_MAX, self.drop_trimmed()).await {
            tracing::debug!(group = %self.id(), %error, "the tail was not trimmed");
        }
    }

    /// Frees the place of producers that were silent too long.
    async fn look_for_forgotten(&self) {
        // The next look tries again.
        if let Ok(Err(error)) = timeout(TRIM_WAIT_MAX, self.forget()).await {
            tracing::debug!(group = %self.id(), %error, "producers were not forgotten");
        }
    }

    /// Returns the bytes of its batches: as they were appended, but what was compacted as the disk has it.
    pub fn stored_bytes(&self) -> u64 {
        let view = self.group.machine().view();
        remaining(&view, Tail::of(self.group.log()).ok().as_ref(), view.start)
    }

    /// Deletes what is past its retention now; returns the new log start if it moved.
    ///
    /// Does nothing where another broker leads.
    pub async fn enforce_retention(&self) -> Result<Option<i64>, TrimError> {
        self.enforce_retention_of(None).await
    }

    /// As [`Partition::enforce_retention`], once `current` has said that what it goes by is in force.
    pub(super) async fn enforce_retention_of(
        &self,
        current: Option<&CurrentSettings>,
    ) -> Result<Option<i64>, TrimError> {
        let Ok(term) = self.fence() else { return Ok(None) };
        let (view, settings) = (self.group.machine().view(), self.settings());
        let Some(limits) = Limits::of(settings, self.clock.trusted_ms(), &view) else {
            return Ok(None);
        };
        let (log_start, seen) = (view.log_start, self.seen(&view));
        let log = self.group.log().clone();
        let found = on_disk(&self.disk_reads, move || limits.find(&log, &view)).await?;
        let start = match found {
            Ok(None) => return Ok(None),
            Ok(Some(start)) => start,
            Err(_) if self.has_changed_since(&seen) => return Err(TrimError::Busy),
            Err(error) => {
                return Err(TrimError::Read(self.unreadable(error.into(), log_start)));
            }
        };
        if let Some(current) = current {
            let Some(now) = current(self.id()).await else { return Ok(None) };
            if now != settings {
                // What may go by that is for the next look to say.
                self.set_settings(now);
                return Ok(None);
            }
        }
        let trim = Trim { log_start: start.offset.max(log_start), start };
        self.propose_trim(trim, term).await.map(Some)
    }
}

/// What may stay.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Spans whose newest record is older go.
    oldest_ms: i64,
    /// Later records cannot be: then their age is that of their span's last batch.
    newest_ms: i64,
    /// Spans go while this much remains.
    bytes_min: u64,
    /// What remains is what the disk has: compaction has left less than was written.
    compacts: bool,
}

impl Limits {
    /// Returns `None` when nothing can be past its retention, as far as memory tells.
    /// `now_ms`: the time, if it is certain.
    fn of(settings: PartitionSettings, now_ms: Option<i64>, view: &View) -> Option<Self> {
        let aged = now_ms.zip(settings.retention_ms);
        let limits = Self {
            oldest_ms: aged.map_or(i64::MIN, |(now_ms, ms)| now_ms.saturating_sub(ms)),
            newest_ms: now_ms.map_or(i64::MAX, |now_ms| now_ms.saturating_add(AHEAD_MS)),
            bytes_min: settings.retention_bytes.unwrap_or(u64::MAX),
            compacts: settings.compaction.is_some(),
        };
        let is_empty = view.log_start == view.end.offset;
        let sheds = is_empty && view.end.place.index - view.start.place.index > EMPTY_ENTRIES_MAX;
        let limited = aged.is_some() || settings.retention_bytes.is_some();
        (sheds || (limited && !is_empty)).then_some(limits)
    }

    fn is_over(&self, remaining: u64, span: &Span) -> bool {
        let newest = if span.age_max > self.newest_ms {
            span.appended_max.saturating_add(AHEAD_MS)
        } else {
            span.age_max
        };
        let expired = newest < self.oldest_ms;
        expired || remaining >= self.bytes_min
    }

    /// Returns the furthest place everything before which may go. Reads the points that go, and one.
    fn find(&self, log: &Log, view: &View) -> Result<Option<Position>, index::IndexError> {
        let tail = if self.compacts { Some(Tail::of(log)?) } else { None };
        let remaining = |to: Position| remaining(view, tail.as_ref(), to);
        let mut keep_from = None;
        for point in index::after(log, view.start.offset) {
            let point = point?;
            if point.at.offset > view.open_start.offset
                || !self.is_over(remaining(point.at), &point.span)
            {
                break;
            }
            keep_from = Some(point.at);
        }
        let reached = keep_from.unwrap_or(view.start);
        // The open span is known from memory; all before it must have gone, or there is nothing before.
        let at_open = reached.offset >= view.open_start.offset;
        let is_empty = view.log_start == view.end.offset;
        if at_open && (is_empty || self.is_over(0, &view.open)) {
            keep_from = Some(view.end);
        }
        Ok(keep_from)
    }
}

/// Returns the bytes from a place on: as they were appended, but what lies in chunks as the disk has it.
fn remaining(view: &View, tail: Option<&Tail>, to: Position) -> u64 {
    let boundary = tail.and_then(|tail| Some((tail, tail.end()?)));
    let Some((tail, end)) = boundary.filter(|(_, end)| end.offset > to.offset) else {
        return view.end.bytes - to.bytes;
    };
    let behind = tail.chunks().iter().filter(|chunk| to_signed(chunk.end) > to.offset);
    behind.map(|chunk| chunk.bytes).sum::<u64>() + view.end.bytes.saturating_sub(end.bytes)
}

#[cfg(test)]
mod tests;
