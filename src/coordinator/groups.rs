//! All groups of one coordinator, as its leader sees them; pure.
//!
//! Time is given and is the coordinator's own: while it does not run, none passes, so that nobody is taken for silent
//! whom nobody could hear.

mod commits;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::call::{
    Answer, Call, Found, GroupError, Heard, Identity, Join, Leave, Listing, MemberHeartbeat,
    NamedPartition, Sync,
};
use super::classic::{Limits, Output, Token};
use super::command::{Command, Sweep};
use super::consumer::Topics;
use super::group::Group;
use super::machine::CoordinatorMachine;
use super::offsets::OffsetKey;
use super::pending::{Pending, Weight};
use super::subscription;

/// Groups of one coordinator, those without members included.
const GROUPS_MAX: usize = 10_000;
/// Bytes of the members of one group: it is written whole for each generation.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// Bytes of the members of all groups of one coordinator.
const BYTES_MAX: usize = 64 << 20;
/// Assignors that a member may know.
const PROTOCOLS_MAX: usize = 100;

/// See the file's header.
#[derive(Debug)]
pub(super) struct Groups {
    limits: Limits,
    next_incarnation: u64,
    groups: BTreeMap<String, Known>,
    /// When which group has to be looked at; sometimes too early.
    due: BTreeSet<(Instant, String)>,
    /// What the members of all groups take.
    bytes: usize,
    /// Commits decided on in this leadership.
    commits: u64,
    /// What transactions have yet to decide on, in all groups.
    pending: Pending<Weight>,
}

/// When a group has to be looked at that is put back.
#[derive(Clone, Copy)]
enum Due {
    /// Nothing has changed but that somebody was heard.
    AsBefore,
    New,
}

#[derive(Debug)]
struct Known {
    group: Group,
    /// The log has it, or will.
    is_logged: bool,
    due: Option<Instant>,
    bytes: usize,
    /// Which of all commits of this leadership was its last; 0 if there was none.
    committed: u64,
}

impl Groups {
    /// Takes over what the log says.
    /// What each group comes to by that is a step of its own.
    pub(super) fn taken_over(
        machine: &CoordinatorMachine,
        limits: Limits,
        topics: &dyn Topics,
        now: Instant,
    ) -> (Self, Vec<Output>) {
        let mut groups = Self {
            limits,
            next_incarnation: machine.next_incarnation(),
            groups: BTreeMap::new(),
            due: BTreeSet::new(),
            bytes: 0,
            commits: 0,
            pending: machine.pending().weights(),
        };
        let mut outputs = Vec::new();
        for (name, record) in machine.groups() {
            let mut output = Output::default();
            let limits = limits.of(name, topics);
            let group = Group::taken_over(name, record, limits, now, &mut output);
            groups.put(
                name,
                Known { group, is_logged: true, due: None, bytes: 0, committed: 0 },
                Due::New,
            );
            outputs.push(output);
        }
        (groups, outputs)
    }

