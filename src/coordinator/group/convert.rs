//! From one protocol to the other, while members go on reading (KIP-848, "Online upgrade" and "downgrade").
//!
//! ```text
//!            the first comes who speaks the consumer protocol
//!   Classic ─────────────────────────────────────────────────▶ Consumer, with members of both
//!      ▲                                                              │
//!      └──────────────────────────────────────────────────────────────┘
//!            the last leaves who speaks the consumer protocol
//! ```
//!
//! Everybody keeps the part it has, and what is different from then on is told by the next rebalance.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Group;
use crate::coordinator::call::{GroupError, MemberHeartbeat};
use crate::coordinator::classic::{self, Output};
use crate::coordinator::command::Command;
use crate::coordinator::consumer::{self, Topics};
use crate::coordinator::record::{Classic, Membership};

impl Group {
    /// A group of the classic protocol goes on with the consumer protocol, if whoever comes may join it then.
    ///
    /// # Errors
    /// [`GroupError::OtherProtocol`]: its members are no consumers, or say what cannot be read. And what the newcomer would
    /// be refused for.
    pub(super) fn become_consumer(
        &mut self,
        heartbeat: &MemberHeartbeat,
        topics: &dyn Topics,
        now: Instant,
        output: &mut Output,
    ) -> Result<(), GroupError> {
        let Self::Classic(group) = self else { return Ok(()) };
        let (generation, incarnation) = (group.generation(), group.incarnation());
        let (name, limits) = (group.name().to_owned(), group.limits());
        let consumer =
            consumer::from_classic(&group.membership(), topics).ok_or(GroupError::OtherProtocol)?;
        let upgraded = consumer::Group::taken_over(&name, incarnation, &consumer, limits, now);
        upgraded.former(heartbeat)?;
        group.dismiss(output);
        let membership = Membership::Consumer(consumer);
        output.commands.push(Command::Convert { group: name, incarnation, generation, membership });
        *self = Self::Consumer(upgraded);
        Ok(())
    }

    /// A group whose members all speak the classic protocol goes on with that.
    pub(super) fn become_classic(&mut self, now: Instant, output: &mut Output) {
        let Self::Consumer(group) = self else { return };
        let (generation, incarnation) = (group.epoch(), group.incarnation());
        let (name, limits) = (group.name().to_owned(), group.limits());
        let members: BTreeMap<_, _> = group.classic_members().collect();
        let classic = Classic {
            generation,
            protocol_type: group.classic_type().to_owned(),
            leader: members.keys().next().cloned(),
            must_rebalance: !members.is_empty(),
            is_assigned: !members.is_empty(),
            members,
            ..Classic::default()
        };
        output.commands.push(Command::Convert {
            group: name.clone(),
            incarnation,
            generation,
            membership: Membership::Classic(classic.clone()),
        });
        let group = classic::Group::taken_over(&name, incarnation, &classic, limits, now, output);
        *self = Self::Classic(group);
    }

    pub(super) fn downgrade_if_due(&mut self, now: Instant, output: &mut Output) {
        if let Self::Consumer(group) = self
            && group.has_members()
            && group.is_classic_alone()
        {
            self.become_classic(now, output);
        }
    }
}
