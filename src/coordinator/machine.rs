//! The replicated state of a coordinator: its groups in memory, their offsets by key.
//!
//! The leader decides (`classic.rs`) and this carries out. What it compares are names of things that only another leader
//! can have changed since: the incarnation of a group and its generation. So of two leaders that each believed to be the
//! only one, the decisions of the earlier are void once the later has changed what they rest on.
//!
//! Invariant: a generation never goes back, nor does a group that was deleted come back with its offsets.

mod transactions;

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_raft::{Committed, DecodeError, Effects, Keyed, Machine};
use quorate_storage::mutant;
use serde::{Deserialize, Serialize};

use super::command::{Command, Commands, NewOffset, Sweep};
use super::offsets::{self, OffsetKey, Place};
use super::pending::{ENDED_MS, Kept, Pending};
use super::record::{Change, Classic, GroupRecord, Membership};
use crate::metadata::{FIRST_LEVEL, check_checkpoint, decode, encode, end_if_unfit};

/// See the file's header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoordinatorMachine {
    state: State,
    /// Group names by incarnation; follows from the state.
    names: BTreeMap<u64, String>,
    /// Behind the last applied entry.
    end: u64,
}

/// What goes into a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The feature level its log has reached; 0 stands for the first.
    level: u16,
    log_ms: i64,
    /// No group had it or a later one.
    next_incarnation: u64,
    groups: BTreeMap<String, GroupRecord>,
    pending: Pending<Kept>,
}

/// What came of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// It was decided on something that is no more. Nothing was changed.
    Void,
}

impl CoordinatorMachine {
    pub(super) fn groups(&self) -> &BTreeMap<String, GroupRecord> {
        &self.state.groups
    }

    pub(super) fn group(&self, name: &str) -> Option<&GroupRecord> {
        self.state.groups.get(name)
    }

    /// Returns the group that has an incarnation.
    pub(super) fn named(&self, incarnation: u64) -> Option<(&str, &GroupRecord)> {
        let name = self.names.get(&incarnation)?;
        Some((name, self.state.groups.get(name)?))
    }

    pub(super) fn next_incarnation(&self) -> u64 {
        self.state.next_incarnation
    }

    /// What transactions have yet to decide on.
    pub(super) fn pending(&self) -> &Pending<Kept> {
        &self.state.pending
    }

    pub(super) fn log_ms(&self) -> i64 {
        self.state.log_ms
    }

    pub(super) fn level(&self) -> u16 {
        self.state.level.max(FIRST_LEVEL)
    }

    /// The group as a command names it.
    fn same(&mut self, name: &str, incarnation: u64) -> Option<&mut GroupRecord> {
        self.state.groups.get_mut(name).filter(|group| group.incarnation == incarnation)
    }

    /// Carries a command out, if what it was decided on is still there.
    fn carry_out(&mut self, command: Command, at: Place, keyed: &mut Keyed) -> Option<()> {
        match command {
            Command::SetLevel(level) => {
                self.state.level = self.state.level.max(level);
                end_if_unfit(level);
            }
            Command::Create { group, incarnation } => self.create(group, incarnation)?,
            Command::Begin { group, incarnation, membership } => {
                self.begin(&group, incarnation, membership)?;
            }
            Command::Assign { group, incarnation, generation, parts } => {
                let classic = self.generation(&group, incarnation, generation)?;
                for (id, part) in parts {
                    if let Some(member) = classic.members.get_mut(&id) {
                        member.assignment = part;
                    }
                }
                classic.is_assigned = true;
            }
            Command::Remove { group, incarnation, generation, members } => {
                let classic = self.generation(&group, incarnation, generation)?;
                members.iter().for_each(|id| drop(classic.members.remove(id)));
                classic.must_rebalance = true;
            }
            Command::Replace { group, incarnation, generation, former, member_id, member } => {
                let classic = self.generation(&group, incarnation, generation)?;
                classic.members.remove(&former)?;
                if classic.leader.as_ref() == Some(&former) {
                    classic.leader = Some(member_id.clone());
                }
                classic.members.insert(member_id, member);
            }
            Command::Commit { group, incarnation, generation, offsets } => {
                self.commit((&group, incarnation, generation), offsets, at, keyed)?;
            }
            Command::DeleteOffsets { group, incarnation, offsets } => {
                self.same(&group, incarnation)?;
                let own = offsets.into_iter().filter(|key| key.incarnation == incarnation);
                own.for_each(|key| self.delete(key, keyed));
            }
            Command::Delete { group, incarnation } => {
                self.same(&group, incarnation).filter(|group| !group.membership.has_members())?;
                self.state.groups.remove(&group);
                self.names.remove(&incarnation);
                self.state.pending.drop_group(incarnation);
            }
            Command::Sweep(sweep) => self.sweep(sweep, keyed),
            Command::Convert { group, incarnation, generation, membership } => {
                self.convert(&group, incarnation, generation, membership)?;
            }
            Command::Change { group, incarnation, change } => {
                self.change(&group, incarnation, change)?;
            }
            Command::Keep { group, incarnation, generation, transaction, offsets } => {
                self.keep((&group, incarnation, generation), &transaction, offsets, at, keyed)?;
            }
            Command::End { producer_id, number, commits, offsets } => {
                let named = commits.then_some(offsets);
                self.end_transaction(producer_id, number, named, keyed)?;
            }
        }
        Some(())
    }

