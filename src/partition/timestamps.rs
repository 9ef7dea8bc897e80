//! Time to offset, as `ListOffsets` asks for it: the record, not the batch.
//!
//! Batch headers say how new the newest record of a batch is, points say it of spans. A search by time
//! bisects the points, then goes from span to span, and looks into records only where an answer can be.
//! Two things keep it from being a plain bisection: producers' times go back and forth, and a single
//! record from the future makes "largest time so far" useless for all that come after it. Then the
//! search reads the points one by one, 60 bytes for each 256 KiB of log.

use std::ops::ControlFlow;

use quorate_storage::Log;

use super::disk::on_disk;
use super::index::{self, SPAN_BYTES, Span};
use super::machine::View;
use super::position::Position;
use super::walk::{Located, Source, Step, Walk, WalkError};
use super::{Partition, ReadError};
use crate::record::{Records, Want};

/// Bytes a walk over one span reads at once.
const CHUNK_BYTES: usize = SPAN_BYTES as usize;

/// Which offset is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// -1: the high watermark.
    Latest,
    /// -2, and -4 since nothing is kept elsewhere: the log start.
    Earliest,
    /// -3: the first record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record at or after a time in milliseconds since 1970.
    AtOrAfter(i64),
}

/// An offset that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetAt {
    pub offset: i64,
    /// The record's own; -1 for the ends of the log, which are no records.
    pub timestamp: i64,
    /// The leader epoch it was or would be written under; -1 when none is known.
    pub epoch: i32,
}

impl OffsetSpec {
    /// Returns what a timestamp in a request stands for; `None` for the special values of tiered
    /// storage (-5, -6) and anything unknown.
    pub fn of_wire(timestamp: i64) -> Option<Self> {
        match timestamp {
            0.. => Some(Self::AtOrAfter(timestamp)),
            -1 => Some(Self::Latest),
            -2 | -4 => Some(Self::Earliest),
            -3 => Some(Self::MaxTimestamp),
            _ => None,
        }
    }
}

impl Partition {
    /// Returns the offset `spec` stands for; `None` when there is no such record.
    ///
    /// Says nothing about leadership; ask before, and after.
    pub async fn offset_for_timestamp(
        &self,
        spec: OffsetSpec,
    ) -> Result<Option<OffsetAt>, ReadError> {
        let (view, newest) = {
            let machine = self.group.machine();
            (machine.view(), machine.newest())
        };
        let (log_start, end) = (view.log_start, view.end.offset);
        let log = self.group.log().clone();
        let search = move || match spec {
            OffsetSpec::AtOrAfter(timestamp) => first_at_or_after(&log, &view, timestamp),
            OffsetSpec::MaxTimestamp => newest_record(&log, &view, newest.map(|newest| newest.at)),
            OffsetSpec::Latest | OffsetSpec::Earliest => Ok(None),
        };
        let found = match spec {
            OffsetSpec::Latest => return Ok(Some(self.end_of_log(end))),
            OffsetSpec::Earliest => return Ok(Some(self.end_of_log(log_start))),
            _ if log_start == end => return Ok(None),
            OffsetSpec::MaxTimestamp if newest.is_some_and(|newest| newest.timestamp < 0) => {
                return Ok(None);
            }
            OffsetSpec::AtOrAfter(wanted)
                if newest.is_some_and(|newest| newest.timestamp < wanted) =>
            {
                return Ok(None);
            }
            OffsetSpec::MaxTimestamp | OffsetSpec::AtOrAfter(_) => {
                on_disk(&self.disk_reads, search).await?
            }
        };
        found
            .map(|found| found.filter(|found| found.timestamp >= 0))
            // A log trimmed meanwhile is asked again by the client; its start is the offset to name.
            .map_err(|error| self.unreadable(error, log_start))
    }

    fn end_of_log(&self, offset: i64) -> OffsetAt {
        let epoch = self.group.machine().epochs().at(offset);
        OffsetAt { offset, timestamp: -1, epoch }
    }
}

/// A stretch of the log and what it holds at most.
struct Stretch {
    from: Position,
    to: Position,
    span: Span,
}

/// Returns the stretches from `from` to the end of the view.
fn stretches<'a>(
    log: &'a Log,
    view: &'a View,
    from: Position,
) -> impl Iterator<Item = Result<Stretch, WalkError>> + 'a {
    let mut from = Some(from);
    // Points beyond the view belong to entries it does not know.
    let mut points = index::after(log, from.map_or(0, |from| from.offset)).take_while(|point| {
        point.as_ref().map_or(true, |point| point.at.offset <= view.open_start.offset)
    });
    std::iter::from_fn(move || {
        let begin = from?;
        let (to, span) = match points.next() {
            Some(Err(error)) => return Some(Err(error.into())),
            Some(Ok(point)) => (point.at, point.span),
            // The newest points may still be on their way to the disk.
            None if begin.offset < view.open_start.offset => (view.open_start, Span::UNKNOWN),
            None => (view.end, view.open),
        };
        from = (to.offset < view.end.offset).then_some(to);
        Some(Ok(Stretch { from: begin, to, span }))
    })
}

