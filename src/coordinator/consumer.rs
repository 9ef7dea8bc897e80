//! A consumer group of the consumer protocol (KIP-848), as its coordinator's leader sees it; pure.
//!
//! ```text
//!                     what is read, or by whom, changes              every member has come to its part
//!   Empty ─────────────────────────▶ Reconciling ───────────────────────────────▶ Stable
//!     ▲                                 ▲                                            │
//!     └──────── nobody is left ─────────┴────────────────────────────────────────────┘
//! ```
//!
//! There is no moment at which all stand still: whatever changes makes a new epoch and new parts, and each member comes to its
//! own by its heartbeats (`reconcile.rs`). Like a classic group it runs ahead of what is committed, and no answer leaves
//! before what it rests on is applied.
//!
//! Soft, so known to the leader alone, is who was heard when. A new leader grants everybody a whole session.

mod assignor;
mod classic_members;
mod expire;
mod heartbeat;
mod leave;
mod reconcile;
mod target;
mod upgrade;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::call::{
    ConsumerDescription, ConsumerMemberDescription, GroupError, GroupState, Identity,
    MemberHeartbeat, NamedParts,
};
use super::classic::{Limits, Output};
use super::command::Command;
use super::record::{Change, Consumer, ConsumerMember, Parts, SeenTopic};
use crate::metadata::{GROUP_SESSION, Image};

pub use assignor::ASSIGNORS;
pub(super) use upgrade::from_classic;

/// What a coordinator knows of the topics there are, and of what was set of groups.
pub(super) trait Topics {
    /// Another number means that something may have changed.
    fn version(&self) -> u64;
    fn find(&self, name: &str) -> Option<SeenTopic>;
    /// How long a group's members are taken for alive without a word, if that was set for it.
    fn session_of(&self, group: &str) -> Option<Duration>;
}

impl Topics for Image {
    fn version(&self) -> u64 {
        self.version
    }

    fn find(&self, name: &str) -> Option<SeenTopic> {
        let topic = self.topic(name)?;
        let partitions = i32::try_from(topic.partitions.len()).ok()?;
        Some(SeenTopic { id: topic.id, partitions })
    }

    fn session_of(&self, group: &str) -> Option<Duration> {
        self.configs.of_group(group, GROUP_SESSION).map(Duration::from_millis)
    }
}

impl Limits {
    /// The same for one group, after what was set of it.
    pub(super) fn of(self, group: &str, topics: &dyn Topics) -> Self {
        let consumer_session = topics.session_of(group).unwrap_or(self.consumer_session);
        Self { consumer_session, ..self }
    }
}

/// See the file's header.
#[derive(Debug, Clone)]
pub(super) struct Group {
    name: String,
    incarnation: u64,
    limits: Limits,
    consumer: Consumer,
    sessions: BTreeMap<String, Session>,
    /// Static members by instance id.
    instances: BTreeMap<String, String>,
    /// Who has a partition, or has yet to give it back.
    owners: BTreeMap<(Uuid, i32), String>,
    /// The version of the topics that were looked at last.
    seen: Option<u64>,
}

/// What is known of a member's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Session {
    /// It counts as gone then.
    expires: Instant,
    /// Also if it has not done by then what it has to: give something back, or of the classic protocol join again or ask for
    /// its part.
    act_until: Option<Instant>,
}

/// What a step has changed and not written down yet.
#[derive(Debug, Default)]
struct Changed {
    head: bool,
    members: BTreeSet<String>,
    removed: BTreeSet<String>,
}

impl Group {
    /// A group without members.
    pub(super) fn empty(name: String, incarnation: u64, of: Consumer, limits: Limits) -> Self {
        Self {
            name,
            incarnation,
            limits,
            consumer: of,
            sessions: BTreeMap::new(),
            instances: BTreeMap::new(),
            owners: BTreeMap::new(),
            seen: None,
        }
    }

