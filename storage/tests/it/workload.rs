//! Random operations that make sense for the log as it is, made of numbers so that they replay.

use std::sync::Arc;

use bytes::Bytes;
use quorate_storage::{Db, Durable, EntryId, GroupId, Reset, StateDelete, StatePut};

use crate::model::{Group, Model};
use crate::support::{entries, id, wait};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Append { group: GroupId, term: u64, first: u64, count: u64, size: usize },
    Vote { group: GroupId, vote: Vec<u8> },
    Truncate { group: GroupId, keep: Option<u64> },
    Purge { group: GroupId, upto: EntryId },
    Reset { group: GroupId, upto: EntryId, value: Vec<u8> },
    State { group: GroupId, delete: (Vec<u8>, Vec<u8>), key: Vec<u8>, value: Vec<u8> },
    Drop { group: GroupId },
}

/// A small generator, the same on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

impl Op {
    pub fn group(&self) -> GroupId {
        match self {
            Op::Append { group, .. }
            | Op::Vote { group, .. }
            | Op::Truncate { group, .. }
            | Op::Purge { group, .. }
            | Op::Reset { group, .. }
            | Op::State { group, .. }
            | Op::Drop { group } => *group,
        }
    }

    /// Makes the next operation for one of `groups` groups. Group 1 is never purged far, so that it
    /// survives in old generations and has to be rewritten.
    pub fn next(seed: u64, model: &Model, groups: u64) -> Op {
        let mut random = Random::new(seed);
        let group = GroupId(1 + random.below(groups));
        let empty = Group::default();
        let known = model.groups.get(&group).unwrap_or(&empty);
        let last = known.last.unwrap_or(id(1, 0));
        let first_kept = known.entries.keys().next().copied();
        match random.below(100) {
            0..=54 => Op::append(group, known, &mut random),
            55..=62 => Op::Vote { group, vote: random.below(u64::MAX).to_be_bytes().to_vec() },
            63..=69 => match first_kept {
                Some(first) => {
                    let held = last.index + 1 - first;
                    let back =
                        if random.below(10) == 0 { held } else { random.below(held.min(90)) };
                    Op::Truncate { group, keep: (last.index + 1 - back).checked_sub(1) }
                }
                None => Op::append(group, known, &mut random),
            },
            70..=84 => match first_kept {
                Some(first) => {
                    let held = last.index + 1 - first;
                    let slow = group.0 == 1 && held < 400;
                    let upto = first + random.below(if slow { 1 } else { held });
                    Op::Purge { group, upto: id(known.entries[&upto].0, upto) }
                }
                None => Op::append(group, known, &mut random),
            },
            85 if group.0 != 1 => {
                let upto = id(last.term, last.index + random.below(50));
                Op::Reset { group, upto, value: vec![7; 100] }
            }
            86 if group.0 != 1 => Op::Drop { group },
            _ => {
                let key = vec![b'k', random.below(20) as u8];
                let from = random.below(20) as u8;
                let delete = (vec![b'k', from], vec![b'k', from + random.below(3) as u8]);
                Op::State { group, delete, key, value: vec![random.below(256) as u8; 40] }
            }
        }
    }

    fn append(group: GroupId, known: &Group, random: &mut Random) -> Op {
        let term = known.last.map_or(1, |last| last.term) + u64::from(random.below(8) == 0);
        let (count, size) = match random.below(8) {
            0 => (100, 20),
            1 => (1, 20_000),
            _ => (1 + random.below(6), random.below(1500) as usize),
        };
        Op::Append { group, term, first: known.next_index(), count, size }
    }

    /// Does it. `durable` is dropped by the operations that have no callback.
    pub fn run(&self, db: &Arc<Db>, durable: Durable) {
        let log = db.log(self.group());
        let done = match self.clone() {
            Op::Append { group, term, first, count, size } => {
                wait(log.append(entries(group, term, first, count, size), durable))
            }
            Op::Vote { vote, .. } => wait(log.save_vote(Bytes::from(vote), durable)),
            Op::Truncate { keep, .. } => wait(log.truncate_after(keep)),
            Op::Purge { upto, .. } => wait(log.purge(upto)),
            Op::Reset { upto, value, .. } => {
                let put = StatePut { key: b"snapshot".to_vec(), value: Bytes::from(value) };
                wait(log.reset_to(upto, Reset { state: vec![put], ..Reset::default() }, durable))
            }
            Op::State { delete, key, value, .. } => {
                let put = StatePut { key, value: Bytes::from(value) };
                let delete = StateDelete { from: delete.0, to: delete.1 };
                wait(log.write_state(vec![put], vec![delete]))
            }
            Op::Drop { group } => {
                db.drop_group(group, durable);
                Ok(())
            }
        };
        done.expect("the store takes the operation");
    }
}
