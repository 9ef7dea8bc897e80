//! What is known of one group, whoever said it: the part of the truth that no fault may change.
//!
//! Names of the properties are those of the Raft paper, § 5.2 to § 5.4.

use std::collections::{BTreeMap, BTreeSet};

use quorate_storage::{Entry, EntryId, EntryKind};

use crate::ledger::{Request, mix};

/// A violated property, in words.
pub type Violation = String;

/// Voters of a configuration; two while a change is under way.
pub type Configs = Vec<BTreeSet<u64>>;

/// A committed entry.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    pub id: EntryId,
    /// A term in which, at the latest, it was committed.
    pub by: u64,
}

/// Facts about a group.
#[derive(Default)]
pub struct Facts {
    leaders: BTreeMap<u64, u64>,
    /// Fingerprint and predecessor of every entry ever written anywhere, by id.
    written: BTreeMap<EntryId, (u64, Option<EntryId>)>,
    /// The committed entry at each index.
    pub committed: BTreeMap<u64, Commit>,
    /// Memberships ever written, by the id of their entry.
    pub memberships: BTreeMap<EntryId, Configs>,
    /// Where each proposal was written, by its number.
    pub attempts: BTreeMap<u64, EntryId>,
    /// Proposals whose proposer was told that they are in no log.
    never: BTreeSet<u64>,
    /// Digest of the machine at an index.
    digests: BTreeMap<u64, u64>,
}

fn fingerprint(entry: &Entry) -> u64 {
    let kind = match entry.kind {
        EntryKind::Blank => 0u8,
        EntryKind::Normal => 1,
        EntryKind::Membership => 2,
    };
    mix(mix(0, &[kind]), &crc32c::crc32c(&entry.payload).to_be_bytes())
}

impl Facts {
    /// Election Safety: at most one leader in a term. True if it is news.
    pub fn leader(&mut self, term: u64, leader: u64) -> Result<bool, Violation> {
        match self.leaders.insert(term, leader) {
            Some(other) if other != leader => {
                Err(format!("election safety: {other} and {leader} lead term {term}"))
            }
            known => Ok(known.is_none()),
        }
    }

    /// Log Matching: entries of the same index and term are the same and follow the same entry, and
    /// so, by induction, the same log.
    pub fn written(&mut self, before: Option<EntryId>, entry: &Entry) -> Result<(), Violation> {
        let id = entry.id;
        if let Some(before) = before
            && (before.index + 1 != id.index || before.term > id.term)
        {
            return Err(format!("log order: {id} follows {before}"));
        }
        let now = (fingerprint(entry), before);
        if let Some(known) = self.written.insert(id, now)
            && known != now
        {
            return Err(format!("log matching: {id} is {known:x?} and {now:x?}"));
        }
        match entry.kind {
            EntryKind::Blank => {}
            EntryKind::Normal => {
                let request = Request::decode(&entry.payload);
                let request = request.ok_or_else(|| format!("phantom: {id} was never proposed"))?;
                self.attempt(request.attempt(), id)?;
            }
            EntryKind::Membership => {
                let configs = configs(&entry.payload)
                    .ok_or_else(|| format!("entry {id} holds no membership"))?;
                self.memberships.insert(id, configs);
            }
        }
        Ok(())
    }

    /// A proposal enters the log once, and not at all after its proposer was told so.
    fn attempt(&mut self, attempt: u64, id: EntryId) -> Result<(), Violation> {
        if self.never.contains(&attempt) {
            return Err(format!("not in the log: proposal {attempt} was, and is now {id}"));
        }
        match self.attempts.insert(attempt, id) {
            Some(other) if other != id => {
                Err(format!("one place: proposal {attempt} is {other} and {id}"))
            }
            _ => Ok(()),
        }
    }