    /// The group as the log has it, taken over at `now`.
    pub(super) fn taken_over(
        name: &str,
        incarnation: u64,
        consumer: &Consumer,
        limits: Limits,
        now: Instant,
    ) -> Self {
        let mut group = Self::empty(name.to_owned(), incarnation, consumer.clone(), limits);
        for (id, member) in &consumer.members {
            group.instances.extend(member.instance_id.clone().map(|it| (it, id.clone())));
            own(&mut group.owners, id, member);
            group.sessions.insert(id.clone(), Session::begun(member, limits, now));
        }
        group
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Of a group that is not in the log yet.
    pub(super) fn set_incarnation(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
    }

    /// Counts the changes.
    pub(super) fn version(&self) -> u64 {
        self.consumer.version
    }

    pub(super) fn epoch(&self) -> i32 {
        self.consumer.head.epoch
    }

    pub(super) fn has_members(&self) -> bool {
        !self.consumer.members.is_empty()
    }

    pub(super) fn state(&self) -> GroupState {
        let epoch = self.consumer.head.assignment_epoch;
        if self.consumer.members.is_empty() {
            GroupState::Empty
        } else if self.consumer.members.values().all(|member| member.is_done(epoch)) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let members = self.consumer.members.iter().map(|(id, it)| 2 * id.len() + it.bytes());
        let names = |names: &BTreeSet<String>| names.iter().map(|it| 64 + it.len()).sum::<usize>();
        let matched = self.consumer.head.matched.values().map(names);
        let topics = self.consumer.head.topics.keys().map(|name| 96 + name.len());
        512 + 2 * self.name.len()
            + members.sum::<usize>()
            + matched.sum::<usize>()
            + topics.sum::<usize>()
            + 2 * self.instances.keys().map(String::len).sum::<usize>()
            + 96 * self.owners.len()
    }

    /// What a member takes, about.
    pub(super) fn bytes_of(&self, id: &str) -> Option<usize> {
        Some(self.consumer.members.get(id)?.bytes())
    }

    /// Whether it is a member and says what the group knows already.
    pub(super) fn knows(&self, heartbeat: &MemberHeartbeat) -> bool {
        let Some(member) = self.consumer.members.get(&heartbeat.member_id) else { return false };
        let regex = heartbeat.regex.as_ref();
        heartbeat.topics.as_ref().is_none_or(|topics| *topics == member.topics)
            && regex.is_none_or(|regex| *regex == member.regex)
    }

    /// The topics that its members read, as far as they are there.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.consumer.head.topics.keys().map(String::as_str)
    }

    /// Whether offsets may be committed by who says to be a member, or nobody.
    pub(super) fn check_commit(&self, who: &Identity) -> Result<(), GroupError> {
        if who.generation < 0 && self.consumer.members.is_empty() {
            return Ok(());
        }
        check_epoch(&self.consumer, &who.member_id, who.generation)
    }

    /// The same in a transaction, where nobody needs to say to be a member (KIP-447). As in Kafka a stale epoch is told as
    /// a generation, for that is what the request calls it.
    pub(super) fn check_commit_in_transaction(&self, who: &Identity) -> Result<(), GroupError> {
        if who.is_nobody() {
            return Ok(());
        }
        match self.check_commit(who) {
            Err(GroupError::StaleMemberEpoch) => Err(GroupError::IllegalGeneration),
            other => other,
        }
    }

    pub(super) fn describe(&self) -> ConsumerDescription {
        let head = &self.consumer.head;
        let names: BTreeMap<Uuid, &str> =
            head.topics.iter().map(|(name, topic)| (topic.id, name.as_str())).collect();
        let named = |parts: &Parts| -> NamedParts {
            let named = |(id, partitions): (&Uuid, &BTreeSet<i32>)| {
                let name = (*names.get(id)?).to_owned();
                Some((*id, name, partitions.iter().copied().collect()))
            };
            parts.iter().filter_map(named).collect()
        };
        let member = |(id, member): (&String, &ConsumerMember)| ConsumerMemberDescription {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            rack: member.rack.clone(),
            epoch: member.epoch,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topics: member.topics.iter().cloned().collect(),
            regex: member.regex.clone(),
            parts: named(&member.parts),
            target: named(&member.target),
            is_classic: member.classic.is_some(),
        };
        ConsumerDescription {
            state: self.state(),
            epoch: head.epoch,
            assignment_epoch: head.assignment_epoch,
            assignor: head.assignor.clone(),
            members: self.consumer.members.iter().map(member).collect(),
        }
    }

