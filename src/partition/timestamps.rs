//! Time to offset, as `ListOffsets` asks for it: the record, not the batch.
//!
//! Batch headers say how new the newest record of a batch is, points say it of spans, blocks of many spans.
//! A search by time skips what is too old as a whole, block by block and span by span, and looks into records
//! only where an answer can be. It is no bisection, because producers' times go back and forth.
//!
//! What is found is a record of a producer, never a marker. Who reads committed records alone gets, as from Kafka, the last
//! stable offset for the end of the log, and nothing where the record that was found is not below it. A record of an aborted
//! transaction may be found: who reads from there on leaves it out.

use std::ops::ControlFlow;

use quorate_storage::Log;

use super::disk::on_disk;
use super::index::{self, BLOCK_SPANS, SPAN_BYTES, Span};
use super::machine::{Newest, View};
use super::position::Position;
use super::walk::{Located, Source, Step, Walk, WalkError};
use super::{Partition, ReadError};
use crate::record::{Projection, Records};

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
        self.offset_below(spec, |view| view.end.offset).await
    }

    /// As [`Partition::offset_for_timestamp`], for who reads committed records alone: the last stable offset stands for the
    /// high watermark, and a record that is not below it is not found.
    pub async fn offset_for_timestamp_committed(
        &self,
        spec: OffsetSpec,
    ) -> Result<Option<OffsetAt>, ReadError> {
        self.offset_below(spec, |view| view.stable).await
    }

    /// `upto`: where the log ends for the asker.
    async fn offset_below(
        &self,
        spec: OffsetSpec,
        upto: impl Fn(&View) -> i64,
    ) -> Result<Option<OffsetAt>, ReadError> {
        loop {
            let (view, newest) = {
                let machine = self.group.machine();
                (machine.view(), machine.newest())
            };
            let (log_start, end) = (view.log_start, upto(&view));
            let seen = self.seen(&view);
            let log = self.group.log().clone();
            let search = move || match spec {
                OffsetSpec::AtOrAfter(timestamp) => first_at_or_after(&log, &view, timestamp),
                OffsetSpec::MaxTimestamp => newest_record(&log, &view, newest),
                OffsetSpec::Latest | OffsetSpec::Earliest => Ok(None),
            };
            let found = match spec {
                OffsetSpec::Latest => return Ok(Some(self.end_of_log(end))),
                OffsetSpec::Earliest => return Ok(Some(self.end_of_log(log_start))),
                _ if log_start == end => return Ok(None),
                OffsetSpec::MaxTimestamp if newest.is_some_and(|it| it.timestamp < 0) => {
                    return Ok(None);
                }
                OffsetSpec::AtOrAfter(wanted) if newest.is_some_and(|it| it.timestamp < wanted) => {
                    return Ok(None);
                }
                OffsetSpec::MaxTimestamp | OffsetSpec::AtOrAfter(_) => {
                    on_disk(&self.disk_reads, search).await?
                }
            };
            match found {
                Ok(found) => {
                    return Ok(found.filter(|found| found.timestamp >= 0 && found.offset < end));
                }
                Err(_) if self.has_changed_since(&seen) => {}
                Err(error) => return Err(self.unreadable(error, log_start)),
            }
        }
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
    let mut from = view.start;
    while from.offset < view.end.offset {
        from = index::skip_older(log, from, view.open_start.offset, timestamp)?;
        // The block that ends the skip may owe its time to what lies before; then the next is skipped to.
        for stretch in stretches(log, view, from).take(BLOCK_SPANS as usize) {
            let stretch = stretch?;
            from = stretch.to;
            if stretch.span.timestamp_max >= timestamp
                && let Some(found) = first_in(log, view, &stretch, timestamp)?
            {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn first_in(
    log: &Log,
    view: &View,
    stretch: &Stretch,
    timestamp: i64,
) -> Result<Option<OffsetAt>, WalkError> {
    search(log, view, stretch, |batch| {
        let mut first = None;
        if batch.batch.header.max_timestamp >= timestamp {
            records(batch, view.log_start, |found| {
                first = (found.timestamp >= timestamp).then_some(found);
                if first.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        }
        Ok(first)
    })
}

/// `known`: the batch that was the newest when it was applied. Some of it may be trimmed or compacted.
fn newest_record(
    log: &Log,
    view: &View,
    known: Option<Newest>,
) -> Result<Option<OffsetAt>, WalkError> {
    if let Some(known) = known {
        let mut walk = Walk::new(log, view, known.at, 1).toward(known.at.offset);
        if let Step::Batch(batch) = walk.step(Source::Disk)? {
            let found = newest_of(&batch, view)?;
            if found.is_some_and(|found| found.timestamp >= known.timestamp) {
                return Ok(found);
            }
        }
    }
    if view.cleaned_upto > view.log_start {
        return newest_of_all(log, view);
    }
    let mut best = None;
    // What the first span had at most may be trimmed; of the others what is told is there.
    let Some(first) = stretches(log, view, view.start).next().transpose()? else { return Ok(None) };
    newest_in(log, view, &first, &mut best)?;
    if first.to.offset >= view.end.offset {
        return Ok(best);
    }
    let (closed, told) = index::largest(log, first.to, view.open_start.offset)?;
    for stretch in stretches(log, view, told).filter(|_| told.offset < view.open_start.offset) {
        newest_in(log, view, &stretch?, &mut best)?;
    }
    let largest = closed.max(view.open.timestamp_max);
    if best.is_none_or(|best: OffsetAt| largest > best.timestamp) {
        best = first_at_or_after(log, view, largest)?.or(best);
    }
    Ok(best)
}

/// What stretches held once may be compacted, so it is looked for in all of them that can have it.
fn newest_of_all(log: &Log, view: &View) -> Result<Option<OffsetAt>, WalkError> {
    let mut best: Option<OffsetAt> = None;
    for stretch in stretches(log, view, view.start) {
        let stretch = stretch?;
        if best.is_none_or(|best| stretch.span.timestamp_max > best.timestamp) {
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
    if batch.batch.header.is_control() {
        return Ok(());
    }
    for record in Records::open(&batch.bytes, Projection::Heads)? {
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
