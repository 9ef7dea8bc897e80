//! Looks at every node and every disk after each tick and compares them with what is known.
//!
//! Disks are looked at from outside, what was written and what of it is durable; nodes through the
//! interface they show to everybody. Down machines count as well: their disks are what they will
//! come back with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_raft::{Group, GroupStatus, Leadership, Role};
use quorate_storage::simulation::{Disk, Observed, StoredEntry};
use quorate_storage::{EntryId, GroupId};

use crate::cluster::{Cluster, Machine};
use crate::facts::{Facts, Violation, is_quorum};
use crate::ledger::Ledger;
use crate::records;
use crate::trace::Trace;

/// Replicas at which nothing happens are looked at this often, ticks.
const QUIET: u64 = 50;

/// What a replica showed since its node started.
#[derive(Default, Clone)]
struct Seen {
    leadership: Leadership,
    applied: Option<u64>,
    committed: Option<u64>,
    purged: Option<u64>,
    term: u64,
}

/// What happened so far, for the summary.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub entries: u64,
    pub votes: u64,
    pub snapshots: u64,
    pub deleted: u64,
    /// Replicas that were wrong and began anew.
    pub rebuilt: u64,
}

/// The judge of all groups.
#[derive(Default)]
pub struct Judge {
    pub facts: BTreeMap<u64, Facts>,
    pub counts: Counts,
    wrong: Option<(u64, u64)>,
    /// The same for ever: it may be seen stopped, to be opened again.
    began_wrong: Option<(u64, u64)>,
    seen: BTreeMap<(u64, u64), Seen>,
    /// Newest vote of a node in a group.
    votes: BTreeMap<(u64, u64), Vote>,
    /// Leaders whose log was found complete.
    complete: BTreeSet<(u64, u64)>,
}

type Disks = BTreeMap<u64, Arc<Disk>>;

impl Judge {
    /// `wrong`: node and group of a replica whose state may differ, until it is deleted.
    pub fn new(wrong: Option<(u64, u64)>) -> Judge {
        Judge { wrong, began_wrong: wrong, ..Judge::default() }
    }

    /// Judges the state after a tick.
    pub fn look(
        &mut self,
        cluster: &Cluster<'_>,
        stopping: &BTreeSet<u64>,
        tick: u64,
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        let disks: Disks =
            cluster.machines.iter().map(|(id, m)| (*id, Arc::clone(&m.disk))).collect();
        let mut touched = BTreeSet::new();
        for (node, machine) in &cluster.machines {
            for observed in machine.disk.observed() {
                let group = self.observed(*node, observed, trace)?;
                touched.insert((*node, group));
            }
        }
        for node in cluster.machines.keys() {
            let Some(running) = cluster.running(*node) else {
                self.forget(*node);
                continue;
            };
            self.seen.retain(|(n, group), _| n != node || running.groups.contains_key(group));
            for (id, group) in &running.groups {
                let look = touched.contains(&(*node, *id)) || tick.is_multiple_of(QUIET);
                let may_stop = stopping.contains(node) || self.began_wrong == Some((*node, *id));
                if may_stop && group.status().role == Role::Stopped {
                    continue;
                }
                self.replica(*node, *id, group, look, &disks, trace)
                    .map_err(|what| format!("group {id} on node {node}: {what}"))?;
            }
        }
        Ok(())
    }

    /// What a node showed is history: it starts again.
    fn forget(&mut self, node: u64) {
        self.seen.retain(|(other, _), _| *other != node);
    }

    /// The machine is about to crash: from here on only what is durable binds it.
    pub fn before_crash(&mut self, node: u64, machine: &Machine) {
        self.forget(node);
        self.votes.retain(|(other, _), _| *other != node);
        for group in self.facts.keys() {
            if let Some(vote) = machine.disk.vote(GroupId(*group), true).as_deref().and_then(vote) {
                self.votes.insert((node, *group), vote);
            }
        }
    }

