//! What belongs to a snapshot, as it arrives: each page is written to disk at once, where nobody sees it until the whole is
//! installed. Keyed state goes into the slot that the state is not in, records into chunks that no group has. One snapshot
//! at a time for a group; another one begins anew.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use quorate_storage::{Log, StateDelete, StatePut};
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit};
use tokio::time::Instant;

use crate::checkpoint::Checkpoint;
use crate::digest;
use crate::keyed;
use crate::page::{Pairs, Part, Position};
use crate::platform::spawn_blocking;
use crate::records::{IncomingRecords, Records, RecordsError};
use crate::snapshot::Received;
use crate::types::LogId;

/// Where the checkpoint waits that the pages belong to.
const CHECKPOINT: [u8; 2] = [0x00, b's'];
/// A snapshot nobody continued for this long is dropped: it holds an open file.
const FORGET: Duration = Duration::from_secs(60);

/// What arrives for a group.
#[derive(Default)]
pub(crate) struct Staging {
    slot: AtomicU8,
    /// Whether more belongs to a checkpoint than its bytes, and which records.
    kind: OnceLock<(bool, Option<&'static dyn Records>)>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
pub(crate) struct Inner {
    closed: bool,
    arriving: Option<Arriving>,
}

/// A snapshot of which the checkpoint is here.
struct Arriving {
    from: u64,
    last: LogId,
    slot: u8,
    /// Bytes of the checkpoint.
    total: u64,
    /// The hash of all pairs of the keyed state, and of those that are here.
    wanted: u64,
    hash: u64,
    records: Option<Box<dyn IncomingRecords>>,
    /// All before it is here.
    at: Position,
    touched: Instant,
    _permit: OwnedSemaphorePermit,
}

/// What came of a page.
pub(crate) enum Staged {
    /// It belongs to nothing that is known here.
    Unknown,
    /// This much is here: bytes of the checkpoint, pages up to a position.
    Have(u64, Position),
    /// Everything is. Nothing else is staged while the guard is held.
    Complete(Received, OwnedMutexGuard<Inner>),
}

/// Why nothing more of a snapshot is taken.
#[derive(Debug)]
pub(crate) enum StageError {
    /// The group is being closed.
    Closed,
    /// The keyed state is not the one of its checkpoint.
    Differs,
    /// The records are not.
    Records(RecordsError),
    /// The disk.
    Failed(String),
}

impl Staging {
    /// Says which slot is free.
    pub fn set_slot(&self, slot: u8) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// The slot that is not free: the state's.
    pub fn state_slot(&self) -> u8 {
        keyed::other(self.slot.load(Ordering::Relaxed))
    }

    /// Says whether pages belong to a checkpoint of the group, and what records; once.
    pub fn set_kind(&self, is_streamed: bool, records: Option<&'static dyn Records>) {
        // A second machine of the group is of the same kind.
        let _ = self.kind.set((is_streamed, records));
    }

    /// Whether pages belong to a checkpoint of the group.
    pub fn is_streamed(&self) -> bool {
        self.kind.get().is_some_and(|(is_streamed, _)| *is_streamed)
    }

    /// Waits for the page that is being written and takes no other.
    pub async fn close(&self) {
        let mut inner = self.inner.lock().await;
        inner.closed = true;
        inner.arriving = None;
    }

    /// Drops what nobody continues. True: something is still arriving.
    pub fn forget(&self, now: Instant) -> bool {
        // Who holds it is working on a page.
        let Ok(mut inner) = self.inner.try_lock() else { return true };
        let is_old = |it: &mut Arriving| now.saturating_duration_since(it.touched) >= FORGET;
        drop(inner.arriving.take_if(is_old));
        inner.arriving.is_some()
    }

    /// How much is here of a snapshot.
    pub async fn have(&self, from: u64, last: LogId) -> Option<(u64, Position)> {
        let mut inner = self.inner.lock().await;
        let arriving = inner.arriving.as_mut().filter(|it| it.is(from, last))?;
        arriving.touched = Instant::now();
        Some((arriving.total, arriving.at.clone()))
    }

    /// Begins with a checkpoint; the pages come next.
    pub async fn begin(
        &self,
        log: &Log,
        from: u64,
        (checkpoint, bytes): (&Checkpoint, Bytes),
        permit: OwnedSemaphorePermit,
    ) -> Result<(), StageError> {
        let mut inner = self.inner.lock().await;
        if inner.closed {
            return Err(StageError::Closed);
        }
        inner.arriving = None;
        let (slot, total) = (self.slot.load(Ordering::Relaxed), bytes.len() as u64);
        let put = StatePut { key: CHECKPOINT.to_vec(), value: bytes };
        log.write_state(vec![put], vec![keyed::all(slot)]).await.map_err(failed)?;
        let records = match self.kind.get().and_then(|(_, records)| *records) {
            Some(kind) => {
                let (log, machine) = (log.clone(), checkpoint.machine.clone());
                let begun = spawn_blocking(move || kind.incoming(&log, &machine)).await;
                Some(begun.map_err(StageError::Records)?)
            }
            None => None,
        };
        let (at, touched) = (Position::default(), Instant::now());
        let (wanted, last) = (checkpoint.keyed, checkpoint.last);
        inner.arriving = Some(Arriving {
            from,
            last,
            slot,
            total,
            wanted,
            hash: 0,
            records,
            at,
            touched,
            _permit: permit,
        });
        Ok(())
    }

    /// Writes a page.
    pub async fn page(
        &self,
        log: &Log,
        from: u64,
        last: LogId,
        page: Pairs,
    ) -> Result<Staged, StageError> {
        let mut inner = Arc::clone(&self.inner).lock_owned().await;
        let Some(arriving) = inner.arriving.take_if(|it| it.is(from, last)) else {
            return Ok(Staged::Unknown);
        };
        if page.at != arriving.at {
            let answer = Staged::Have(arriving.total, arriving.at.clone());
            inner.arriving = Some(arriving);
            return Ok(answer);
        }
        let next = page.next.clone();
        // What fails is dropped: the sender begins anew.
        let mut arriving = arriving.take(log, page).await?;
        arriving.touched = Instant::now();
        if let Some(next) = next {
            arriving.at = next;
            let answer = Staged::Have(arriving.total, arriving.at.clone());
            inner.arriving = Some(arriving);
            return Ok(answer);
        }
        Ok(Staged::Complete(arriving.finish(log).await?, inner))
    }
}

impl Arriving {
    fn is(&self, from: u64, last: LogId) -> bool {
        (self.from, self.last) == (from, last)
    }

    /// Writes the pairs of the next page.
    async fn take(mut self, log: &Log, page: Pairs) -> Result<Self, StageError> {
        let puts = if page.at.part == Part::Keyed {
            self.take_keyed(&page)?
        } else {
            let Some(mut records) = self.records.take() else {
                return Err(StageError::Records(RecordsError("there are none here".into())));
            };
            let taken = spawn_blocking(move || {
                let put = |(key, value): (Bytes, Bytes)| records.put(&key, value).transpose();
                let puts = page.pairs.into_iter().filter_map(put).collect::<Result<_, _>>()?;
                Ok((records, puts))
            });
            let (records, puts) = taken.await.map_err(StageError::Records)?;
            self.records = Some(records);
            puts
        };
        if !puts.is_empty() {
            log.write_state(puts, Vec::new()).await.map_err(failed)?;
        }
        Ok(self)
    }

    fn take_keyed(&mut self, page: &Pairs) -> Result<Vec<StatePut>, StageError> {
        let hashes = page.pairs.iter().map(|(key, value)| digest::of_pair(key, value));
        self.hash = hashes.fold(self.hash, u64::wrapping_add);
        let is_last = page.next.as_ref().is_none_or(|next| next.part != Part::Keyed);
        if is_last && self.hash != self.wanted {
            return Err(StageError::Differs);
        }
        let put = |(key, value): &(Bytes, Bytes)| StatePut {
            key: keyed::disk_key(self.slot, key),
            value: value.clone(),
        };
        Ok(page.pairs.iter().map(put).collect())
    }

    /// Ends it, unless something is missing.
    async fn finish(self, log: &Log) -> Result<Received, StageError> {
        let chunks = match self.records {
            Some(records) => spawn_blocking(move || records.finish()).await,
            None => Ok(Vec::new()),
        };
        let chunks = chunks.map_err(StageError::Records)?;
        let reader = log.clone();
        let checkpoint = spawn_blocking(move || reader.state_get(&CHECKPOINT)).await;
        let checkpoint = checkpoint.map_err(failed)?;
        let checkpoint = checkpoint.ok_or_else(|| failed("the checkpoint is gone"))?;
        Ok(Received { checkpoint, slot: self.slot, chunks })
    }
}

/// Forgets the checkpoint of a snapshot that is in place.
pub(crate) fn forget() -> StateDelete {
    StateDelete::key(CHECKPOINT.to_vec())
}

fn failed(error: impl std::fmt::Display) -> StageError {
    StageError::Failed(error.to_string())
}

#[cfg(test)]
#[cfg(not(feature = "simulation"))]
mod tests;
