//! Removes rows of streams whose records are gone: before the log start, superseded in what is compacted, or of streams that
//! were turned off while this replica was away.
//!
//! They do no harm, they take room; so each replica removes its own, in its own time, and replicas may differ in them. Looking
//! through all rows costs as much as there are, so it is done when about half of what they tell of may be gone: what is paid
//! for a row that goes is bounded then, however many stay. A row is removed behind the trim or the new chunk in the same
//! write-ahead log, so it is never gone while its record is not.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use quorate_storage::{Log, StateDelete};

use crate::partition::Partition;
use crate::partition::disk::on_disk;
use crate::partition::stream_index::{self, Row, RowsError};
use crate::partition::tail::Tail;

/// Rows looked at in one read.
const PAGE: usize = 4096;
/// Fewer records than these are not looked for.
const GONE_MIN: i64 = 10_000;

/// What tells whether a row's record is gone.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    generation: u32,
    log_start: i64,
    /// Of the records of a key before this offset only the newest is left; 0 where nothing is compacted.
    compacted_upto: i64,
}

impl Partition {
    /// Removes rows of what is gone, if that has become much.
    pub(in crate::partition) async fn sweep_streams_if_due(&self) {
        let (streams, log_start, end) = {
            let machine = self.group.machine();
            (*machine.streams(), machine.log_start(), machine.next_offset())
        };
        if !streams.on {
            return;
        }
        let compacted_upto = match self.settings().compaction {
            Some(_) => {
                Tail::of(self.group.log()).and_then(|tail| tail.mark()).map_or(0, |it| it.upto)
            }
            None => 0,
        };
        let bounds = Bounds { generation: streams.generation, log_start, compacted_upto };
        let upto = log_start.max(compacted_upto);
        let gone = upto - self.swept_upto.load(Ordering::Relaxed);
        if gone >= GONE_MIN && gone >= end - upto && self.sweep_streams(bounds).await.is_some() {
            self.swept_upto.store(upto, Ordering::Relaxed);
        }
    }

    /// Removes the rows of what is gone; `None` if the replica was closed meanwhile.
    async fn sweep_streams(&self, bounds: Bounds) -> Option<()> {
        let mut from = stream_index::begin();
        loop {
            let (log, begin) = (self.group.log().clone(), from);
            let found = on_disk(&self.disk_reads, move || page(&log, &begin, bounds)).await;
            let (deletes, next) = found.ok()?.ok()?;
            if !deletes.is_empty() {
                self.group.log().write_state(Vec::new(), deletes).await.ok()?;
            }
            let Some(next) = next else { return Some(()) };
            from = next;
        }
    }
}

/// Returns what of a page of rows is over, and where the next page begins.
fn page(
    log: &Log,
    from: &[u8],
    bounds: Bounds,
) -> Result<(Vec<StateDelete>, Option<Vec<u8>>), RowsError> {
    let rows = log.state_range(from, stream_index::END, PAGE)?;
    // The last of a page is judged with the one behind it.
    let next = rows.last().filter(|_| rows.len() == PAGE).map(|(key, _)| key.clone());
    let judged = rows.len() - usize::from(next.is_some());
    let mut deletes = Vec::new();
    for (at, (key, value)) in rows.iter().enumerate().take(judged) {
        if bounds.is_over((&key[..], &value[..]), rows.get(at + 1))? {
            deletes.push(StateDelete::key(key.clone()));
        }
    }
    Ok((deletes, next))
}

impl Bounds {
    /// `next`: the row behind it.
    fn is_over(
        self,
        (key, value): (&[u8], &[u8]),
        next: Option<&(Vec<u8>, Bytes)>,
    ) -> Result<bool, RowsError> {
        let is_old = stream_index::generation_of(key) != Some(self.generation);
        if is_old || Row::decode(value)?.offset < self.log_start {
            return Ok(true);
        }
        let Some((next_key, next_value)) = next else { return Ok(false) };
        let is_same = stream_index::is_same_stream(key, next_key);
        Ok(is_same && Row::decode(next_value)?.offset < self.compacted_upto)
    }
}
