//! Offsets that are committed: at once, or with the transaction that they belong to (KIP-98, KIP-447).

use std::time::Instant;

use super::{BYTES_MAX, GROUPS_MAX, Groups};
use crate::coordinator::OffsetsTransaction;
use crate::coordinator::call::{Commit, GroupError, Position};
use crate::coordinator::classic::Output;
use crate::coordinator::command::{Command, NewOffset};
use crate::coordinator::offsets::OffsetKey;
use crate::coordinator::pending::{Refusal, Weight};

/// Command bytes of the offsets of one commit.
pub(super) const COMMIT_BYTES_MAX: usize = 8 << 20;
/// What the pending offsets of all groups of one coordinator take, in bytes.
pub(super) const PENDING_BYTES_MAX: usize = 8 << 20;

impl Groups {
    /// Commits offsets, or keeps them for a transaction until that ends. A group that does not exist is made if who commits
    /// is no member.
    pub(super) fn commit(
        &mut self,
        commit: Commit,
        transaction: Option<OffsetsTransaction>,
        now: Instant,
        output: &mut Output,
    ) -> Result<(), GroupError> {
        let Commit { who, offsets } = commit;
        let name = who.group.clone();
        match self.groups.get(&name) {
            Some(_) => {}
            None if who.generation >= 0 => return Err(GroupError::IllegalGeneration),
            None if self.groups.len() >= GROUPS_MAX || self.bytes >= BYTES_MAX => {
                return Err(GroupError::NotAvailable);
            }
            None => {}
        }
        if offsets.iter().map(|it| it.metadata.len() + 64).sum::<usize>() > COMMIT_BYTES_MAX {
            return Err(GroupError::TooLarge);
        }
        let may_be_kept = transaction.map_or(Ok(()), |it| self.check_kept(&name, &it, &offsets));
        let (mut answer, before) = (Ok(()), output.commands.len());
        self.with(&name, output, |group, output| {
            answer = match transaction {
                None => group.check_commit(&who, now),
                Some(_) => group.check_commit_in_transaction(&who).and(may_be_kept),
            };
            if answer.is_err() || offsets.is_empty() {
                return;
            }
            let incarnation = group.incarnation();
            let generation = if who.generation < 0 { -1 } else { group.generation() };
            let offsets = offsets.into_iter().map(|it| it.new_of(incarnation)).collect();
            let group = who.group.clone();
            output.commands.push(match transaction {
                None => Command::Commit { group, incarnation, generation, offsets },
                Some(transaction) => {
                    Command::Keep { group, incarnation, generation, transaction, offsets }
                }
            });
        });
        if output.commands.len() > before {
            self.commits += 1;
            self.groups.entry(name).and_modify(|known| known.committed = self.commits);
        }
        for command in output.commands.iter().skip(before) {
            let Command::Keep { transaction, offsets, .. } = command else { continue };
            for it in offsets {
                self.pending.keep(transaction, it.key, Weight::of(&it.metadata));
            }
        }
        answer
    }

    /// Whether the offsets of a transaction may be kept.
    fn check_kept(
        &self,
        group: &str,
        transaction: &OffsetsTransaction,
        offsets: &[Position],
    ) -> Result<(), GroupError> {
        self.pending.check(transaction).map_err(|refusal| match refusal {
            Refusal::Fenced => GroupError::ProducerFenced,
            Refusal::Ended => GroupError::TransactionEnded,
            // Its end is on the way.
            Refusal::Earlier => GroupError::NotAvailable,
        })?;
        let known = self.groups.get(group).filter(|known| known.is_logged);
        let incarnation = known.map(|known| known.group.incarnation());
        let producer_id = transaction.producer_id;
        // Of an offset that is in it already only what it takes more counts.
        let more = |it: &Position| {
            let key = incarnation.map(|incarnation| it.key_of(incarnation));
            let taken = key.map_or(0, |key| self.pending.bytes_at(producer_id, &key));
            Weight::of(&it.metadata).0.saturating_sub(taken)
        };
        let more: usize = offsets.iter().map(more).sum();
        if self.pending.bytes() + more <= PENDING_BYTES_MAX {
            Ok(())
        } else if self.pending.bytes_of(producer_id) + more > PENDING_BYTES_MAX {
            Err(GroupError::TooLarge)
        } else {
            Err(GroupError::NotAvailable)
        }
    }

    /// Ends a transaction. One that has ended before is left as it is.
    pub(super) fn end_transaction(
        &mut self,
        transaction: OffsetsTransaction,
        commits: bool,
        output: &mut Output,
    ) {
        let OffsetsTransaction { producer_id, number, .. } = transaction;
        if self.pending.has_ended(producer_id, number) {
            return;
        }
        let offsets: Vec<OffsetKey> = self.pending.keys(producer_id, number).collect();
        let offsets = if commits { offsets } else { Vec::new() };
        output.commands.push(Command::End { producer_id, number, commits, offsets });
        // Here they are forgotten with their number alone.
        self.pending.end(producer_id, number, 0);
    }
}

impl Position {
    fn key_of(&self, incarnation: u64) -> OffsetKey {
        OffsetKey { incarnation, topic: self.topic, partition: self.partition }
    }

    fn new_of(self, incarnation: u64) -> NewOffset {
        let key = self.key_of(incarnation);
        let Self { offset, leader_epoch, metadata, .. } = self;
        NewOffset { key, offset, leader_epoch, metadata }
    }
}