    /// Writes down what a step has changed.
    fn write(&mut self, changed: Changed, output: &mut Output) {
        let Changed { head, members, removed } = changed;
        if !head && members.is_empty() && removed.is_empty() {
            return;
        }
        let (group, incarnation) = (self.name.clone(), self.incarnation);
        let now = |id: String| Some((self.consumer.members.get(&id)?.clone(), id));
        let change = Change {
            version: self.consumer.version,
            head: head.then(|| self.consumer.head.clone()),
            members: members.into_iter().filter_map(now).map(|(it, id)| (id, it)).collect(),
            removed: removed.into_iter().collect(),
        };
        self.consumer.version += 1;
        output.commands.push(Command::Change { group, incarnation, change });
    }

    /// Puts a member in the place of what it was.
    fn put(&mut self, id: &str, member: ConsumerMember, changed: &mut Changed) {
        if self.consumer.members.get(id) == Some(&member) {
            return;
        }
        self.disown(id);
        self.forget_instance(id);
        own(&mut self.owners, id, &member);
        self.instances.extend(member.instance_id.clone().map(|it| (it, id.to_owned())));
        self.consumer.members.insert(id.to_owned(), member);
        changed.removed.remove(id);
        changed.members.insert(id.to_owned());
    }

    fn take_out(&mut self, id: &str, changed: &mut Changed) {
        self.disown(id);
        self.sessions.remove(id);
        self.forget_instance(id);
        if self.consumer.members.remove(id).is_none() {
            return;
        }
        changed.members.remove(id);
        changed.removed.insert(id.to_owned());
    }

    /// It may go by another name from now on, or by none.
    fn forget_instance(&mut self, id: &str) {
        let member = self.consumer.members.get(id);
        let instance = member.and_then(|member| member.instance_id.as_ref());
        if let Some(instance) =
            instance.filter(|it| self.instances.get(*it).is_some_and(|of| of == id))
        {
            self.instances.remove(instance);
        }
    }

    fn disown(&mut self, id: &str) {
        let Some(member) = self.consumer.members.get(id) else { return };
        for (topic, partitions) in member.parts.iter().chain(&member.revoking) {
            for partition in partitions {
                if let Some(owner) = self.owners.get(&(*topic, *partition))
                    && owner == id
                {
                    self.owners.remove(&(*topic, *partition));
                }
            }
        }
    }
}

impl Session {
    fn begun(member: &ConsumerMember, limits: Limits, now: Instant) -> Self {
        let timeout = match &member.classic {
            Some(classic) => millis(classic.session_timeout_ms),
            None => limits.consumer_session,
        };
        let is_revoking = !member.revoking.is_empty();
        let act_until = is_revoking.then(|| now + millis(member.rebalance_timeout_ms));
        Self { expires: now + timeout, act_until }
    }
}

fn own(owners: &mut BTreeMap<(Uuid, i32), String>, id: &str, member: &ConsumerMember) {
    for (topic, partitions) in member.parts.iter().chain(&member.revoking) {
        owners.extend(partitions.iter().map(|it| ((*topic, *it), id.to_owned())));
    }
}

/// Whether a member is in the epoch that it says to be in.
///
/// # Errors
/// [`GroupError::UnknownMember`], [`GroupError::StaleMemberEpoch`]; for a classic member [`GroupError::IllegalGeneration`].
pub(super) fn check_epoch(consumer: &Consumer, id: &str, epoch: i32) -> Result<(), GroupError> {
    let member = consumer.members.get(id).ok_or(GroupError::UnknownMember)?;
    if member.epoch == epoch {
        Ok(())
    } else if member.classic.is_some() {
        Err(GroupError::IllegalGeneration)
    } else {
        Err(GroupError::StaleMemberEpoch)
    }
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs().into())
}

#[cfg(test)]
pub(super) mod tests;
