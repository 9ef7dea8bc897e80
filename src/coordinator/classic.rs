//! A consumer group of the classic protocol, as its coordinator's leader sees it; pure.
//!
//! ```text
//!            first join                 all have joined, or time is up       the leader told the parts
//!   Empty ──────────────▶ Preparing ──────────────────────▶ Completing ─────────────────▶ Stable
//!     ▲                     ▲   │                               │                            │
//!     └─ nobody is left ────┼───┘                               │                            │
//!                           └── somebody joins, leaves, is silent, or wants something else ──┘
//! ```
//!
//! It runs ahead of what is committed: decisions change it at once and go into the log in this order, and no answer leaves
//! before they are applied. If one of them does not get there the leadership is lost, and all of this with it.
//!
//! Soft, so known to the leader alone, are who waits for an answer, who was heard when, and ids that were given to members
//! that have not joined yet. A new leader takes all members for alive and grants them a whole session.

mod expire;
mod join;
mod leave;
mod rebalance;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::call::{Answer, Description, GroupError, GroupState, Identity, Join, MemberDescription};
use super::command::Command;
use super::record::{self, Blob, Classic};
use super::subscription;

/// Names a call whose answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Token(pub(super) u64);

/// What a step comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    /// In this order.
    pub(super) commands: Vec<Command>,
    /// To be given once these commands and all before them are applied.
    pub(super) answers: Vec<(Token, Answer)>,
}

/// What an operator sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// How long an empty group waits for more members after the first.
    pub(super) initial_delay: Duration,
    pub(super) members_max: usize,
    /// How long a member of the consumer protocol may be silent.
    pub(super) consumer_session: Duration,
}

/// See the file's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    name: String,
    incarnation: u64,
    limits: Limits,
    generation: i32,
    protocol_type: String,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Static members by instance id.
    instances: BTreeMap<String, String>,
    /// Ids that were given out, until when they can be joined with.
    promised: BTreeMap<String, Instant>,
    phase: Phase,
    /// Whoever has not asked for its part of this generation by then is gone.
    sync_until: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    record: record::Member,
    /// It waits for the generation to begin.
    joining: Option<Token>,
    /// It waits for its part.
    syncing: Option<Token>,
    /// It has asked for its part since the generation began.
    has_synced: bool,
    /// It counts as gone then, unless it waits for us.
    expires: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Empty,
    Preparing {
        /// Whoever has not joined by then is gone.
        until: Instant,
        /// Of a group that was empty: how much longer it may wait for more members.
        more: Option<Duration>,
        /// Somebody came since the wait was last made longer.
        is_growing: bool,
    },
    Completing,
    Stable,
}

impl Output {
    pub(super) fn answer(&mut self, token: Option<Token>, answer: Answer) {
        self.answers.extend(token.map(|token| (token, answer)));
    }
}

impl Group {
    /// A group that does not exist yet.
    pub(super) fn new(name: String, limits: Limits) -> Self {
        Self {
            name,
            incarnation: 0,
            limits,
            generation: 0,
            protocol_type: String::new(),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            promised: BTreeMap::new(),
            phase: Phase::Empty,
            sync_until: None,
        }
    }

    /// The group as the log has it, taken over at `now`.
    pub(super) fn taken_over(
        name: &str,
        incarnation: u64,
        classic: &Classic,
        limits: Limits,
        now: Instant,
        output: &mut Output,
    ) -> Self {
        let member = |record: &record::Member| Member {
            expires: now + session(record),
            record: record.clone(),
            joining: None,
            syncing: None,
            has_synced: false,
        };
        let members: BTreeMap<String, Member> =
            classic.members.iter().map(|(id, it)| (id.clone(), member(it))).collect();
        let instance = |(id, it): (&String, &Member)| {
            it.record.instance_id.clone().map(|instance| (instance, id.clone()))
        };
        let mut group = Self {
            generation: classic.generation,
            protocol_type: classic.protocol_type.clone(),
            protocol: classic.protocol.clone(),
            leader: classic.leader.clone(),
            instances: members.iter().filter_map(instance).collect(),
            members,
            incarnation,
            ..Self::new(name.to_owned(), limits)
        };
        if classic.must_rebalance {
            group.phase = Phase::Stable;
            group.prepare(now, output);
        } else if !group.members.is_empty() {
            group.phase = if classic.is_assigned { Phase::Stable } else { Phase::Completing };
            // Who had asked is not known any more.
            group.sync_until = (!classic.is_assigned).then(|| now + group.rebalance_timeout());
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

    /// What whoever joins takes already, if it is a member.
    pub(super) fn bytes_of(&self, join: &Join) -> Option<usize> {
        let instance = join.instance_id.as_ref().and_then(|it| self.instances.get(it));
        let member = self.members.get(instance.unwrap_or(&join.member_id))?;
        Some(member.record.bytes())
    }

    /// Whether nothing would be missed if it were forgotten here: the log has all there is to know of it.
    pub(super) fn is_at_rest(&self) -> bool {
        self.phase == Phase::Empty && self.promised.is_empty()
    }

    pub(super) fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::Preparing { .. } => GroupState::PreparingRebalance,
            Phase::Completing => GroupState::CompletingRebalance,
            Phase::Stable => GroupState::Stable,
        }
    }

