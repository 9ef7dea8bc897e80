//! A rebalance: waiting for the members to join, and the generation that follows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Group, Output, Phase};
use crate::coordinator::call::{Answer, GroupError};
use crate::coordinator::command::Command;

impl Group {
    /// Begins to wait for all members to join again.
    pub(super) fn prepare(&mut self, now: Instant, output: &mut Output) {
        for member in self.members.values_mut() {
            let syncing = member.syncing.take();
            output.answer(syncing, Answer::Sync(Err(GroupError::Rebalancing)));
        }
        self.sync_until = None;
        let longest = self.rebalance_timeout();
        let delay = self.limits.initial_delay.min(longest);
        let was_empty = self.phase == Phase::Empty;
        let (until, more) = if was_empty && !delay.is_zero() {
            (now + delay, Some(longest.saturating_sub(delay)))
        } else {
            (now + longest, None)
        };
        self.phase = Phase::Preparing { until, more, is_growing: false };
        self.complete_if_all_joined(now, output);
    }

    /// Begins the generation if nobody is waited for. A group that was empty waits out its time, for more may come.
    pub(super) fn complete_if_all_joined(&mut self, now: Instant, output: &mut Output) {
        let Phase::Preparing { more: None, .. } = self.phase else { return };
        let all = self.members.values().all(|member| member.joining.is_some());
        if all && self.promised.is_empty() {
            self.complete(now, output);
        }
    }

    /// The wait is over.
    pub(super) fn wait_ended(&mut self, now: Instant, output: &mut Output) {
        let Phase::Preparing { more, is_growing, .. } = self.phase else { return };
        if let Some(more) = more.filter(|more| is_growing && !more.is_zero()) {
            let delay = self.limits.initial_delay.min(more);
            let more = Some(more.saturating_sub(delay));
            self.phase = Phase::Preparing { until: now + delay, more, is_growing: false };
            return;
        }
        // A static member is given its whole session to come back.
        let gone: Vec<String> = self
            .members
            .iter()
            .filter(|(_, it)| it.joining.is_none() && it.record.instance_id.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        gone.iter().for_each(|id| self.take_out(id, output));
        self.complete(now, output);
    }

    fn complete(&mut self, now: Instant, output: &mut Output) {
        let joined =
            |(id, member): (&String, &super::Member)| member.joining.is_some().then(|| id.clone());
        let leads = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leads.is_none_or(|leader| leader.joining.is_none()) && !self.members.is_empty() {
            let Some(next) = self.members.iter().find_map(joined) else {
                // Static members alone, none of which is back.
                let until = now + self.rebalance_timeout().max(Duration::from_secs(1));
                self.phase = Phase::Preparing { until, more: None, is_growing: false };
                return;
            };
            self.leader = Some(next);
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            (self.protocol, self.leader, self.phase) = (None, None, Phase::Empty);
        } else {
            self.protocol = self.select_protocol();
            self.phase = Phase::Completing;
            self.sync_until = Some(now + self.rebalance_timeout());
        }
        for member in self.members.values_mut() {
            member.set_part(bytes::Bytes::new());
            member.has_synced = false;
            member.heard(now);
        }
        let (group, incarnation) = (self.name.clone(), self.incarnation);
        let membership = self.membership();
        output.commands.push(Command::Begin { group, incarnation, membership });
        let waiting: Vec<_> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| Some((id.clone(), member.joining.take()?)))
            .collect();
        for (id, token) in waiting {
            let joined = self.joined(&id);
            output.answer(Some(token), Answer::Join(Ok(joined)));
        }
    }

    /// The assignor that most members like best of those that all know; of equals the one that the leader names first.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let names = |member: &super::Member| -> Vec<String> {
            member.record.protocols.iter().map(|(name, _)| name.clone()).collect()
        };
        let all: Vec<Vec<String>> = self.members.values().map(names).collect();
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        let known = |name: &&String| all.iter().all(|names| names.contains(name));
        let first = leader.map(names).or_else(|| all.first().cloned())?;
        let candidates: Vec<&String> = first.iter().filter(known).collect();
        let mut votes: BTreeMap<&String, usize> = BTreeMap::new();
        for names in &all {
            if let Some(vote) = names.iter().find(|name| candidates.contains(name)) {
                *votes.entry(vote).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        candidates.into_iter().find(|name| votes.get(name) == Some(&most)).cloned()
    }
}
