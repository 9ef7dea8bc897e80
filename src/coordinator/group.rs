//! A consumer group, whichever protocol its members speak; pure.
//!
//! One without members takes the protocol of whoever comes, and one of the classic protocol that of the first who speaks the
//! other (`group/convert.rs`). Its epoch or generation goes on counting, so that nobody of before is taken for a member of
//! now.

mod convert;

use std::collections::BTreeSet;
use std::time::Instant;

use super::call::{
    Answer, Described, GroupError, GroupProtocol, GroupState, Heard, Identity, Join,
    MemberHeartbeat, Sync,
};
use super::classic::{self, Limits, Output, Token};
use super::consumer::{self, Topics};
use super::record::{GroupRecord, Membership};
use super::subscription;

/// See the file's header.
#[derive(Debug, Clone)]
pub(super) enum Group {
    Classic(classic::Group),
    Consumer(consumer::Group),
}

/// Both kinds of group do it alike.
macro_rules! either {
    ($self:ident, $group:ident => $what:expr) => {
        match $self {
            Self::Classic($group) => $what,
            Self::Consumer($group) => $what,
        }
    };
}

impl Group {
    /// A group that does not exist yet.
    pub(super) fn new(name: String, limits: Limits) -> Self {
        Self::Classic(classic::Group::new(name, limits))
    }

    /// The group as the log has it, taken over at `now`.
    pub(super) fn taken_over(
        name: &str,
        record: &GroupRecord,
        limits: Limits,
        now: Instant,
        output: &mut Output,
    ) -> Self {
        let incarnation = record.incarnation;
        match &record.membership {
            Membership::Classic(it) => Self::Classic(classic::Group::taken_over(
                name,
                incarnation,
                it,
                limits,
                now,
                output,
            )),
            Membership::Consumer(it) => {
                Self::Consumer(consumer::Group::taken_over(name, incarnation, it, limits, now))
            }
        }
    }

    pub(super) fn incarnation(&self) -> u64 {
        either!(self, group => group.incarnation())
    }

