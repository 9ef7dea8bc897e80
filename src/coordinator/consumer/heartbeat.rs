//! A member's heartbeat: it joins, says what it wants to read and what it has, and is told its part (KIP-848).

use std::collections::BTreeSet;
use std::time::Instant;

use quorate_storage::mutant;

use super::reconcile::{holds, reconcile};
use super::{Changed, Group, Session, Topics, millis};
use crate::coordinator::call::{GroupError, Heard, MemberHeartbeat};
use crate::coordinator::classic::Output;
use crate::coordinator::record::{ConsumerMember, LEFT, Parts};

/// What a member does: it goes on, joins, or takes the place of its former self.
pub(super) struct Step<'a> {
    pub(super) id: &'a str,
    pub(super) former: Option<String>,
    /// What it has, if it says so.
    pub(super) owned: Option<&'a Parts>,
    pub(super) matched: Option<&'a (String, BTreeSet<String>)>,
}

impl Group {
    /// Hears a member that wants to stay or to join.
    pub(in crate::coordinator) fn heartbeat(
        &mut self,
        heartbeat: &MemberHeartbeat,
        topics: &dyn Topics,
        now: Instant,
        output: &mut Output,
    ) -> Result<Heard, GroupError> {
        let former = self.former(heartbeat)?;
        let mut member = self.member(former.as_deref());
        if former.as_ref().is_some_and(|former| *former != heartbeat.member_id) {
            // A static member that was started again: it goes on from where it was.
            (member.epoch, member.previous_epoch) = (0, 0);
        }
        update(&mut member, heartbeat);
        let step = Step {
            id: &heartbeat.member_id,
            former,
            owned: heartbeat.owned.as_ref(),
            matched: heartbeat.matched.as_ref(),
        };
        let (member, is_new) = self.take_step(&step, member, topics, now, output);
        let is_told = heartbeat.epoch == 0 || heartbeat.is_full() || is_new;
        Ok(Heard { epoch: member.epoch, parts: is_told.then_some(member.parts) })
    }

    /// A member as it is so far, or a new one.
    pub(super) fn member(&self, former: Option<&str>) -> ConsumerMember {
        let known = former.and_then(|id| self.consumer.members.get(id));
        known.cloned().unwrap_or_default()
    }

    /// Puts a member in its place as it wants to be, looks whether the group then reads something else, and takes the member
    /// as far as it can come. Returns it, and whether it reads something else.
    pub(super) fn take_step(
        &mut self,
        step: &Step<'_>,
        member: ConsumerMember,
        topics: &dyn Topics,
        now: Instant,
        output: &mut Output,
    ) -> (ConsumerMember, bool) {
        let mut changed = Changed::default();
        let before = step.former.as_ref().and_then(|id| self.consumer.members.get(id)).cloned();
        if let Some(former) = step.former.as_ref().filter(|former| *former != step.id) {
            self.take_out(former, &mut changed);
        }
        let reads_else = before.as_ref().is_none_or(|before| {
            (&before.topics, &before.regex) != (&member.topics, &member.regex)
        });
        self.put(step.id, member, &mut changed);
        let matched = step.matched.is_some_and(|it| self.take_matched(it, &mut changed));
        self.refresh(topics, reads_else || matched, &mut changed);
        self.advance(step, now, &mut changed);
        let member = self.member(Some(step.id));
        let is_new = before.is_none_or(|before| before.parts != member.parts);
        self.write(changed, output);
        (member, is_new)
    }

    /// Takes over what the regular expressions match now; `false` if the group would take more than so many bytes.
    pub(in crate::coordinator) fn rematch(
        &mut self,
        matched: Vec<(String, BTreeSet<String>)>,
        topics: &dyn Topics,
        bytes_max: usize,
        output: &mut Output,
    ) -> bool {
        let names = matched.iter().flat_map(|(_, names)| names);
        if names.map(|name| 64 + name.len()).sum::<usize>() + self.bytes() > bytes_max {
            // It goes on with what it read before.
            return false;
        }
        let mut changed = Changed::default();
        let fresh = matched.iter().filter(|it| self.take_matched(it, &mut changed)).count() > 0;
        self.refresh(topics, fresh, &mut changed);
        self.write(changed, output);
        true
    }

