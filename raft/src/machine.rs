//! The contract between a replicated log and the state computed from it.
//!
//! ```text
//!  committed entries   0   1   2   3   4   5   6   7   8   9  10  11 ...   the same on every replica
//!                      └───┬───┘   └──────┬──────┘   └─────┬─────┘
//!               purged: below      checkpoint: the     applied, and again
//!               needed_from        state as of 6       after a restart
//!
//!                  ┌─ small state: the machine itself, in memory, whole in every checkpoint (encode)
//!  apply(entry) ───┼─ keyed state: values by key on disk, those the entry needs read ahead ([`Keyed`])
//!                  ├─ effects:     writes beside the log that the machine never reads ([`Effects`])
//!                  └─ reply:       for whoever proposed the entry on this node
//! ```
//!
//! **What a machine sees.** Every committed entry once, in order, on every replica; and after a restart again from the
//! newest checkpoint on. A replica that fell behind is given a checkpoint of another one and goes on from there.
//!
//! **What must happen.** State, replies and effects follow from the entries alone: two machines that applied the same
//! entries encode to the same bytes and gave the same effects, wherever either was restored in between, whatever release
//! it is of. What two releases decide or write differently depends on a level that an entry of the same log raised.
//!
//! **What must never happen.**
//! - A look at anything else: a clock, a random number, a setting, the disk, the order of a hash map, a table that a
//!   release may change. Time and decisions travel inside payloads.
//! - An entry that is skipped because it is not understood. It is refused by all replicas alike, or ends the process.
//! - A panic on bytes: what [`Machine::decode`] cannot read is an error. It may come from a disk or another node.
//! - `needed_from` that goes back: what was purged is gone.
//! - A key of the keyed state that is touched without being named by [`Machine::needs`]: that is a panic, on all
//!   replicas alike, because which keys happen to be in memory differs between them.
//! - State that grows without bound in memory: what grows with the log is keyed or an effect.
//!
//! **Keyed state** is for what outgrows memory: versions by key, committed offsets, a coordinator's members. A machine
//! that has it sets [`Machine::KEYED`]; on disk it is as of the newest checkpoint alone (`keyed.rs` says why), so the
//! older checkpoints that other machines begin a purged log with would be without theirs. A replica that fell behind is
//! therefore given the newest one, and its log begins there.
//!
//! **Records** are entries that are read again after they were applied, as batches of a partition are. A machine with them
//! gives [`Machine::records`], by which a replica that fell behind gets those before its log as well. They are read from
//! [`Machine::needed_from`] on; without, a machine that is keyed must not go back to entries of its log.
//!
//! [`conformance`] checks a machine against all of this, given a log for it. Every machine has a test that calls it.

pub mod conformance;

use bytes::Bytes;
use quorate_storage::{StateDelete, StatePut};

use crate::error::DecodeError;
use crate::keyed::Keyed;
use crate::records::Records;

/// Deterministic replicated state machine of one group; the module says what it may rely on.
///
/// `apply` runs on an async worker while the machine is locked: it must not block and should take
/// microseconds.
pub trait Machine: Send + Sync + Sized + 'static {
    /// What the proposer of an entry gets back once the entry is applied on its node.
    type Reply: Send + Sync + 'static;

    /// The machine has keyed state.
    const KEYED: bool = false;

    /// Number of the format that [`Machine::encode`] writes. Two releases that write the same state as different bytes
    /// must differ here: only states of one format are compared.
    const FORMAT: u32 = 1;

    /// The keys of the keyed state that applying the entry gets or changes, told from the entry alone: they are read
    /// while entries before it are still to be applied. What sweeps over keys names them in its command.
    fn needs(_entry: Committed<'_>) -> Vec<Bytes> {
        Vec::new()
    }

    /// Applies one committed entry. Called for every index in order; `entry.payload` is `None` for
    /// the blank entries of elections and for membership changes.
    fn apply(&mut self, entry: Committed<'_>, effects: &mut Effects) -> Self::Reply;

    /// The whole state in memory as of the last applied entry, for a checkpoint and for comparing replicas: equal states
    /// are equal bytes.
    fn encode(&self) -> Vec<u8>;

    /// Inverse of [`Machine::encode`].
    ///
    /// # Errors
    /// [`DecodeError`] for whatever `encode` does not write: another format, bytes that are missing, bytes too many.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// How a replica that fell behind is given the entries that are still needed, besides the state.
    #[must_use]
    fn records() -> Option<&'static dyn Records> {
        None
    }

    /// Lowest index whose log entry is still needed. Everything below may be purged, up to what a checkpoint covers. Must
    /// never go back.
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

/// What applying entries changes besides the machine: keyed state, and writes beside the log.
///
/// They do not come with a snapshot: what a replica that is given one needs of the effects of earlier entries comes with
/// its records, and is the same whoever writes it ([`crate::IncomingRecords::put`], [`crate::Records::kept_state`]).
///
/// The writes are queued behind the entries in the same write-ahead log, so they are never durable ahead
/// of them, and may be written again after a restart: an effect must be idempotent. Keys whose first
/// byte is `0x00` are reserved.
#[derive(Debug, Default)]
pub struct Effects {
    /// Keys to set.
    pub puts: Vec<StatePut>,
    /// Key ranges to remove.
    pub deletes: Vec<StateDelete>,
    /// The keyed state, as far as the entry named it.
    pub keyed: Keyed,
}

impl Effects {
    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }
}
