//! A group of the consumer protocol (KIP-848), as a coordinator's log remembers it.
//!
//! Three numbers say how far it is: the group's epoch counts what changed in what is to be read and by whom, the
//! assignment's epoch says for which of them parts were assigned, and a member's epoch says which of them it has reached.
//! A member on its way has parts that it does not give back yet, or waits for parts that others have not given back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Blob;

/// Partitions by topic id; no topic is there without a partition.
pub(crate) type Parts = BTreeMap<Uuid, BTreeSet<i32>>;

/// The members of a group and who is to read what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Consumer {
    /// Counts the changes; a change names the one that it was decided on.
    pub(crate) version: u64,
    pub(crate) head: Head,
    pub(crate) members: BTreeMap<String, ConsumerMember>,
}

/// What a group has besides its members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) epoch: i32,
    /// The epoch for which parts were assigned last.
    pub(crate) assignment_epoch: i32,
    /// The assignor that did.
    pub(crate) assignor: String,
    /// The version of the metadata that was looked at last.
    pub(crate) seen: u64,
    /// What the group reads, as the leader saw it when it decided: the topics by name.
    pub(crate) topics: BTreeMap<String, SeenTopic>,
    /// The topics that the members' regular expressions matched then.
    pub(crate) matched: BTreeMap<String, BTreeSet<String>>,
}

/// A topic as it was when parts were assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenTopic {
    pub(crate) id: Uuid,
    pub(crate) partitions: i32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConsumerMember {
    pub(crate) instance_id: Option<String>,
    pub(crate) rack: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) rebalance_timeout_ms: i32,
    /// The topics it reads, by name.
    pub(crate) topics: BTreeSet<String>,
    /// It reads the topics whose whole name this matches too; empty for none.
    pub(crate) regex: String,
    /// The assignor it asks for.
    pub(crate) assignor: Option<String>,
    /// [`LEFT`] for a static member that is to come back.
    pub(crate) epoch: i32,
    /// The epoch before, in case the answer that told the new one was lost.
    pub(crate) previous_epoch: i32,
    /// What it may read.
    pub(crate) parts: Parts,
    /// What it has yet to give back.
    pub(crate) revoking: Parts,
    /// Others have yet to give back something that it is to read.
    pub(crate) is_waiting: bool,
    /// What it is to read in the end.
    pub(crate) target: Parts,
    /// Of a member that speaks the classic protocol.
    pub(crate) classic: Option<ClassicSession>,
}

/// What a member says that joined by the classic protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClassicSession {
    pub(crate) session_timeout_ms: i32,
    /// The assignors it knows and what it says to each, the one it likes best first.
    pub(crate) protocols: Vec<(String, Blob)>,
}

/// The epoch of a static member that left and is to come back (KIP-848).
pub(crate) const LEFT: i32 = -2;

/// What a decision changes in a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// The version it was decided on.
    pub(crate) version: u64,
    pub(crate) head: Option<Head>,
    /// As they are from now on.
    pub(crate) members: Vec<(String, ConsumerMember)>,
    pub(crate) removed: Vec<String>,
}

impl Consumer {
    /// Makes a change; `false` if it was decided on something else.
    pub(crate) fn make(&mut self, change: Change) -> bool {
        if change.version != self.version {
            return false;
        }
        self.version += 1;
        if let Some(head) = change.head {
            self.head = head;
        }
        change.removed.iter().for_each(|id| drop(self.members.remove(id)));
        self.members.extend(change.members);
        true
    }
}

impl ConsumerMember {
    /// It reads what it is to read.
    pub(crate) fn is_done(&self, assignment_epoch: i32) -> bool {
        self.epoch == assignment_epoch && self.revoking.is_empty() && !self.is_waiting
    }

    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let parts = |parts: &Parts| parts.values().map(|it| 48 + 8 * it.len()).sum::<usize>();
        let names = self.topics.iter().map(|name| 48 + name.len()).sum::<usize>();
        let optional = |it: &Option<String>| it.as_ref().map_or(0, String::len);
        let classic = self.classic.iter().flat_map(|it| &it.protocols);
        512 + names
            + self.client_id.len()
            + self.client_host.len()
            + self.regex.len()
            + optional(&self.instance_id)
            + optional(&self.rack)
            + optional(&self.assignor)
            + classic.map(|(name, it)| 64 + name.len() + it.0.len()).sum::<usize>()
            + parts(&self.parts)
            + parts(&self.revoking)
            + parts(&self.target)
    }
}