    /// Whether an expression that somebody reads by matches something else than before.
    fn take_matched(
        &mut self,
        (regex, names): &(String, BTreeSet<String>),
        changed: &mut Changed,
    ) -> bool {
        let matched = &mut self.consumer.head.matched;
        let is_used = self.consumer.members.values().any(|member| member.regex == *regex);
        let is_new = is_used && matched.get(regex) != Some(names);
        if is_new {
            matched.insert(regex.clone(), names.clone());
            changed.head = true;
        }
        is_new
    }

    /// Who it is so far; nobody if it is new.
    pub(in crate::coordinator) fn former(
        &self,
        heartbeat: &MemberHeartbeat,
    ) -> Result<Option<String>, GroupError> {
        let (id, joins) = (&heartbeat.member_id, heartbeat.epoch == 0);
        let known = self.consumer.members.get(id);
        if joins && known.is_none() && self.consumer.members.len() >= self.limits.members_max {
            return Err(GroupError::Full);
        }
        let by_instance = heartbeat.instance_id.as_ref().map(|it| self.instances.get(it));
        match by_instance {
            Some(Some(other)) if other != id => {
                // One that spoke the classic protocol does not say that it leaves.
                let has_left = self
                    .consumer
                    .members
                    .get(other)
                    .is_some_and(|it| it.epoch == LEFT || it.classic.is_some());
                return match (joins, has_left) {
                    (true, true) => Ok(Some(other.clone())),
                    (true, false) => Err(GroupError::UnreleasedInstance),
                    (false, _) => Err(GroupError::FencedInstance),
                };
            }
            Some(None) if !joins => return Err(GroupError::UnknownMember),
            _ => {}
        }
        match known {
            Some(member) => {
                check(member, heartbeat)?;
                Ok(Some(id.clone()))
            }
            None if joins => Ok(None),
            None => Err(GroupError::UnknownMember),
        }
    }

    /// Takes the member as far as it can come, and begins its session anew.
    fn advance(&mut self, step: &Step<'_>, now: Instant, changed: &mut Changed) {
        let id = step.id;
        let Some(member) = self.consumer.members.get(id) else { return };
        let is_free = |topic, partition| {
            let owner = self.owners.get(&(topic, partition));
            mutant::on("given-before-free") || owner.is_none_or(|owner| owner == id)
        };
        let epoch = self.consumer.head.assignment_epoch;
        let next = reconcile(member, epoch, step.owned, is_free);
        let was_revoking = self.sessions.get(id).and_then(|session| session.act_until);
        // The time to give something back is not longer because one speaks meanwhile.
        let act_until = (!next.revoking.is_empty()).then(|| {
            was_revoking
                .filter(|_| next.revoking == member.revoking)
                .unwrap_or_else(|| now + millis(next.rebalance_timeout_ms))
        });
        let session = Session { act_until, ..Session::begun(&next, self.limits, now) };
        self.sessions.insert(id.to_owned(), session);
        self.put(id, next, changed);
    }
}

/// Whether the epoch it says is the member's. Epoch 0 is always right: it begins anew.
fn check(member: &ConsumerMember, heartbeat: &MemberHeartbeat) -> Result<(), GroupError> {
    let said = heartbeat.epoch;
    // The answer that told the new epoch may have been lost.
    let is_behind = said == member.previous_epoch
        && said < member.epoch
        && heartbeat.owned.as_ref().is_some_and(|owned| holds(&member.parts, owned));
    if said == 0 || said == member.epoch || is_behind {
        Ok(())
    } else {
        Err(GroupError::FencedMemberEpoch)
    }
}

/// Takes over what a member says of itself; what it does not say is as before.
fn update(member: &mut ConsumerMember, heartbeat: &MemberHeartbeat) {
    let said = |to: &mut Option<String>, it: &Option<String>| {
        if it.is_some() {
            to.clone_from(it);
        }
    };
    said(&mut member.instance_id, &heartbeat.instance_id);
    said(&mut member.rack, &heartbeat.rack);
    said(&mut member.assignor, &heartbeat.assignor);
    if let Some(topics) = &heartbeat.topics {
        member.topics.clone_from(topics);
    }
    if let Some(regex) = &heartbeat.regex {
        member.regex.clone_from(regex);
    }
    if heartbeat.rebalance_timeout_ms >= 0 {
        member.rebalance_timeout_ms = heartbeat.rebalance_timeout_ms;
    }
    member.client_id.clone_from(&heartbeat.client_id);
    member.client_host.clone_from(&heartbeat.client_host);
    member.classic = None;
}
