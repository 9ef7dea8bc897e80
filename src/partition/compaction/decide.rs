//! What a leader decides about the compaction of its partition: how far, and which tombstones may go.
//!
//! It is due by Kafka's rules: as much is new as a segment holds, or is as old as one may become; of all bytes at least
//! `min.cleanable.dirty.ratio` are new; or something new is older than `max.compaction.lag.ms`. Nothing is remembered
//! between two looks. Ages are by the leader's wall clock, and while that is not trusted nothing is decided by age.
//!
//! Nothing is compacted from the last stable offset on: what a transaction that is open supersedes is not known yet.

use quorate_storage::Log;

use super::CompactError;
use crate::metadata::CompactionConfigs;
use crate::partition::command::{Clean, clean_payload};
use crate::partition::disk::on_disk;
use crate::partition::index;
use crate::partition::machine::{Cleaned, View};
use crate::partition::position::{Place, Position};
use crate::partition::records::StoredRecords;
use crate::partition::retention::CurrentSettings;
use crate::partition::tail::{Tail, to_signed};
use crate::partition::walk::WalkError;
use crate::partition::{Partition, TrimError};

const MILLION: u128 = 1_000_000;

/// How far a partition is compacted, as this replica sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionState {
    /// The first offset that no decision covers.
    pub decided_upto: i64,
    /// The first offset to which this replica has carried that out.
    pub compacted_upto: i64,
    /// Bytes below and above what is decided. Of a leader, by its own disk; new ones as they were appended.
    pub clean_bytes: u64,
    pub dirty_bytes: u64,
}

impl CompactionState {
    /// Returns how much of all bytes is new, in millionths.
    pub fn dirty_millionths(&self) -> u32 {
        let all = u128::from(self.clean_bytes) + u128::from(self.dirty_bytes);
        let share = (u128::from(self.dirty_bytes) * MILLION).checked_div(all).unwrap_or(0);
        u32::try_from(share).unwrap_or(u32::MAX)
    }
}

/// What a decision goes by, taken in one look.
struct Look {
    view: View,
    cleaned: Cleaned,
    /// Where the oldest transaction begins that is open.
    undecided: Option<Position>,
    state: CompactionState,
    log_ms: i64,
    /// The time, if it is certain.
    wall_ms: Option<i64>,
}

impl Partition {
    /// Returns how far it is compacted.
    pub fn compaction_state(&self) -> Result<CompactionState, CompactError> {
        let (view, cleaned) = {
            let machine = self.group.machine();
            (machine.view(), machine.cleaned().clone())
        };
        self.state_of(&view, &cleaned)
    }

    fn state_of(&self, view: &View, cleaned: &Cleaned) -> Result<CompactionState, CompactError> {
        let tail = Tail::of(self.group.log())?;
        let compacted_upto = tail.mark()?.upto.min(cleaned.upto.offset);
        let upto = cleaned.upto;
        let kept = tail.chunks().iter().filter(|chunk| {
            to_signed(chunk.end) > view.log_start && to_signed(chunk.first) < upto.offset
        });
        let clean_bytes = if compacted_upto == upto.offset {
            kept.map(|chunk| chunk.bytes).sum()
        } else {
            upto.bytes.saturating_sub(view.start.bytes)
        };
        let dirty_bytes = view.end.bytes - upto.bytes.max(view.start.bytes);
        Ok(CompactionState { decided_upto: upto.offset, compacted_upto, clean_bytes, dirty_bytes })
    }

    /// Decides on compaction if that is due, or if `asked`; returns whether something was decided.
    ///
    /// Does nothing where another broker leads. `current`: who says what is in force.
    pub(in crate::partition) async fn decide_compaction(
        &self,
        current: Option<&CurrentSettings>,
        asked: bool,
    ) -> Result<bool, TrimError> {
        let (Ok(term), settings) = (self.fence(), self.settings()) else { return Ok(false) };
        let Some(compaction) = self.compaction() else { return Ok(false) };
        let look = self.look()?;
        let Some(rule) = look.due(&compaction, asked) else { return Ok(false) };
        let (log, seen) = (self.group.log().clone(), self.seen(&look.view));
        let log_start = look.view.log_start;
        let found = on_disk(&self.disk_reads, move || look.clean(&log, &compaction, rule)).await?;
        let clean = match found {
            Ok(clean) => clean,
            Err(_) if self.has_changed_since(&seen) => return Err(TrimError::Busy),
            Err(error) => return Err(TrimError::Read(self.unreadable(error, log_start))),
        };
        let Some(clean) = clean else { return Ok(false) };
        if let Some(current) = current {
            // Who is behind the metadata may not have heard that nothing is compacted any more.
            let Some(now) = current(self.id()).await else { return Ok(false) };
            if now != settings {
                self.set_settings(now);
                return Ok(false);
            }
        }
        let payload = clean_payload(self.times(self.clock.now_ms()), &clean);
        self.propose(payload.into(), term).await?.await?;
        Ok(true)
    }

