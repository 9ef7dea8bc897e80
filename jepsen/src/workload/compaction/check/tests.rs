//! Reads of compacted logs, right and wrong.

use super::*;
use crate::history::{int, map};

const KEY: i64 = 1;
/// How long tombstones stay here.
const KEPT_MS: u64 = 1_000;

#[derive(Default)]
struct History {
    ops: Vec<Op>,
    ms: u64,
}

impl History {
    fn new() -> History {
        let mut history = History::default();
        let row = Edn::Vector(vec![int(KEY), int(i64::try_from(KEPT_MS).unwrap())]);
        let body = Body::Other(KEPT.to_owned(), Edn::Vector(vec![row]));
        history.op(Process::Nemesis, Kind::Info, body, None);
        history
    }

    fn op(&mut self, process: Process, kind: Kind, body: Body, extra: Option<(&str, Edn)>) {
        let (index, time) = (self.ops.len() as u64, self.ms * NS_PER_MS);
        let extra = extra.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.ops.push(Op { index, time, process, kind, body, extra });
    }

    /// Sends a value to an offset.
    fn sent(&mut self, value: i64, offset: i64) {
        self.send(value, Kind::Ok, Sent::At(offset));
    }

    fn send(&mut self, value: i64, kind: Kind, sent: Sent) {
        let body = |sent| Body::Send(vec![Mop::Send { key: KEY, value, sent }]);
        self.op(Process::Client(0), Kind::Invoke, body(Sent::Plain), None);
        self.op(Process::Client(0), kind, body(sent), None);
    }

    fn begin(&mut self) {
        let seek = || Some(("seek-to-beginning?", Edn::Boolean(true)));
        for kind in [Kind::Invoke, Kind::Ok] {
            self.op(Process::Client(1), kind, Body::Assign(vec![KEY]), seek());
        }
    }

    /// Reads these offsets and values, then up to `next` of a log that ends at `end`.
    fn poll(&mut self, records: &[(i64, i64)], next: i64, end: i64) {
        self.poll_from(1, records, next, end);
    }

    fn poll_from(&mut self, broker: i64, records: &[(i64, i64)], next: i64, end: i64) {
        let told = [
            ("key", KEY),
            ("broker", broker),
            ("epoch", 1),
            ("log-start", 0),
            ("high-watermark", end),
            ("next", next),
        ];
        let fetched = Edn::Vector(vec![map(told.map(|(name, number)| (name, int(number))))]);
        let body = Body::Poll(vec![Mop::Poll(Some([(KEY, records.to_vec())].into()))]);
        self.op(Process::Client(1), Kind::Ok, body, Some(("fetched", fetched)));
    }

    fn whole(&mut self, records: &[(i64, i64)], end: i64) {
        self.begin();
        self.poll(records, end, end);
    }

    fn anomalies(&self) -> Vec<String> {
        let invalid = check(&self.ops).into_iter().filter(|it| it.verdict == Verdict::Invalid);
        invalid.map(|finding| finding.anomaly).collect()
    }
}

/// Two values of one name, and a tombstone of it, in ascending order.
fn values() -> [i64; 3] {
    let of = |name_wanted: i64, dead: bool| {
        move |it: &i64| name(*it) == name_wanted && deletes(*it) == dead
    };
    let one = (1..).find(of(3, false)).unwrap();
    let other = (one + 1..).find(of(3, false)).unwrap();
    [one, other, (other + 1..).find(of(3, true)).unwrap()]
}

#[test]
fn the_newest_is_found_or_something_behind_it() {
    let [one, other, _] = values();
    let mut history = History::new();
    history.sent(one, 0);
    history.whole(&[(0, one)], 1);
    history.begin();
    history.sent(other, 1);
    history.poll(&[(1, other)], 2, 2);
    history.whole(&[(1, other)], 2);
    assert_eq!(history.anomalies(), [""; 0]);
    history.whole(&[(0, one)], 2);
    assert_eq!(history.anomalies(), ["newest-lost"]);
}

#[test]
fn only_who_has_read_to_the_end_has_to_know() {
    let [one, other, _] = values();
    let mut history = History::new();
    history.sent(one, 0);
    history.sent(other, 1);
    history.begin();
    history.poll(&[(0, one)], 1, 2);
    // A leader that knows of less does not make it the end.
    history.poll(&[], 1, 1);
    assert_eq!(history.anomalies(), [""; 0]);
    history.poll(&[], 2, 2);
    assert_eq!(history.anomalies(), ["newest-lost"]);
}