    /// Does what is asked. The answer, now or later, is to `token`.
    pub(super) fn step(
        &mut self,
        call: Call,
        token: Token,
        now: Instant,
        topics: &dyn Topics,
        output: &mut Output,
    ) {
        match call {
            Call::Join(join) => self.join(join, token, now, topics, output),
            Call::Sync(sync) => self.sync(sync, token, now, output),
            Call::Heartbeat(who) => {
                let answer = self.heartbeat(&who, now);
                output.answers.push((token, Answer::Done(answer)));
            }
            Call::Leave(leave) => {
                let answers = self.leave(leave, now, output);
                output.answers.push((token, Answer::Leave(answers)));
            }
            Call::MemberHeartbeat(heartbeat) => {
                let answer = self.member_heartbeat(&heartbeat, topics, now, output);
                output.answers.push((token, Answer::Heard(answer)));
            }
            Call::Matched { group, matched } => {
                self.rematch(&group, matched, topics, output);
                output.answers.push((token, Answer::Done(Ok(()))));
            }
            Call::Commit(commit) => {
                let answer = self.commit(commit, None, now, output);
                output.answers.push((token, Answer::Done(answer)));
            }
            Call::Keep(commit, transaction) => {
                let answer = self.commit(commit, Some(transaction), now, output);
                output.answers.push((token, Answer::Done(answer)));
            }
            Call::End { transaction, commits } => {
                self.end_transaction(transaction, commits, output);
                output.answers.push((token, Answer::Done(Ok(()))));
            }
            Call::DeleteOffsets { group, partitions } => {
                let answer = self.delete_offsets(&group, &partitions, output);
                output.answers.push((token, Answer::DeleteOffsets(answer)));
            }
            Call::Delete { group } => {
                let answer = self.delete(&group, output);
                output.answers.push((token, Answer::Done(answer)));
            }
            Call::Describe { group } => {
                let known = self.groups.get(&group).filter(|known| known.is_to_see());
                let description = known.map(|known| known.group.describe());
                output.answers.push((token, Answer::Describe(description)));
            }
            Call::List => output.answers.push((token, Answer::List(self.list()))),
            Call::SetLevel(level) => {
                output.commands.push(Command::SetLevel(level));
                output.answers.push((token, Answer::Done(Ok(()))));
            }
            Call::Sweep(found) => {
                self.sweep(found, output);
                output.answers.push((token, Answer::Swept(self.commits)));
            }
        }
    }

    fn join(
        &mut self,
        join: Join,
        token: Token,
        now: Instant,
        topics: &dyn Topics,
        output: &mut Output,
    ) {
        let name = join.group.clone();
        match self.check_room(&join) {
            Err(error) => output.answers.push((token, Answer::Join(Err(error)))),
            Ok(()) => self.with(&name, output, |group, output| {
                group.join(join, token, topics, now, output);
            }),
        }
        // Also where nothing changes it has some time to ask for its part.
        self.reschedule(&name);
    }

    fn sync(&mut self, sync: Sync, token: Token, now: Instant, output: &mut Output) {
        let name = sync.who.group.clone();
        let bytes: usize = sync.parts.iter().map(|(id, it)| id.len() + it.len()).sum();
        let error = if bytes > GROUP_BYTES_MAX || self.bytes + bytes > BYTES_MAX {
            GroupError::TooLarge
        } else if self.groups.contains_key(&name) {
            return self.with(&name, output, |group, output| group.sync(sync, token, now, output));
        } else {
            GroupError::UnknownMember
        };
        output.answers.push((token, Answer::Sync(Err(error))));
    }

    fn heartbeat(&mut self, who: &Identity, now: Instant) -> Result<(), GroupError> {
        let known = self.groups.get_mut(&who.group).ok_or(GroupError::UnknownMember)?;
        let answer = known.group.heartbeat(who, now);
        if answer == Err(GroupError::Rebalancing) && known.group.version().is_some() {
            // From now on it has some time to join again.
            self.reschedule(&who.group);
        }
        answer
    }

    fn leave(
        &mut self,
        leave: Leave,
        now: Instant,
        output: &mut Output,
    ) -> Vec<Result<(), GroupError>> {
        let mut answers = vec![Err(GroupError::UnknownMember); leave.members.len()];
        if self.groups.contains_key(&leave.group) {
            self.with(&leave.group, output, |group, output| {
                answers = group.leave(leave.members, now, output);
            });
        }
        answers
    }

    fn rematch(
        &mut self,
        group: &str,
        matched: Vec<(String, BTreeSet<String>)>,
        topics: &dyn Topics,
        output: &mut Output,
    ) {
        let mut fits = true;
        if self.groups.contains_key(group) {
            self.with(group, output, |it, output| {
                fits = it.rematch(matched, topics, GROUP_BYTES_MAX, output);
            });
        }
        if !fits {
            tracing::warn!(%group, "what it subscribes to takes too much, it reads on as before");
        }
    }

    /// Does what is due in one group; `None` when nothing is due in any.
    pub(super) fn pass(&mut self, now: Instant) -> Option<Output> {
        let (_, name) = self.due.first().filter(|(due, _)| *due <= now).cloned()?;
        let mut output = Output::default();
        self.with(&name, &mut output, |group, output| group.pass(now, output));
        self.reschedule(&name);
        Some(output)
    }

