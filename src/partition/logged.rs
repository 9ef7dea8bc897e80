//! What the log makes of one batch, without a log.
//!
//! A batch is looked at twice after it passed the gate: by the machine when it is applied, and by every walk that
//! counts offsets past it. Both must see the same in it, and the same whether it has an entry for itself or shares one.
//! Here all of that is side by side, for fuzzing; a replica does the same steps with Raft and a disk in between.

use bytes::Bytes;
use quorate_raft::{Committed, Effects, Machine, conformance};

use super::attachments::{Attachments, KeyRules};
use super::codec::CodecError;
use super::command::{AppendPayload, Command, Frames, Times, append_payload};
use super::machine::{BatchReply, PartitionMachine, Reply};
use crate::record::CheckedBatch;

/// A batch as the log knows it, appended twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// What the machine answered to the batch, and to the same batch once more.
    pub replies: Vec<BatchReply>,
    /// The high watermark after both.
    pub next_offset: i64,
    /// The two as a walk finds them, and how many offsets it counts for each.
    pub found: Vec<(Bytes, i64)>,
}

/// The log has what it cannot read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Illegible(#[from] CodecError);

/// Applies a batch to an empty partition, twice, and walks past both. `together`: in one entry. `wall_ms`: milliseconds
/// since 1970.
pub fn logged(batch: &CheckedBatch, wall_ms: i64, together: bool) -> Result<Logged, Illegible> {
    let twice: [&[u8]; 2] = [batch.bytes(), batch.bytes()];
    let (mut machine, mut effects) = (PartitionMachine::default(), Effects::default());
    let mut logged = Logged { replies: Vec::new(), next_offset: 0, found: Vec::new() };
    for (index, batches) in (1..).zip(twice.chunks(if together { 2 } else { 1 })) {
        let times = Times { wall_ms, log_ms: 0 };
        let payload = append_payload(times, batches.iter().copied());
        // Applied, a damaged entry would end the process.
        Command::decode(&payload)?;
        let entry = Committed { index, term: 1, payload: Some(&payload) };
        conformance::name_keys::<PartitionMachine>(entry, &mut effects);
        if let Reply::Appended(replies) = machine.apply(entry, &mut effects) {
            logged.replies.extend(replies);
        }
        let mut frames = Frames::of(&payload)?.ok_or(CodecError::Short)?;
        while let Some(frame) = frames.pass(&payload)? {
            logged.found.push((payload.slice_ref(frame.bytes), frame.batch()?.offsets()));
        }
    }
    logged.next_offset = machine.next_offset();
    Ok(logged)
}

/// Takes keys and conditions out of a batch, as a topic with streams and one without do, and puts them into the log. Returns
/// for each whether the log has them as they were, and the batch; none where the batch is refused.
pub fn attached(batch: &CheckedBatch) -> Result<Vec<bool>, Illegible> {
    let rules = KeyRules { generation: 1, partitions: 1, partition: 0 };
    let mut found = Vec::new();
    for rules in [Some(rules), None] {
        let Ok((attachments, origins)) = Attachments::of(batch, rules) else { continue };
        let mut payload = AppendPayload::with_capacity(batch.len());
        payload.push(batch.bytes(), &attachments.encode());
        let payload = payload.finish(Times::default());
        let Command::Append { batches, .. } = Command::decode(&payload)? else { continue };
        let mut frames = Frames::of(&payload)?.ok_or(CodecError::Short)?;
        let bytes = frames.pass(&payload)?.map(|frame| frame.bytes);
        let is_same = batches.first().is_some_and(|(_, read)| *read == attachments);
        let is_whole = bytes == Some(&batch.bytes()[..]);
        found.push(is_same && is_whole && origins.len() == attachments.conditions.all.len());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{Logged, logged};
    use crate::partition::BatchReply;
    use crate::record::{BatchBuilder, Limits, TimestampRule, check};

    fn twice(batch: BatchBuilder, together: bool) -> Logged {
        let limits = Limits { timestamps: TimestampRule::LogAppend, ..Limits::wide(1_000) };
        let batch = batch.record(1_000, None, Some(b"v")).build();
        let checked = check(batch, &limits).expect("a batch made right");
        logged(&checked, 1_000, together).expect("readable")
    }

    #[test]
    fn a_producers_batch_is_stored_once_and_any_other_twice() {
        for together in [false, true] {
            let once = twice(BatchBuilder::new().producer(7, 0, 0), together);
            assert!(
                matches!(
                    once.replies[1],
                    BatchReply::Appended { base_offset: 0, duplicate: true, .. }
                ),
                "{once:?}"
            );
            assert_eq!((once.next_offset, once.found.len()), (1, 2));
            assert_eq!(twice(BatchBuilder::new(), together).next_offset, 2);
        }
    }
}