    /// Of a group that is not in the log yet.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        either!(self, group => group.set_limits(limits));
    }

    pub(super) fn set_incarnation(&mut self, incarnation: u64) {
        either!(self, group => group.set_incarnation(incarnation));
    }

    pub(super) fn state(&self) -> GroupState {
        either!(self, group => group.state())
    }

    pub(super) fn has_members(&self) -> bool {
        either!(self, group => group.has_members())
    }

    /// What its members take in memory, about.
    pub(super) fn bytes(&self) -> usize {
        either!(self, group => group.bytes())
    }

    /// When it has to be looked at next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        either!(self, group => group.deadline())
    }

    /// Does what is due.
    pub(super) fn pass(&mut self, now: Instant, output: &mut Output) {
        either!(self, group => group.pass(now, output));
        self.downgrade_if_due(now, output);
    }

    pub(super) fn protocol(&self) -> GroupProtocol {
        match self {
            Self::Classic(_) => GroupProtocol::Classic,
            Self::Consumer(_) => GroupProtocol::Consumer,
        }
    }

    pub(super) fn protocol_type(&self) -> &str {
        match self {
            Self::Classic(group) => group.protocol_type(),
            Self::Consumer(_) => subscription::CONSUMER,
        }
    }

    /// The generation, or of the consumer protocol the epoch.
    pub(super) fn generation(&self) -> i32 {
        match self {
            Self::Classic(group) => group.generation(),
            Self::Consumer(group) => group.epoch(),
        }
    }

    /// Whether nothing would be missed if it were forgotten here: the log has all there is to know of it.
    pub(super) fn is_at_rest(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_at_rest(),
            Self::Consumer(group) => !group.has_members(),
        }
    }

    pub(super) fn describe(&self) -> Described {
        match self {
            Self::Classic(group) => Described::Classic(group.describe()),
            Self::Consumer(group) => Described::Consumer(group.describe()),
        }
    }

    /// What whoever joins takes already, if it is a member.
    pub(super) fn bytes_of(&self, join: &Join) -> Option<usize> {
        match self {
            Self::Classic(group) => group.bytes_of(join),
            Self::Consumer(group) => group.bytes_of(&join.member_id),
        }
    }

    /// Whether it is a member and says what the group knows already.
    pub(super) fn knows(&self, heartbeat: &MemberHeartbeat) -> bool {
        match self {
            Self::Classic(_) => false,
            Self::Consumer(group) => group.knows(heartbeat),
        }
    }

    /// Whether offsets may be committed by who says to be a member, or nobody.
    pub(super) fn check_commit(&mut self, who: &Identity, now: Instant) -> Result<(), GroupError> {
        match self {
            Self::Classic(group) => group.check_commit(who, now),
            Self::Consumer(group) => group.check_commit(who),
        }
    }

    /// Whether offsets may be committed in a transaction by who says to be a member, or nobody.
    ///
    /// # Errors
    /// As of a commit, but of both protocols [`GroupError::IllegalGeneration`] for an epoch that is not the member's.
    pub(super) fn check_commit_in_transaction(&self, who: &Identity) -> Result<(), GroupError> {
        match self {
            Self::Classic(group) => group.check_commit_in_transaction(who),
            Self::Consumer(group) => group.check_commit_in_transaction(who),
        }
    }

    pub(super) fn join(
        &mut self,
        join: Join,
        token: Token,
        topics: &dyn Topics,
        now: Instant,
        output: &mut Output,
    ) {
        if !self.has_members() {
            self.become_classic(now, output);
        }
        match self {
            Self::Classic(group) => group.join(join, token, now, output),
            Self::Consumer(group) => {
                let answer = group.join(join, topics, now, output);
                output.answer(Some(token), Answer::Join(answer));
            }
        }
        self.downgrade_if_due(now, output);
    }

    pub(super) fn sync(&mut self, sync: Sync, token: Token, now: Instant, output: &mut Output) {
        match self {
            Self::Classic(group) => group.sync(sync, token, now, output),
            Self::Consumer(group) => {
                output.answer(Some(token), Answer::Sync(group.sync(&sync, now)));
            }
        }
    }

    pub(super) fn heartbeat(&mut self, who: &Identity, now: Instant) -> Result<(), GroupError> {
        match self {
            Self::Classic(group) => group.heartbeat(who, now),
            Self::Consumer(group) => group.classic_heartbeat(who, now),
        }
    }

    /// Takes over what regular expressions match now; `false` if it would take more than so many bytes.
    pub(super) fn rematch(
        &mut self,
        matched: Vec<(String, BTreeSet<String>)>,
        topics: &dyn Topics,
        bytes_max: usize,
        output: &mut Output,
    ) -> bool {
        match self {
            Self::Classic(_) => true,
            Self::Consumer(group) => group.rematch(matched, topics, bytes_max, output),
        }
    }

    /// Counts the changes of a group of the consumer protocol.
    pub(super) fn version(&self) -> Option<u64> {
        match self {
            Self::Classic(_) => None,
            Self::Consumer(group) => Some(group.version()),
        }
    }

    /// The topics that members of it read; `None` is all, for nobody knows.
    pub(super) fn reads(&self) -> Option<BTreeSet<String>> {
        match self {
            Self::Classic(group) => group.reads(),
            Self::Consumer(group) => Some(group.topics().map(str::to_owned).collect()),
        }
    }

    /// Lets members go; one answer for each.
    pub(super) fn leave(
        &mut self,
        who: Vec<(String, Option<String>)>,
        now: Instant,
        output: &mut Output,
    ) -> Vec<Result<(), GroupError>> {
        let answers = match self {
            Self::Classic(group) => group.leave(who, now, output),
            Self::Consumer(group) => group.leave_as_classic(who, output),
        };
        self.downgrade_if_due(now, output);
        answers
    }

    /// Hears a member of the consumer protocol.
    pub(super) fn member_heartbeat(
        &mut self,
        heartbeat: &MemberHeartbeat,
        topics: &dyn Topics,
        now: Instant,
        output: &mut Output,
    ) -> Result<Heard, GroupError> {
        if heartbeat.epoch == 0 {
            self.become_consumer(heartbeat, topics, now, output)?;
        }
        let heard = match self {
            Self::Consumer(group) if heartbeat.epoch < 0 => {
                let left = group.leave(heartbeat, output);
                left.map(|()| Heard { epoch: heartbeat.epoch, parts: None })
            }
            Self::Consumer(group) => group.heartbeat(heartbeat, topics, now, output),
            Self::Classic(_) => Err(GroupError::UnknownMember),
        };
        self.downgrade_if_due(now, output);
        heard
    }
}

#[cfg(test)]
mod tests;
