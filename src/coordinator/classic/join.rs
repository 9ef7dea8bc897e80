//! Joining: who comes, with what id, and whether the group rebalances for it (KIP-62, KIP-345, KIP-394).

use std::time::Instant;

use super::{Group, Member, Output, Phase, Token, millis};
use crate::coordinator::call::{Answer, GroupError, Join, Joined, JoinedMember};
use crate::coordinator::command::Command;
use crate::coordinator::record::{self, Blob};

impl Group {
    pub(in crate::coordinator) fn join(
        &mut self,
        join: Join,
        token: Token,
        now: Instant,
        output: &mut Output,
    ) {
        if let Err(error) = self.try_join(join, token, now, output) {
            output.answer(Some(token), Answer::Join(Err(error)));
        }
    }

    fn try_join(
        &mut self,
        mut join: Join,
        token: Token,
        now: Instant,
        output: &mut Output,
    ) -> Result<(), GroupError> {
        if !self.supports(&join) {
            return Err(GroupError::InconsistentProtocol);
        }
        if join.member_id.is_empty() {
            let fresh_id = std::mem::take(&mut join.fresh_id);
            let former = join.instance_id.as_ref().and_then(|it| self.instances.get(it)).cloned();
            if let Some(former) = former {
                self.replace(&former, fresh_id, join, token, now, output);
                return Ok(());
            }
            self.check_room()?;
            if join.needs_known_id && join.instance_id.is_none() {
                let until = now + millis(join.session_timeout_ms);
                self.promised.insert(fresh_id.clone(), until);
                return Err(GroupError::MemberIdRequired(fresh_id));
            }
            self.add(fresh_id, join, token, now, output);
            return Ok(());
        }
        self.check_instance(&join.member_id, join.instance_id.as_deref())?;
        let id = std::mem::take(&mut join.member_id);
        if self.promised.remove(&id).is_some() {
            self.add(id, join, token, now, output);
        } else if self.members.contains_key(&id) {
            self.join_again(&id, join, token, now, output);
        } else {
            return Err(GroupError::UnknownMember);
        }
        Ok(())
    }

    /// Members and promised ids together, so that a promise is kept.
    fn check_room(&self) -> Result<(), GroupError> {
        let taken = self.members.len() + self.promised.len();
        if taken < self.limits.members_max { Ok(()) } else { Err(GroupError::Full) }
    }