    fn observed(
        &mut self,
        node: u64,
        observed: Observed,
        trace: &mut Trace,
    ) -> Result<u64, Violation> {
        let id = match &observed {
            Observed::Entry { group, .. }
            | Observed::Vote { group, .. }
            | Observed::Reset { group, .. }
            | Observed::Dropped { group } => group.0,
        };
        let facts = self.facts.entry(id).or_default();
        match observed {
            Observed::Entry { before, entry, .. } => {
                self.counts.entries += 1;
                trace.line(format_args!("node {node} group {id} writes {}", entry.id));
                facts
                    .written(before, &entry)
                    .map_err(|what| format!("group {id} on node {node}: {what}"))?;
            }
            Observed::Vote { vote: bytes, .. } => {
                self.counts.votes += 1;
                let Some(new) = vote(&bytes) else { return Err("a vote that is none".into()) };
                trace.line(format_args!("node {node} group {id} votes {new:?}"));
                // A majority's leader may be acknowledged by who voted for another candidate.
                if let Some(old) = self.votes.insert((node, id), new)
                    && (new.term < old.term || (new.term == old.term && new.granted(old)))
                {
                    return Err(format!(
                        "one vote: node {node} voted {old:?} and then {new:?} in group {id}"
                    ));
                }
            }
            Observed::Reset { upto, .. } => {
                self.counts.snapshots += 1;
                trace.line(format_args!("node {node} group {id} is reset to {upto}"));
            }
            Observed::Dropped { .. } => {
                self.counts.deleted += 1;
                self.counts.rebuilt +=
                    u64::from(self.wrong.take_if(|it| *it == (node, id)).is_some());
                trace.line(format_args!("node {node} group {id} is deleted"));
                self.votes.remove(&(node, id));
            }
        }
        Ok(id)
    }

    fn replica(
        &mut self,
        node: u64,
        id: u64,
        group: &Group<Ledger>,
        touched: bool,
        disks: &Disks,
        trace: &mut Trace,
    ) -> Result<(), Violation> {
        let facts = self.facts.entry(id).or_default();
        let seen = self.seen.entry((node, id)).or_default();
        let leadership = *group.leadership().borrow();
        if leadership != seen.leadership {
            // Not the time: it is a reading of the machine's clock, however the simulation counts on from there.
            let Leadership { leader, term, ready, .. } = leadership;
            trace.line(format_args!(
                "node {node} group {id} leader {leader:?} term {term} ready {ready}"
            ));
            if leadership.term < seen.leadership.term {
                return Err(format!("term went back from {}", seen.leadership.term));
            }
            seen.leadership = leadership;
            if let Some(leader) = leadership.leader {
                facts.leader(leadership.term, leader)?;
                if leader == node && self.complete.insert((id, leadership.term)) {
                    complete(facts, GroupId(id), leadership.term, &disks[&node])?;
                }
            }
        }
        let (applied, digest, missing) = {
            let machine = group.machine();
            (machine.applied, machine.digest, records::missing(group.log(), &machine))
        };
        let moved = applied != seen.applied;
        if !moved && !touched {
            return Ok(());
        }
        let status = group.status();
        if status.applied_index < status.purged_index {
            // A snapshot is being installed: log and machine have it, the core does not know yet.
            return Ok(());
        }
        if let Some(missing) = missing {
            return Err(missing);
        }
        let may_differ = self.wrong == Some((node, id));
        if let Some((what, index)) = status.divergence.filter(|_| !may_differ) {
            return Err(format!("{what:?} at index {index} says who compared the states"));
        }
        let committed = committed(&status).max(applied);
        order(seen, applied, committed, &status)?;
        for index in next(seen.committed)..next(committed) {
            commit(facts, GroupId(id), index, node, status.term, disks)?;
        }
        seen.committed = committed;
        if moved {
            let index = applied.ok_or("the machine forgot that it applied anything")?;
            trace.line(format_args!("node {node} group {id} applied {index} {digest:016x}"));
            if !may_differ {
                facts.applied(index, digest)?;
            }
        }
        seen.applied = applied;
        if let Some(purged) = disks[&node].log_state(GroupId(id), false).purged {
            facts.commit(purged, status.term)?;
        }
        Ok(())
    }
}

