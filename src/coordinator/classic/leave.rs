//! Leaving, by one's own will or because one was silent.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Group, Output, Phase};
use crate::coordinator::call::{Answer, GroupError};
use crate::coordinator::command::Command;

impl Group {
    /// Lets members go; one answer for each. An instance id alone says who it is (KIP-345).
    pub(in crate::coordinator) fn leave(
        &mut self,
        who: Vec<(String, Option<String>)>,
        now: Instant,
        output: &mut Output,
    ) -> Vec<Result<(), GroupError>> {
        let (mut answers, mut gone) = (Vec::with_capacity(who.len()), BTreeSet::new());
        for (member_id, instance) in who {
            let found = self.leaving(&member_id, instance.as_deref(), &gone);
            answers.push(found.map(|id| gone.extend(id)));
        }
        self.lose(gone.into_iter().collect(), now, output);
        answers
    }

    /// Who it is that leaves; nobody if it was only promised an id.
    fn leaving(
        &mut self,
        member_id: &str,
        instance: Option<&str>,
        gone: &BTreeSet<String>,
    ) -> Result<Option<String>, GroupError> {
        if self.promised.remove(member_id).is_some() {
            return Ok(None);
        }
        let id = match instance {
            Some(instance) if member_id.is_empty() => {
                self.instances.get(instance).ok_or(GroupError::UnknownMember)?.clone()
            }
            instance => {
                self.check_instance(member_id, instance)?;
                member_id.to_owned()
            }
        };
        let is_here = self.members.contains_key(&id) && !gone.contains(&id);
        if is_here { Ok(Some(id)) } else { Err(GroupError::UnknownMember) }
    }

    /// Goes on without these members.
    pub(super) fn lose(&mut self, gone: Vec<String>, now: Instant, output: &mut Output) {
        if !gone.is_empty() {
            gone.iter().for_each(|id| self.take_out(id, output));
            output.commands.push(Command::Remove {
                group: self.name.clone(),
                incarnation: self.incarnation,
                generation: self.generation,
                members: gone,
            });
            if matches!(self.phase, Phase::Stable | Phase::Completing) {
                self.prepare(now, output);
                return;
            }
        }
        // One whom the others waited for may be among them, or a promised id.
        self.complete_if_all_joined(now, output);
    }

    pub(super) fn take_out(&mut self, id: &str, output: &mut Output) {
        let Some(mut member) = self.members.remove(id) else { return };
        let unknown = || GroupError::UnknownMember;
        output.answer(member.joining.take(), Answer::Join(Err(unknown())));
        output.answer(member.syncing.take(), Answer::Sync(Err(unknown())));
        if let Some(instance) = &member.record.instance_id {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }
}
