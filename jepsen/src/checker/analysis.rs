//! A history indexed by what its checks ask for: per operation what it wrote and read, per key who wrote and read
//! each value, and the order of the values in the partition.
//!
//! Definitions are those of `jepsen.tests.kafka`. Operations are referred to by their position among the operations
//! of clients.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::order::Order;
use crate::history::{Body, Kind, Mop, Op, Process, Sent};

/// A value as an operation met it: where it is in the partition, if that is known.
pub type Placed = (Option<i64>, i64);

/// See the module.
pub struct Analysis<'a> {
    /// Operations of clients, in the history's order.
    pub ops: Vec<&'a Op>,
    /// Per operation, what it wrote by key; empty for invocations.
    pub writes: Vec<Vec<(i64, Vec<Placed>)>>,
    /// Per operation, what it read by key. A key may have been read without any value.
    pub reads: Vec<Vec<(i64, Vec<Placed>)>>,
    /// For an invocation its completion, for a completion its invocation.
    pub other: Vec<Option<usize>>,
    pub keys: BTreeMap<i64, Key>,
    /// What is wrong with the history itself, such as a completion that nothing began.
    pub malformed: Vec<(u64, &'static str)>,
}

/// What the history knows of one key.
#[derive(Default)]
pub struct Key {
    /// The completion that wrote a value; the last one, if there are several.
    pub writer: HashMap<i64, usize>,
    /// The completions that read a value, in order.
    pub readers: HashMap<i64, Vec<usize>>,
    /// Values read by operations that succeeded.
    pub read: HashSet<i64>,
    /// Values written by operations that succeeded, in order of acknowledgement.
    pub acknowledged: Vec<(i64, usize)>,
    /// Values whose write failed for certain.
    pub failed: HashSet<i64>,
    pub order: Order,
}

impl<'a> Analysis<'a> {
    pub fn of(history: &'a [Op]) -> Analysis<'a> {
        let ops: Vec<&Op> = history.iter().filter(|op| op.process != Process::Nemesis).collect();
        let writes = ops.iter().map(|op| writes(op)).collect();
        let reads = ops.iter().map(|op| reads(op)).collect();
        let mut analysis = Analysis {
            writes,
            reads,
            other: vec![None; ops.len()],
            keys: BTreeMap::new(),
            malformed: Vec::new(),
            ops,
        };
        analysis.pair();
        analysis.index_values();
        analysis.index_orders();
        analysis
    }

    pub fn index_of(&self, position: usize) -> u64 {
        self.ops[position].index
    }

    /// The key, if anything was written to it or read from it.
    pub fn key(&self, key: i64) -> Option<&Key> {
        self.keys.get(&key)
    }

    pub fn order(&self, key: i64) -> Option<&Order> {
        self.keys.get(&key).map(|key| &key.order)
    }

    /// Whether what this operation sent is known to be in the log: it succeeded, or a value of it was read.
    pub fn must_have_committed(&self, position: usize) -> bool {
        match self.ops[position].kind {
            Kind::Ok => true,
            Kind::Info => self.writes[position].iter().any(|(key, values)| {
                self.keys
                    .get(key)
                    .is_some_and(|key| values.iter().any(|(_, value)| key.read.contains(value)))
            }),
            Kind::Invoke | Kind::Fail => false,
        }
    }

    fn pair(&mut self) {
        let mut open: HashMap<Process, usize> = HashMap::new();
        for (position, op) in self.ops.iter().enumerate() {
            if op.kind == Kind::Invoke {
                if open.insert(op.process, position).is_some() {
                    self.malformed.push((op.index, "its process has not completed what it began"));
                }
                continue;
            }
            match open.remove(&op.process) {
                Some(invocation) => {
                    self.other[position] = Some(invocation);
                    self.other[invocation] = Some(position);
                }
                None => self.malformed.push((op.index, "it completes what nobody began")),
            }
        }
    }

    fn index_values(&mut self) {
        for (position, op) in self.ops.iter().enumerate() {
            for (key, values) in &self.writes[position] {
                let key = self.keys.entry(*key).or_default();
                for (_, value) in values {
                    key.writer.insert(*value, position);
                    match op.kind {
                        Kind::Ok => key.acknowledged.push((*value, position)),
                        Kind::Fail => {
                            key.failed.insert(*value);
                        }
                        Kind::Info | Kind::Invoke => {}
                    }
                }
            }
            for (key, values) in &self.reads[position] {
                let key = self.keys.entry(*key).or_default();
                for (_, value) in values {
                    key.readers.entry(*value).or_default().push(position);
                    if op.kind == Kind::Ok {
                        key.read.insert(*value);
                    }
                }
            }
        }
    }

    /// Offsets are believed when they come from a poll, whatever became of it, or from a send whose effect is proven.
    fn index_orders(&mut self) {
        let committed: Vec<bool> =
            (0..self.ops.len()).map(|position| self.must_have_committed(position)).collect();
        for (position, committed) in committed.into_iter().enumerate() {
            let writes = committed.then_some(&self.writes[position]);
            for (key, values) in self.reads[position].iter().chain(writes.into_iter().flatten()) {
                let key = self.keys.entry(*key).or_default();
                for (offset, value) in values {
                    if let Some(offset) = offset {
                        key.order.add(*offset, *value);
                    }
                }
            }
        }
        for key in self.keys.values_mut() {
            key.order.finish();
        }
    }
}

fn writes(op: &Op) -> Vec<(i64, Vec<Placed>)> {
    if op.kind == Kind::Invoke || !matches!(op.body, Body::Send(_) | Body::Txn(_)) {
        return Vec::new();
    }
    let mut writes = Vec::new();
    for mop in op.mops() {
        if let Mop::Send { key, value, sent } = mop {
            let offset = match sent {
                Sent::At(offset) => Some(*offset),
                Sent::Plain | Sent::OffsetUnknown => None,
            };
            entry(&mut writes, *key).push((offset, *value));
        }
    }
    writes
}

fn reads(op: &Op) -> Vec<(i64, Vec<Placed>)> {
    if op.kind == Kind::Invoke || !matches!(op.body, Body::Poll(_) | Body::Txn(_)) {
        return Vec::new();
    }
    let mut reads = Vec::new();
    for mop in op.mops() {
        let Mop::Poll(Some(read)) = mop else { continue };
        for (key, records) in read {
            let records = records.iter().map(|(offset, value)| (Some(*offset), *value));
            entry(&mut reads, *key).extend(records);
        }
    }
    reads
}

fn entry(list: &mut Vec<(i64, Vec<Placed>)>, key: i64) -> &mut Vec<Placed> {
    let position = list.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
        list.push((key, Vec::new()));
        list.len() - 1
    });
    &mut list[position].1
}

/// The history with an indeterminate completion at its end for every operation that has none: its process may have
/// ended before it could tell.
pub fn with_completions(history: &[Op]) -> Vec<Op> {
    let mut open: BTreeMap<Process, &Op> = BTreeMap::new();
    for op in history.iter().filter(|op| op.process != Process::Nemesis) {
        if op.kind == Kind::Invoke {
            open.insert(op.process, op);
        } else {
            open.remove(&op.process);
        }
    }
    let mut completed = history.to_vec();
    let time = history.last().map_or(0, |op| op.time);
    for op in open.into_values() {
        let index = completed.len() as u64;
        completed.push(Op { index, time, kind: Kind::Info, ..op.clone() });
    }
    completed
}
