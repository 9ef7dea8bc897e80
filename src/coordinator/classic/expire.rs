//! What happens because time passes.

use std::time::Instant;

use quorate_storage::mutant;

use super::{Group, Member, Output, Phase};

impl Group {
    /// When it has to be looked at next.
    pub(in crate::coordinator) fn deadline(&self) -> Option<Instant> {
        let silent = self.members.values().filter(|it| !it.is_waiting()).map(|it| it.expires);
        let joining = match self.phase {
            Phase::Preparing { until, .. } => Some(until),
            Phase::Empty | Phase::Completing | Phase::Stable => None,
        };
        let promised = self.promised.values().copied();
        silent.chain(promised).chain(joining).chain(self.sync_until).min()
    }

    /// Does what is due.
    pub(in crate::coordinator) fn pass(&mut self, now: Instant, output: &mut Output) {
        self.promised.retain(|_, until| *until > now);
        let sync_is_over = self.sync_until.is_some_and(|until| until <= now);
        if sync_is_over {
            self.sync_until = None;
        }
        if mutant::on("members-never-expire") {
            self.members.values_mut().for_each(|member| member.heard(now));
        }
        let is_gone = |member: &Member| {
            let silent = !member.is_waiting() && member.expires <= now;
            silent || (sync_is_over && !member.has_synced)
        };
        let gone = self.members.iter().filter(|(_, member)| is_gone(member));
        self.lose(gone.map(|(id, _)| id.clone()).collect(), now, output);
        if let Phase::Preparing { until, .. } = self.phase
            && until <= now
        {
            self.wait_ended(now, output);
        }
    }
}
