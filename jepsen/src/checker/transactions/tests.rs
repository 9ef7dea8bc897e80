//! Histories of transactions by hand: a good one, and each anomaly planted in it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::history::{Body, Edn, Mop, Process, Sent};

/// A producer, and one whose process goes on.
const PRODUCER: i64 = 7;
const MAKER: i64 = 8;
/// Keys of values, of inputs and of outputs.
const ONE: i64 = 1;
const OTHER: i64 = 2;
const INPUT: i64 = 3;
const OUTPUT: i64 = 4;

/// One operation after the other, unless a time is given.
#[derive(Default)]
struct History {
    ops: Vec<Op>,
    ns: i64,
    processes: i64,
}

/// A transaction that is told step by step.
struct Step {
    told: Told,
    kind: Kind,
    ns: i64,
    began: i64,
}

impl History {
    fn push(
        &mut self,
        process: i64,
        kind: Kind,
        body: Body,
        at_ns: i64,
        extra: BTreeMap<String, Edn>,
    ) {
        let (index, time) = (self.ops.len() as u64, u64::try_from(at_ns).unwrap());
        let process = Process::Client(process);
        self.ops.push(Op { index, time, process, kind, body, extra });
    }

    fn done(&mut self, asked: Body, kind: Kind, answered: Body, extra: BTreeMap<String, Edn>) {
        self.processes += 1;
        let process = self.processes;
        self.push(process, Kind::Invoke, asked, self.ns + 1, BTreeMap::new());
        self.push(process, kind, answered, self.ns + 2, extra);
        self.ns += 10;
    }

    fn init(&mut self, epoch: i64) {
        let body = init_of("id", "implicit", PRODUCER, epoch);
        self.done(body.clone(), Kind::Ok, body, BTreeMap::new());
    }

    fn begin(&self, producer: i64, epoch: i64) -> Step {
        let flow = "implicit".to_owned();
        let told = Told { id: "id".to_owned(), producer, epoch, flow, ..Told::default() };
        Step { told, kind: Kind::Fail, ns: self.ns, began: self.ns }
    }

    fn end(&mut self, step: Step) {
        let Step { told, kind, ns, began } = step;
        self.processes += 1;
        let process = self.processes;
        let mop =
            |wrote: &Wrote| Mop::Send { key: wrote.key, value: wrote.value, sent: Sent::Plain };
        let body = Body::Txn(told.writes.iter().map(mop).collect());
        self.push(process, Kind::Invoke, body.clone(), began, told.extra());
        self.push(process, kind, body, ns + 1, told.extra());
        self.ns = ns + 10;
    }

    /// A consumer of what is committed, or of all.
    fn read(&mut self, committed: bool, key: i64, records: &[(i64, i64)]) {
        let reads = BTreeMap::from([(key, records.to_vec())]);
        let (asked, answered) = if committed {
            (Body::Poll(vec![Mop::Poll(None)]), Body::Poll(vec![Mop::Poll(Some(reads))]))
        } else {
            let rows = told::rows(records.iter().map(|(offset, value)| [*offset, *value]));
            let value = Edn::Map([(Edn::Integer(key), rows)].into());
            let body = |value: Edn| Body::Other(UNCOMMITTED.to_owned(), value);
            (body(Edn::Nil), body(value))
        };
        self.done(asked, Kind::Ok, answered, BTreeMap::new());
    }

    fn log(&mut self, key: i64, committed: &[(i64, i64)], all: &[(i64, i64)], ends: &[[i64; 4]]) {
        let asked = || Body::Other(LOG.to_owned(), Edn::Nil);
        for (is_committed, values) in [(true, committed), (false, all)] {
            let body = final_log(key, is_committed, values, ends);
            self.done(asked(), Kind::Ok, body, BTreeMap::new());
        }
    }

    fn offsets(&mut self, stable: bool, last: bool, next: i64) {
        let body = group_offsets_of(stable, last, &BTreeMap::from([(INPUT, next)]));
        let asked = Body::Other(GROUP_OFFSETS.to_owned(), Edn::Nil);
        self.done(asked, Kind::Ok, body, BTreeMap::new());
    }

