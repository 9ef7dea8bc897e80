//! Removals that took too much or too little.

use super::check;
use crate::history::{Body, Edn, Kind, Mop, Op, Process, Sent, int, map};

#[derive(Default)]
struct HistoryBuilder(Vec<Op>);

impl HistoryBuilder {
    fn op(mut self, invoke: Body, ok: Body, fetched: Option<Edn>) -> HistoryBuilder {
        for (kind, body) in [(Kind::Invoke, invoke), (Kind::Ok, ok)] {
            let index = self.0.len() as u64;
            let fetched = fetched.clone().filter(|_| kind == Kind::Ok);
            let extra = fetched.map(|it| ("fetched".to_owned(), Edn::Vector(vec![it])));
            let extra = extra.into_iter().collect();
            self.0.push(Op { index, time: index, process: Process::Client(0), kind, body, extra });
        }
        self
    }

    /// Sends the value that is the offset.
    fn sent(self, offset: i64) -> HistoryBuilder {
        let body = |sent| Body::Send(vec![Mop::Send { key: 1, value: offset, sent }]);
        self.op(body(Sent::Plain), body(Sent::At(offset)), None)
    }

    /// Reads these offsets from the beginning.
    fn read(self, offsets: &[i64], epoch: i64, start: i64) -> HistoryBuilder {
        self.assigned().read_on(offsets, epoch, start)
    }

    fn assigned(self) -> HistoryBuilder {
        self.op(Body::Assign(vec![]), Body::Assign(vec![]), None).op(
            Body::Assign(vec![1]),
            Body::Assign(vec![1]),
            None,
        )
    }

    fn read_on(self, offsets: &[i64], epoch: i64, start: i64) -> HistoryBuilder {
        let next = offsets.last().map_or(start, |last| last + 1);
        self.read_to(offsets, epoch, start, next)
    }

    fn read_to(self, offsets: &[i64], epoch: i64, start: i64, next: i64) -> HistoryBuilder {
        let records = offsets.iter().map(|offset| (*offset, *offset)).collect();
        let read = Body::Poll(vec![Mop::Poll(Some([(1, records)].into()))]);
        let said = [("key", 1), ("epoch", epoch), ("log-start", start), ("next", next)];
        let fetched = map(said.map(|(name, number)| (name, int(number))));
        self.op(Body::Poll(vec![Mop::Poll(None)]), read, Some(fetched))
    }

    fn deleted(self, before: i64) -> HistoryBuilder {
        let body = Body::Other("delete-records".to_owned(), Edn::Vector(vec![int(1), int(before)]));
        self.op(body.clone(), body, None)
    }

    fn anomalies(&self) -> Vec<String> {
        check(&self.0).into_iter().map(|finding| finding.anomaly).collect()
    }
}

fn three() -> HistoryBuilder {
    HistoryBuilder::default().sent(0).sent(1).sent(2)
}

#[test]
fn what_is_removed_may_be_missing() {
    assert_eq!(three().deleted(2).read(&[2], 1, 2).anomalies(), [""; 0]);
    let old_leader = three().read(&[2], 5, 2).read(&[0, 1, 2], 4, 0);
    assert_eq!(old_leader.anomalies(), [""; 0], "one that does not know better may serve more");
}

#[test]
fn what_is_not_removed_may_not_be_missing() {
    let gone = three().deleted(1).read(&[2], 1, 1);
    assert_eq!(gone.anomalies(), ["lost-above-log-start", "skipped-above-log-start"]);
}

#[test]
fn a_removal_that_is_undone_is_noticed() {
    assert_eq!(three().deleted(2).read(&[0, 1, 2], 1, 0).anomalies(), ["log-start-lost"]);
}

#[test]
fn removed_records_that_are_read_are_noticed() {
    let told = three().read(&[2], 1, 2).read(&[1, 2], 2, 2);
    assert_eq!(told.anomalies(), ["read-below-log-start"]);
}

#[test]
fn what_is_left_out_was_removed() {
    const SKIPPED: &str = "skipped-above-log-start";
    let from_start = |offsets: &[i64], start| {
        HistoryBuilder::default().assigned().read_on(offsets, 1, start).anomalies()
    };
    assert_eq!(from_start(&[5, 6], 5), [""; 0]);
    assert_eq!(from_start(&[5, 6], 4), [SKIPPED], "the first that is there");
    assert_eq!(from_start(&[5, 7], 5), [SKIPPED], "within an answer");
    assert_eq!(from_start(&[5, 7], 7), [""; 0], "it was removed meanwhile");
    let on = |told: HistoryBuilder| told.assigned().read_on(&[0, 1], 1, 0);
    let overtaken = on(HistoryBuilder::default()).read_on(&[4, 5], 1, 4);
    assert_eq!(overtaken.anomalies(), [""; 0]);
    let skipped = on(HistoryBuilder::default()).read_on(&[4, 5], 1, 3);
    assert_eq!(skipped.anomalies(), [SKIPPED], "from one poll to the next");
    let reset = on(HistoryBuilder::default()).read_to(&[], 1, 3, 4);
    assert_eq!(reset.anomalies(), [SKIPPED], "nothing was read, and the position moved");
    let back = on(HistoryBuilder::default()).assigned().read_on(&[0, 1, 2], 1, 0);
    assert_eq!(back.anomalies(), [""; 0], "a new assignment begins at the beginning");
}