    /// What a replica has as a record is what was committed there.
    pub fn is_committed(&self, entry: &Entry) -> Result<(), Violation> {
        let index = entry.id.index;
        let id = self.committed.get(&index).map(|commit| commit.id);
        let written = id.and_then(|id| self.written.get(&id)).map(|(print, _)| *print);
        if id == Some(entry.id) && written == Some(fingerprint(entry)) {
            return Ok(());
        }
        Err(format!("records: at index {index} a replica has {}, committed is {id:?}", entry.id))
    }

    /// The proposer of this was told that it is in no log and never will be.
    pub fn never(&mut self, attempt: u64) -> Result<(), Violation> {
        self.never.insert(attempt);
        match self.attempts.get(&attempt) {
            Some(id) => Err(format!("not in the log: proposal {attempt} was told so but is {id}")),
            None => Ok(()),
        }
    }

    /// The proposer of this was told that it is applied at this place.
    pub fn acknowledged(&self, attempt: u64, id: EntryId) -> Result<(), Violation> {
        let committed = self.committed.get(&id.index).map(|commit| commit.id);
        if self.attempts.get(&attempt) == Some(&id) && committed == Some(id) {
            return Ok(());
        }
        let written = self.attempts.get(&attempt);
        Err(format!(
            "acknowledgement: proposal {attempt} as {id}, written as {written:?}, committed there              is {committed:?}"
        ))
    }

    /// A committed entry never changes. `by` is a term in which, at the latest, it was committed.
    /// True if it is news.
    pub fn commit(&mut self, id: EntryId, by: u64) -> Result<bool, Violation> {
        match self.committed.get(&id.index) {
            Some(other) if other.id != id => {
                Err(format!("state machine safety: {} and {id} are both committed", other.id))
            }
            Some(_) => Ok(false),
            None => {
                self.committed.insert(id.index, Commit { id, by });
                Ok(true)
            }
        }
    }

    /// The leader of the greatest term.
    pub fn newest_leader(&self) -> Option<u64> {
        self.leaders.last_key_value().map(|(_, leader)| *leader)
    }

    /// Number of terms that had a leader.
    pub fn terms(&self) -> usize {
        self.leaders.len()
    }

    /// State Machine Safety: machines at the same index are the same.
    pub fn applied(&mut self, index: u64, digest: u64) -> Result<(), Violation> {
        match self.digests.insert(index, digest) {
            Some(other) if other != digest => {
                Err(format!("state machine safety: two machines differ at index {index}"))
            }
            _ => Ok(()),
        }
    }

    /// Memberships under which an entry may have been committed, given the log that says so: the
    /// one in force at the entry and every later one. `holds` tells what is in that log.
    pub fn in_force(&self, index: u64, holds: impl Fn(EntryId) -> bool) -> Vec<&Configs> {
        let mut found: Vec<&Configs> = Vec::new();
        let mut at_entry = None;
        for (id, configs) in &self.memberships {
            let committed = self.committed.get(&id.index).is_some_and(|commit| commit.id == *id);
            if !committed && !holds(*id) {
                continue;
            }
            if id.index <= index {
                at_entry = at_entry.max(Some((id.index, id.term, configs)));
            } else {
                found.push(configs);
            }
        }
        found.extend(at_entry.map(|(_, _, configs)| configs));
        found
    }
}

/// True if the nodes are a majority of every configuration.
pub fn is_quorum(configs: &Configs, nodes: &BTreeSet<u64>) -> bool {
    configs.iter().all(|voters| voters.intersection(nodes).count() > voters.len() / 2)
}

/// The configurations in the payload of a membership entry.
fn configs(payload: &[u8]) -> Option<Configs> {
    let mut at = payload;
    let mut number = |width: usize| {
        let (head, rest) = at.split_at_checked(width)?;
        at = rest;
        Some(head.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let count = number(4)?;
    (0..count)
        .map(|_| {
            let voters = number(4)?;
            (0..voters).map(|_| number(8)).collect::<Option<BTreeSet<u64>>>()
        })
        .collect()
}