    fn judged(&self, compacted: Option<&Compacted>) -> Vec<(String, Verdict)> {
        let found = transactions(&self.ops, Least::default(), compacted).into_iter();
        let wrong = found.filter(|finding| finding.verdict != Verdict::Valid);
        wrong.map(|finding| (finding.anomaly, finding.verdict)).collect()
    }

    fn anomalies(&self) -> Vec<String> {
        self.judged(None).into_iter().map(|(anomaly, _)| anomaly).collect()
    }
}

impl Step {
    fn tick(&mut self) -> i64 {
        self.ns += 1;
        self.ns
    }

    fn wrote(mut self, key: i64, value: i64, offset: i64) -> Step {
        let (epoch, sent_ns, acked_ns) = (self.told.epoch, self.tick(), self.tick());
        self.told.writes.push(Wrote { key, value, epoch, sent_ns, acked_ns, offset });
        self
    }

    /// Sent, and not acknowledged.
    fn tried(mut self, key: i64, value: i64) -> Step {
        let (epoch, sent_ns) = (self.told.epoch, self.tick());
        self.told.writes.push(Wrote { key, value, epoch, sent_ns, acked_ns: -1, offset: -1 });
        self
    }

    fn derived(mut self, from: (i64, i64), value: i64, offset: i64) -> Step {
        let (from_offset, from_value) = from;
        let derived = Derived { from_key: INPUT, from_offset, from_value, key: OUTPUT, value };
        self.told.derives.push(derived);
        self.wrote(OUTPUT, value, offset)
    }

    fn offsets(mut self, next: i64) -> Step {
        self.told.offsets.push((INPUT, next));
        self
    }

    fn peeked(mut self, offset: i64) -> Step {
        let (asked_ns, answered_ns) = (self.tick(), self.tick());
        self.told.peeks.push(Peek { key: INPUT, offset, asked_ns, answered_ns });
        self
    }

    fn ended(mut self, commit: bool, answer: Answer) -> Step {
        let (sent_ns, answered_ns) = (self.tick(), self.tick());
        self.told.ends.push(End { commit, sent_ns, answered_ns, answer });
        self
    }

    fn committed(self) -> Step {
        let step = self.ended(true, Answer::Done);
        Step { kind: Kind::Ok, ..step }
    }

    fn aborted(self) -> Step {
        let step = self.ended(false, Answer::Done);
        Step { kind: Kind::Fail, ..step }
    }

    fn unsure(self) -> Step {
        let step = self.ended(true, Answer::Unknown);
        Step { kind: Kind::Info, ..step }
    }
}

/// Value 1 is committed in both keys, value 2 is aborted.
fn written() -> History {
    let mut history = History::default();
    history.init(0);
    let first = history.begin(PRODUCER, 0).wrote(ONE, 1, 0).wrote(OTHER, 1, 0).committed();
    history.end(first);
    let second = history.begin(PRODUCER, 1).wrote(ONE, 2, 2).wrote(OTHER, 2, 2).aborted();
    history.end(second);
    history
}

const MARKERS: [[i64; 4]; 2] = [[1, PRODUCER, 1, 1], [3, PRODUCER, 2, 0]];
const ALL: [(i64, i64); 2] = [(0, 1), (2, 2)];

/// A log as it ends: what is read of it as committed, all that is in it, and its markers.
type EndedLog<'a> = (&'a [(i64, i64)], &'a [(i64, i64)], &'a [[i64; 4]]);

/// The logs of [`written`], of which some may be others.
fn logs(history: &mut History, one: EndedLog<'_>) {
    history.log(ONE, one.0, one.1, one.2);
    history.log(OTHER, &[(0, 1)], &ALL, &MARKERS);
}

fn ended(mut history: History) -> Vec<String> {
    logs(&mut history, (&[(0, 1)], &ALL, &MARKERS));
    history.anomalies()
}