fn next(index: Option<u64>) -> u64 {
    index.map_or(0, |index| index + 1)
}

/// What a replica holds for committed and has. A snapshot on its way to a follower counts as
/// committed there before the log has it.
fn committed(status: &GroupStatus) -> Option<u64> {
    match status.role {
        Role::Leader => status.committed_index,
        _ => status.committed_index.min(status.last_index),
    }
}

/// What a replica shows of itself is in order and never goes back.
fn order(
    seen: &mut Seen,
    applied: Option<u64>,
    committed: Option<u64>,
    status: &GroupStatus,
) -> Result<(), Violation> {
    if status.role == Role::Stopped {
        return Err("the consensus core has stopped".into());
    }
    if applied > status.last_index || committed > status.last_index {
        return Err(format!("applied and committed lie within the log: {applied:?} {status:?}"));
    }
    let before = (seen.applied, seen.committed, seen.purged, seen.term);
    let purged = status.purged_index;
    if applied < before.0 || committed < before.1 || purged < before.2 || status.term < before.3 {
        return Err(format!("nothing goes back: {before:?} before {applied:?} {status:?}"));
    }
    (seen.purged, seen.term) = (purged, status.term);
    Ok(())
}

/// An entry that a node holds for committed is the one everybody does, and when it is news, it is
/// durable on a majority: also the one whose acknowledgement follows.
fn commit(
    facts: &mut Facts,
    group: GroupId,
    index: u64,
    node: u64,
    term: u64,
    disks: &Disks,
) -> Result<(), Violation> {
    let id = match disks[&node].held(group, index, false) {
        StoredEntry::Entry(entry) => entry.id,
        StoredEntry::Purged => return Ok(()),
        StoredEntry::Nothing => return Err(format!("committed index {index} is not in the log")),
    };
    if !facts.commit(id, term)? {
        return Ok(());
    }
    let durable: BTreeSet<u64> =
        disks.iter().filter(|(_, disk)| has(disk, group, id, true)).map(|(id, _)| *id).collect();
    let in_log = |other: EntryId| disks[&node].id_at(group, other.index, false) == Some(other);
    let memberships = facts.in_force(index, in_log);
    if memberships.iter().any(|configs| is_quorum(configs, &durable)) {
        return Ok(());
    }
    Err(format!(
        "durability: {id} is committed and durable on {durable:?} only, voters are {memberships:?}"
    ))
}

/// True if the disk holds the entry, or has purged it.
fn has(disk: &Disk, group: GroupId, id: EntryId, durable: bool) -> bool {
    disk.log_state(group, durable).purged.is_some_and(|purged| purged.index >= id.index)
        || disk.id_at(group, id.index, durable) == Some(id)
}

/// Leader Completeness: a leader holds every entry that was committed in an earlier term.
fn complete(facts: &Facts, group: GroupId, term: u64, disk: &Disk) -> Result<(), Violation> {
    let earlier = facts.committed.values().filter(|commit| commit.by < term);
    for commit in earlier {
        if !has(disk, group, commit.id, false) {
            return Err(format!("leader completeness: leader of term {term} lacks {}", commit.id));
        }
    }
    Ok(())
}

/// A vote as it is stored.
#[derive(Debug, Clone, Copy)]
struct Vote {
    term: u64,
    candidate: u64,
    /// It is the candidate's office that is acknowledged, not a vote that is given.
    leads: bool,
}

impl Vote {
    /// A second vote in one term, for somebody else.
    fn granted(&self, before: Vote) -> bool {
        self.candidate != before.candidate && !self.leads
    }
}

fn vote(bytes: &[u8]) -> Option<Vote> {
    let (term, rest) = bytes.split_at_checked(8)?;
    let (candidate, rest) = rest.split_at_checked(8)?;
    let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
    let leads = *rest.first()? == 1;
    Some(Vote { term: number(term)?, candidate: number(candidate)?, leads })
}