    fn create(&mut self, group: String, incarnation: u64) -> Option<()> {
        if incarnation < self.state.next_incarnation || self.state.groups.contains_key(&group) {
            return None;
        }
        self.state.next_incarnation = incarnation + 1;
        self.names.insert(incarnation, group.clone());
        let emptied_ms = self.state.log_ms;
        let membership = Membership::default();
        let record = GroupRecord { incarnation, membership, offsets: 0, emptied_ms, transacted: 0 };
        self.state.groups.insert(group, record);
        Some(())
    }

    fn begin(&mut self, group: &str, incarnation: u64, next: Classic) -> Option<()> {
        let log_ms = self.state.log_ms;
        let group = self.same(group, incarnation)?;
        let classic = group.membership.classic_mut()?;
        // Behind the last number comes 1.
        if next.generation <= classic.generation && classic.generation < i32::MAX {
            return None;
        }
        let is_empty = next.members.is_empty();
        *classic = next;
        if is_empty {
            group.emptied_ms = log_ms;
        }
        Some(())
    }

    fn convert(
        &mut self,
        group: &str,
        incarnation: u64,
        generation: i32,
        membership: Membership,
    ) -> Option<()> {
        let group = self.same(group, incarnation)?;
        if group.membership.generation() != generation || group.membership.is_like(&membership) {
            return None;
        }
        group.membership = membership;
        Some(())
    }

    fn change(&mut self, group: &str, incarnation: u64, change: Change) -> Option<()> {
        let log_ms = self.state.log_ms;
        let group = self.same(group, incarnation)?;
        let Membership::Consumer(consumer) = &mut group.membership else { return None };
        if !consumer.make(change) {
            return None;
        }
        if consumer.members.is_empty() {
            group.emptied_ms = log_ms;
        }
        Some(())
    }

    /// The members of a group, in that generation.
    fn generation(
        &mut self,
        group: &str,
        incarnation: u64,
        generation: i32,
    ) -> Option<&mut Classic> {
        let classic = self.same(group, incarnation)?.membership.classic_mut()?;
        (classic.generation == generation).then_some(classic)
    }

    /// The group as a commit names it; of who says in which generation it is, only in that.
    fn committing(
        &mut self,
        (group, incarnation, generation): (&str, u64, i32),
    ) -> Option<&mut GroupRecord> {
        let group = self.same(group, incarnation)?;
        (generation < 0 || generation == group.membership.generation()).then_some(group)
    }

    fn commit(
        &mut self,
        to: (&str, u64, i32),
        new: Vec<NewOffset>,
        written: Place,
        keyed: &mut Keyed,
    ) -> Option<()> {
        let (_, incarnation, _) = to;
        let committed_ms = self.state.log_ms;
        let out_of_order = mutant::on("commit-applied-late") && self.end.is_multiple_of(4);
        let group = self.committing(to)?;
        for NewOffset { key, offset, leader_epoch, metadata } in new {
            // The leader takes the incarnation from the group, so it is the group's.
            if key.incarnation != incarnation {
                continue;
            }
            let value =
                offsets::Committed { offset, leader_epoch, committed_ms, metadata, written };
            let key = key.encode();
            let former = keyed.get(&key);
            group.offsets += u64::from(former.is_none());
            keyed.put(&key, encode(&value).into());
            if out_of_order && let Some(former) = former {
                keyed.put(&key, former);
            }
        }
        Some(())
    }