#[test]
fn what_is_committed_is_seen_and_what_is_aborted_is_not() {
    let mut history = written();
    history.read(true, ONE, &[(0, 1)]);
    history.read(false, ONE, &ALL);
    assert_eq!(ended(history), [""; 0]);
}

#[test]
fn a_log_that_nobody_read_in_the_end_shows_nothing() {
    let found = written().judged(None);
    assert_eq!(found, [("log-unread".to_owned(), Verdict::Unknown)]);
}

#[test]
fn an_aborted_value_is_seen() {
    let mut history = written();
    history.read(true, ONE, &ALL);
    assert_eq!(ended(history), ["aborted-read"]);
}

#[test]
fn a_value_is_seen_before_anybody_asked_to_commit_it() {
    let mut early = History::default();
    early.read(true, ONE, &[(0, 1)]);
    // That was answered at 2, and the commit is sent at 3.
    early.ns = 0;
    let first = early.begin(PRODUCER, 0).wrote(ONE, 1, 0).committed();
    early.end(first);
    early.log(ONE, &[(0, 1)], &[(0, 1)], &[[1, PRODUCER, 0, 1]]);
    assert_eq!(early.anomalies(), ["read-before-commit"]);
    let mut late = History::default();
    let first = late.begin(PRODUCER, 0).wrote(ONE, 1, 0).unsure();
    late.end(first);
    late.read(true, ONE, &[(0, 1)]);
    late.log(ONE, &[(0, 1)], &[(0, 1)], &[[1, PRODUCER, 0, 1]]);
    assert_eq!(late.anomalies(), [""; 0]);
}

#[test]
fn a_transaction_is_torn_or_lost() {
    let mut torn = written();
    logs(&mut torn, (&[], &ALL, &MARKERS));
    assert_eq!(torn.anomalies(), ["torn-transaction"]);
    let mut lost = written();
    lost.log(ONE, &[], &ALL, &MARKERS);
    lost.log(OTHER, &[], &ALL, &MARKERS);
    assert_eq!(lost.anomalies(), ["transaction-lost"]);
    let unsure = |visible: &[(i64, i64)]| {
        let mut history = History::default();
        let first = history.begin(PRODUCER, 0).wrote(ONE, 1, 0).wrote(OTHER, 1, 0).unsure();
        history.end(first);
        history.log(ONE, visible, &[(0, 1)], &[[1, PRODUCER, 0, 1]]);
        history.log(OTHER, &[(0, 1)], &[(0, 1)], &[[1, PRODUCER, 0, 1]]);
        history.anomalies()
    };
    assert_eq!(unsure(&[(0, 1)]), [""; 0]);
    assert_eq!(unsure(&[]), ["torn-transaction"]);
}

#[test]
fn markers_disagree_are_missing_or_are_not_what_was_asked_for() {
    let with = |markers: &[[i64; 4]]| {
        let mut history = written();
        logs(&mut history, (&[(0, 1)], &ALL, markers));
        history.anomalies()
    };
    let commits = [MARKERS[0], [3, PRODUCER, 2, 1]];
    assert_eq!(with(&commits), ["marker-wrong", "torn-transaction"]);
    assert_eq!(with(&MARKERS[..1]), ["transaction-hangs"]);
    assert_eq!(with(&MARKERS[1..]), ["marker-missing"]);
    let old = [MARKERS[0], [3, PRODUCER, 0, 0]];
    assert_eq!(with(&old), ["marker-of-old-epoch"]);
    // One that ends nothing: a partition that was added, and to which nothing was sent.
    let more = [MARKERS[0], MARKERS[1], [4, PRODUCER, 3, 0]];
    assert_eq!(with(&more), [""; 0]);
}

