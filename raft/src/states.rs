//! What a replica knows about the rightness of its state, in memory and on disk.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use quorate_storage::{Log, StateDelete, StatePut};
use tokio::time::Instant;

use crate::codec::{Get, Put};
use crate::divergence::{Divergence, Hashes};
use crate::error::Error;

/// Looks for groups whose time has come, in one interval.
pub(crate) const LOOKS: u32 = 4;
/// A quiet group is compared so much less often: its replicas hash their states for it alone.
const QUIET: u32 = 10;
/// Key of what was found about a replica's state.
const NOTE: [u8; 2] = [0x00, b'd'];

/// What a replica knows about the rightness of its state.
#[derive(Debug, Default)]
pub(crate) struct States {
    pub hashes: Mutex<Hashes>,
    /// See [`crate::Machine::FORMAT`].
    pub format: AtomicU32,
    divergence: Mutex<Option<(Divergence, u64)>>,
    /// Serialises what is made of it.
    pub order: tokio::sync::Mutex<()>,
    /// On the leader: all replicas that are alive were found to agree up to here.
    pub compared: AtomicU64,
    /// On the leader: who was found wrong and not right since.
    pub wrong: Mutex<BTreeSet<u64>>,
    /// On the leader: the replica that was asked to begin anew.
    pub rebuilding: Mutex<Option<u64>>,
    /// On the leader: when to compare again, and when at the latest also a quiet group.
    due: Mutex<Option<(Instant, Instant)>>,
}

impl States {
    /// What was found, and of which index.
    pub fn divergence(&self) -> Option<(Divergence, u64)> {
        *self.divergence.lock()
    }

    pub fn set(&self, divergence: Option<(Divergence, u64)>) {
        *self.divergence.lock() = divergence;
    }

    /// The state is that of a snapshot now: nothing that was said or noted of the one before concerns it. That there is no
    /// majority is said of the group.
    pub fn replaced(&self) {
        self.divergence.lock().take_if(|(what, _)| *what != Divergence::NoMajority);
        *self.hashes.lock() = Hashes::default();
    }

    /// On the leader: up to where all were found to agree; `None` before that.
    pub fn compared(&self) -> Option<u64> {
        Some(self.compared.load(Ordering::Relaxed)).filter(|index| *index > 0)
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

/// What was found before the process began: only that a replica is wrong outlives one. Reads the disk.
pub(crate) fn noted(log: &Log) -> Result<Option<(Divergence, u64)>, Error> {
    let Some(value) = log.state_get(&NOTE)? else { return Ok(None) };
    let mut input = Get::new(value);
    let read = input.u64().and_then(|index| input.end().map(|()| index));
    let index = read.map_err(|error| {
        Error::Corrupt(format!("note of group {} on its state: {error}", log.group()))
    })?;
    Ok(Some((Divergence::Wrong, index)))
}

/// Forgets what was noted of a state that the replica has no longer.
pub(crate) fn forget() -> StateDelete {
    StateDelete::key(NOTE.to_vec())
}

/// Notes that the state is wrong, and since which index at the latest.
pub(crate) fn note(index: u64) -> StatePut {
    let mut value = BytesMut::new();
    value.u64(index);
    StatePut { key: NOTE.to_vec(), value: value.freeze() }
}
