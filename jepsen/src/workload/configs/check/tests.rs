use super::*;
use crate::history::{Process, int, map, text};

#[derive(Default)]
struct History(Vec<Op>);

impl History {
    fn op(&mut self, process: i64, kind: Kind, f: &str, value: Edn) {
        let index = self.0.len() as u64;
        let (process, body) = (Process::Client(process), Body::Other(f.to_owned(), value));
        self.0.push(Op { index, time: index, process, kind, body, extra: BTreeMap::new() });
    }

    fn change(&mut self, process: i64, kind: Kind, broker: i64, value: i64) {
        let value = map([("topic", text("t")), ("broker", int(broker)), ("value", int(value))]);
        self.op(process, kind, "change-configs", value);
    }

    /// A change from beginning to end.
    fn changed(&mut self, broker: i64, value: i64, kind: Kind) {
        self.change(broker, Kind::Invoke, broker, value);
        self.change(broker, kind, broker, value);
    }

    fn read(&mut self, broker: i64, values: [i64; 2], last: bool) {
        self.read_by("kafka", broker, values, last);
    }

    fn read_by(&mut self, via: &str, broker: i64, values: [i64; 2], last: bool) {
        let values = Edn::Vector(values.map(int).to_vec());
        let told = |values: Edn| {
            map([
                ("topic", text("t")),
                ("broker", int(broker)),
                ("via", text(via)),
                ("final", Edn::Boolean(last)),
                ("values", values),
            ])
        };
        self.op(9, Kind::Invoke, "read-configs", told(Edn::Nil));
        self.op(9, Kind::Ok, "read-configs", told(values));
    }

    fn end(&mut self, value: i64) {
        (1..=3).for_each(|broker| self.read(broker, [value; 2], true));
    }

    fn anomalies(&self) -> Vec<String> {
        let invalid = check(&self.0).into_iter().filter(|it| it.verdict == Verdict::Invalid);
        invalid.map(|finding| finding.anomaly).collect()
    }
}

/// A topic as it should be.
fn good() -> History {
    let mut history = History::default();
    history.read(1, [-1, -1], false);
    history.changed(1, 0, Kind::Ok);
    history.read(1, [0, 0], false);
    // Another broker may be behind.
    history.read(2, [-1, -1], false);
    history.changed(2, 1, Kind::Info);
    history.read(2, [0, 0], false);
    history.read(3, [1, 1], false);
    history
}

#[test]
fn a_broker_may_be_behind_the_others_and_a_change_without_an_answer_may_be_made_or_not() {
    let mut history = good();
    history.end(1);
    assert_eq!(history.anomalies(), Vec::<String>::new());
    // Nobody knows which of two that overlap was first.
    let mut history = History::default();
    history.change(1, Kind::Invoke, 1, 0);
    history.change(2, Kind::Invoke, 2, 1);
    history.change(2, Kind::Ok, 2, 1);
    history.read(2, [0, 0], false);
    history.change(1, Kind::Ok, 1, 0);
    history.end(0);
    assert_eq!(history.anomalies(), Vec::<String>::new());
}

#[test]
fn two_configs_that_are_changed_together_are_seen_together() {
    let mut history = good();
    history.read(1, [1, 0], false);
    history.end(1);
    assert_eq!(history.anomalies(), ["configs-torn"]);
}

#[test]
fn what_a_broker_says_does_not_go_back() {
    let mut history = good();
    history.changed(1, 2, Kind::Ok);
    // What it was told itself.
    history.read(1, [0, 0], false);
    history.end(2);
    assert_eq!(history.anomalies(), ["config-regressed"]);
    let mut history = good();
    // Of the two nobody knows which was first, but it has shown the other since.
    history.read(3, [0, 0], false);
    history.read(3, [1, 1], false);
    history.end(1);
    assert_eq!(history.anomalies(), ["config-regressed"]);
    let mut history = good();
    history.read(2, [-1, -1], false);
    history.end(1);
    assert_eq!(history.anomalies(), ["config-regressed"]);
}

#[test]
fn by_http_a_broker_that_starts_may_tell_what_it_had() {
    let mut history = good();
    history.read_by("http", 2, [-1, -1], false);
    history.end(1);
    assert_eq!(history.anomalies(), Vec::<String>::new());
    let mut history = good();
    history.changed(1, 2, Kind::Ok);
    history.read_by("http", 3, [2, 2], false);
    history.read(3, [0, 0], false);
    history.end(2);
    assert_eq!(history.anomalies(), ["config-regressed"]);
}

#[test]
fn what_was_acknowledged_is_there_in_the_end_or_something_newer() {
    let mut history = good();
    history.changed(3, 2, Kind::Ok);
    history.end(0);
    assert!(history.anomalies().contains(&"config-lost".to_owned()));
    let mut history = good();
    history.read(1, [1, 1], true);
    history.read(2, [0, 0], true);
    assert_eq!(history.anomalies(), ["configs-differ"]);
}

#[test]
fn a_value_is_one_that_somebody_asked_for_and_was_not_refused() {
    let mut history = good();
    history.end(7);
    assert_eq!(history.anomalies(), ["config-from-nowhere"]);
    let mut history = good();
    history.changed(1, 2, Kind::Fail);
    history.read(1, [2, 2], false);
    history.end(2);
    assert_eq!(history.anomalies(), ["config-from-nowhere"]);
}

#[test]
fn what_nobody_has_looked_at_proves_nothing() {
    let history = good();
    let unknown = check(&history.0);
    let names: Vec<&str> = unknown.iter().map(|it| it.anomaly.as_str()).collect();
    assert_eq!(names, ["configs-unread", "few-changes"]);
}
