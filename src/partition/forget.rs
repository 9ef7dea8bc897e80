//! Freeing the places of what is over in the keyed state: producers that were silent too long, aborted transactions and tags
//! that only trimmed records have, idempotency keys whose time has passed, rows of streams that were turned off.
//!
//! All of it counts as none wherever it is read, so nothing waits for this: it is only that it takes room. Each leader
//! looks through its partitions' keys now and then and proposes those that are over by name; whether they are is judged again
//! when that is applied, by the time and the log start in the log.

use bytes::Bytes;

use super::aborted;
use super::command::forget_payload;
use super::disk::on_disk;
use super::keyed_rows::{self, Horizon};
use super::producers::{self, Producer};
use super::{Partition, TrimError};

/// Keys read at once, and named in one command at most.
const PAGE: usize = 1024;
/// Pages read in one look; the next goes on behind them.
const PAGES_MAX: usize = 16;
/// Behind all keys.
const END: &[u8] = &[0xff];

impl Partition {
    /// Frees the place of what is over by now, as far as one look comes; returns how many keys it named.
    ///
    /// Does nothing where another broker leads.
    pub async fn forget(&self) -> Result<usize, TrimError> {
        let Ok(term) = self.fence() else { return Ok(0) };
        let mut named = 0;
        for _ in 0..PAGES_MAX {
            let generation = self.group.machine().horizon().generation;
            let from = self.looked_through.lock().clone();
            // There may be millions of streams, of which none is ever over.
            let from = keyed_rows::past_streams(generation, from);
            let group = self.group.clone();
            let read = on_disk(&self.disk_reads, move || group.keyed_range(&from, END, PAGE));
            let pairs = read.await?.map_err(|error| self.unreadable_keys(&error))?;
            let times = self.times(self.clock.now_ms());
            let horizon = {
                let machine = self.group.machine();
                let horizon = machine.horizon();
                Horizon { log_ms: times.log_ms.max(horizon.log_ms), ..horizon }
            };
            let keys: Vec<Bytes> = {
                let machine = self.group.machine();
                let is_open = |id: i64| machine.transactions().get(id).is_some();
                let over =
                    pairs.iter().filter(|(key, value)| is_over(key, value, horizon, is_open));
                over.map(|(key, _)| key.clone()).collect()
            };
            if !keys.is_empty() {
                self.propose(forget_payload(times, &keys).into(), term).await?.await?;
                named += keys.len();
            }
            let last = pairs.last().filter(|_| pairs.len() == PAGE);
            let next = last.map(|(key, _)| Bytes::from([&key[..], &[0]].concat()));
            let is_through = next.is_none();
            *self.looked_through.lock() = next.unwrap_or_default();
            if is_through {
                break;
            }
        }
        Ok(named)
    }

    fn unreadable_keys(&self, error: &quorate_storage::Error) -> TrimError {
        if !self.is_closed() {
            tracing::error!(group = %self.id(), %error, "the keyed state of a partition is unreadable");
        }
        // The store ends the process where its disk is broken.
        TrimError::Closed
    }
}

/// `is_open`: whether a producer has a transaction open.
fn is_over(key: &[u8], value: &[u8], horizon: Horizon, is_open: impl FnOnce(i64) -> bool) -> bool {
    if let Some(id) = producers::id_of(key) {
        let producer = Producer::decode(value);
        return producer.is_ok_and(|producer| producer.is_forgotten(horizon.log_ms))
            && !is_open(id);
    }
    if aborted::is_key(key) {
        return aborted::is_over(value, horizon.log_start);
    }
    keyed_rows::is_over(key, value, horizon)
}
