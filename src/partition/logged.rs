//! What the log makes of one batch, without a log.
//!
//! A batch is looked at twice after it passed the gate: by the machine when it is applied, and by every walk that
//! counts offsets past it. Both must see the same in it. Here the two are side by side, for fuzzing; a replica does
//! the same steps with Raft and a disk in between.

use bytes::Bytes;
use quorate_raft::{Committed, Effects, Machine};

use super::codec::CodecError;
use super::command::{Batch, Command, Times, append_payload};
use super::machine::{PartitionMachine, Reply};
use crate::record::CheckedBatch;

/// A batch as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// What the machine answered to the batch, and to the same batch once more.
    pub replies: [Reply; 2],
    /// The high watermark after each.
    pub next_offsets: [i64; 2],
    /// How many offsets a walk counts for it.
    pub offsets: i64,
    /// The batch as a walk finds it in the entry.
    pub bytes: Bytes,
}

/// The log has what it cannot read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Illegible(#[from] CodecError);

/// Applies a batch to an empty partition, twice, and walks past it. `wall_ms`: milliseconds since 1970.
pub fn logged(batch: &CheckedBatch, wall_ms: i64) -> Result<Logged, Illegible> {
    let times = Times { wall_ms, log_ms: 0 };
    let payload = Bytes::from(append_payload(times, batch.bytes()));
    // Applied, a damaged entry would end the process.
    Command::decode(&payload)?;
    let mut machine = PartitionMachine::default();
    let mut apply = |index| {
        let entry = Committed { index, term: 1, payload: Some(&payload) };
        let reply = machine.apply(entry, &mut Effects::default());
        (reply, machine.next_offset())
    };
    let (first, second) = (apply(1), apply(2));
    let bytes = Command::batch_of(&payload).ok_or(CodecError::Short)?;
    let offsets = Batch::of(&bytes)?.offsets();
    let next_offsets = [first.1, second.1];
    Ok(Logged { replies: [first.0, second.0], next_offsets, offsets, bytes })
}
