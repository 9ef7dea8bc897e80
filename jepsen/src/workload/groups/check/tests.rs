use super::*;
use crate::history::{int, map, text};

/// A history of operations that each begin and end at once, unless told otherwise.
#[derive(Default)]
struct History(Vec<Op>);

impl History {
    fn op(&mut self, process: i64, kind: Kind, f: &str, value: Edn) {
        let index = self.0.len() as u64;
        let (process, body) = (Process::Client(process), Body::Other(f.to_owned(), value));
        self.0.push(Op { index, time: index, process, kind, body, extra: BTreeMap::new() });
    }

    fn done(&mut self, process: i64, f: &str, value: Edn) {
        self.op(process, Kind::Invoke, f, value.clone());
        self.op(process, Kind::Ok, f, value);
    }

    fn anomalies(&self) -> Vec<String> {
        let invalid = check(&self.0).into_iter().filter(|it| it.verdict == Verdict::Invalid);
        invalid.map(|finding| finding.anomaly).collect()
    }
}

fn join(generation: i64) -> Edn {
    map([("generation", int(generation)), ("member", text("m"))])
}

fn sync(generation: i64, member: &str, keys: &[i64]) -> Edn {
    let keys = Edn::Vector(keys.iter().map(|key| int(*key)).collect());
    map([("generation", int(generation)), ("member", text(member)), ("keys", keys)])
}

fn offsets(offsets: &[(i64, i64)]) -> Edn {
    Edn::Vector(offsets.iter().map(|(key, at)| Edn::Vector(vec![int(*key), int(*at)])).collect())
}

fn commit(generation: i64, of: &[(i64, i64)]) -> Edn {
    map([("generation", int(generation)), ("offsets", offsets(of))])
}

/// A group as it should be.
fn good() -> History {
    let mut history = History::default();
    history.done(1, "join", join(1));
    history.done(1, "sync", sync(1, "a", &[0, 1]));
    history.done(1, "fetch-offsets", offsets(&[]));
    history.done(1, "commit", commit(1, &[(0, 5), (1, 7)]));
    history.done(1, "join", join(2));
    history.done(2, "join", join(2));
    history.done(1, "sync", sync(2, "a", &[0]));
    history.done(2, "sync", sync(2, "b", &[1]));
    history.done(2, "fetch-offsets", offsets(&[(0, 5), (1, 7)]));
    history.done(2, "commit", commit(2, &[(1, 9)]));
    history
}

#[test]
fn a_good_group_shows_nothing_but_that_it_is_small() {
    let mut history = good();
    assert_eq!(history.anomalies(), Vec::<String>::new());
    assert_eq!(check(&history.0)[0].anomaly, "few-commits");
    for generation in 3..30 {
        history.done(1, "join", join(generation));
        history.done(1, "commit", commit(generation, &[(0, generation + 5)]));
    }
    assert_eq!(check(&history.0), []);
}

#[test]
fn two_owners_in_one_generation_are_found() {
    let mut history = good();
    history.done(3, "sync", sync(2, "c", &[1]));
    assert_eq!(history.anomalies(), ["assignment-overlap"]);
}

#[test]
fn a_part_that_was_not_told_is_found_and_so_are_two_that_were() {
    let told = |history: &mut History, keys: &[i64]| {
        let keys = Edn::Vector(keys.iter().map(|key| int(*key)).collect());
        let parts = Edn::Vector(vec![Edn::Vector(vec![text("a"), keys])]);
        history.op(9, Kind::Invoke, "sync", map([("generation", int(3)), ("parts", parts)]));
    };
    let mut history = good();
    told(&mut history, &[0, 1]);
    told(&mut history, &[0, 1]);
    history.done(1, "sync", sync(3, "a", &[0, 1]));
    assert_eq!(history.anomalies(), Vec::<String>::new());
    history.done(1, "sync", sync(3, "a", &[]));
    assert_eq!(history.anomalies(), ["wrong-part"]);
    let mut history = good();
    told(&mut history, &[0, 1]);
    told(&mut history, &[0]);
    assert_eq!(history.anomalies(), ["dealt-twice"]);
}

#[test]
fn a_generation_that_goes_back_is_found() {
    let mut history = good();
    history.done(3, "join", join(1));
    assert_eq!(history.anomalies(), ["generation-went-back"]);
}

#[test]
fn a_commit_of_a_generation_that_is_over_is_found_if_that_was_known() {
    let mut history = good();
    history.op(3, Kind::Invoke, "commit", commit(2, &[(0, 6)]));
    history.done(1, "join", join(3));
    history.op(3, Kind::Ok, "commit", commit(2, &[(0, 6)]));
    assert_eq!(history.anomalies(), Vec::<String>::new(), "it may have been before");
    history.done(3, "commit", commit(2, &[(0, 7)]));
    assert_eq!(history.anomalies(), ["commit-of-old-generation"]);
}

#[test]
fn a_commit_that_is_lost_or_made_up_is_found() {
    let mut lost = good();
    lost.done(3, "fetch-offsets", offsets(&[(0, 5), (1, 8)]));
    assert_eq!(lost.anomalies(), ["commit-lost"]);
    let mut gone = good();
    gone.done(3, "fetch-offsets", offsets(&[(1, 9)]));
    assert_eq!(gone.anomalies(), ["commit-lost"]);
    let mut made_up = good();
    made_up.done(3, "fetch-offsets", offsets(&[(0, 6), (1, 9)]));
    assert_eq!(made_up.anomalies(), ["commit-of-nobody"]);
    // One whose answer is still awaited may be there or not.
    let mut open = good();
    open.op(3, Kind::Invoke, "commit", commit(2, &[(0, 8)]));
    open.done(1, "fetch-offsets", offsets(&[(0, 5), (1, 9)]));
    open.done(2, "fetch-offsets", offsets(&[(0, 8), (1, 9)]));
    assert_eq!(open.anomalies(), Vec::<String>::new());
}
