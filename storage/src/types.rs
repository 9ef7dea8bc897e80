//! The vocabulary of the crate: ids, entries and the callback that says "on disk".
//!
//! These types carry no behaviour, so that the layers above can build them without knowing how
//! they are stored.

use std::fmt;

use bytes::Bytes;

/// A Raft group. Group 0 holds the cluster's metadata; `u64::MAX` is reserved as a key bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an entry stands in its group's log. Ordered by term, then index, as Raft §5.4.1 compares
/// logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    pub term: u64,
    pub index: u64,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// What the payload of an entry is, for the layer above; the store treats all kinds alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// No payload: the first entry of a new leader's term.
    Blank,
    /// A command of the replicated state machine.
    Normal,
    /// A change of the group's voters and learners.
    Membership,
}

/// One log entry. Cloning shares the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: EntryId,
    pub kind: EntryKind,
    pub payload: Bytes,
}

/// The bounds of a group's log. `last` equals `purged` when the log holds no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogState {
    /// The newest entry that was purged, or the boundary the log was reset to.
    pub purged: Option<EntryId>,
    /// The newest entry.
    pub last: Option<EntryId>,
}

/// Fired once, on the sync thread, after the fsync that covers the write it came with. It must not
/// block: every group of the broker waits behind it. It is dropped unfired when the store closes
/// or the write is refused.
pub type Durable = Box<dyn FnOnce() + Send>;

/// A value of a group's replicated state. The key is relative to the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePut {
    pub key: Vec<u8>,
    pub value: Bytes,
}

/// A half-open range `[from, to)` of keys of a group's replicated state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDelete {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
}

impl StateDelete {
    /// One key. It costs no more than overwriting it would, while a range stays in the way of every
    /// read until it is compacted away.
    pub fn key(key: Vec<u8>) -> StateDelete {
        let mut to = key.clone();
        to.push(0);
        StateDelete { from: key, to }
    }

    /// True if no other key than `from` can be in the range.
    pub(crate) fn is_one_key(&self) -> bool {
        self.to.split_last().is_some_and(|(last, from)| *last == 0 && from == self.from)
    }
}