    /// When there is something to do next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Lets something be done with a group, which is made if it is not there, and takes care of what follows from that.
    fn with(&mut self, name: &str, output: &mut Output, act: impl FnOnce(&mut Group, &mut Output)) {
        let mut known = self.take(name).unwrap_or_else(|| {
            let group = Group::new(name.to_owned(), self.limits);
            Known { group, is_logged: false, due: None, bytes: 0, committed: 0 }
        });
        if !known.is_logged {
            // In the order in which groups come into the log, which is not the one in which they are first heard of.
            known.group.set_incarnation(self.next_incarnation);
        }
        let (before, version) = (output.commands.len(), known.group.version());
        act(&mut known.group, output);
        if !known.is_logged && output.commands.len() > before {
            let incarnation = known.group.incarnation();
            let create = Command::Create { group: name.to_owned(), incarnation };
            output.commands.insert(before, create);
            self.next_incarnation += 1;
            known.is_logged = true;
        }
        // Most heartbeats change nothing, and the members of a large group are many.
        let is_same = version.is_some() && version == known.group.version();
        if known.is_logged || !known.group.is_at_rest() {
            self.put(name, known, if is_same { Due::AsBefore } else { Due::New });
        }
    }

    /// Looks anew when a group has to be looked at.
    fn reschedule(&mut self, name: &str) {
        if let Some(known) = self.take(name) {
            self.put(name, known, Due::New);
        }
    }

    fn take(&mut self, name: &str) -> Option<Known> {
        let known = self.groups.remove(name)?;
        self.bytes -= known.bytes;
        if let Some(due) = known.due {
            self.due.remove(&(due, name.to_owned()));
        }
        Some(known)
    }

    fn put(&mut self, name: &str, known: Known, due: Due) {
        // Too early at worst: then it is looked at anew.
        let (due, bytes) = match due {
            Due::AsBefore => (known.due, known.bytes),
            Due::New => (known.group.deadline(), known.group.bytes()),
        };
        self.bytes += bytes;
        self.due.extend(due.map(|due| (due, name.to_owned())));
        self.groups.insert(name.to_owned(), Known { due, bytes, ..known });
    }

    /// Whether somebody may join who says so much. Of who is a member already only what it says more counts.
    fn check_room(&self, join: &Join) -> Result<(), GroupError> {
        let known = self.groups.get(&join.group);
        if known.is_none() && !join.member_id.is_empty() {
            return Err(GroupError::UnknownMember);
        }
        if join.protocols.len() > PROTOCOLS_MAX {
            return Err(GroupError::InconsistentProtocol);
        }
        let before = known.and_then(|known| known.group.bytes_of(join)).unwrap_or(0);
        let more = join.bytes().saturating_sub(before);
        if more > 0 && known.map_or(0, |known| known.bytes) + more > GROUP_BYTES_MAX {
            return Err(GroupError::Full);
        }
        let is_full = (known.is_none() && self.groups.len() >= GROUPS_MAX)
            || (more > 0 && self.bytes + more > BYTES_MAX);
        if is_full { Err(GroupError::NotAvailable) } else { Ok(()) }
    }

    fn member_heartbeat(
        &mut self,
        heartbeat: &MemberHeartbeat,
        topics: &dyn Topics,
        now: Instant,
        output: &mut Output,
    ) -> Result<Heard, GroupError> {
        let name = &heartbeat.group;
        let known = self.groups.get(name);
        let joins = heartbeat.epoch == 0;
        if known.is_none() && !joins {
            return Err(GroupError::UnknownMember);
        }
        // Who is there already may go on as it is, whatever the others take.
        let is_known = known.is_some_and(|known| known.group.knows(heartbeat));
        let more = heartbeat.bytes();
        if !is_known && (joins || heartbeat.topics.is_some() || heartbeat.regex.is_some()) {
            if known.map_or(0, |known| known.bytes) + more > GROUP_BYTES_MAX {
                return Err(GroupError::Full);
            }
            let is_new = known.is_none();
            if (is_new && self.groups.len() >= GROUPS_MAX) || self.bytes + more > BYTES_MAX {
                return Err(GroupError::NotAvailable);
            }
        }
        let mut answer = Err(GroupError::UnknownMember);
        let limits = self.limits.of(name, topics);
        self.with(name, output, |group, output| {
            group.set_limits(limits);
            answer = group.member_heartbeat(heartbeat, topics, now, output);
        });
        answer
    }

