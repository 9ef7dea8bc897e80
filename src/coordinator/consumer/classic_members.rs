//! Members of a group of the consumer protocol that speak the classic one, while clients are being upgraded (KIP-848,
//! "Online upgrade").
//!
//! To such a member a new part is a rebalance: its heartbeat is answered with that, it joins again with what it has, and
//! asks for its part. Nobody of them assigns anything, so none of them is told to be the leader.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;

use super::heartbeat::Step;
use super::{Group, Session, Topics, millis};
use crate::coordinator::call::{GroupError, Identity, Join, Joined, Sync, Synced};
use crate::coordinator::classic::Output;
use crate::coordinator::record::{self, Blob, ClassicSession, ConsumerMember, Head, Parts};
use crate::coordinator::subscription::{self, Subscription};

impl Group {
    /// A member of the classic protocol joins, or joins again.
    pub(in crate::coordinator) fn join(
        &mut self,
        mut join: Join,
        topics: &dyn Topics,
        now: Instant,
        output: &mut Output,
    ) -> Result<Joined, GroupError> {
        let Some(protocol) = self.supported(&join) else {
            return Err(GroupError::InconsistentProtocol);
        };
        let subscription =
            Subscription::read(&join.protocols[0].1).ok_or(GroupError::InconsistentProtocol)?;
        let is_new = join.member_id.is_empty();
        let instance = join.instance_id.as_ref().and_then(|it| self.instances.get(it)).cloned();
        let former = match instance {
            // Of two with one name the later is the one.
            Some(id) if is_new || id == join.member_id => Some(id),
            Some(_) => return Err(GroupError::FencedInstance),
            None if join.instance_id.is_some() && !is_new => return Err(GroupError::UnknownMember),
            None => {
                self.consumer.members.contains_key(&join.member_id).then(|| join.member_id.clone())
            }
        };
        if former.is_none() && self.consumer.members.len() >= self.limits.members_max {
            return Err(GroupError::Full);
        }
        if is_new && join.needs_known_id && join.instance_id.is_none() {
            return Err(GroupError::MemberIdRequired(join.fresh_id));
        }
        let id = if is_new {
            std::mem::take(&mut join.fresh_id)
        } else {
            std::mem::take(&mut join.member_id)
        };
        let owned = owned(&subscription, &self.consumer.head, topics);
        let mut member = self.member(former.as_deref());
        if former.as_ref().is_some_and(|former| *former != id) {
            (member.epoch, member.previous_epoch) = (0, 0);
        }
        let rebalance = millis(join.rebalance_timeout_ms);
        update(&mut member, join, subscription);
        let step = Step { id: &id, former, owned: Some(&owned), matched: None };
        let (member, _) = self.take_step(&step, member, topics, now, output);
        // Whoever does not ask for its part by then is gone.
        self.sessions.entry(id.clone()).and_modify(|it| it.act_until = Some(now + rebalance));
        Ok(Joined {
            member_id: id,
            generation: member.epoch,
            protocol_type: subscription::CONSUMER.to_owned(),
            protocol,
            leader: String::new(),
            skip_assignment: false,
            members: Vec::new(),
        })
    }

    /// A member of the classic protocol asks for its part.
    pub(in crate::coordinator) fn sync(
        &mut self,
        sync: &Sync,
        now: Instant,
    ) -> Result<Synced, GroupError> {
        let member = self.classic_member(&sync.who)?;
        let classic = member.classic.as_ref().ok_or(GroupError::UnknownMember)?;
        let first = classic.protocols.first().map_or("", |(name, _)| name);
        let differs = |said: &Option<String>, is: &str| said.as_ref().is_some_and(|it| it != is);
        if differs(&sync.protocol_type, subscription::CONSUMER) || differs(&sync.protocol, first) {
            return Err(GroupError::InconsistentProtocol);
        }
        if member.epoch < self.epoch() && member.revoking.is_empty() {
            return Err(GroupError::Rebalancing);
        }
        let synced = Synced {
            protocol_type: subscription::CONSUMER.to_owned(),
            protocol: first.to_owned(),
            part: self.part(&member.parts, classic),
        };
        let session = Session::begun(member, self.limits, now);
        self.sessions.insert(sync.who.member_id.clone(), session);
        Ok(synced)
    }

    /// A member of the classic protocol says that it is alive, and hears whether it has to join again.
    pub(in crate::coordinator) fn classic_heartbeat(
        &mut self,
        who: &Identity,
        now: Instant,
    ) -> Result<(), GroupError> {
        let member = self.classic_member(who)?;
        // It joins again once all that it waits for is free, not for each partition.
        let may_go_on = member.is_waiting && self.is_free(&who.member_id, &member.target);
        let must = member.epoch < self.epoch() || !member.revoking.is_empty() || may_go_on;
        let fresh = Session::begun(member, self.limits, now);
        let rejoin = millis(member.rebalance_timeout_ms);
        let session = self.sessions.entry(who.member_id.clone()).or_insert(fresh);
        session.expires = fresh.expires;
        if must {
            session.act_until.get_or_insert(now + rejoin);
            return Err(GroupError::Rebalancing);
        }
        Ok(())
    }

