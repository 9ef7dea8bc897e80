//! Keyed state as it arrives with a snapshot: each page is written to disk at once, into the slot that the state is not in,
//! where nobody sees it until the whole is installed. One snapshot at a time for a group; another one begins the slot anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use quorate_storage::{Log, StateDelete, StatePut};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::checkpoint::Checkpoint;
use crate::digest;
use crate::keyed;
use crate::platform::spawn_blocking;
use crate::snapshot::Pairs;
use crate::types::LogId;

/// Where the checkpoint waits that the pages belong to.
const CHECKPOINT: [u8; 2] = [0x00, b's'];

/// What arrives for a group.
#[derive(Default)]
pub(crate) struct Staging {
    slot: AtomicU8,
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
    /// The hash of all pairs, and of those that are here.
    wanted: u64,
    hash: u64,
    /// All pairs up to this key are here.
    after: Option<Bytes>,
}

/// What came of a page.
pub(crate) enum Staged {
    /// It belongs to nothing that is known here.
    Unknown,
    /// This much is here: bytes of the checkpoint, pairs up to a key.
    Have(u64, Option<Bytes>),
    /// Everything is: the checkpoint and the slot. Nothing else is staged while the guard is held.
    Complete(Bytes, u8, OwnedMutexGuard<Inner>),
}

/// Why nothing more of a snapshot is taken.
#[derive(Debug)]
pub(crate) enum StageError {
    /// The group is being closed.
    Closed,
    /// The keyed state is not the one of its checkpoint.
    Differs,
    /// The disk.
    Failed(String),
}

impl Staging {
    /// Says which slot is free.
    pub fn set_slot(&self, slot: u8) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// Waits for the page that is being written and takes no other.
    pub async fn close(&self) {
        let mut inner = self.inner.lock().await;
        inner.closed = true;
        inner.arriving = None;
    }

    /// How much is here of a snapshot.
    pub async fn have(&self, from: u64, last: LogId) -> Option<(u64, Option<Bytes>)> {
        let inner = self.inner.lock().await;
        let arriving = inner.arriving.as_ref().filter(|it| it.is(from, last))?;
        Some((arriving.total, arriving.after.clone()))
    }

    /// Begins with a checkpoint; the pages come next.
    pub async fn begin(
        &self,
        log: &Log,
        from: u64,
        checkpoint: &Checkpoint,
        bytes: Bytes,
    ) -> Result<(), StageError> {
        let mut inner = self.inner.lock().await;
        if inner.closed {
            return Err(StageError::Closed);
        }
        let (slot, total) = (self.slot.load(Ordering::Relaxed), bytes.len() as u64);
        let put = StatePut { key: CHECKPOINT.to_vec(), value: bytes };
        log.write_state(vec![put], vec![keyed::all(slot)]).await.map_err(failed)?;
        let (wanted, last) = (checkpoint.keyed, checkpoint.last);
        let arriving = Arriving { from, last, slot, total, wanted, hash: 0, after: None };
        inner.arriving = Some(arriving);
        Ok(())
    }

    /// Writes a page.
    pub async fn page(
        &self,
        log: &Log,
        from: u64,
        last: LogId,
        pairs: Pairs,
    ) -> Result<Staged, StageError> {
        let mut inner = Arc::clone(&self.inner).lock_owned().await;
        let Some(arriving) = inner.arriving.as_mut().filter(|it| it.is(from, last)) else {
            return Ok(Staged::Unknown);
        };
        if pairs.after != arriving.after {
            return Ok(Staged::Have(arriving.total, arriving.after.clone()));
        }
        let hashes = pairs.page.pairs.iter().map(|(key, value)| digest::of_pair(key, value));
        let hash = hashes.fold(arriving.hash, u64::wrapping_add);
        let key = |key: &Bytes| keyed::disk_key(arriving.slot, key);
        let puts = pairs.page.pairs.iter();
        let puts =
            puts.map(|(it, value)| StatePut { key: key(it), value: value.clone() }).collect();
        log.write_state(puts, Vec::new()).await.map_err(failed)?;
        arriving.hash = hash;
        if pairs.page.upto.is_some() {
            arriving.after = pairs.page.upto;
            return Ok(Staged::Have(arriving.total, arriving.after.clone()));
        }
        let (slot, whole) = (arriving.slot, arriving.hash == arriving.wanted);
        inner.arriving = None;
        if !whole {
            return Err(StageError::Differs);
        }
        let reader = log.clone();
        let checkpoint = spawn_blocking(move || reader.state_get(&CHECKPOINT)).await;
        let checkpoint = checkpoint.map_err(failed)?;
        let checkpoint = checkpoint.ok_or_else(|| failed("the checkpoint is gone"))?;
        Ok(Staged::Complete(checkpoint, slot, inner))
    }
}

impl Arriving {
    fn is(&self, from: u64, last: LogId) -> bool {
        (self.from, self.last) == (from, last)
    }
}

/// Forgets the checkpoint of a snapshot that is in place.
pub(crate) fn forget() -> StateDelete {
    StateDelete::key(CHECKPOINT.to_vec())
}

fn failed(error: impl std::fmt::Display) -> StageError {
    StageError::Failed(error.to_string())
}
