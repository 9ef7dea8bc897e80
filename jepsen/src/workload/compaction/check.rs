//! What compaction may not do to somebody who reads a log from the beginning to the end.
//!
//! Whoever has read to the high watermark knows of each name what was acknowledged last before the read began, or something
//! behind it: otherwise the newest is gone (`newest-lost`). A leader that was deposed and does not know yet may tell an older
//! high watermark, and then what lies below that counts. Of a name that is deleted the tombstone may be gone as well, once
//! `delete.retention.ms` have passed since it was sent, and not before (`tombstone-lost`); then nothing is left of the name,
//! and nobody who reads from one broker within that time is left with what it deleted (`deleted-came-back`). Replicas compact
//! each in its own time: who goes on at another one may have read of the first what there has been gone for long, which is
//! noted (`deleted-elsewhere`) and not wrong. What is left stands in the order
//! of offsets (`offsets-not-ascending`), and the log begins where it did (`removed-unasked`).
//!
//! That an offset never has another value, that acknowledged records stand where that was said, and that they are in the
//! order in which they were acknowledged is checked for every workload.
//!
//! A history in which nothing was compacted shows nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::KEPT;
use crate::checker::{Finding, Findings, Verdict};
use crate::history::{Body, Edn, Kind, Mop, Op, Process, Sent};
use crate::workload::answers::{Answer, answers, reads};
use crate::workload::content::{deletes, name};

/// Fewer reads to the end show nothing.
const READS_MIN: usize = 20;
const NS_PER_MS: u64 = 1_000_000;

/// A record that was acknowledged or read.
#[derive(Clone, Copy)]
struct Placed {
    offset: i64,
    value: i64,
    op: u64,
}

/// By name.
type Names = BTreeMap<i64, Placed>;
/// What was acknowledged, by name and offset.
type Acked = BTreeMap<i64, BTreeMap<i64, Placed>>;

/// A record that deletes.
struct Tombstone {
    sent_ns: u64,
    /// None if nobody knows, or if it may not have come to be.
    offset: Option<i64>,
}

/// Somebody who reads a partition from the beginning.
struct Reading {
    op: u64,
    began_ns: u64,
    /// What it read last of each.
    seen: Names,
    offsets: BTreeSet<i64>,
    brokers: BTreeSet<i64>,
    /// The highest end it was told.
    end: i64,
    is_counted: bool,
}

/// What a history says.
#[derive(Default)]
struct Known {
    /// How long tombstones stay, in milliseconds, by key.
    kept_ms: BTreeMap<i64, u64>,
    /// By key.
    acked: BTreeMap<i64, Acked>,
    /// By key and name.
    tombstones: HashMap<(i64, i64), Vec<Tombstone>>,
    /// When the last send ended.
    last_send: u64,
}

/// What came of it.
#[derive(Default)]
struct Totals {
    reads: usize,
    /// Of these, those that had more than one broker.
    moved: usize,
    /// The fewest that somebody found who began once all was sent, by key.
    left: BTreeMap<i64, usize>,
}

pub fn check(history: &[Op]) -> Vec<Finding> {
    let mut found = Findings::default();
    let (known, mut totals) = (Known::of(history), Totals::default());
    let mut readings: HashMap<Process, BTreeMap<i64, Reading>> = HashMap::new();
    for op in history {
        match (&op.body, op.kind) {
            (Body::Assign(keys), Kind::Invoke) => {
                let anew = op.extra.contains_key("seek-to-beginning?");
                let begun = keys.iter().filter(|_| anew).map(|key| (*key, Reading::new(op)));
                readings.insert(op.process, begun.collect());
            }
            (Body::Poll(mops), Kind::Ok) => {
                let Some(readings) = readings.get_mut(&op.process) else { continue };
                for (key, offset, value) in reads(mops) {
                    if let Some(reading) = readings.get_mut(&key) {
                        reading.read(key, Placed { offset, value, op: op.index }, &mut found);
                    }
                }
                for answer in answers(op) {
                    let Some(reading) = readings.get_mut(&answer.key) else { continue };
                    if reading.is_at_end(&answer, op, &mut found) {
                        reading.judge(answer.key, op, &known, &mut found);
                        totals.count(answer.key, reading, &known);
                    }
                }
            }
            _ => {}
        }
    }
    totals.judge(&known, &mut found);
    found.finish()
}

impl Known {
    fn of(history: &[Op]) -> Known {
        let mut known = Known::default();
        // When each tombstone was sent, and where it is.
        let mut sent: BTreeMap<(i64, i64), u64> = BTreeMap::new();
        let mut places: HashMap<(i64, i64), i64> = HashMap::new();
        for op in history {
            match &op.body {
                Body::Other(f, Edn::Vector(rows)) if f == KEPT => known.take_kept(rows),
                Body::Send(mops) => {
                    known.last_send = op.index;
                    for mop in mops {
                        let Mop::Send { key, value, sent: place } = mop else { continue };
                        let at = (*key, *value);
                        match (op.kind, place) {
                            (Kind::Invoke, _) => drop(sent.insert(at, op.time)),
                            (Kind::Fail, _) => drop(sent.remove(&at)),
                            (_, Sent::At(offset)) => {
                                places.insert(at, *offset);
                                known.take_acked(*key, *offset, *value, op.index);
                            }
                            _ => {}
                        }
                    }
                }
                Body::Poll(mops) => {
                    places.extend(reads(mops).map(|(key, offset, value)| ((key, value), offset)));
                }
                _ => {}
            }
        }
        for ((key, value), sent_ns) in sent.into_iter().filter(|((_, it), _)| deletes(*it)) {
            let offset = places.get(&(key, value)).copied();
            let of_name = known.tombstones.entry((key, name(value))).or_default();
            of_name.push(Tombstone { sent_ns, offset });
        }
        known
    }

