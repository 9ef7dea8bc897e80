//! Asking for one's part, and saying that one is alive.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;

use super::{Group, Output, Phase, Token};
use crate::coordinator::call::{Answer, GroupError, Identity, Sync, Synced};
use crate::coordinator::command::Command;
use crate::coordinator::record::Blob;

impl Group {
    pub(in crate::coordinator) fn sync(
        &mut self,
        sync: Sync,
        token: Token,
        now: Instant,
        output: &mut Output,
    ) {
        if let Err(error) = self.try_sync(sync, token, now, output) {
            output.answer(Some(token), Answer::Sync(Err(error)));
        }
    }

    fn try_sync(
        &mut self,
        sync: Sync,
        token: Token,
        now: Instant,
        output: &mut Output,
    ) -> Result<(), GroupError> {
        let Sync { who, protocol_type, protocol, parts } = sync;
        let phase = self.phase;
        let member = self.known(&who)?;
        member.heard(now);
        let differs = |said: Option<String>, is: &str| said.is_some_and(|said| said != is);
        if differs(protocol_type, &self.protocol_type)
            || differs(protocol, self.protocol.as_deref().unwrap_or_default())
        {
            return Err(GroupError::InconsistentProtocol);
        }
        if matches!(phase, Phase::Preparing { .. }) {
            return Err(GroupError::Rebalancing);
        }
        if let Some(member) = self.members.get_mut(&who.member_id) {
            member.has_synced = true;
            let older = member.syncing.replace(token);
            output.answer(older, Answer::Sync(Err(GroupError::Rebalancing)));
        }
        if phase != Phase::Stable {
            if self.leader.as_ref() != Some(&who.member_id) {
                return Ok(());
            }
            self.assign(parts, output);
        }
        self.hand_out(now, output);
        Ok(())
    }

    /// Takes the parts as the leader tells them; who is not named has none.
    fn assign(&mut self, parts: Vec<(String, Bytes)>, output: &mut Output) {
        let mut parts: BTreeMap<String, Bytes> = parts.into_iter().collect();
        for (id, member) in &mut self.members {
            // A copy: what it came in may be far larger.
            member.set_part(Bytes::copy_from_slice(&parts.remove(id).unwrap_or_default()));
        }
        self.phase = Phase::Stable;
        let part = |(id, it): (&String, &super::Member)| (id.clone(), it.record.assignment.clone());
        output.commands.push(Command::Assign {
            group: self.name.clone(),
            incarnation: self.incarnation,
            generation: self.generation,
            parts: self.members.iter().map(part).collect::<Vec<(String, Blob)>>(),
        });
    }

    /// Gives everybody who waits for it its part.
    fn hand_out(&mut self, now: Instant, output: &mut Output) {
        for member in self.members.values_mut() {
            let Some(token) = member.syncing.take() else { continue };
            member.heard(now);
            let synced = Synced {
                protocol_type: self.protocol_type.clone(),
                protocol: self.protocol.clone().unwrap_or_default(),
                part: member.record.assignment.0.clone(),
            };
            output.answer(Some(token), Answer::Sync(Ok(synced)));
        }
    }

    /// Takes a sign of life.
    pub(in crate::coordinator) fn heartbeat(
        &mut self,
        who: &Identity,
        now: Instant,
    ) -> Result<(), GroupError> {
        let phase = self.phase;
        self.known(who)?.heard(now);
        if matches!(phase, Phase::Preparing { .. }) { Err(GroupError::Rebalancing) } else { Ok(()) }
    }

    /// Checks who commits offsets. Who is no member may while the group has none.
    pub(in crate::coordinator) fn check_commit(
        &mut self,
        who: &Identity,
        now: Instant,
    ) -> Result<(), GroupError> {
        if who.generation < 0 && self.phase == Phase::Empty {
            return Ok(());
        }
        if who.generation < 0 && who.member_id.is_empty() && who.instance_id.is_none() {
            return Err(GroupError::UnknownMember);
        }
        let phase = self.phase;
        self.known(who)?.heard(now);
        // Its parts are being given away: what it did with its former ones it should have said before it joined.
        if matches!(phase, Phase::Completing) { Err(GroupError::Rebalancing) } else { Ok(()) }
    }

    /// Checks who commits offsets in a transaction (KIP-447): a member of this generation, also while the group rebalances,
    /// or somebody who does not say to be one, as producers before Kafka 2.5 do not. It is the producer that speaks, so it is
    /// no sign of life.
    pub(in crate::coordinator) fn check_commit_in_transaction(
        &self,
        who: &Identity,
    ) -> Result<(), GroupError> {
        if who.is_nobody() || (who.generation < 0 && self.phase == Phase::Empty) {
            return Ok(());
        }
        self.check_instance(&who.member_id, who.instance_id.as_deref())?;
        if !self.members.contains_key(&who.member_id) {
            return Err(GroupError::UnknownMember);
        }
        if who.generation == self.generation { Ok(()) } else { Err(GroupError::IllegalGeneration) }
    }
}
