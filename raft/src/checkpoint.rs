//! Checkpoints: the machine as of an index, kept beside the log.
//!
//! They serve three readers. A restart loads the newest and replays the log behind it. The one just below the first index
//! that is still needed is the group's snapshot: the log is purged up to it, and a follower that fell behind is reset to it,
//! which leaves it exactly the retained range. The ones in between let that boundary advance in small steps, so they are
//! spread evenly and bounded in number. Where more belongs to a checkpoint than its bytes there is only the newest, which is
//! the snapshot, and the boundary is any index that it covers (`snapshot.rs`).
//!
//! Key: `0x00 'c' index(u64 BE)`. The list of kept indexes is part of every checkpoint, so a restart
//! reads one value per group.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_storage::{EntryId, Log, StateDelete};

use crate::codec::{Get, Put};
use crate::error::{DecodeError, Error};
use crate::types::{LogId, SnapshotMeta, StoredMembers, get_stored_members, put_stored_members};

/// First byte of a checkpoint value; raised when the layout changes.
const VERSION: u8 = 3;
/// Most checkpoints kept of a group.
const KEPT_MAX: usize = 64;
/// A checkpoint is written after this many payload bytes, or sixteen times the size of the last
/// one if that is more, which bounds both what a restart replays and what checkpoints cost. A
/// simulation is short, so there they come as often as the rest of it needs.
const BYTES: u64 = if cfg!(feature = "simulation") { 1 << 14 } else { 1 << 20 };
const RATIO: u64 = 16;
/// A checkpoint is written after this many entries in any case.
const ENTRIES: u64 = if cfg!(feature = "simulation") { 48 } else { 8192 };
/// What a quiet group wrote gets a checkpoint after this time, if it has paid for one.
pub(crate) const QUIET: Duration = Duration::from_secs(15);
/// What a group wrote gets a checkpoint after this time, whatever it costs.
const AGE_MAX: Duration = Duration::from_secs(600);

/// What was applied since the newest checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Uncovered {
    pub bytes: u64,
    pub entries: u64,
}

impl Uncovered {
    /// Whether there is enough for a checkpoint, the last one having had `size` bytes.
    pub fn is_due(&self, size: u64) -> bool {
        self.bytes >= BYTES.max(size * RATIO) || self.entries >= ENTRIES
    }

    /// Whether a group that is looked at `age` after its first entry without a checkpoint gets one.
    /// `wanted` says that it need not be paid for: a part of the log waits for it to be purged, or
    /// is damaged and cannot be applied again.
    pub fn is_old(&self, size: u64, age: Duration, wanted: bool) -> bool {
        age >= AGE_MAX || (age >= QUIET && (wanted || self.bytes >= size * RATIO))
    }
}

/// A decoded checkpoint.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub last: LogId,
    pub members: StoredMembers,
    /// Indexes of the checkpoints that existed when this one was written, itself included.
    pub kept: Vec<u64>,
    /// Hash of all pairs of the keyed state.
    pub keyed: u64,
    /// Where the keyed state is on this disk, see `keyed.rs`; none of a machine whose checkpoint is its bytes alone.
    pub slot: Option<u8>,
    pub machine: Bytes,
}

pub(crate) fn key(index: u64) -> Vec<u8> {
    let mut key = vec![0x00, b'c'];
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// Deletes checkpoints, each as a point: a range would stay in the way of every read that looks for the newest.
pub(crate) fn deletes(indexes: &[u64]) -> Vec<StateDelete> {
    indexes.iter().map(|index| StateDelete::key(key(*index))).collect()
}

impl Checkpoint {
    /// What the consensus core knows a snapshot of it by.
    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: Some(self.last), last_membership: self.members.clone() }
    }

    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.machine.len() + 64 + self.kept.len() * 8);
        out.u8(VERSION);
        out.opt_log_id(Some(&self.last));
        put_stored_members(&mut out, &self.members);
        out.u32(self.kept.len() as u32);
        self.kept.iter().for_each(|index| out.u64(*index));
        out.u64(self.keyed);
        out.u8(u8::from(self.slot.is_some()));
        out.u8(self.slot.unwrap_or(0));
        out.extend_from_slice(&self.machine);
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Get::new(bytes);
        let version = input.u8()?;
        if version != VERSION {
            return Err(DecodeError(format!("checkpoint version {version} is unknown")));
        }
        let last =
            input.opt_log_id()?.ok_or_else(|| DecodeError("checkpoint of nothing".into()))?;
        let members = get_stored_members(&mut input)?;
        let count = input.count(KEPT_MAX as u32 * 2)?;
        let kept = (0..count).map(|_| input.u64()).collect::<Result<_, _>>()?;
        let keyed = input.u64()?;
        let (is_keyed, slot) = (input.flag()?, input.u8()?);
        let slot = is_keyed.then_some(slot);
        Ok(Self { last, members, kept, keyed, slot, machine: input.rest() })
    }
}