fn first_at_or_after(
    log: &Log,
    view: &View,
    timestamp: i64,
) -> Result<Option<OffsetAt>, WalkError> {
    let older = |point: &index::Point| point.timestamp_before < timestamp;
    let found = index::bisect(log, view.start.offset, view.open_start.offset + 1, older)?;
    let from = found.map_or(view.start, |point| view.start.nearer(point.at, i64::MAX));
    for stretch in stretches(log, view, from) {
        let stretch = stretch?;
        if stretch.span.timestamp_max < timestamp {
            continue;
        }
        let found = search(log, view, &stretch, |batch| {
            let mut first = None;
            if batch.batch.header.max_timestamp >= timestamp {
                records(batch, view.log_start, |found| {
                    first = (found.timestamp >= timestamp).then_some(found);
                    if first.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })?;
            }
            Ok(first)
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// `known`: the batch that was the newest when it was applied. Some of it may be trimmed.
fn newest_record(
    log: &Log,
    view: &View,
    known: Option<Position>,
) -> Result<Option<OffsetAt>, WalkError> {
    if let Some(at) = known {
        let mut walk = Walk::new(log, view, at, 1);
        if let Step::Batch(batch) = walk.step(Source::Disk)? {
            let found = newest_of(&batch, view)?;
            if found.is_some_and(|found| found.timestamp >= batch.batch.header.max_timestamp) {
                return Ok(found);
            }
        }
    }
    let mut best = None;
    let mut newest_span: Option<Stretch> = None;
    for stretch in stretches(log, view, view.start) {
        let stretch = stretch?;
        let newest = newest_span.as_ref().map_or(i64::MIN, |newest| newest.span.timestamp_max);
        if stretch.span.timestamp_max > newest {
            newest_span = Some(stretch);
        }
    }
    if let Some(stretch) = newest_span {
        newest_in(log, view, &stretch, &mut best)?;
    }
    // What a span had at most may be trimmed; then others can be newer than what was found.
    for stretch in stretches(log, view, view.start) {
        let stretch = stretch?;
        if best.is_none_or(|best: OffsetAt| stretch.span.timestamp_max > best.timestamp) {
            newest_in(log, view, &stretch, &mut best)?;
        }
    }
    Ok(best)
}

fn newest_in(
    log: &Log,
    view: &View,
    stretch: &Stretch,
    best: &mut Option<OffsetAt>,
) -> Result<(), WalkError> {
    search(log, view, stretch, |batch| {
        let to_beat = best.map_or(i64::MIN, |best| best.timestamp);
        if batch.batch.header.max_timestamp > to_beat
            && let Some(found) = newest_of(batch, view)?
            && found.timestamp > to_beat
        {
            *best = Some(found);
        }
        Ok(None)
    })
    .map(|_| ())
}

fn newest_of(batch: &Located, view: &View) -> Result<Option<OffsetAt>, WalkError> {
    let mut newest: Option<OffsetAt> = None;
    records(batch, view.log_start, |found| {
        if newest.is_none_or(|newest| found.timestamp > newest.timestamp) {
            newest = Some(found);
        }
        ControlFlow::Continue(())
    })?;
    Ok(newest)
}

/// Walks a stretch until `look` finds something in a batch.
fn search(
    log: &Log,
    view: &View,
    stretch: &Stretch,
    mut look: impl FnMut(&Located) -> Result<Option<OffsetAt>, WalkError>,
) -> Result<Option<OffsetAt>, WalkError> {
    let mut walk = Walk::new(log, view, stretch.from, CHUNK_BYTES);
    while let Step::Batch(batch) = walk.step(Source::Disk)? {
        if batch.at.offset >= stretch.to.offset {
            break;
        }
        if batch.end_offset <= view.log_start {
            continue;
        }
        if let Some(found) = look(&batch)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Shows `look` the records of a batch from `log_start` on, until it has seen enough.
fn records(
    batch: &Located,
    log_start: i64,
    mut look: impl FnMut(OffsetAt) -> ControlFlow<()>,
) -> Result<(), WalkError> {
    for record in Records::open(&batch.bytes, Want::Heads)? {
        let record = record?;
        let offset = batch.at.offset + i64::from(record.offset_delta);
        let found = OffsetAt { offset, timestamp: record.timestamp, epoch: batch.epoch };
        if offset >= log_start && look(found).is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::OffsetSpec;

    #[test]
    fn special_timestamps_stand_for_the_ends_of_the_log() {
        let of = OffsetSpec::of_wire;
        assert_eq!(of(-1), Some(OffsetSpec::Latest));
        assert_eq!((of(-2), of(-4)), (Some(OffsetSpec::Earliest), Some(OffsetSpec::Earliest)));
        assert_eq!(of(-3), Some(OffsetSpec::MaxTimestamp));
        assert_eq!(of(0), Some(OffsetSpec::AtOrAfter(0)));
        assert_eq!((of(-5), of(-6), of(i64::MIN)), (None, None, None));
    }
}