    fn take_acked(&mut self, key: i64, offset: i64, value: i64, op: u64) {
        let of_name = self.acked.entry(key).or_default().entry(name(value)).or_default();
        of_name.insert(offset, Placed { offset, value, op });
    }

    fn take_kept(&mut self, rows: &[Edn]) {
        for row in rows {
            let Edn::Vector(row) = row else { continue };
            if let [Edn::Integer(key), Edn::Integer(ms)] = row[..] {
                self.kept_ms.insert(key, u64::try_from(ms).unwrap_or(0));
            }
        }
    }

    fn kept_ns(&self, key: i64) -> u64 {
        self.kept_ms.get(&key).copied().unwrap_or(0).saturating_mul(NS_PER_MS)
    }

    /// Whether a tombstone at an offset or behind it may be gone by then.
    fn is_forgotten(&self, key: i64, name: i64, from: i64, now_ns: u64) -> bool {
        let of_name = self.tombstones.get(&(key, name)).into_iter().flatten();
        let is_old = |it: &Tombstone| now_ns.saturating_sub(it.sent_ns) >= self.kept_ns(key);
        let mut behind = of_name.filter(|it| it.offset.is_none_or(|offset| offset >= from));
        behind.any(is_old)
    }
}

impl Reading {
    fn new(op: &Op) -> Reading {
        Reading {
            op: op.index,
            began_ns: op.time,
            seen: Names::new(),
            offsets: BTreeSet::new(),
            brokers: BTreeSet::new(),
            end: 0,
            is_counted: false,
        }
    }

    fn read(&mut self, key: i64, record: Placed, found: &mut Findings) {
        if let Some(last) = self.offsets.last().filter(|last| **last >= record.offset) {
            let case = || format!("key {key}: offset {} after {last}", record.offset);
            found.invalid("offsets-not-ascending", case, [self.op, record.op]);
        }
        self.offsets.insert(record.offset);
        self.seen.insert(name(record.value), record);
    }

    /// Takes an answer in; whether it led to the end of the log.
    fn is_at_end(&mut self, answer: &Answer, op: &Op, found: &mut Findings) -> bool {
        if answer.start > 0 {
            let (key, start) = (answer.key, answer.start);
            let case = || format!("key {key}: the log begins at {start}");
            found.invalid("removed-unasked", case, [op.index]);
        }
        self.brokers.insert(answer.broker);
        let Some(high) = answer.high else { return false };
        self.end = self.end.max(high);
        answer.next >= self.end
    }

    /// Whether it knows of every name what it has to.
    fn judge(&self, key: i64, op: &Op, known: &Known, found: &mut Findings) {
        for (name, acked) in known.acked.get(&key).into_iter().flatten() {
            let below = acked.range(..self.end).map(|(_, placed)| placed);
            let Some(newest) = below.rev().find(|placed| placed.op < self.op) else { continue };
            let seen = self.seen.get(name);
            if seen.is_some_and(|seen| seen.offset >= newest.offset) {
                continue;
            }
            let (invalid, valid) = (Verdict::Invalid, Verdict::Valid);
            let (anomaly, verdict) = if !known.is_forgotten(key, *name, newest.offset, op.time) {
                (if deletes(newest.value) { "tombstone-lost" } else { "newest-lost" }, invalid)
            } else if seen.is_none_or(|seen| deletes(seen.value))
                || op.time - self.began_ns >= known.kept_ns(key)
            {
                continue;
            } else if self.brokers.len() > 1 {
                ("deleted-elsewhere", valid)
            } else {
                ("deleted-came-back", invalid)
            };
            let case = || {
                let Placed { offset, value, .. } = *newest;
                let seen = seen.map_or("nothing was found".to_owned(), |seen| {
                    format!("value {} at {} was found last", seen.value, seen.offset)
                });
                let (brokers, took) = (&self.brokers, (op.time - self.began_ns) / NS_PER_MS);
                format!(
                    "key {key}, name {name}: value {value} at {offset} was acknowledged, {seen} by \
                     {took} ms of reading from brokers {brokers:?}"
                )
            };
            found.add(anomaly, verdict, case, [newest.op, self.op, op.index]);
        }
    }
}

impl Totals {
    fn count(&mut self, key: i64, reading: &mut Reading, known: &Known) {
        if std::mem::replace(&mut reading.is_counted, true) {
            return;
        }
        self.reads += 1;
        self.moved += usize::from(reading.brokers.len() > 1);
        if reading.op > known.last_send {
            let found = reading.offsets.len();
            let left = self.left.entry(key).or_insert(found);
            *left = found.min(*left);
        }
    }

    fn judge(&self, known: &Known, found: &mut Findings) {
        let mut unknown = |anomaly, case: String| {
            found.add(anomaly, Verdict::Unknown, || case, []);
        };
        for key in known.acked.keys().filter(|key| !self.left.contains_key(key)) {
            unknown("not-read-at-the-end", format!("key {key}: nobody began once all was sent"));
        }
        if self.reads < READS_MIN {
            let reads = self.reads;
            unknown("few-reads", format!("{reads} reads to the end, {READS_MIN} are the least"));
        }
        let acked: usize = known.acked.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum();
        let left: usize = self.left.values().sum();
        let case = format!(
            "{acked} records were acknowledged and {left} left; {} reads to the end, {} of them over \
             several leaders",
            self.reads, self.moved
        );
        if left >= acked {
            unknown("nothing-compacted", case);
        } else {
            found.add("compacted", Verdict::Valid, || case, []);
        }
    }
}

#[cfg(test)]
mod tests;