/// The newest checkpoint, after checking that the log reaches it: were the log shorter, the core
/// would "repair" the gap by purging the whole log.
pub(crate) fn load_newest(log: &Log) -> Result<Option<(Checkpoint, usize)>, Error> {
    let state = log.state();
    let found = log.state_at_or_before(0x00, &key(u64::MAX))?;
    let Some((_, value)) = found.filter(|(key, _)| key.get(1) == Some(&b'c')) else {
        return match state.purged {
            None => Ok(None),
            Some(id) => Err(Error::Corrupt(format!(
                "log of group {} starts after index {} but there is no checkpoint",
                log.group(),
                id.index
            ))),
        };
    };
    let size = value.len();
    let checkpoint = Checkpoint::decode(value)
        .map_err(|e| Error::Corrupt(format!("checkpoint of group {}: {e}", log.group())))?;
    check_against(log.group().0, &checkpoint, state.purged, state.last)?;
    Ok(Some((checkpoint, size)))
}

fn check_against(
    group: u64,
    checkpoint: &Checkpoint,
    purged: Option<EntryId>,
    last: Option<EntryId>,
) -> Result<(), Error> {
    let index = checkpoint.last.index;
    if last.is_none_or(|last| last.index < index) {
        return Err(Error::Corrupt(format!(
            "group {group} has a checkpoint at index {index} but its log ends at {last:?}"
        )));
    }
    if purged.is_some_and(|purged| purged.index > index) {
        return Err(Error::Corrupt(format!(
            "group {group} is purged up to {purged:?}, beyond its newest checkpoint at {index}"
        )));
    }
    Ok(())
}

/// Index of the checkpoint to drop when there are too many: the one whose absence leaves the
/// smallest gap. The first is the boundary and the last two are needed to restart, so they stay.
pub(crate) fn thin(kept: &mut Vec<u64>) -> Option<u64> {
    if kept.len() <= KEPT_MAX {
        return None;
    }
    let victim = (1..kept.len() - 2)
        .min_by_key(|&at| kept[at + 1] - kept[at - 1])
        .expect("there are more than three checkpoints");
    Some(kept.remove(victim))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;

    #[test]
    fn a_checkpoint_survives_its_byte_form() {
        let checkpoint = Checkpoint {
            last: log_id(EntryId { term: 3, index: 77 }),
            members: StoredMembers::default(),
            kept: vec![5, 77],
            keyed: 9,
            slot: Some(1),
            machine: Bytes::from_static(b"state"),
        };
        let read = Checkpoint::decode(checkpoint.encode()).unwrap();
        assert_eq!(
            (read.last, read.kept, read.keyed, read.slot, read.machine),
            (checkpoint.last, vec![5, 77], 9, Some(1), checkpoint.machine)
        );
    }

    #[test]
    fn a_checkpoint_is_paid_for_by_what_it_covers_unless_it_frees_space_or_is_very_late() {
        let (size, later) = (100_000, AGE_MAX.checked_sub(Duration::from_secs(1)).unwrap());
        let trickle = Uncovered { bytes: 10_000, entries: 10 };
        assert!(!trickle.is_due(size) && !trickle.is_old(size, later, false));
        assert!(trickle.is_old(size, AGE_MAX, false));
        assert!(trickle.is_old(size, QUIET, true));
        let paid = Uncovered { bytes: size * RATIO, entries: 10 };
        assert!(paid.is_old(size, QUIET, false) && paid.is_due(size));
        assert!(!paid.is_old(size, Duration::ZERO, true));
        assert!(trickle.is_old(0, QUIET, false), "a group without any gets its first");
        assert!(Uncovered { bytes: 0, entries: ENTRIES }.is_due(size));
    }

    #[test]
    fn thinning_keeps_the_boundary_and_spreads_the_rest() {
        let mut kept = Vec::new();
        for index in 0..1000u64 {
            kept.push(index);
            thin(&mut kept);
        }
        assert_eq!(kept.len(), KEPT_MAX);
        assert_eq!((kept[0], kept[KEPT_MAX - 1]), (0, 999));
        let widest = kept.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(widest <= 4 * 1000 / KEPT_MAX as u64, "widest gap {widest}");
    }

    #[test]
    fn a_checkpoint_beyond_the_log_is_corruption_and_not_a_reason_to_purge() {
        let checkpoint = Checkpoint {
            last: log_id(EntryId { term: 1, index: 10 }),
            members: StoredMembers::default(),
            kept: vec![10],
            keyed: 0,
            slot: None,
            machine: Bytes::new(),
        };
        let last = Some(EntryId { term: 1, index: 9 });
        assert!(matches!(check_against(1, &checkpoint, None, last), Err(Error::Corrupt(_))));
        let last = Some(EntryId { term: 1, index: 10 });
        assert!(check_against(1, &checkpoint, None, last).is_ok());
    }
}
