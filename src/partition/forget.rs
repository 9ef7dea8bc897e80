//! Freeing the place of producers that were silent too long.
//!
//! They count as forgotten wherever they are read, so nothing waits for this: it is only that they take room. Each leader
//! looks through its partitions' producers now and then and proposes those that are over by name; whether they are is judged again when that is applied, by the time in the log.

use std::sync::atomic::Ordering;

use super::command::forget_payload;
use super::disk::on_disk;
use super::producers::{self, Producer};
use super::{Partition, TrimError};

/// Producers read at once, and named in one command at most.
const PAGE: usize = 1024;
/// Pages read in one look; the next goes on behind them.
const PAGES_MAX: usize = 16;

impl Partition {
    /// Frees the place of producers that are forgotten by now, as far as one look comes; returns how many it named.
    ///
    /// Does nothing where another broker leads.
    pub async fn forget_producers(&self) -> Result<usize, TrimError> {
        let Ok(term) = self.fence() else { return Ok(0) };
        let mut named = 0;
        for _ in 0..PAGES_MAX {
            if self.group.machine().producers() == 0 {
                break;
            }
            let from = self.looked_through.load(Ordering::Relaxed);
            let group = self.group.clone();
            let (from, to) = (producers::key(from), producers::END);
            let read = on_disk(&self.disk_reads, move || group.keyed_range(&from, to, PAGE));
            let pairs = read.await?.map_err(|error| self.unreadable_producers(&error))?;
            let times = self.times(self.clock.now_ms());
            let log_ms = times.log_ms.max(self.group.machine().log_ms());
            let over = |value: &[u8]| {
                Producer::decode(value).is_ok_and(|producer| producer.is_forgotten(log_ms))
            };
            let ids: Vec<i64> = pairs
                .iter()
                .filter(|(_, value)| over(value))
                .filter_map(|(key, _)| producers::id_of(key))
                .collect();
            if !ids.is_empty() {
                self.propose(forget_payload(times, &ids).into(), term).await?.await?;
                named += ids.len();
            }
            let last = pairs.last().and_then(|(key, _)| producers::id_of(key));
            let next = last.filter(|_| pairs.len() == PAGE).map_or(0, |id| id.saturating_add(1));
            self.looked_through.store(next, Ordering::Relaxed);
            if next == 0 {
                break;
            }
        }
        Ok(named)
    }

    fn unreadable_producers(&self, error: &quorate_storage::Error) -> TrimError {
        if !self.is_closed() {
            tracing::error!(group = %self.id(), %error, "the producers of a partition are unreadable");
        }
        // The store ends the process where its disk is broken.
        TrimError::Closed
    }
}