#[test]
fn an_acknowledged_value_is_gone_doubled_or_elsewhere() {
    let with = |all: &[(i64, i64)]| {
        let mut history = written();
        logs(&mut history, (&[(0, 1)], all, &MARKERS));
        history.anomalies()
    };
    assert_eq!(with(&[(0, 1)]), ["write-lost"]);
    assert_eq!(with(&[(0, 1), (2, 2), (2, 9)]), ["value-from-nowhere"]);
    let mut history = written();
    history.log(
        ONE,
        &[(0, 1)],
        &[(0, 1), (2, 2), (4, 2)],
        &[MARKERS[0], MARKERS[1], [5, PRODUCER, 2, 0]],
    );
    history.log(OTHER, &[(0, 1)], &[(0, 1), (4, 2)], &[MARKERS[0], [5, PRODUCER, 2, 0]]);
    assert_eq!(history.anomalies(), ["stored-twice", "value-moved"]);
}

#[test]
fn what_a_fenced_instance_writes_is_refused() {
    let with = |zombie: fn(Step) -> Step| {
        let mut history = written();
        history.init(5);
        let step = zombie(history.begin(PRODUCER, 2));
        history.end(step);
        history.read(false, ONE, &ALL);
        ended(history)
    };
    let refused = |it: Step| it.tried(ONE, 3).ended(true, Answer::Refused);
    assert_eq!(with(refused), [""; 0]);
    let acked = with(|it| it.wrote(ONE, 3, 9));
    assert_eq!(acked, ["fenced-acknowledged", "write-lost"]);
    let committed = with(|it| it.tried(ONE, 3).committed());
    assert_eq!(committed, ["fenced-committed", "transaction-lost"]);
    let mut visible = written();
    visible.init(5);
    let step = visible.begin(PRODUCER, 2).tried(ONE, 3);
    visible.end(step);
    visible.read(false, ONE, &[(4, 3)]);
    assert_eq!(ended(visible), ["fenced-visible"]);
}

#[test]
fn what_was_sent_before_the_fence_may_be_there() {
    let mut history = written();
    let step = history.begin(PRODUCER, 2).tried(ONE, 3);
    history.end(step);
    history.init(5);
    let all = [(0, 1), (2, 2), (4, 3)];
    logs(&mut history, (&[(0, 1)], &all, &[MARKERS[0], MARKERS[1], [5, PRODUCER, 5, 0]]));
    assert_eq!(history.anomalies(), [""; 0]);
}

#[test]
fn an_epoch_is_over_where_a_later_one_was_taken() {
    let mut history = written();
    // Epoch 0, in a partition in which something of epoch 1 was acknowledged.
    let outdated = history.begin(PRODUCER, 0).wrote(ONE, 3, 4);
    history.end(outdated);
    let all = [(0, 1), (2, 2), (4, 3)];
    logs(&mut history, (&[(0, 1)], &all, &[MARKERS[0], MARKERS[1], [5, PRODUCER, 2, 0]]));
    assert_eq!(history.anomalies(), ["fenced-acknowledged", "fenced-visible"]);
}

/// Two inputs, of which the first attempt to make outputs is aborted.
fn made() -> History {
    let mut history = History::default();
    let inputs = history.begin(PRODUCER, 0).wrote(INPUT, 1, 0).wrote(INPUT, 2, 1).committed();
    history.end(inputs);
    let aborted = history.begin(MAKER, 0).derived((0, 1), 1, 0).offsets(1).peeked(-1).aborted();
    history.end(aborted);
    history.offsets(true, false, -1);
    let step = history.begin(MAKER, 1).derived((0, 1), 2, 2).derived((1, 2), 3, 3);
    let step = step.offsets(3).peeked(-1).committed();
    history.end(step);
    history.log(INPUT, &[(0, 1), (1, 2)], &[(0, 1), (1, 2)], &[[2, PRODUCER, 0, 1]]);
    history
}

/// The output's log, and where the group is.
fn outputs(mut history: History, next: i64) -> Vec<String> {
    history.offsets(true, true, next);
    let markers = [[1, MAKER, 0, 0], [4, MAKER, 1, 1]];
    history.log(OUTPUT, &[(2, 2), (3, 3)], &[(0, 1), (2, 2), (3, 3)], &markers);
    history.anomalies()
}

#[test]
fn each_input_is_made_into_one_output() {
    assert_eq!(outputs(made(), 3), [""; 0]);
}