    fn delete_offsets(
        &mut self,
        name: &str,
        partitions: &[NamedPartition],
        output: &mut Output,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let known = self.groups.get(name).filter(|known| known.is_logged);
        let group = &known.ok_or(GroupError::NotFound)?.group;
        let is_consumer = group.protocol_type() == subscription::CONSUMER;
        if group.has_members() && !is_consumer {
            return Err(GroupError::NotEmpty);
        }
        let (incarnation, read) = (group.incarnation(), group.reads());
        let is_read = |topic: &String| read.as_ref().is_none_or(|topics| topics.contains(topic));
        let (mut keys, mut answers) = (BTreeSet::new(), Vec::new());
        for it in partitions {
            if is_read(&it.topic) {
                answers.push(Err(GroupError::Subscribed));
            } else {
                let (topic, partition) = (it.id, it.partition);
                keys.insert(OffsetKey { incarnation, topic, partition });
                answers.push(Ok(()));
            }
        }
        if !keys.is_empty() {
            keys.iter().for_each(|key| self.pending.drop_offset(*key));
            let (group, offsets) = (name.to_owned(), keys.into_iter().collect());
            output.commands.push(Command::DeleteOffsets { group, incarnation, offsets });
        }
        Ok(answers)
    }

    fn delete(&mut self, name: &str, output: &mut Output) -> Result<(), GroupError> {
        let known = self.groups.get(name).filter(|known| known.is_to_see());
        let group = &known.ok_or(GroupError::NotFound)?.group;
        if !group.is_at_rest() {
            return Err(GroupError::NotEmpty);
        }
        let (group, incarnation) = (name.to_owned(), group.incarnation());
        output.commands.push(Command::Delete { group, incarnation });
        self.pending.drop_group(incarnation);
        self.take(name);
        Ok(())
    }

    fn list(&self) -> Vec<Listing> {
        let to_see = self.groups.iter().filter(|(_, known)| known.is_to_see());
        to_see
            .map(|(name, known)| Listing {
                group: name.clone(),
                state: known.group.state(),
                protocol: known.group.protocol(),
                protocol_type: known.group.protocol_type().to_owned(),
            })
            .collect()
    }

    /// Decides what is over of what was found.
    fn sweep(&mut self, found: Found, output: &mut Output) {
        let (mut expiring, mut read) = (Vec::new(), BTreeMap::new());
        for old in found.old {
            let Some(Known { group, .. }) = self.groups.get(&old.group) else { continue };
            let read = read.entry(old.group).or_insert_with(|| group.reads());
            let is_read = read.as_ref().is_none_or(|topics| topics.contains(&old.topic));
            let is_pending = self.pending.has_group(old.key.incarnation);
            if group.incarnation() == old.key.incarnation && !is_read && !is_pending {
                expiring.push((old.key, group.generation()));
            }
        }
        found.orphaned.iter().for_each(|key| self.pending.drop_offset(*key));
        let sweep = Sweep { orphaned: found.orphaned, expiring, before_ms: found.before_ms };
        output.commands.push(Command::Sweep(sweep));
        for name in found.empty {
            // Somebody may have come since it was found, or have committed.
            let Some(known) = self.groups.get(&name) else { continue };
            let is_pending = self.pending.has_group(known.group.incarnation());
            if known.committed <= found.as_of && !is_pending {
                let _ = self.delete(&name, output);
            }
        }
    }
}

impl Known {
    /// Whether others are told of it: not while nobody has done more than to ask for an id.
    fn is_to_see(&self) -> bool {
        self.is_logged || self.group.has_members()
    }
}

#[cfg(test)]
mod tests;