    pub(super) fn generation(&self) -> i32 {
        self.generation
    }

    pub(super) fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    pub(super) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// What its members take in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let members = self.members.iter().map(|(id, it)| id.len() + it.record.bytes());
        let promised = self.promised.keys().map(|id| id.len() + 64);
        512 + 2 * self.name.len() + members.sum::<usize>() + promised.sum::<usize>()
    }

    /// The topics that its members read; `None` is all, for nobody knows.
    pub(super) fn reads(&self) -> Option<BTreeSet<String>> {
        if self.has_members() && self.protocol_type != subscription::CONSUMER {
            return None;
        }
        let mut topics = BTreeSet::new();
        for metadata in self.metadata() {
            topics.extend(subscription::topics(&metadata)?.into_iter().map(str::to_owned));
        }
        Some(topics)
    }

    /// What the members say to the chosen assignor.
    fn metadata(&self) -> impl Iterator<Item = bytes::Bytes> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        self.members.values().map(move |member| {
            let known = member.record.protocols.first();
            // Before one is chosen they say the same to each, as far as topics go.
            let protocol = known.filter(|_| protocol.is_empty()).map_or(protocol, |it| &it.0);
            member.record.metadata(protocol)
        })
    }

    pub(super) fn describe(&self) -> Description {
        let protocol = self.protocol.clone().unwrap_or_default();
        let is_stable = self.phase == Phase::Stable;
        let member = |(id, member): (&String, &Member)| MemberDescription {
            member_id: id.clone(),
            instance_id: member.record.instance_id.clone(),
            client_id: member.record.client_id.clone(),
            client_host: member.record.client_host.clone(),
            metadata: if is_stable {
                member.record.metadata(&protocol)
            } else {
                bytes::Bytes::new()
            },
            part: if is_stable { member.record.assignment.0.clone() } else { bytes::Bytes::new() },
        };
        Description {
            state: self.state(),
            protocol_type: self.protocol_type.clone(),
            protocol: if is_stable { protocol.clone() } else { String::new() },
            members: self.members.iter().map(member).collect(),
        }
    }

    /// Finds a member by what it says of itself.
    fn known(&mut self, who: &Identity) -> Result<&mut Member, GroupError> {
        self.check_instance(&who.member_id, who.instance_id.as_deref())?;
        let member = self.members.get_mut(&who.member_id).ok_or(GroupError::UnknownMember)?;
        if who.generation == self.generation {
            Ok(member)
        } else {
            Err(GroupError::IllegalGeneration)
        }
    }

    /// Refuses who is not, or no longer, the member with that instance id.
    fn check_instance(&self, member_id: &str, instance: Option<&str>) -> Result<(), GroupError> {
        let Some(instance) = instance else { return Ok(()) };
        match self.instances.get(instance) {
            None => Err(GroupError::UnknownMember),
            Some(id) if id != member_id => Err(GroupError::FencedInstance),
            Some(_) => Ok(()),
        }
    }

    /// The longest that a member may take to join again.
    fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|it| it.record.rebalance_timeout_ms);
        millis(timeouts.max().unwrap_or(0))
    }

    /// Whoever waits is told to join again.
    pub(super) fn dismiss(&mut self, output: &mut Output) {
        for member in self.members.values_mut() {
            let again = || GroupError::Rebalancing;
            output.answer(member.joining.take(), Answer::Join(Err(again())));
            output.answer(member.syncing.take(), Answer::Sync(Err(again())));
        }
    }

    /// The members as a command writes them.
    pub(super) fn membership(&self) -> Classic {
        let members = self.members.iter().map(|(id, it)| (id.clone(), it.record.clone()));
        Classic {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: members.collect(),
            is_assigned: false,
            must_rebalance: false,
        }
    }
}

impl Member {
    fn heard(&mut self, now: Instant) {
        self.expires = now + session(&self.record);
    }

    /// Who waits for an answer of ours is not silent.
    fn is_waiting(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    fn set_part(&mut self, part: bytes::Bytes) {
        self.record.assignment = Blob(part);
    }
}

fn session(member: &record::Member) -> Duration {
    millis(member.session_timeout_ms)
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs().into())
}

#[cfg(test)]
mod tests;