    /// Whether there is an assignor that everybody knows, the newcomer too.
    fn supports(&self, join: &Join) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        // Who joins again does not have to agree with its former self.
        let former = join.instance_id.as_ref().and_then(|it| self.instances.get(it));
        let mut others = self
            .members
            .iter()
            .filter(|(id, _)| **id != join.member_id && Some(*id) != former)
            .map(|(_, member)| member)
            .peekable();
        if others.peek().is_none() {
            return true;
        }
        let others: Vec<&Member> = others.collect();
        let knows = |name: &str, member: &Member| {
            member.record.protocols.iter().any(|(known, _)| known == name)
        };
        join.protocol_type == self.protocol_type
            && join.protocols.iter().any(|(name, _)| others.iter().all(|it| knows(name, it)))
    }

    fn add(&mut self, id: String, join: Join, token: Token, now: Instant, output: &mut Output) {
        if self.members.is_empty() {
            self.protocol_type.clone_from(&join.protocol_type);
        }
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        let record = record_of(join);
        let expires = now + super::session(&record);
        let member =
            Member { record, joining: Some(token), syncing: None, has_synced: false, expires };
        self.members.insert(id, member);
        if let Phase::Preparing { is_growing, .. } = &mut self.phase {
            *is_growing = true;
            self.complete_if_all_joined(now, output);
        } else {
            self.prepare(now, output);
        }
    }

    /// A member joins again; `id` is there.
    fn join_again(
        &mut self,
        id: &str,
        join: Join,
        token: Token,
        now: Instant,
        output: &mut Output,
    ) {
        let is_leader = self.leader.as_deref() == Some(id);
        let is_current = match self.phase {
            Phase::Completing => true,
            Phase::Stable => !is_leader,
            Phase::Preparing { .. } | Phase::Empty => false,
        };
        let same = self.members.get(id).is_some_and(|it| is_same(&it.record, &join));
        if is_current && same {
            // The answer was lost, or it did not mean to rebalance.
            self.members.entry(id.to_owned()).and_modify(|member| member.heard(now));
            let joined = self.joined(id);
            output.answer(Some(token), Answer::Join(Ok(joined)));
            return;
        }
        self.update(id, join, token, now, output);
        if matches!(self.phase, Phase::Preparing { .. }) {
            self.complete_if_all_joined(now, output);
        } else {
            self.prepare(now, output);
        }
    }

    /// What a member says of itself now; it waits for the generation to begin.
    fn update(&mut self, id: &str, join: Join, token: Token, now: Instant, output: &mut Output) {
        if self.members.len() == 1 {
            self.protocol_type.clone_from(&join.protocol_type);
        }
        let Some(member) = self.members.get_mut(id) else { return };
        let assignment = std::mem::take(&mut member.record.assignment);
        // Static is what it was born: who does not say so again is the same all the same.
        let instance_id = member.record.instance_id.take();
        member.record = record::Member { assignment, instance_id, ..record_of(join) };
        let older = member.joining.replace(token);
        let syncing = member.syncing.take();
        member.heard(now);
        // Of the same member, so from a connection that is gone.
        output.answer(older, Answer::Join(Err(GroupError::Rebalancing)));
        output.answer(syncing, Answer::Sync(Err(GroupError::Rebalancing)));
    }

    /// A static member was started again: it takes its former self's place, and the group does not rebalance unless
    /// another assignor is to be chosen (KIP-345, KIP-814).
    fn replace(
        &mut self,
        former: &str,
        id: String,
        join: Join,
        token: Token,
        now: Instant,
        output: &mut Output,
    ) {
        let Some(mut member) = self.members.remove(former) else { return };
        let fenced = Err(GroupError::FencedInstance);
        output.answer(member.joining.take(), Answer::Join(fenced));
        output.answer(member.syncing.take(), Answer::Sync(Err(GroupError::FencedInstance)));
        let led = self.leader.as_deref() == Some(former);
        if led {
            self.leader = Some(id.clone());
        }
        self.instances.extend(join.instance_id.clone().map(|instance| (instance, id.clone())));
        let can_skip = join.can_skip_assignment;
        let assignment = std::mem::take(&mut member.record.assignment);
        member.record = record::Member { assignment, ..record_of(join) };
        member.heard(now);
        let record = member.record.clone();
        self.members.insert(id.clone(), member);
        // What it says to the assignor does not count: it owns nothing now, and would always say something else.
        if self.phase == Phase::Stable && self.select_protocol() == self.protocol {
            output.commands.push(Command::Replace {
                group: self.name.clone(),
                incarnation: self.incarnation,
                generation: self.generation,
                former: former.to_owned(),
                member_id: id.clone(),
                member: record,
            });
            let mut joined = self.joined(&id);
            if led && can_skip {
                joined.skip_assignment = true;
            } else if led {
                // It must not take itself for the leader, who would assign again.
                joined.leader = former.to_owned();
                joined.members.clear();
            }
            output.answer(Some(token), Answer::Join(Ok(joined)));
            return;
        }
        self.members.entry(id).and_modify(|member| member.joining = Some(token));
        if matches!(self.phase, Phase::Preparing { .. }) {
            self.complete_if_all_joined(now, output);
        } else {
            self.prepare(now, output);
        }
    }

    /// What a member of the present generation is told.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let leader = self.leader.clone().unwrap_or_default();
        let member = |(id, member): (&String, &Member)| JoinedMember {
            member_id: id.clone(),
            instance_id: member.record.instance_id.clone(),
            metadata: member.record.metadata(&protocol),
        };
        let members =
            if leader == id { self.members.iter().map(member).collect() } else { Vec::new() };
        Joined {
            member_id: id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            leader,
            skip_assignment: false,
            members,
            protocol,
        }
    }
}

fn is_same(record: &record::Member, join: &Join) -> bool {
    let known = record.protocols.iter().map(|(name, metadata)| (name, &metadata.0));
    known.eq(join.protocols.iter().map(|(name, metadata)| (name, metadata)))
}

fn record_of(join: Join) -> record::Member {
    // A copy: what it came in may be far larger.
    let copied = |bytes: bytes::Bytes| Blob(bytes::Bytes::copy_from_slice(&bytes));
    let protocols = join.protocols.into_iter().map(|(name, it)| (name, copied(it)));
    record::Member {
        instance_id: join.instance_id,
        client_id: join.client_id,
        client_host: join.client_host,
        session_timeout_ms: join.session_timeout_ms,
        rebalance_timeout_ms: join.rebalance_timeout_ms,
        protocols: protocols.collect(),
        assignment: Blob::default(),
    }
}