    fn look(&self) -> Result<Look, TrimError> {
        let (view, cleaned, undecided) = {
            let machine = self.group.machine();
            (machine.view(), machine.cleaned().clone(), machine.undecided())
        };
        // What is damaged here is another's to decide on.
        let state = self.state_of(&view, &cleaned).map_err(|_| TrimError::Busy)?;
        let log_ms = self.times(self.clock.now_ms()).log_ms;
        Ok(Look { view, cleaned, undecided, state, log_ms, wall_ms: self.clock.trusted_ms() })
    }
}

/// What is to be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Tombstones may go.
    Tombstones,
    Records,
}

impl Look {
    fn due(&self, settings: &CompactionConfigs, asked: bool) -> Option<Due> {
        let dirty = self.state.dirty_bytes;
        let age = self.wall_ms.zip(self.cleaned.dirty_ms).map(|(now, since)| now - since);
        let is_older = |ms: i64| age.is_some_and(|age| age >= ms);
        let is_enough = dirty >= settings.segment_bytes || is_older(settings.segment_ms);
        let is_dirty = self.state.dirty_millionths() >= settings.dirty_millionths;
        let overdue = is_older(settings.max_lag_ms);
        if dirty > 0 && (asked || overdue || (is_enough && is_dirty)) {
            return Some(Due::Records);
        }
        let expired = self.cleaned.expired(self.log_ms, settings.delete_retention_ms);
        (expired > self.cleaned.tombstones_upto).then_some(Due::Tombstones)
    }

    /// Returns what to propose; none if everything new is too young.
    fn clean(
        self,
        log: &Log,
        settings: &CompactionConfigs,
        due: Due,
    ) -> Result<Option<Clean>, WalkError> {
        let tombstones_upto = self.cleaned.expired(self.log_ms, settings.delete_retention_ms);
        let old = self.cleaned.upto;
        let (upto, rest_ms) = match due {
            Due::Tombstones => (old, 0),
            Due::Records if settings.min_lag_ms == 0 => {
                (self.view.end, self.wall_ms.unwrap_or_default())
            }
            Due::Records => self.old_enough(log, settings.min_lag_ms)?.unwrap_or((old, 0)),
        };
        let (upto, rest_ms) = self.decided(log, (upto, rest_ms))?.unwrap_or((old, 0));
        let is_news = upto.offset > old.offset || tombstones_upto > self.cleaned.tombstones_upto;
        Ok(is_news.then_some(Clean { upto, tombstones_upto, rest_ms }))
    }

    /// Returns the furthest place between two entries before which all is older than that, and a time at which what follows
    /// was not appended yet.
    fn old_enough(&self, log: &Log, ms: i64) -> Result<Option<(Position, i64)>, WalkError> {
        let Some(now) = self.wall_ms else { return Ok(None) };
        let newest = now.saturating_sub(ms);
        let view = &self.view;
        let mut reached = None;
        for point in index::after(log, self.cleaned.upto.offset.max(view.start.offset)) {
            let point = point?;
            if point.at.offset > view.open_start.offset || point.span.age_max > newest {
                break;
            }
            reached = Some((point.at, point.span.appended_max));
        }
        let at_open = reached.map_or(view.start, |(at, _)| at).offset >= view.open_start.offset
            || self.cleaned.upto.offset >= view.open_start.offset;
        if at_open && view.open.age_max <= newest {
            return Ok(Some((view.end, now)));
        }
        let Some((at, appended)) = reached else { return Ok(None) };
        // The point may be inside an entry, which stays as a whole.
        Ok(self.entry_of(log, at)?.map(|at| (at, appended)))
    }

    /// Returns the same, or what is before the oldest transaction that is open.
    fn decided(
        &self,
        log: &Log,
        (upto, rest_ms): (Position, i64),
    ) -> Result<Option<(Position, i64)>, WalkError> {
        let Some(first) = self.undecided.filter(|first| first.offset < upto.offset) else {
            return Ok(Some((upto, rest_ms)));
        };
        if first.offset <= self.cleaned.upto.offset.max(self.view.start.offset) {
            return Ok(None);
        }
        let before = index::at_or_before(log, first.offset)?.map(|point| point.span.appended_max);
        let rest_ms = before.or(self.cleaned.dirty_ms).unwrap_or(rest_ms);
        Ok(self.entry_of(log, first)?.map(|at| (at, rest_ms)))
    }

    /// Returns where the entry of a batch begins; none if nothing that is new stands before it.
    fn entry_of(&self, log: &Log, at: Position) -> Result<Option<Position>, WalkError> {
        if at.place == Place::of_entry(at.place.index) {
            return Ok(Some(at));
        }
        let view = &self.view;
        let from = self.cleaned.upto.offset.max(view.start.offset);
        let from =
            index::at_or_before(log, at.offset - 1)?.map_or(from, |it| it.at.offset.max(from));
        let mut before = StoredRecords::new(log, view, from, at.place.index)?;
        let mut begins_before = false;
        while before.next()?.is_some() {
            begins_before = true;
        }
        let end = before.end();
        let is_news = begins_before && end.offset > self.cleaned.upto.offset;
        Ok(is_news.then_some(end))
    }
}
