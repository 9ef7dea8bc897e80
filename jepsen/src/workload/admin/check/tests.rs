//! Histories of topics that cannot be true, each rejected for its own reason, and ones that can.

use super::{Event, Step, check, model};
use crate::checker::Verdict;
use crate::history::{Body, Edn, Kind, Op, Process, int, map, text};

/// A history under construction; each call is an operation that ends before the next begins.
#[derive(Default)]
struct HistoryBuilder(Vec<Op>);

impl HistoryBuilder {
    fn op(mut self, f: &str, kind: Kind, value: Edn, refused: Option<&str>) -> HistoryBuilder {
        let process = Process::Client(self.0.len() as i64);
        for kind in [Kind::Invoke, kind] {
            let extra = refused
                .filter(|_| kind != Kind::Invoke)
                .map(|why| ("refused".to_owned(), text(why)));
            let body = Body::Other(f.to_owned(), value.clone());
            let index = self.0.len() as u64;
            self.0.push(Op {
                index,
                time: index,
                process,
                kind,
                body,
                extra: extra.into_iter().collect(),
            });
        }
        self
    }

    fn change(self, f: &str, kind: Kind, count: i64, id: &str) -> HistoryBuilder {
        let id = if id.is_empty() { Edn::Nil } else { text(id) };
        let value = map([("topic", text("t")), ("partitions", int(count)), ("id", id)]);
        self.op(f, kind, value, None)
    }

    fn refused(self, f: &str, why: &str) -> HistoryBuilder {
        let value = map([("topic", text("t")), ("partitions", int(1)), ("id", Edn::Nil)]);
        self.op(f, Kind::Fail, value, Some(why))
    }

    fn list(self, broker: i64, last: bool, rows: &[(&str, &str, i64)]) -> HistoryBuilder {
        let row = |row: &(&str, &str, i64)| Edn::Vector(vec![text(row.0), text(row.1), int(row.2)]);
        let topics = Edn::Vector(rows.iter().map(row).collect());
        let value =
            map([("broker", int(broker)), ("final", Edn::Boolean(last)), ("topics", topics)]);
        self.op("list-topics", Kind::Ok, value, None)
    }

    fn anomalies(&self) -> Vec<String> {
        check(&self.0).into_iter().map(|finding| finding.anomaly).collect()
    }
}

fn created() -> HistoryBuilder {
    HistoryBuilder::default().change("create-topic", Kind::Ok, 2, "a")
}

#[test]
fn an_ordinary_life_is_accepted() {
    let told = created()
        .refused("create-topic", "exists")
        .list(1, false, &[("t", "a", 2)])
        .change("grow-topic", Kind::Ok, 3, "")
        .change("delete-topic", Kind::Ok, 0, "")
        .list(2, false, &[("t", "a", 2)])
        .change("create-topic", Kind::Ok, 1, "b")
        .change("grow-topic", Kind::Info, 4, "")
        .list(1, true, &[("t", "b", 4)])
        .list(2, true, &[("t", "b", 4)]);
    assert_eq!(told.anomalies(), [""; 0]);
}

#[test]
fn what_nobody_knows_may_have_happened_or_not() {
    for (name, rows) in [("it did", &[("t", "a", 2)][..]), ("it did not", &[])] {
        let told =
            HistoryBuilder::default().change("create-topic", Kind::Info, 2, "").list(1, true, rows);
        assert_eq!(told.anomalies(), [""; 0], "{name}");
    }
}

#[test]
fn a_created_topic_that_is_gone_is_noticed() {
    assert_eq!(created().list(1, true, &[]).anomalies(), ["topics-not-linearizable"]);
}

#[test]
fn a_deleted_topic_that_is_back_is_noticed() {
    let told = created().change("delete-topic", Kind::Ok, 0, "").list(1, true, &[("t", "a", 2)]);
    assert_eq!(told.anomalies(), ["topics-not-linearizable"]);
    let told = created()
        .list(1, false, &[("t", "a", 2)])
        .change("delete-topic", Kind::Info, 0, "")
        .list(1, false, &[])
        .list(1, true, &[("t", "a", 2)]);
    assert_eq!(told.anomalies(), ["topics-regressed"]);
}

#[test]
fn two_creators_of_one_topic_are_noticed() {
    let told = created().change("create-topic", Kind::Ok, 2, "b").list(1, true, &[("t", "b", 2)]);
    assert_eq!(told.anomalies(), ["topics-not-linearizable"]);
}

#[test]
fn an_id_that_is_used_again_is_noticed() {
    let told = created()
        .change("delete-topic", Kind::Ok, 0, "")
        .change("create-topic", Kind::Ok, 2, "a")
        .list(1, true, &[("t", "a", 2)]);
    assert_eq!(told.anomalies(), ["topic-id-reused"]);
}

#[test]
fn partitions_that_go_are_noticed() {
    let told = created().change("grow-topic", Kind::Ok, 3, "").list(1, true, &[("t", "a", 2)]);
    assert_eq!(told.anomalies(), ["topics-not-linearizable"]);
    let told = created()
        .change("grow-topic", Kind::Info, 3, "")
        .list(1, false, &[("t", "a", 3)])
        .list(1, true, &[("t", "a", 2)]);
    assert_eq!(told.anomalies(), ["topics-regressed"]);
}

#[test]
fn brokers_that_differ_in_the_end_are_noticed() {
    let told = HistoryBuilder::default()
        .change("create-topic", Kind::Info, 2, "")
        .list(1, true, &[("t", "a", 2)])
        .list(2, true, &[]);
    assert!(told.anomalies().contains(&"topics-differ".to_owned()));
}

#[test]
fn a_topic_that_nobody_asked_for_is_noticed() {
    let told = created().list(1, true, &[("t", "a", 2), ("u", "b", 1)]);
    assert_eq!(told.anomalies(), ["topic-from-nowhere"]);
}

#[test]
fn changes_without_a_last_list_are_not_called_valid() {
    assert_eq!(created().anomalies(), ["topics-unread"]);
}

#[test]
fn one_of_two_concurrent_creators_wins() {
    let event = |began, ended, step| Event { began, ended: Some(ended), step };
    let one = [event(1, 4, Step::Created(1)), event(2, 5, Step::Existed)];
    assert_eq!(model::linearizable(&one), Verdict::Valid);
    let none = [event(1, 4, Step::Existed), event(2, 5, Step::Existed)];
    assert_eq!(model::linearizable(&none), Verdict::Invalid);
}
