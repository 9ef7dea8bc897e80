//! What a history says of transactions, in the form in which it is asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::told::{Told, Wrote, numbers, rows};
use super::{GROUP_OFFSETS, INIT, LOG, UNCOMMITTED};
use crate::history::{Body, Edn, Kind, Mop, Op, Process, int, keyword, map, text};

/// A transaction and how it ended for the one who had it.
pub struct Transaction {
    /// Its completion, or its beginning if it has none.
    pub op: u64,
    pub kind: Kind,
    pub told: Told,
}

/// An id was given to an instance: everything in a lower epoch of the producer is over.
pub struct Init {
    pub op: u64,
    pub producer: i64,
    pub epoch: i64,
    pub done_ns: i64,
}

/// A value that a consumer was shown.
pub struct Sight {
    pub op: u64,
    pub done_ns: i64,
    /// Whether it reads only what is committed.
    pub committed: bool,
    pub key: i64,
    pub offset: i64,
    pub value: i64,
}

/// The end of a transaction in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub offset: i64,
    pub producer: i64,
    pub epoch: i64,
    pub commit: bool,
}

/// A log as it is read in the end.
#[derive(Default)]
pub struct Log {
    pub op: u64,
    /// Offsets and values.
    pub values: Vec<(i64, i64)>,
    pub markers: Vec<Ended>,
}

/// What the group was said to have committed.
pub struct Offsets {
    pub op: u64,
    pub asked_ns: i64,
    pub answered_ns: i64,
    /// Whether nothing was pending.
    pub stable: bool,
    /// Asked in the end.
    pub last: bool,
    pub offsets: BTreeMap<i64, i64>,
}

/// See the module.
#[derive(Default)]
pub struct Seen {
    pub transactions: Vec<Transaction>,
    /// By key and value: the place of its transaction, and of the write in that.
    pub writers: HashMap<(i64, i64), (usize, usize)>,
    pub inits: Vec<Init>,
    pub sights: Vec<Sight>,
    /// By key, and whether only what is committed was read.
    logs: BTreeMap<(i64, bool), Log>,
    pub offsets: Vec<Offsets>,
    /// Keys that anybody sent to.
    pub keys: BTreeSet<i64>,
    /// Those of which not every record stays.
    pub compacted: BTreeSet<i64>,
}

/// An id that was given.
pub fn init_of(id: &str, flow: &str, producer: i64, epoch: i64) -> Body {
    let value = map([
        ("id", text(id)),
        ("flow", text(flow)),
        ("producer", int(producer)),
        ("epoch", int(epoch)),
    ]);
    Body::Other(INIT.to_owned(), value)
}

/// A whole log: offsets and values; of markers the offset, the producer, the epoch, and whether they commit.
pub fn final_log(key: i64, committed: bool, values: &[(i64, i64)], markers: &[[i64; 4]]) -> Body {
    let value = map([
        ("key", int(key)),
        ("committed", int(i64::from(committed))),
        ("values", rows(values.iter().map(|(offset, value)| [*offset, *value]))),
        ("markers", rows(markers.iter().copied())),
    ]);
    Body::Other(LOG.to_owned(), value)
}

/// The group's offsets, by key.
pub fn group_offsets_of(stable: bool, last: bool, offsets: &BTreeMap<i64, i64>) -> Body {
    let value = map([
        ("stable", int(i64::from(stable))),
        ("last", int(i64::from(last))),
        ("offsets", rows(offsets.iter().map(|(key, offset)| [*key, *offset]))),
    ]);
    Body::Other(GROUP_OFFSETS.to_owned(), value)
}