#[test]
fn a_leader_that_was_deposed_may_know_of_less() {
    let [one, other, _] = values();
    let mut history = History::new();
    history.sent(one, 0);
    history.sent(other, 1);
    history.whole(&[(0, one)], 1);
    assert_eq!(history.anomalies(), [""; 0]);
    history.whole(&[], 1);
    assert_eq!(history.anomalies(), ["newest-lost"]);
}

#[test]
fn a_write_that_may_have_been_does_not_excuse_what_is_missing() {
    let [one, other, tombstone] = values();
    let mut history = History::new();
    history.sent(one, 0);
    history.send(other, Kind::Info, Sent::Plain);
    history.whole(&[(1, other)], 2);
    history.whole(&[(0, one)], 1);
    assert_eq!(history.anomalies(), [""; 0]);
    history.whole(&[], 2);
    assert_eq!(history.anomalies(), ["newest-lost"]);
    let mut history = History::new();
    history.sent(one, 0);
    history.send(tombstone, Kind::Info, Sent::Plain);
    history.ms += KEPT_MS;
    history.whole(&[], 2);
    assert_eq!(history.anomalies(), [""; 0], "it was deleted, and the tombstone is gone");
}

#[test]
fn a_tombstone_stays_as_long_as_it_has_to() {
    let [one, _, tombstone] = values();
    let mut history = History::new();
    history.sent(one, 0);
    history.sent(tombstone, 1);
    history.whole(&[(1, tombstone)], 2);
    history.ms += KEPT_MS;
    history.whole(&[], 2);
    history.whole(&[(1, tombstone)], 2);
    assert_eq!(history.anomalies(), [""; 0]);
    let mut early = History::new();
    early.sent(tombstone, 0);
    early.ms += KEPT_MS - 1;
    early.whole(&[], 1);
    assert_eq!(early.anomalies(), ["tombstone-lost"]);
}

#[test]
fn what_was_deleted_does_not_come_back_but_for_who_reads_slowly() {
    let [one, _, tombstone] = values();
    let deleted = || {
        let mut history = History::new();
        history.sent(one, 0);
        history.sent(tombstone, 1);
        history
    };
    let mut quick = deleted();
    quick.ms += KEPT_MS;
    quick.whole(&[(0, one)], 2);
    assert_eq!(quick.anomalies(), ["deleted-came-back"]);
    let mut elsewhere = deleted();
    elsewhere.ms += KEPT_MS;
    elsewhere.begin();
    elsewhere.poll(&[(0, one)], 1, 2);
    elsewhere.poll_from(2, &[], 2, 2);
    assert_eq!(elsewhere.anomalies(), [""; 0]);
    assert!(check(&elsewhere.ops).iter().any(|it| it.anomaly == "deleted-elsewhere"));
    let mut slow = deleted();
    slow.begin();
    slow.poll(&[(0, one)], 1, 2);
    slow.ms += KEPT_MS;
    slow.poll(&[], 2, 2);
    assert_eq!(slow.anomalies(), [""; 0]);
}

#[test]
fn offsets_ascend() {
    let [one, other, _] = values();
    let mut history = History::new();
    history.whole(&[(4, one), (3, other)], 5);
    assert_eq!(history.anomalies(), ["offsets-not-ascending"]);
}

#[test]
fn what_was_not_compacted_or_not_read_in_the_end_shows_nothing() {
    let [one, other, _] = values();
    let unknown = |history: &History| -> Vec<String> {
        let unknown = check(&history.ops).into_iter().filter(|it| it.verdict == Verdict::Unknown);
        unknown.map(|finding| finding.anomaly).collect()
    };
    let mut history = History::new();
    history.whole(&[], 0);
    history.sent(one, 0);
    history.sent(other, 1);
    assert_eq!(unknown(&history), ["few-reads", "not-read-at-the-end"]);
    (0..READS_MIN).for_each(|_| history.whole(&[(0, one), (1, other)], 2));
    assert_eq!(unknown(&history), ["nothing-compacted"]);
    history.whole(&[(1, other)], 2);
    assert_eq!(unknown(&history), [""; 0]);
}
