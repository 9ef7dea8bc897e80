//! Offsets whose transactions have not ended, and the transactions that have.
//!
//! ```text
//!  kept with number n ─▶ open ──┬─ n commits ─▶ visible, unless a later commit is there
//!                               └─ n aborts, or its group or its offset is deleted ─▶ gone
//!  n has ended ─▶ ended: what comes with n or an earlier number is refused
//! ```
//!
//! The machine keeps what is to become visible, and its leader the same without that: what each takes, and which keys a
//! transaction has, so that the command that ends it can name them. Both go by these rules, so neither is surprised. What
//! has ended the leader may know for longer, which refuses the same.
//!
//! A producer has one transaction at a time, and its coordinator begins none before the one before has ended everywhere. So
//! a later number is not taken beside an earlier one, and a later one that ends proves that the earlier ones did.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::OffsetsTransaction;
use super::offsets::{OffsetKey, Place};

/// Producers of which is remembered what ended last. A rule of the log: another number needs a level.
pub(super) const ENDED_MAX: usize = 1 << 16;
/// For how long that is remembered, in log time. A rule of the log too.
pub(super) const ENDED_MS: i64 = 600_000;
/// What a pending offset takes in memory besides its metadata, about.
const OFFSET_BYTES: usize = 192;

/// See the file's header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending<V> {
    /// By producer.
    open: BTreeMap<i64, Open<V>>,
    /// In the order in which they ended, each producer once.
    ended: BTreeMap<u64, Ended>,
    /// Which of them a producer's is; follows from them.
    #[serde(skip)]
    ended_of: BTreeMap<i64, u64>,
    /// Incarnations of groups, with the producers that have offsets of theirs; follows from the open ones.
    #[serde(skip)]
    groups: BTreeSet<(u64, i64)>,
    /// Of all pending offsets; follows from the open ones.
    #[serde(skip)]
    bytes: usize,
}

/// A transaction with offsets here; never without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open<V> {
    number: u64,
    epoch: i16,
    offsets: BTreeMap<OffsetKey, V>,
}

/// The last transaction of a producer that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Ended {
    producer_id: i64,
    number: u64,
    /// Log time.
    ended_ms: i64,
}

/// An offset that becomes visible if its transaction commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    /// Where in the log it was kept.
    pub(super) written: Place,
    pub(super) metadata: String,
}

/// What a pending offset takes in memory, about, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight(pub(super) usize);

impl Weight {
    pub(super) fn of(metadata: &str) -> Self {
        Self(OFFSET_BYTES + metadata.len())
    }
}

/// What is kept of a pending offset.
pub(super) trait Weighed {
    fn weight(&self) -> Weight;
}

impl Weighed for Kept {
    fn weight(&self) -> Weight {
        Weight::of(&self.metadata)
    }
}

impl Weighed for Weight {
    fn weight(&self) -> Weight {
        *self
    }
}

/// Why an offset is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The producer has a higher epoch by now.
    Fenced,
    /// The transaction, or a later one, has ended.
    Ended,
    /// An earlier transaction has not ended here.
    Earlier,
}

