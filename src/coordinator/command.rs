//! What a coordinator's entries say: decisions of its leader, each carried out whole or refused.
//!
//! An entry holds the decisions of a moment, in order. What they were decided on is named (incarnation and generation),
//! and what has changed since, which only another leader can have done, makes the decision void.

use quorate_storage::mutant;
use serde::{Deserialize, Serialize};

use super::OffsetsTransaction;
use super::offsets::OffsetKey;
use super::record::{Blob, Change, Classic, Member, Membership};

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Commands {
    /// The log time, see [`crate::replica::LogTime`].
    pub(super) log_ms: i64,
    pub(super) commands: Vec<Command>,
}

/// One decision. Variants are added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Command {
    /// Raises the feature level by whose rules what follows is applied.
    SetLevel(u16),
    /// Makes a group that does not exist.
    Create { group: String, incarnation: u64 },
    /// A group has begun a generation of the classic protocol, or has no members any more.
    Begin { group: String, incarnation: u64, membership: Classic },
    /// The parts of a generation are known.
    Assign { group: String, incarnation: u64, generation: i32, parts: Vec<(String, Blob)> },
    /// Members left or were silent too long. The group is then to rebalance, which the next generation ends.
    Remove { group: String, incarnation: u64, generation: i32, members: Vec<String> },
    /// A static member was started again and takes its former self's place, without a rebalance (KIP-345).
    Replace {
        group: String,
        incarnation: u64,
        generation: i32,
        former: String,
        member_id: String,
        member: Member,
    },
    /// Offsets are committed. `generation`: that of the group, of which the member is; -1 for whoever is none.
    Commit { group: String, incarnation: u64, generation: i32, offsets: Vec<NewOffset> },
    /// Offsets are deleted because somebody wants so.
    DeleteOffsets { group: String, incarnation: u64, offsets: Vec<OffsetKey> },
    /// A group without members goes, with its offsets.
    Delete { group: String, incarnation: u64 },
    /// What is over goes: of these offsets those of groups that are no more, of topics that are said to be no more, and
    /// those that their group lets expire.
    Sweep(Sweep),
    /// A group speaks the other protocol from now on (KIP-848). `generation`: what it was in.
    Convert { group: String, incarnation: u64, generation: i32, membership: Membership },
    /// Something changes in a group of the consumer protocol.
    Change { group: String, incarnation: u64, change: Change },
    /// Offsets are kept until their transaction ends. `generation`: as of a commit.
    Keep {
        group: String,
        incarnation: u64,
        generation: i32,
        transaction: OffsetsTransaction,
        offsets: Vec<NewOffset>,
    },
    /// A transaction of a producer ends. `offsets`: if it commits, all that are kept for it, which become visible.
    End { producer_id: i64, number: u64, commits: bool, offsets: Vec<OffsetKey> },
}

/// An offset to be committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NewOffset {
    pub(super) key: OffsetKey,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sweep {
    /// Their topics or groups are no more.
    pub(super) orphaned: Vec<OffsetKey>,
    /// They may expire as long as their group is in this generation, in which nobody reads their topics.
    pub(super) expiring: Vec<(OffsetKey, i32)>,
    /// Expiring ones go that were committed, and whose group was emptied, before this log time.
    pub(super) before_ms: i64,
}

impl Command {
    /// Returns the committed offsets it reads or changes.
    pub(super) fn offsets(&self) -> Box<dyn Iterator<Item = OffsetKey> + '_> {
        match self {
            Self::Commit { offsets, .. } => Box::new(offsets.iter().map(|it| it.key)),
            Self::DeleteOffsets { offsets, .. } | Self::End { offsets, .. } => {
                Box::new(offsets.iter().copied())
            }
            Self::Keep { offsets, .. } if mutant::on("pending-offset-visible") => {
                Box::new(offsets.iter().map(|it| it.key))
            }
            Self::Sweep(sweep) => {
                let expiring = sweep.expiring.iter().map(|(key, _)| *key);
                Box::new(sweep.orphaned.iter().copied().chain(expiring))
            }
            Self::SetLevel(_)
            | Self::Create { .. }
            | Self::Begin { .. }
            | Self::Assign { .. }
            | Self::Remove { .. }
            | Self::Replace { .. }
            | Self::Delete { .. }
            | Self::Convert { .. }
            | Self::Change { .. }
            | Self::Keep { .. } => Box::new(std::iter::empty()),
        }
    }
}
