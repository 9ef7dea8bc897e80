//! What happens in a group of the consumer protocol because time passes.

use std::time::Instant;

use quorate_storage::mutant;

use super::{Changed, Group, Session};
use crate::coordinator::classic::Output;

impl Group {
    /// When it has to be looked at next.
    pub(in crate::coordinator) fn deadline(&self) -> Option<Instant> {
        self.sessions.values().map(Session::ends).min()
    }

    /// Does what is due: who was silent, or has not given back what it had to, is gone.
    pub(in crate::coordinator) fn pass(&mut self, now: Instant, output: &mut Output) {
        if mutant::on("members-never-expire") {
            let limits = self.limits;
            self.sessions.values_mut().for_each(|it| {
                *it = Session { expires: now + limits.consumer_session, act_until: None };
            });
        }
        let is_gone = |(_, session): &(&String, &Session)| session.ends() <= now;
        let gone: Vec<String> =
            self.sessions.iter().filter(is_gone).map(|(id, _)| id.clone()).collect();
        if gone.is_empty() {
            return;
        }
        let mut changed = Changed::default();
        gone.iter().for_each(|id| self.take_out(id, &mut changed));
        self.refresh_without_topics(&mut changed);
        self.write(changed, output);
    }
}

impl Session {
    fn ends(&self) -> Instant {
        self.act_until.map_or(self.expires, |until| until.min(self.expires))
    }
}