impl<V: Weighed> Pending<V> {
    /// Whether offsets may be kept for a transaction.
    pub(super) fn check(&self, transaction: &OffsetsTransaction) -> Result<(), Refusal> {
        let open = self.open.get(&transaction.producer_id);
        if open.is_some_and(|open| transaction.epoch < open.epoch) {
            return Err(Refusal::Fenced);
        }
        if self.has_ended(transaction.producer_id, transaction.number) {
            return Err(Refusal::Ended);
        }
        match open {
            Some(open) if transaction.number < open.number => Err(Refusal::Ended),
            Some(open) if transaction.number > open.number => Err(Refusal::Earlier),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a transaction is known to have ended.
    pub(super) fn has_ended(&self, producer_id: i64, number: u64) -> bool {
        let ended = self.ended_of.get(&producer_id).and_then(|order| self.ended.get(order));
        ended.is_some_and(|ended| number <= ended.number)
    }

    /// Keeps an offset, in the place of an earlier one of the same transaction. It must have been [`Pending::check`]ed.
    pub(super) fn keep(&mut self, transaction: &OffsetsTransaction, key: OffsetKey, value: V) {
        let OffsetsTransaction { producer_id, epoch, number } = *transaction;
        let offsets = BTreeMap::new();
        let open = self.open.entry(producer_id).or_insert(Open { number, epoch, offsets });
        open.epoch = open.epoch.max(epoch);
        self.bytes += value.weight().0;
        if let Some(former) = open.offsets.insert(key, value) {
            self.bytes -= former.weight().0;
        }
        self.groups.insert((key.incarnation, producer_id));
    }

    /// The keys of an open transaction.
    pub(super) fn keys(
        &self,
        producer_id: i64,
        number: u64,
    ) -> impl Iterator<Item = OffsetKey> + '_ {
        let open = self.open.get(&producer_id).filter(|open| open.number == number);
        open.into_iter().flat_map(|open| open.offsets.keys().copied())
    }

    /// Ends a transaction and all earlier ones of the producer; returns what was kept for it, which is nothing if it has
    /// ended before.
    pub(super) fn end(
        &mut self,
        producer_id: i64,
        number: u64,
        ended_ms: i64,
    ) -> BTreeMap<OffsetKey, V> {
        if self.has_ended(producer_id, number) {
            return BTreeMap::new();
        }
        if let Some(before) = self.ended_of.remove(&producer_id) {
            self.ended.remove(&before);
        }
        let order = self.ended.last_key_value().map_or(0, |(last, _)| last + 1);
        self.ended.insert(order, Ended { producer_id, number, ended_ms });
        self.ended_of.insert(producer_id, order);
        if self.ended.len() > ENDED_MAX {
            self.forget_first();
        }
        match self.open.get(&producer_id) {
            Some(open) if open.number <= number => {}
            Some(_) | None => return BTreeMap::new(),
        }
        let Some(open) = self.open.remove(&producer_id) else { return BTreeMap::new() };
        for (key, value) in &open.offsets {
            self.bytes -= value.weight().0;
            self.groups.remove(&(key.incarnation, producer_id));
        }
        // An earlier one has ended already, and came late.
        if open.number == number { open.offsets } else { BTreeMap::new() }
    }

    /// Forgets what ended before that log time.
    pub(super) fn forget(&mut self, before_ms: i64) {
        while self.ended.first_key_value().is_some_and(|(_, it)| it.ended_ms < before_ms) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, ended)) = self.ended.pop_first() {
            self.ended_of.remove(&ended.producer_id);
        }
    }

    /// Drops what is kept for one offset, by whichever transactions.
    pub(super) fn drop_offset(&mut self, key: OffsetKey) {
        for producer_id in self.producers(key.incarnation) {
            self.take_out(producer_id, key.incarnation, &[key]);
        }
    }

    /// Drops what is kept for a group.
    pub(super) fn drop_group(&mut self, incarnation: u64) {
        let of_group = OffsetKey::first(incarnation)..=OffsetKey::last(incarnation);
        for producer_id in self.producers(incarnation) {
            let open = self.open.get(&producer_id);
            let keys = open.into_iter().flat_map(|open| open.offsets.range(of_group.clone()));
            let keys: Vec<OffsetKey> = keys.map(|(key, _)| *key).collect();
            self.take_out(producer_id, incarnation, &keys);
        }
    }

    /// The producers with offsets of a group.
    fn producers(&self, incarnation: u64) -> Vec<i64> {
        let of_group = (incarnation, i64::MIN)..=(incarnation, i64::MAX);
        self.groups.range(of_group).map(|(_, producer_id)| *producer_id).collect()
    }

    /// Takes offsets of a group out of a transaction, which goes with the last one.
    fn take_out(&mut self, producer_id: i64, incarnation: u64, keys: &[OffsetKey]) {
        let Some(open) = self.open.get_mut(&producer_id) else { return };
        for value in keys.iter().filter_map(|key| open.offsets.remove(key)) {
            self.bytes -= value.weight().0;
        }
        let of_group = OffsetKey::first(incarnation)..=OffsetKey::last(incarnation);
        if open.offsets.range(of_group).next().is_none() {
            self.groups.remove(&(incarnation, producer_id));
        }
        if open.offsets.is_empty() {
            self.open.remove(&producer_id);
        }
    }

    /// Whether a group has pending offsets.
    pub(super) fn has_group(&self, incarnation: u64) -> bool {
        self.groups.range((incarnation, i64::MIN)..=(incarnation, i64::MAX)).next().is_some()
    }

    /// The partitions of which a group has pending offsets.
    pub(super) fn of_group(&self, incarnation: u64) -> BTreeSet<(Uuid, i32)> {
        let of_group = OffsetKey::first(incarnation)..=OffsetKey::last(incarnation);
        let producers = self.producers(incarnation);
        let opens = producers.iter().filter_map(|producer_id| self.open.get(producer_id));
        let keys = opens.flat_map(|open| open.offsets.range(of_group.clone()));
        keys.map(|(key, _)| (key.topic, key.partition)).collect()
    }

    /// What all pending offsets take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What those of a producer take, about.
    pub(super) fn bytes_of(&self, producer_id: i64) -> usize {
        let offsets = self.open.get(&producer_id).map(|open| open.offsets.values());
        offsets.into_iter().flatten().map(|value| value.weight().0).sum()
    }

    /// What one takes that a producer has; nothing if it has none.
    pub(super) fn bytes_at(&self, producer_id: i64, key: &OffsetKey) -> usize {
        let open = self.open.get(&producer_id);
        open.and_then(|open| open.offsets.get(key)).map_or(0, |value| value.weight().0)
    }

    /// The same without what becomes visible.
    pub(super) fn weights(&self) -> Pending<Weight> {
        let weights = |open: &Open<V>| Open {
            number: open.number,
            epoch: open.epoch,
            offsets: open.offsets.iter().map(|(key, value)| (*key, value.weight())).collect(),
        };
        Pending {
            open: self
                .open
                .iter()
                .map(|(producer_id, open)| (*producer_id, weights(open)))
                .collect(),
            ended: self.ended.clone(),
            ended_of: self.ended_of.clone(),
            groups: self.groups.clone(),
            bytes: self.bytes,
        }
    }

    /// Works out what follows from the rest, of a state that was decoded; `false` if it is not one that was ever encoded.
    /// `exists`: whether there is a group with that incarnation.
    pub(super) fn complete(&mut self, exists: impl Fn(u64) -> bool) -> bool {
        for (producer_id, open) in &self.open {
            for (key, value) in &open.offsets {
                if !exists(key.incarnation) {
                    return false;
                }
                self.bytes += value.weight().0;
                self.groups.insert((key.incarnation, *producer_id));
            }
        }
        self.ended_of = self.ended.iter().map(|(order, it)| (it.producer_id, *order)).collect();
        let has_empty = self.open.values().any(|open| open.offsets.is_empty());
        let has_order = !self.ended.contains_key(&u64::MAX) && self.ended.len() <= ENDED_MAX;
        !has_empty && has_order && self.ended_of.len() == self.ended.len()
    }
}

#[cfg(test)]
mod tests;