#[test]
fn an_input_is_made_twice_or_not_at_all_or_of_nothing() {
    let mut twice = made();
    let step = twice.begin(MAKER, 2).derived((1, 2), 4, 5).committed();
    twice.end(step);
    twice.offsets(true, true, 3);
    let markers = [[1, MAKER, 0, 0], [4, MAKER, 1, 1], [6, MAKER, 2, 1]];
    let all = [(0, 1), (2, 2), (3, 3), (5, 4)];
    twice.log(OUTPUT, &all[1..], &all, &markers);
    assert_eq!(twice.anomalies(), ["derived-twice"]);
    let mut nothing = made();
    let inputs: [(i64, i64); 1] = [(0, 1)];
    nothing.log(INPUT, &inputs, &[(0, 1), (1, 2)], &[[2, PRODUCER, 0, 1]]);
    let found = outputs(nothing, 3);
    assert!(found.contains(&"derived-from-nothing".to_owned()), "{found:?}");
    let mut skipped = History::default();
    let inputs = skipped.begin(PRODUCER, 0).wrote(INPUT, 1, 0).wrote(INPUT, 2, 1).committed();
    skipped.end(inputs);
    let step = skipped.begin(MAKER, 1).derived((1, 2), 3, 0).offsets(3).committed();
    skipped.end(step);
    skipped.log(INPUT, &[(0, 1), (1, 2)], &[(0, 1), (1, 2)], &[[2, PRODUCER, 0, 1]]);
    skipped.log(OUTPUT, &[(0, 3)], &[(0, 3)], &[[1, MAKER, 1, 1]]);
    skipped.offsets(true, true, 3);
    assert_eq!(skipped.anomalies(), ["not-derived"]);
}

#[test]
fn offsets_are_those_of_committed_transactions_and_only_grow() {
    let found = outputs(made(), 1);
    let wanted = ["derived-beyond-offset", "group-offset-lost", "pending-offset-visible"];
    assert_eq!(found, wanted, "that of the aborted one");
    let mut nobody = made();
    nobody.offsets(false, false, 2);
    assert_eq!(outputs(nobody, 3), ["offset-of-nobody"]);
    let mut back = made();
    back.offsets(false, false, 3);
    back.offsets(false, false, -1);
    assert_eq!(outputs(back, 3), ["group-offset-went-back"]);
    let mut pending = made();
    let step = pending.begin(MAKER, 2).offsets(5).peeked(5).aborted();
    pending.end(step);
    assert_eq!(outputs(pending, 3), ["pending-offset-visible"]);
}

#[test]
fn compaction_leaves_the_newest_that_was_committed() {
    let compacted = Compacted {
        keys: BTreeSet::from([ONE]),
        name: |value| value % 10,
        deletes: |value| value >= 100,
    };
    let with = |last: &[(i64, i64)]| {
        let mut history = History::default();
        let step = history.begin(PRODUCER, 0).wrote(ONE, 1, 0).wrote(ONE, 11, 1);
        let step = step.wrote(ONE, 2, 2).committed();
        history.end(step);
        let aborted = history.begin(PRODUCER, 1).wrote(ONE, 21, 4).aborted();
        history.end(aborted);
        history.log(ONE, last, last, &[]);
        let found = history.judged(Some(&compacted));
        found.into_iter().map(|(anomaly, _)| anomaly).collect::<Vec<_>>()
    };
    assert_eq!(with(&[(1, 11), (2, 2)]), [""; 0]);
    assert_eq!(with(&[(2, 2)]), ["newest-lost"], "for the one that was aborted");
    assert_eq!(with(&[(0, 1), (1, 11), (2, 2)]), ["compacted"], "nothing is gone");
}

#[test]
fn too_little_shows_nothing() {
    let mut history = written();
    logs(&mut history, (&[(0, 1)], &ALL, &MARKERS));
    let least = Least { committed: 1, ..Least::default() };
    let found = transactions(&history.ops, least, None);
    let unknown = found.iter().filter(|it| it.verdict == Verdict::Unknown);
    assert_eq!(unknown.map(|it| it.count).sum::<u64>(), 1, "no classic ones");
}
