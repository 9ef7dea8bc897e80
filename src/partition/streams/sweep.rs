//! Removes rows of streams whose records are before the log start.
//!
//! They do no harm, they take room; so each replica removes its own, in its own time, and replicas may differ in them. Looking
//! through all rows costs as much as there are, so it is done when about half of what they tell of is gone: what is paid for
//! a row that goes is bounded then, however many stay. A row is removed behind the trim in the same write-ahead log, so it is never
//! gone while its record is not.

use std::sync::atomic::Ordering;

use quorate_storage::{Log, StateDelete};

use crate::partition::Partition;
use crate::partition::disk::on_disk;
use crate::partition::stream_index::{self, Row, RowsError};

/// Rows looked at in one read.
const PAGE: usize = 4096;
/// Fewer records than these are not looked for.
const TRIMMED_MIN: i64 = 10_000;

impl Partition {
    /// Removes rows of what is trimmed, if that has become much.
    pub(in crate::partition) async fn sweep_streams_if_due(&self) {
        let (log_start, end, begun) = {
            let machine = self.group.machine();
            (machine.log_start(), machine.next_offset(), machine.streams().on)
        };
        let swept = self.swept_upto.load(Ordering::Relaxed);
        let (trimmed, kept) = (log_start - swept, end - log_start);
        if !begun || trimmed < TRIMMED_MIN || trimmed < kept {
            return;
        }
        let mut after = stream_index::begin();
        loop {
            let (log, from) = (self.group.log().clone(), after.clone());
            let found = on_disk(&self.disk_reads, move || page(&log, &from, log_start)).await;
            let Ok(Ok((deletes, next))) = found else { return };
            if !deletes.is_empty()
                && self.group.log().write_state(Vec::new(), deletes).await.is_err()
            {
                return;
            }
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        self.swept_upto.store(log_start, Ordering::Relaxed);
    }
}

/// Returns what of a page of rows is over, and where the next page begins.
fn page(
    log: &Log,
    from: &[u8],
    log_start: i64,
) -> Result<(Vec<StateDelete>, Option<Vec<u8>>), RowsError> {
    let rows = log.state_range(from, stream_index::END, PAGE)?;
    let next = rows.last().filter(|_| rows.len() == PAGE).map(|(key, _)| {
        let mut next = key.clone();
        next.push(0);
        next
    });
    let mut deletes = Vec::new();
    for (key, value) in rows {
        if Row::decode(&value)?.offset < log_start {
            deletes.push(StateDelete::key(key));
        }
    }
    Ok((deletes, next))
}
