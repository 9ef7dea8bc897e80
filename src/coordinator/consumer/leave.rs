//! Leaving a group of the consumer protocol, for good or, as a static member, for a while.

use super::{Changed, Group};
use crate::coordinator::call::{GroupError, MemberHeartbeat};
use crate::coordinator::classic::Output;
use crate::coordinator::record::{LEFT, Parts};

impl Group {
    /// Hears a member that leaves: with the epoch [`LEFT`] a static one that is to come back, and keeps its part until its
    /// session is over.
    pub(in crate::coordinator) fn leave(
        &mut self,
        heartbeat: &MemberHeartbeat,
        output: &mut Output,
    ) -> Result<(), GroupError> {
        let id = match &heartbeat.instance_id {
            None => &heartbeat.member_id,
            Some(instance) => match self.instances.get(instance) {
                None => return Err(GroupError::UnknownMember),
                Some(id) if *id != heartbeat.member_id => return Err(GroupError::FencedInstance),
                Some(_) => &heartbeat.member_id,
            },
        };
        let member = self.consumer.members.get(id).ok_or(GroupError::UnknownMember)?;
        let mut changed = Changed::default();
        if heartbeat.epoch == LEFT && member.instance_id.is_some() {
            let mut left = member.clone();
            (left.epoch, left.revoking) = (LEFT, Parts::new());
            self.put(&id.clone(), left, &mut changed);
            self.sessions.entry(heartbeat.member_id.clone()).and_modify(|it| it.act_until = None);
        } else {
            self.take_out(&id.clone(), &mut changed);
            self.refresh_without_topics(&mut changed);
        }
        self.write(changed, output);
        Ok(())
    }

    /// Lets members go that an operator names, or that leave in the words of the classic protocol (KIP-345); one answer for
    /// each.
    pub(in crate::coordinator) fn leave_as_classic(
        &mut self,
        who: Vec<(String, Option<String>)>,
        output: &mut Output,
    ) -> Vec<Result<(), GroupError>> {
        let mut changed = Changed::default();
        let mut answers = Vec::with_capacity(who.len());
        for (member_id, instance) in who {
            let found = self.leaving(&member_id, instance.as_deref());
            answers.push(found.map(|id| self.take_out(&id, &mut changed)));
        }
        if !changed.removed.is_empty() {
            self.refresh_without_topics(&mut changed);
        }
        self.write(changed, output);
        answers
    }

    fn leaving(&self, member_id: &str, instance: Option<&str>) -> Result<String, GroupError> {
        let id = match instance {
            Some(instance) => {
                let id = self.instances.get(instance).ok_or(GroupError::UnknownMember)?;
                if !member_id.is_empty() && id != member_id {
                    return Err(GroupError::FencedInstance);
                }
                id.clone()
            }
            None => member_id.to_owned(),
        };
        let is_here = self.consumer.members.contains_key(&id);
        if is_here { Ok(id) } else { Err(GroupError::UnknownMember) }
    }
}