    /// Deletes an offset, and what is pending of it: as in Kafka.
    fn delete(&mut self, key: OffsetKey, keyed: &mut Keyed) {
        self.state.pending.drop_offset(key);
        let encoded = key.encode();
        if keyed.get(&encoded).is_none() {
            return;
        }
        keyed.remove(&encoded);
        let name = self.names.get(&key.incarnation);
        if let Some(group) = name.and_then(|name| self.state.groups.get_mut(name)) {
            group.offsets -= 1;
        }
    }

    fn sweep(&mut self, sweep: Sweep, keyed: &mut Keyed) {
        sweep.orphaned.into_iter().for_each(|key| self.delete(key, keyed));
        for (key, generation) in sweep.expiring {
            let Some(value) = keyed.get(&key.encode()) else { continue };
            let Some((_, group)) = self.named(key.incarnation) else { continue };
            // What was never a group of members goes by the commit alone.
            let was_emptied = !group.membership.has_members() && generation > 0;
            let emptied_ms = if was_emptied { group.emptied_ms } else { i64::MIN };
            let since_ms = read(&value).committed_ms.max(emptied_ms);
            let is_at_rest = !self.state.pending.has_group(key.incarnation);
            let is_same = group.membership.generation() == generation;
            if is_same && is_at_rest && since_ms < sweep.before_ms {
                self.delete(key, keyed);
            }
        }
    }
}

/// Reads a committed offset that a machine has written.
pub(super) fn read(value: &[u8]) -> offsets::Committed {
    decode(value).unwrap_or_else(|error| {
        quorate_storage::fatal("read a committed offset", &error);
    })
}

impl Machine for CoordinatorMachine {
    type Reply = Vec<Verdict>;

    const KEYED: bool = true;

    fn needs(entry: Committed<'_>) -> Vec<Bytes> {
        // What cannot be decoded ends the process when it is applied.
        let commands = entry.payload.and_then(|payload| decode::<Commands>(payload).ok());
        let commands = commands.map_or_else(Vec::new, |it| it.commands);
        commands.iter().flat_map(Command::offsets).map(|key| key.encode()).collect()
    }

    fn apply(&mut self, entry: Committed<'_>, effects: &mut Effects) -> Vec<Verdict> {
        self.end = entry.index + 1;
        let Some(payload) = entry.payload else { return Vec::new() };
        let Commands { log_ms, commands } = match decode(payload) {
            Ok(commands) => commands,
            // Going on would make this replica differ from the others for ever.
            Err(error) => quorate_storage::fatal("apply an entry of a coordinator", &error),
        };
        // The clock of the leader before may have been ahead.
        self.state.log_ms = self.state.log_ms.max(log_ms);
        self.state.pending.forget(self.state.log_ms.saturating_sub(ENDED_MS));
        let places = (0..).map(|command| Place { index: entry.index, command });
        let carried_out = commands.into_iter().zip(places);
        let carried_out = carried_out.map(|(it, at)| self.carry_out(it, at, &mut effects.keyed));
        carried_out.map(|done| done.map_or(Verdict::Void, |()| Verdict::Done)).collect()
    }

    fn encode(&self) -> Vec<u8> {
        encode(&(&self.state, self.end))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let failed = |error: &dyn std::error::Error| DecodeError(error.to_string());
        let (mut state, end): (State, u64) = decode(bytes).map_err(|error| failed(&error))?;
        check_checkpoint(state.level).map_err(|error| failed(&error))?;
        let names: BTreeMap<u64, String> =
            state.groups.iter().map(|(name, group)| (group.incarnation, name.clone())).collect();
        let unique = names.len() == state.groups.len();
        if !unique || names.keys().next_back().is_some_and(|last| *last >= state.next_incarnation) {
            return Err(DecodeError("the incarnations of the groups".to_owned()));
        }
        if !state.pending.complete(|incarnation| names.contains_key(&incarnation)) {
            return Err(DecodeError("the pending offsets of transactions".to_owned()));
        }
        Ok(Self { state, names, end })
    }

    /// Nothing is read of the log again.
    fn needed_from(&self) -> u64 {
        self.end
    }
}

#[cfg(test)]
mod tests;
