//! The contract between a replicated log and the state computed from it.
//!
//! A machine sees every committed entry once, in order, on every replica, and again after a restart
//! from the last checkpoint on. Whatever it reads besides the entries would make replicas differ,
//! so there is no clock, no randomness and no IO here: time travels inside payloads, and what has
//! to reach the disk is returned as [`Effects`].

use bytes::Bytes;
use quorate_storage::{StateDelete, StatePut};

use crate::error::DecodeError;

/// Deterministic replicated state machine of one group.
///
/// `apply` runs on an async worker while the machine is locked: it must not block and should take
/// microseconds.
pub trait Machine: Send + Sync + Sized + 'static {
    /// What the proposer of an entry gets back once the entry is applied on its node.
    type Reply: Send + Sync + 'static;

    /// Applies one committed entry. Called for every index in order; `entry.payload` is `None` for
    /// the blank entries of elections and for membership changes.
    fn apply(&mut self, entry: Committed<'_>, effects: &mut Effects) -> Self::Reply;

    /// The whole state as of the last applied entry, for a checkpoint.
    fn encode(&self) -> Vec<u8>;

    /// Inverse of [`Machine::encode`]. Must accept checkpoints of earlier versions of the machine.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// Lowest index whose log entry is still needed. Everything below may be purged; a checkpoint
    /// just below it is kept first. Must never go back.
    fn needed_from(&self) -> u64;
}

/// A committed log entry.
#[derive(Debug, Clone, Copy)]
pub struct Committed<'a> {
    /// Raft log index.
    pub index: u64,
    /// Term of the leader that proposed it.
    pub term: u64,
    /// What was proposed; `None` for entries of the consensus itself.
    pub payload: Option<&'a Bytes>,
}

/// Writes beside the log that belong to applied entries.
///
/// They are queued behind the entries in the same write-ahead log, so they are never durable ahead
/// of them, and may be written again after a restart: an effect must be idempotent. Keys whose first
/// byte is `0x00` are reserved.
#[derive(Debug, Default)]
pub struct Effects {
    /// Keys to set.
    pub puts: Vec<StatePut>,
    /// Key ranges to remove.
    pub deletes: Vec<StateDelete>,
}

impl Effects {
    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }
}
