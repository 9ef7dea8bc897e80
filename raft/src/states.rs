//! What a replica knows about the rightness of its state, in memory and on disk.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use quorate_storage::{Log, StateDelete, StatePut};
use tokio::time::Instant;

use crate::codec::{Get, Put};
use crate::divergence::{Divergence, Hashes};

/// Looks for groups whose time has come, in one interval.
pub(crate) const LOOKS: u32 = 4;
/// A quiet group is compared so much less often: its replicas hash their states for it alone.
const QUIET: u32 = 10;
/// Key of what a replica was told of its state.
const TOLD: [u8; 2] = [0x00, b'd'];

/// What a replica knows about the rightness of its state.
#[derive(Debug, Default)]
pub(crate) struct States {
    pub hashes: Mutex<Hashes>,
    told: Mutex<Option<(Divergence, u64)>>,
    /// On the leader: all replicas were found to agree up to here.
    pub compared: AtomicU64,
    /// On the leader: when to compare again, and when at the latest also a quiet group.
    due: Mutex<Option<(Instant, Instant)>>,
}

impl States {
    /// What it was told, and of which index.
    pub fn told(&self) -> Option<(Divergence, u64)> {
        *self.told.lock()
    }

    pub fn set(&self, told: Option<(Divergence, u64)>) {
        *self.told.lock() = told;
    }

    /// The state is that of a snapshot now: nothing that was said or noted of the one before concerns it.
    pub fn begin_anew(&self) {
        self.set(None);
        *self.hashes.lock() = Hashes::default();
    }

    /// Whether the group is due, and whether also if it is quiet.
    pub fn is_due(&self, group: u64, now: Instant, every: Duration) -> Option<bool> {
        let mut due = self.due.lock();
        // Groups begin together; each has its own place in the interval.
        let place = every.mul_f64((group.wrapping_mul(0x9e37_79b9) % 1024) as f64 / 1024.0);
        let (soon, quiet) = due.get_or_insert((now + place, now + place));
        if now < *soon {
            return None;
        }
        *soon = now + every / LOOKS;
        let also_quiet = now >= *quiet;
        if also_quiet {
            *quiet = now + every * QUIET;
        }
        Some(also_quiet)
    }
}

/// What a replica was told before its process ended. Reads the disk.
pub(crate) fn told(log: &Log) -> Result<Option<(Divergence, u64)>, quorate_storage::Error> {
    let Some(value) = log.state_get(&TOLD)? else { return Ok(None) };
    let mut input = Get::new(value);
    let read = input.u8().and_then(|code| Ok((Divergence::from_code(code), input.u64()?)));
    Ok(read.ok().and_then(|(what, index)| Some((what?, index))))
}

/// Forgets what a replica was told of a state that it has no longer.
pub(crate) fn forget() -> StateDelete {
    StateDelete::key(TOLD.to_vec())
}

/// Notes what a replica is told.
pub(crate) fn note(what: Divergence, index: u64) -> StatePut {
    let mut value = BytesMut::new();
    value.u8(what.code());
    value.u64(index);
    StatePut { key: TOLD.to_vec(), value: value.freeze() }
}