pub fn nanos(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

impl Seen {
    pub fn of(history: &[Op], compacted: BTreeSet<i64>) -> Seen {
        let mut seen = Seen { compacted, ..Seen::default() };
        let mut open: HashMap<Process, &Op> = HashMap::new();
        for op in history.iter().filter(|op| op.process != Process::Nemesis) {
            if op.kind == Kind::Invoke {
                open.insert(op.process, op);
            } else if let Some(begun) = open.remove(&op.process) {
                seen.take(begun, op);
            }
        }
        let mut unended: Vec<&Op> = open.into_values().collect();
        unended.sort_by_key(|op| op.index);
        for op in unended.into_iter().filter(|op| matches!(op.body, Body::Txn(_))) {
            seen.unended(op);
        }
        for (place, transaction) in seen.transactions.iter().enumerate() {
            for (write, wrote) in transaction.told.writes.iter().enumerate() {
                seen.writers.insert((wrote.key, wrote.value), (place, write));
                seen.keys.insert(wrote.key);
            }
        }
        seen
    }

    fn take(&mut self, begun: &Op, op: &Op) {
        match &op.body {
            Body::Txn(_) => {
                let told = Told::of(&op.extra);
                self.transactions.push(Transaction { op: op.index, kind: op.kind, told });
            }
            Body::Poll(mops) if op.kind == Kind::Ok => {
                for mop in mops {
                    let Mop::Poll(Some(read)) = mop else { continue };
                    for (key, records) in read {
                        self.shown(op, true, *key, records.iter().copied());
                    }
                }
            }
            Body::Other(f, value) if op.kind == Kind::Ok => self.other(begun, op, f, value),
            _ => {}
        }
    }

    fn other(&mut self, begun: &Op, op: &Op, f: &str, value: &Edn) {
        match f {
            UNCOMMITTED => {
                let Edn::Map(read) = value else { return };
                for (key, records) in read {
                    let Edn::Integer(key) = key else { continue };
                    let records = numbers(Some(records)).map(|[offset, value]| (offset, value));
                    self.shown(op, false, *key, records);
                }
            }
            INIT => self.inits.push(Init {
                op: op.index,
                producer: number(value, "producer"),
                epoch: number(value, "epoch"),
                done_ns: nanos(op.time),
            }),
            LOG => {
                let (key, committed) = (number(value, "key"), number(value, "committed") == 1);
                let values = numbers(field(value, "values")).map(|[at, value]| (at, value));
                let values: Vec<(i64, i64)> = values.collect();
                let ended = |[offset, producer, epoch, commit]: [i64; 4]| Ended {
                    offset,
                    producer,
                    epoch,
                    commit: commit == 1,
                };
                let markers = numbers(field(value, "markers")).map(ended).collect();
                self.shown(op, committed, key, values.iter().copied());
                self.logs.insert((key, committed), Log { op: op.index, values, markers });
            }
            GROUP_OFFSETS => self.offsets.push(Offsets {
                op: op.index,
                asked_ns: nanos(begun.time),
                answered_ns: nanos(op.time),
                stable: number(value, "stable") == 1,
                last: number(value, "last") == 1,
                offsets: numbers(field(value, "offsets")).map(|[key, at]| (key, at)).collect(),
            }),
            _ => {}
        }
    }

    fn shown(
        &mut self,
        op: &Op,
        committed: bool,
        key: i64,
        records: impl Iterator<Item = (i64, i64)>,
    ) {
        let (index, done_ns) = (op.index, nanos(op.time));
        self.sights.extend(records.map(|(offset, value)| Sight {
            op: index,
            done_ns,
            committed,
            key,
            offset,
            value,
        }));
    }

    /// One that nobody heard the end of: all that it meant to send may be there, at any time since.
    fn unended(&mut self, op: &Op) {
        let mut told = Told::of(&op.extra);
        let epoch = told.epoch;
        told.writes = sends(op)
            .map(|(key, value)| Wrote {
                key,
                value,
                epoch,
                sent_ns: nanos(op.time),
                acked_ns: -1,
                offset: -1,
            })
            .collect();
        self.transactions.push(Transaction { op: op.index, kind: Kind::Info, told });
    }

    /// A log as it was read in the end.
    pub fn log(&self, key: i64, committed: bool) -> Option<&Log> {
        self.logs.get(&(key, committed))
    }

    /// The transaction that sent a value, and the write.
    pub fn writer(&self, key: i64, value: i64) -> Option<(&Transaction, &Wrote)> {
        let (place, write) = self.writers.get(&(key, value))?;
        let transaction = &self.transactions[*place];
        Some((transaction, transaction.told.writes.get(*write)?))
    }
}

impl Transaction {
    /// When somebody first asked to commit it; none if nobody did.
    pub fn commit_sent_ns(&self) -> Option<i64> {
        let commits = self.told.ends.iter().filter(|end| end.commit).map(|end| end.sent_ns);
        let begun = || self.told.writes.iter().map(|wrote| wrote.sent_ns).min();
        commits.min().or_else(|| self.is_unended().then(begun).flatten())
    }

    /// Whether nothing is known of how it went on.
    pub fn is_unended(&self) -> bool {
        self.kind == Kind::Info && self.told.ends.is_empty()
    }

    /// When its commit was acknowledged.
    pub fn committed_ns(&self) -> Option<i64> {
        let done = |end: &&super::End| end.commit && end.answer == super::Answer::Done;
        self.told.ends.iter().find(done).map(|end| end.answered_ns)
    }

    pub fn who(&self) -> String {
        let Told { id, producer, epoch, .. } = &self.told;
        format!("{id} (producer {producer}, epoch {epoch})")
    }
}

fn sends(op: &Op) -> impl Iterator<Item = (i64, i64)> + '_ {
    op.mops().iter().filter_map(|mop| match mop {
        Mop::Send { key, value, .. } => Some((*key, *value)),
        Mop::Poll(_) => None,
    })
}

fn field<'a>(value: &'a Edn, name: &str) -> Option<&'a Edn> {
    match value {
        Edn::Map(map) => map.get(&keyword(name)),
        _ => None,
    }
}

fn number(value: &Edn, name: &str) -> i64 {
    match field(value, name) {
        Some(Edn::Integer(number)) => *number,
        _ => -1,
    }
}
