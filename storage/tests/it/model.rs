//! What the store ought to hold, as plain maps, and the comparison with what it holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_storage::{Db, EntryId, GroupId, LogState};

use crate::support::{id, payload, read_all};
use crate::workload::Op;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    pub vote: Option<Vec<u8>>,
    pub purged: Option<EntryId>,
    pub last: Option<EntryId>,
    /// Term and payload size by index; the payload follows from the place.
    pub entries: BTreeMap<u64, (u64, usize)>,
    pub state: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    pub groups: BTreeMap<GroupId, Group>,
}

impl Group {
    pub fn next_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    fn cut(&mut self, from: u64) {
        self.entries.split_off(&from);
        let last = self.entries.last_key_value().map(|(&index, &(term, _))| id(term, index));
        self.last = last.or(self.purged);
    }
}

impl Model {
    pub fn apply(&mut self, op: &Op) {
        if let Op::Drop { group } = op {
            self.groups.remove(group);
            return;
        }
        let group = self.groups.entry(op.group()).or_default();
        match op {
            Op::Append { term, first, count, size, .. } => {
                for index in *first..first + count {
                    group.entries.insert(index, (*term, *size));
                    group.last = Some(id(*term, index));
                }
            }
            Op::Vote { vote, .. } => group.vote = Some(vote.clone()),
            Op::Truncate { keep, .. } => group.cut(keep.map_or(0, |index| index + 1)),
            Op::Purge { upto, .. } => {
                group.entries = group.entries.split_off(&(upto.index + 1));
                group.purged = Some(*upto);
                if group.entries.is_empty() {
                    group.last = Some(*upto);
                }
            }
            Op::Reset { upto, value, .. } => {
                let vote = group.vote.take();
                *group = Group { vote, ..Group::default() };
                group.purged = Some(*upto);
                group.last = Some(*upto);
                group.state.insert(b"snapshot".to_vec(), value.clone());
            }
            Op::State { delete, key, value, .. } => {
                group.state.retain(|k, _| k < &delete.0 || k >= &delete.1);
                group.state.insert(key.clone(), value.clone());
            }
            Op::Drop { .. } => {}
        }
    }

    /// The first difference between the store and the model.
    pub fn difference(&self, db: &Arc<Db>) -> Option<String> {
        let expected: Vec<GroupId> = self.groups.keys().copied().collect();
        if db.groups() != expected {
            return Some(format!("groups are {:?}, not {expected:?}", db.groups()));
        }
        self.groups.iter().find_map(|(&id, group)| {
            group_difference(db, id, group).map(|what| format!("group {id}: {what}"))
        })
    }
}

fn group_difference(db: &Arc<Db>, group: GroupId, model: &Group) -> Option<String> {
    let log = db.log(group);
    let state = LogState { purged: model.purged, last: model.last };
    if log.state() != state {
        return Some(format!("log is {:?}, not {state:?}", log.state()));
    }
    if log.vote() != model.vote.clone().map(Bytes::from) {
        return Some(format!("vote is {:?}, not {:?}", log.vote(), model.vote));
    }
    let found = read_all(&log);
    let indexes: Vec<u64> = found.iter().map(|entry| entry.id.index).collect();
    if !indexes.iter().eq(model.entries.keys()) {
        return Some(format!("indexes {indexes:?}"));
    }
    for entry in found {
        let (term, size) = model.entries[&entry.id.index];
        let place = id(term, entry.id.index);
        if entry.id != place || entry.payload != payload(group, place, size) {
            return Some(format!("entry {} is not what was appended as {place}", entry.id));
        }
        if log.id_at(place.index).ok().flatten() != Some(place) {
            return Some(format!("id_at {} is not {place}", place.index));
        }
    }
    let values = log.state_range(&[], &[0xff; 9], usize::MAX).expect("state");
    let equal = values.iter().map(|(k, v)| (&k[..], &v[..]));
    if !equal.eq(model.state.iter().map(|(k, v)| (&k[..], &v[..]))) {
        return Some(format!("state {values:?} is not {:?}", model.state));
    }
    None
}