    /// Finds a member of the classic protocol by what it says of itself.
    fn classic_member(&self, who: &Identity) -> Result<&ConsumerMember, GroupError> {
        if let Some(instance) = &who.instance_id {
            let id = self.instances.get(instance).ok_or(GroupError::UnknownMember)?;
            if *id != who.member_id {
                return Err(GroupError::FencedInstance);
            }
        }
        let member = self.consumer.members.get(&who.member_id);
        let member = member.filter(|it| it.classic.is_some()).ok_or(GroupError::UnknownMember)?;
        if member.epoch == who.generation { Ok(member) } else { Err(GroupError::IllegalGeneration) }
    }

    /// Nobody is left who speaks the consumer protocol.
    pub(in crate::coordinator) fn is_classic_alone(&self) -> bool {
        self.consumer.members.values().all(|member| member.classic.is_some())
    }

    /// What the group is for in the words of the classic protocol.
    pub(in crate::coordinator) fn classic_type(&self) -> &'static str {
        if self.has_members() { subscription::CONSUMER } else { "" }
    }

    /// Its members as those of a group of the classic protocol.
    pub(in crate::coordinator) fn classic_members(
        &self,
    ) -> impl Iterator<Item = (String, record::Member)> {
        self.consumer.members.iter().filter_map(|(id, member)| {
            let classic = member.classic.as_ref()?;
            let record = record::Member {
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                session_timeout_ms: classic.session_timeout_ms,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                protocols: classic.protocols.clone(),
                assignment: Blob(self.part(&member.parts, classic)),
            };
            Some((id.clone(), record))
        })
    }

    fn is_free(&self, id: &str, parts: &Parts) -> bool {
        let all = parts.iter().flat_map(|(topic, it)| it.iter().map(|it| (*topic, *it)));
        all.into_iter().all(|it| self.owners.get(&it).is_none_or(|owner| owner == id))
    }

    /// The assignor that is told to whoever joins, if there is one that it and all others of the protocol know.
    fn supported(&self, join: &Join) -> Option<String> {
        let (first, _) = join.protocols.first()?;
        let others = self.consumer.members.iter().filter(|(id, _)| **id != join.member_id);
        let mut others = others.filter_map(|(_, member)| member.classic.as_ref());
        let known: BTreeSet<&String> = join.protocols.iter().map(|(name, _)| name).collect();
        let common = others.try_fold(known, |known, other| {
            let names: BTreeSet<&String> = other.protocols.iter().map(|(name, _)| name).collect();
            let common: BTreeSet<&String> = known.intersection(&names).copied().collect();
            (!common.is_empty()).then_some(common)
        });
        let is_consumer = join.protocol_type == subscription::CONSUMER;
        (is_consumer && common.is_some()).then(|| first.clone())
    }

    /// A part in the words of the classic protocol.
    pub(super) fn part(&self, parts: &Parts, classic: &ClassicSession) -> Bytes {
        let topics = &self.consumer.head.topics;
        let named = topics.iter().filter_map(|(name, topic)| {
            let partitions = parts.get(&topic.id)?;
            Some((name.as_str(), partitions.iter().copied().collect()))
        });
        let version = classic.protocols.first().and_then(|(_, it)| subscription::version(&it.0));
        subscription::assignment(version.unwrap_or(0), &named.collect::<Vec<_>>())
    }
}

/// What a member says to have; topics that are no more are left out. What the group has assigned already is looked up there
/// too: the image may lag behind the one it was assigned by.
fn owned(subscription: &Subscription, head: &Head, topics: &dyn Topics) -> Parts {
    let mut parts = Parts::new();
    for (name, partitions) in subscription.owned.iter().filter(|(_, it)| !it.is_empty()) {
        let Some(topic) = topics.find(name).or_else(|| head.topics.get(name).copied()) else {
            continue;
        };
        parts.entry(topic.id).or_default().extend(partitions.iter().copied());
    }
    parts
}

/// Takes over what a member says of itself.
fn update(member: &mut ConsumerMember, join: Join, subscription: Subscription) {
    if join.instance_id.is_some() {
        member.instance_id = join.instance_id;
    }
    member.rack = subscription.rack;
    member.topics = subscription.topics.into_iter().collect();
    member.regex.clear();
    member.assignor = None;
    member.rebalance_timeout_ms = join.rebalance_timeout_ms;
    (member.client_id, member.client_host) = (join.client_id, join.client_host);
    // A copy: what it came in may be far larger.
    let copied = |bytes: Bytes| Blob(Bytes::copy_from_slice(&bytes));
    let protocols = join.protocols.into_iter().map(|(name, it)| (name, copied(it))).collect();
    let session_timeout_ms = join.session_timeout_ms;
    member.classic = Some(ClassicSession { session_timeout_ms, protocols });
}
