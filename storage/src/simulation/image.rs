//! What a disk holds: the journal folded up to some point.
//!
//! A disk has two of them, one of everything written and one of everything durable. Both are
//! changed by the same records, so that recovering is taking the second and folding a little more.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::chunks::Chunks;
use crate::group::Group;
use crate::{Entry, EntryId, Error, GroupId, StateDelete, StatePut};

/// One request as the journal keeps it.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    Append {
        group: GroupId,
        entries: Vec<Entry>,
    },
    Vote {
        group: GroupId,
        vote: Bytes,
    },
    Truncate {
        group: GroupId,
        last_kept: Option<u64>,
    },
    Purge {
        group: GroupId,
        upto: EntryId,
    },
    Reset {
        group: GroupId,
        upto: EntryId,
        keep: Vec<StateDelete>,
        state: Vec<StatePut>,
        chunks: Chunks,
    },
    /// All chunks that the group has from now on.
    Chunks {
        group: GroupId,
        chunks: Chunks,
    },
    State {
        group: GroupId,
        puts: Vec<StatePut>,
        deletes: Vec<StateDelete>,
    },
    Drop {
        group: GroupId,
    },
    Node {
        key: String,
        value: Bytes,
    },
}

/// A group's log and replicated state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub group: Group,
    pub state: BTreeMap<Vec<u8>, Bytes>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    pub groups: BTreeMap<GroupId, Stored>,
    pub node: BTreeMap<String, Bytes>,
}

impl Image {
    /// Folds one record; false if it changes nothing. Fails only for an append that does not
    /// continue its log.
    pub fn apply(&mut self, record: &Record) -> Result<bool, Error> {
        match record {
            Record::Append { group, entries } => {
                let stored = &mut self.groups.entry(*group).or_default().group;
                stored.append(entries)?;
                if !entries.is_empty() {
                    stored.tail.written();
                }
                stored.exists = true;
            }
            Record::Vote { group, vote } => self.group(*group).vote = Some(vote.clone()),
            Record::Truncate { group, last_kept } => {
                let stored = &mut self.groups.entry(*group).or_default().group;
                return Ok(stored.truncate(*last_kept).is_some());
            }
            Record::Purge { group, upto } => {
                let stored = &mut self.groups.entry(*group).or_default().group;
                let changed = stored.purge(*upto).is_some();
                stored.exists |= changed;
                return Ok(changed);
            }
            Record::Reset { group, upto, keep, state, chunks } => {
                let stored = self.group(*group);
                stored.reset(Some(*upto));
                stored.chunks = chunks.clone();
                let stored = self.groups.entry(*group).or_default();
                let kept =
                    |key: &Vec<u8>| keep.iter().any(|keep| keep.from <= *key && *key < keep.to);
                stored.state.retain(|key, _| kept(key));
                stored.put(state);
            }
            Record::State { group, puts, deletes } => {
                self.group(*group);
                let stored = self.groups.entry(*group).or_default();
                for delete in deletes {
                    stored.state.retain(|key, _| *key < delete.from || *key >= delete.to);
                }
                stored.put(puts);
            }
            Record::Chunks { group, chunks } => self.group(*group).chunks = chunks.clone(),
            Record::Drop { group } => drop(self.groups.remove(group)),
            Record::Node { key, value } => drop(self.node.insert(key.clone(), value.clone())),
        }
        Ok(true)
    }

    /// The group, which exists from now on.
    fn group(&mut self, group: GroupId) -> &mut Group {
        let stored = &mut self.groups.entry(group).or_default().group;
        stored.exists = true;
        stored
    }
}

impl Stored {
    fn put(&mut self, puts: &[StatePut]) {
        self.state.extend(puts.iter().map(|put| (put.key.clone(), put.value.clone())));
    }
}
