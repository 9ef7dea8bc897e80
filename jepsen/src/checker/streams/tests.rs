use std::time::Duration;

use crate::checker::streams::search::{Event, Step, linearizable};
use crate::checker::streams::{
    AGAIN, APPEND, Batch, CONSUME, Least, ON, READ, Row, VERSION, streams,
};
use crate::checker::{Verdict, verdict};
use crate::history::{Body, Edn, Kind, Op, Process, int, map, text};

mod endings;
mod generated;

/// Histories by hand: one process an operation, in the order in which they are written.
#[derive(Default)]
pub struct History {
    ops: Vec<Op>,
    processes: i64,
}

/// An operation under way.
pub struct Open {
    process: Process,
    body: Body,
}

type Extra = Vec<(&'static str, Edn)>;

pub fn row(key: &str, id: i64, expected: Option<i64>) -> Row {
    Row { key: key.to_owned(), id, expected, ..Row::default() }
}

pub fn batch(rows: Vec<Row>) -> Batch {
    Batch { rows, ..Batch::default() }
}

fn numbers(list: &[i64]) -> Edn {
    Edn::Vector(list.iter().copied().map(Edn::Integer).collect())
}

pub fn acked(offset: i64, first: i64, last: i64) -> Extra {
    vec![("offset", int(offset)), ("versions", numbers(&[first, last]))]
}

pub fn conflict(why: &str, current: i64) -> Extra {
    vec![("conflict", text(why)), ("current", int(current))]
}

impl History {
    fn push(&mut self, process: Process, kind: Kind, body: Body, extra: Extra) {
        let index = self.ops.len() as u64;
        let extra = extra.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.ops.push(Op { index, time: index, process, kind, body, extra });
    }

    pub fn begin(&mut self, f: &str, value: Edn) -> Open {
        self.processes += 1;
        let (process, body) = (Process::Client(self.processes), Body::Other(f.to_owned(), value));
        self.push(process, Kind::Invoke, body.clone(), Vec::new());
        Open { process, body }
    }

    pub fn end(&mut self, open: Open, kind: Kind, extra: Extra) {
        self.push(open.process, kind, open.body, extra);
    }

    pub fn begin_append(&mut self, batch: &Batch) -> Open {
        self.begin(APPEND, batch.to_edn())
    }

    pub fn append(&mut self, batch: &Batch, kind: Kind, extra: Extra) {
        let open = self.begin_append(batch);
        self.end(open, kind, extra);
    }

    pub fn begin_look(&mut self, key: &str, consistency: &str, is_final: bool) -> Open {
        let value = map([
            ("key", text(key)),
            ("partition", int(0)),
            ("broker", int(1)),
            ("consistency", text(consistency)),
            ("final", Edn::Boolean(is_final)),
        ]);
        self.begin(if is_final { READ } else { VERSION }, value)
    }

    pub fn look(&mut self, key: &str, consistency: &str, version: i64) {
        let open = self.begin_look(key, consistency, false);
        self.end(open, Kind::Ok, vec![("version", int(version))]);
    }

    fn read(&mut self, key: &str, version: i64, events: &[[i64; 3]]) {
        let open = self.begin_look(key, "linearizable", true);
        let events = Edn::Vector(events.iter().map(|event| numbers(event)).collect());
        self.end(open, Kind::Ok, vec![("version", int(version)), ("events", events)]);
    }

    /// The whole log of partition 0.
    pub fn log(&mut self, records: &[(&str, i64)]) {
        self.log_with(records, &[]);
    }

    fn log_with(&mut self, records: &[(&str, i64)], tagged: &[(i64, &str)]) {
        let row = |(offset, (key, id)): (i64, &(&str, i64))| {
            let tags = tagged.iter().filter(|(tagged, _)| tagged == id).map(|(_, tag)| text(*tag));
            let tags = Edn::Vector(tags.collect());
            Edn::Vector(vec![int(offset), text(*key), int(*id), tags, text("event")])
        };
        let records: Vec<Edn> = (0..).zip(records).map(row).collect();
        let value = map([("partition", int(0)), ("final", Edn::Boolean(true))]);
        let open = self.begin(CONSUME, value);
        let end = int(records.len() as i64);
        let records = Edn::Vector(records);
        self.end(open, Kind::Ok, vec![("start", int(0)), ("end", end), ("records", records)]);
    }

    /// What is wrong with it, by name.
    pub fn wrong(&self) -> Vec<String> {
        let findings = streams(&self.ops, Least::default());
        let wrong = findings.into_iter().filter(|it| it.verdict != Verdict::Valid);
        wrong.map(|finding| finding.anomaly).collect()
    }
}

/// Two writers on one key, a conflict, a retry, and a read of all.
fn good() -> History {
    let mut it = History::default();
    it.append(&batch(vec![row("k", 1, Some(-1))]), Kind::Ok, acked(0, 1, 1));
    let (one, other) =
        (batch(vec![row("k", 2, Some(1)), row("k", 3, None)]), batch(vec![row("k", 4, Some(1))]));
    let (first, second) = (it.begin_append(&one), it.begin_append(&other));
    it.end(second, Kind::Fail, conflict("version", 3));
    it.end(first, Kind::Ok, acked(1, 2, 3));
    it.look("k", "linearizable", 3);
    it
}

fn finished(mut it: History) -> History {
    it.log(&[("k", 1), ("k", 2), ("k", 3)]);
    it.read("k", 3, &[[1, 0, 1], [2, 1, 2], [3, 2, 3]]);
    it
}

#[test]
fn what_a_correct_broker_answers_is_valid() {
    assert_eq!(finished(good()).wrong(), [""; 0]);
}

#[test]
fn a_history_without_its_log_shows_nothing() {
    assert_eq!(good().wrong(), ["log-unread"]);
    let too_few = Least { acked: 3, ..Least::default() };
    assert_eq!(verdict(&streams(&finished(good()).ops, too_few)), Verdict::Unknown);
}

#[test]
fn a_version_is_given_once() {
    let mut it = good();
    it.append(&batch(vec![row("k", 5, Some(2))]), Kind::Ok, acked(3, 3, 3));
    it.log(&[("k", 1), ("k", 2), ("k", 3), ("k", 5)]);
    let wrong = it.wrong();
    for name in [
        "version-given-twice",
        "condition-ignored",
        "version-told-wrongly",
        "versions-not-linearizable",
    ] {
        assert!(wrong.contains(&name.to_owned()), "{name}: {wrong:?}");
    }
}

#[test]
fn what_was_accepted_is_there_once_and_whole() {
    let lost = |log: &[(&str, i64)]| {
        let mut it = good();
        it.log(log);
        it.wrong()
    };
    assert!(lost(&[("k", 1)]).contains(&"append-lost".to_owned()));
    assert!(lost(&[("k", 1), ("k", 2)]).contains(&"batch-torn".to_owned()));
    assert!(lost(&[("k", 1), ("k", 2), ("k", 3), ("k", 3)]).contains(&"append-doubled".to_owned()));
    assert!(
        lost(&[("k", 1), ("k", 2), ("k", 3), ("k", 9)]).contains(&"append-from-nowhere".to_owned())
    );
    assert!(
        lost(&[("k", 1), ("k", 2), ("k", 3), ("k", 4)]).contains(&"refused-appended".to_owned())
    );
    assert!(lost(&[("k", 2), ("k", 3), ("k", 1)]).contains(&"offset-told-wrongly".to_owned()));
}

#[test]
fn an_unknown_append_may_be_there_or_not() {
    let with = |log: &[(&str, i64)]| {
        let mut it = good();
        it.append(&batch(vec![row("k", 5, Some(3))]), Kind::Info, Vec::new());
        it.log(log);
        it.wrong()
    };
    assert_eq!(with(&[("k", 1), ("k", 2), ("k", 3)]), [""; 0]);
    assert_eq!(with(&[("k", 1), ("k", 2), ("k", 3), ("k", 5)]), [""; 0]);
}

#[test]
fn an_unknown_append_has_its_condition_too() {
    let mut it = History::default();
    it.append(&batch(vec![row("k", 1, Some(-1))]), Kind::Ok, acked(0, 1, 1));
    it.append(&batch(vec![row("k", 2, Some(5))]), Kind::Info, Vec::new());
    it.log(&[("k", 1), ("k", 2)]);
    assert_eq!(it.wrong(), ["condition-ignored"]);
}

#[test]
fn a_conflict_names_what_was_so_meanwhile() {
    let mut it = good();
    // It was 1 before, and 3 by now.
    it.append(&batch(vec![row("k", 5, Some(7))]), Kind::Fail, conflict("version", 1));
    assert_eq!(finished(it).wrong(), ["conflict-unjustified", "versions-not-linearizable"]);
    let mut it = good();
    it.append(&batch(vec![row("k", 5, Some(7))]), Kind::Fail, conflict("version", 9));
    assert_eq!(finished(it).wrong(), ["conflict-unjustified", "versions-not-linearizable"]);
    let mut it = good();
    it.append(&batch(vec![row("k", 5, Some(3))]), Kind::Fail, conflict("version", 3));
    assert_eq!(finished(it).wrong(), ["conflict-unjustified"]);
    let mut it = good();
    it.append(&batch(vec![row("k", 5, None)]), Kind::Fail, vec![("refused", text("400 bad"))]);
    assert_eq!(finished(it).wrong(), ["refused-without-reason"]);
}

#[test]
fn half_of_a_batch_is_never_seen() {
    let mut it = good();
    it.append(&batch(vec![row("k", 5, Some(7))]), Kind::Fail, conflict("version", 2));
    assert!(finished(it).wrong().contains(&"batch-torn".to_owned()));
}

#[test]
fn a_linearizable_read_is_not_old_and_a_committed_one_may_be() {
    let with = |consistency: &str, version: i64| {
        let mut it = good();
        it.look("k", consistency, version);
        finished(it).wrong()
    };
    assert_eq!(with("linearizable", 1), ["stale-read", "versions-not-linearizable"]);
    assert_eq!(with("committed", 1), [""; 0]);
    assert_eq!(with("committed", 4), ["stale-read"], "what is not there in the end");
}

#[test]
fn nothing_is_seen_before_it_is_sent() {
    let mut it = History::default();
    it.append(&batch(vec![row("k", 1, Some(-1))]), Kind::Ok, acked(0, 1, 1));
    it.look("k", "committed", 2);
    it.append(&batch(vec![row("k", 2, Some(1))]), Kind::Ok, acked(1, 2, 2));
    it.log(&[("k", 1), ("k", 2)]);
    assert_eq!(it.wrong(), ["seen-before-sent"]);
}

#[test]
fn retries_are_answered_as_at_first() {
    let told = || map([("of", int(1)), ("told", numbers(&[0, 1]))]);
    let again = |extra: Extra| {
        let mut it = good();
        let open = it.begin(AGAIN, told());
        it.end(open, Kind::Ok, extra);
        finished(it).wrong()
    };
    assert_eq!(again(vec![("again", numbers(&[0, 1]))]), [""; 0]);
    assert_eq!(again(vec![("again", numbers(&[7, 1]))]), ["retry-answered-otherwise"]);
    assert_eq!(again(conflict("version", 3)), ["retry-answered-as-conflict"]);
    let mut it = good();
    let mut extra = conflict("version", 4);
    extra.push(("tries", int(2)));
    it.append(&batch(vec![row("k", 5, Some(3))]), Kind::Fail, extra);
    it.log(&[("k", 1), ("k", 2), ("k", 3), ("k", 5)]);
    assert!(it.wrong().contains(&"retry-answered-as-conflict".to_owned()));
}

#[test]
fn of_those_who_want_to_be_the_first_one_is() {
    let mut it = History::default();
    it.append(&batch(vec![row("email:1", 1, Some(-1))]), Kind::Ok, acked(0, 1, 1));
    it.append(&batch(vec![row("email:1", 2, Some(-1))]), Kind::Ok, acked(1, 1, 1));
    it.log(&[("email:1", 1), ("email:1", 2)]);
    let wrong = it.wrong();
    assert!(wrong.contains(&"unique-taken-twice".to_owned()), "{wrong:?}");
    assert!(wrong.contains(&"condition-ignored".to_owned()), "{wrong:?}");
}

/// A batch that is the first with its tag, or refused.
fn tagged(id: i64) -> Batch {
    let rows = vec![Row { tags: vec!["t".to_owned()], ..row(&format!("user-{id}"), id, None) }];
    Batch { no_tag_after: vec![("t".to_owned(), -1)], ..batch(rows) }
}

#[test]
fn tags_are_unique_and_conflicts_name_where_they_are() {
    let with = |extra: Extra, kind: Kind, log: &[(&str, i64)]| {
        let mut it = History::default();
        it.append(&batch(vec![row("k", 1, None)]), Kind::Ok, acked(0, 1, 1));
        it.append(&tagged(2), Kind::Ok, acked(1, 1, 1));
        it.append(&tagged(3), kind, extra);
        it.log_with(log, &[(2, "t"), (3, "t")]);
        it.wrong()
    };
    let one = [("k", 1), ("user-2", 2)];
    assert_eq!(with(conflict("tag", 1), Kind::Fail, &one), [""; 0]);
    assert_eq!(with(conflict("tag", 0), Kind::Fail, &one), ["conflict-unjustified"]);
    let both = [("k", 1), ("user-2", 2), ("user-3", 3)];
    let wrong = with(acked(2, 1, 1), Kind::Ok, &both);
    assert_eq!(wrong, ["condition-ignored", "unique-taken-twice"]);
}

#[test]
fn the_end_of_the_log_is_expected_where_it_is() {
    let with = |kind: Kind, extra: Extra, log: &[(&str, i64)]| {
        let mut it = History::default();
        it.append(&batch(vec![row("k", 1, None)]), Kind::Ok, acked(0, 1, 1));
        let late = Batch { expected_offset: Some(0), ..batch(vec![row("k", 2, None)]) };
        it.append(&late, kind, extra);
        it.log(log);
        it.wrong()
    };
    assert_eq!(with(Kind::Fail, conflict("offset", 1), &[("k", 1)]), [""; 0]);
    assert_eq!(with(Kind::Fail, conflict("offset", 0), &[("k", 1)]), ["conflict-unjustified"]);
    assert_eq!(with(Kind::Ok, acked(1, 2, 2), &[("k", 1), ("k", 2)]), ["condition-ignored"]);
}

#[test]
fn streams_show_what_the_log_has() {
    let with = |version: i64, events: &[[i64; 3]]| {
        let mut it = finished(good());
        it.read("k", version, events);
        it.wrong()
    };
    assert_eq!(with(3, &[[1, 0, 1], [2, 1, 2]]), ["stream-incomplete"]);
    assert_eq!(with(3, &[[1, 0, 1], [2, 1, 7], [3, 2, 3]]), ["stream-differs"]);
    assert_eq!(with(3, &[[1, 0, 1], [1, 0, 1], [2, 1, 2], [3, 2, 3]]), ["stream-differs"]);
    // Numbered anew, as by a replica that forgot.
    assert!(with(1, &[[1, 2, 3]]).contains(&"stream-incomplete".to_owned()));
}

#[test]
fn who_waits_for_an_offset_gets_what_is_before_it() {
    let mut it = good();
    let value = map([
        ("key", text("k")),
        ("partition", int(0)),
        ("consistency", text("committed")),
        ("min-offset", int(3)),
    ]);
    let open = it.begin(READ, value);
    it.end(open, Kind::Ok, vec![("version", int(1)), ("events", Edn::Vector(Vec::new()))]);
    assert_eq!(finished(it).wrong(), ["read-behind-min-offset"]);
}

#[test]
fn conditions_may_be_refused_until_there_are_streams() {
    let with = |is_turned_on: bool| {
        let mut it = good();
        let refused = vec![("refused", text("streams_building"))];
        it.append(&batch(vec![row("k", 5, Some(3))]), Kind::Fail, refused);
        if is_turned_on {
            let open = it.begin(ON, Edn::Nil);
            it.end(open, Kind::Ok, Vec::new());
        }
        finished(it).wrong()
    };
    assert_eq!(with(true), [""; 0]);
    assert_eq!(with(false), ["refused-without-reason"]);
}

#[test]
fn a_batch_is_read_as_it_was_written() {
    let rows =
        vec![row("a", 1, None), Row { tags: vec!["t".to_owned()], ..row("b/ä", 2, Some(-1)) }];
    let whole = Batch {
        partition: 2,
        via: "kafka".to_owned(),
        rows,
        expected_offset: Some(7),
        no_tag_after: vec![("t".to_owned(), -1)],
        token: Some("x".to_owned()),
    };
    assert_eq!(Batch::of(&whole.to_edn()), Some(whole));
}

#[test]
fn the_search_finds_an_order_or_that_there_is_none() {
    let event = |began, ended, step| Event { began, ended: Some(ended), step };
    let limit = Duration::from_secs(10);
    let (one, two) = (Step::Appended(1, 1), Step::Appended(2, 2));
    let overlapping = [event(0, 5, two), event(1, 4, one), event(2, 3, Step::Is(0))];
    assert_eq!(linearizable(&overlapping, limit), Verdict::Valid);
    let stale = [event(0, 1, one), event(2, 3, two), event(4, 5, Step::Is(1))];
    assert_eq!(linearizable(&stale, limit), Verdict::Invalid);
    let open =
        [event(0, 1, one), Event { began: 2, ended: None, step: two }, event(4, 5, Step::Is(1))];
    assert_eq!(linearizable(&open, limit), Verdict::Valid);
}
