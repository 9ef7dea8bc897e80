//! Offsets of transactions: kept apart, and then visible all at once or gone.
//!
//! What ends a transaction names the offsets that become visible, for committed offsets are only there for an entry that
//! names them. If more are pending the leader has not seen the whole log, and its command is void.

use std::collections::BTreeSet;

use quorate_raft::Keyed;
use quorate_storage::mutant;

use super::{CoordinatorMachine, read};
use crate::coordinator::OffsetsTransaction;
use crate::coordinator::command::NewOffset;
use crate::coordinator::offsets::{self, OffsetKey, Place};
use crate::coordinator::pending::Kept;
use crate::metadata::encode;

impl CoordinatorMachine {
    /// Keeps offsets until their transaction ends.
    pub(super) fn keep(
        &mut self,
        to: (&str, u64, i32),
        transaction: &OffsetsTransaction,
        new: Vec<NewOffset>,
        written: Place,
        keyed: &mut Keyed,
    ) -> Option<()> {
        let (_, incarnation, _) = to;
        self.committing(to)?;
        self.state.pending.check(transaction).ok()?;
        if mutant::on("pending-offset-visible") {
            self.commit(to, new.clone(), written, keyed)?;
        }
        for NewOffset { key, offset, leader_epoch, metadata } in new {
            // The leader takes the incarnation from the group, so it is the group's.
            if key.incarnation == incarnation {
                let kept = Kept { offset, leader_epoch, written, metadata };
                self.state.pending.keep(transaction, key, kept);
            }
        }
        Some(())
    }

    /// Ends a transaction. `named`: the offsets that become visible; `None` if it aborts.
    pub(super) fn end_transaction(
        &mut self,
        producer_id: i64,
        number: u64,
        named: Option<Vec<OffsetKey>>,
        keyed: &mut Keyed,
    ) -> Option<()> {
        let commits = named.is_some();
        let named: BTreeSet<OffsetKey> = named.into_iter().flatten().collect();
        let all_named =
            self.state.pending.keys(producer_id, number).all(|key| named.contains(&key));
        if commits && !all_named {
            return None;
        }
        let kept = self.state.pending.end(producer_id, number, self.state.log_ms);
        if commits {
            kept.into_iter().for_each(|(key, kept)| self.show(key, kept, keyed));
        }
        Some(())
    }

    /// Makes an offset visible, unless one is that was committed later.
    fn show(&mut self, key: OffsetKey, kept: Kept, keyed: &mut Keyed) {
        let committed_ms = self.state.log_ms;
        let name = self.names.get(&key.incarnation);
        // Those of a group that was deleted are not pending any more.
        let Some(group) = name.and_then(|name| self.state.groups.get_mut(name)) else { return };
        group.transacted = self.end - 1;
        let encoded = key.encode();
        let former = keyed.get(&encoded);
        if former.as_ref().is_some_and(|it| read(it).written > kept.written) {
            return;
        }
        group.offsets += u64::from(former.is_none());
        let Kept { offset, leader_epoch, written, metadata } = kept;
        let value = offsets::Committed { offset, leader_epoch, committed_ms, metadata, written };
        keyed.put(&encoded, encode(&value).into());
    }
}
