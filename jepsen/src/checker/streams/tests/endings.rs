//! Streams that end, listeners, and records by offset: one test for each thing that can be wrong with them.

use super::{Extra, History, acked, batch, conflict, row};
use crate::checker::streams::{
    Batch, CONSUME, Content, DELETE, EXISTS, Event, LISTEN, Least, READ, RECORDS, Row, streams,
};
use crate::checker::{Verdict, verdict};
use crate::history::{Edn, Kind, int, map, text};

const EVENT: Content = Content::Event;
const TOMBSTONE: Content = Content::Tombstone;
const CLOSE: Content = Content::Close;

fn end(id: i64, expected: Option<i64>, content: Content) -> Batch {
    batch(vec![Row { content, ..row("k", id, expected) }])
}

fn deletion(id: i64, expected: Option<i64>, content: Content) -> Batch {
    Batch { via: DELETE.to_owned(), ..end(id, expected, content) }
}

impl History {
    /// The whole log of partition 0, all of one key; without a number, if it is of who deletes.
    fn log_of(&mut self, records: &[(Option<i64>, Content)]) {
        let row = |(offset, (id, content)): (i64, &(Option<i64>, Content))| {
            let (id, tags) = (id.map_or(Edn::Nil, Edn::Integer), Edn::Vector(Vec::new()));
            Edn::Vector(vec![int(offset), text("k"), id, tags, text(content.name())])
        };
        let rows: Vec<Edn> = (0..).zip(records).map(row).collect();
        let open = self.begin(CONSUME, map([("partition", int(0)), ("final", Edn::Boolean(true))]));
        let end = int(rows.len() as i64);
        let rows = Edn::Vector(rows);
        self.end(open, Kind::Ok, vec![("start", int(0)), ("end", end), ("records", rows)]);
    }

    fn state(&mut self, version: i64, state: &str) {
        let open = self.begin_look("k", "linearizable", false);
        self.end(open, Kind::Ok, vec![("version", int(version)), ("state", text(state))]);
    }

    fn hear(&mut self, key: Option<&str>, events: &[Event], is_final: bool) {
        let value =
            map([("listener", int(1)), ("key", key.map_or(Edn::Nil, text)), ("partition", int(0))]);
        let open = self.begin(LISTEN, value);
        let events = Edn::Vector(events.iter().map(|event| event.to_edn()).collect());
        let extra = vec![("events", events), ("final", Edn::Boolean(is_final))];
        self.end(open, Kind::Ok, extra);
    }

    fn page(&mut self, from: i64, events: &[Event], consistency: &str) {
        let value =
            map([("partition", int(0)), ("from", int(from)), ("consistency", text(consistency))]);
        let open = self.begin(RECORDS, value);
        let events = Edn::Vector(events.iter().map(|event| event.to_edn()).collect());
        self.end(open, Kind::Ok, vec![("events", events), ("whole", Edn::Boolean(true))]);
    }
}

/// Written, deleted by who deletes, written again upon none, and closed by a producer.
fn ended() -> History {
    let mut it = History::default();
    it.append(&batch(vec![row("k", 1, Some(-1))]), Kind::Ok, acked(0, 1, 1));
    it.append(&deletion(2, Some(EXISTS), TOMBSTONE), Kind::Ok, acked(1, 2, 2));
    it.append(&batch(vec![row("k", 3, Some(EXISTS))]), Kind::Fail, conflict("version", 2));
    it.state(2, "deleted");
    it.append(&batch(vec![row("k", 4, Some(-1))]), Kind::Ok, acked(2, 3, 3));
    it.state(3, "visible");
    it.append(&batch(vec![row("k", 5, Some(EXISTS))]), Kind::Ok, acked(3, 4, 4));
    it.append(&end(6, Some(4), CLOSE), Kind::Ok, acked(4, 5, 5));
    it.append(&batch(vec![row("k", 7, None)]), Kind::Fail, conflict("closed", 5));
    it.state(5, "closed");
    it
}

const LOG: [(Option<i64>, Content); 5] =
    [(Some(1), EVENT), (None, TOMBSTONE), (Some(4), EVENT), (Some(5), EVENT), (Some(6), CLOSE)];

fn wrong(mut it: History, log: &[(Option<i64>, Content)]) -> Vec<String> {
    it.log_of(log);
    it.wrong()
}

/// With one more operation on it.
fn with(add: impl FnOnce(&mut History)) -> Vec<String> {
    let mut it = ended();
    add(&mut it);
    wrong(it, &LOG)
}

#[test]
fn versions_go_on_over_a_deletion_and_a_closed_stream_takes_nothing() {
    assert_eq!(wrong(ended(), &LOG), [""; 0]);
    let mut it = ended();
    it.append(&batch(vec![row("k", 8, None)]), Kind::Ok, acked(5, 6, 6));
    let more = [&LOG[..], &[(Some(8), EVENT)]].concat();
    assert_eq!(wrong(it, &more), ["appended-after-close"]);
    let mut it = ended();
    it.append(&batch(vec![row("k", 8, Some(-1))]), Kind::Ok, acked(5, 1, 1));
    let wrong = wrong(it, &more);
    assert!(wrong.contains(&"version-given-twice".to_owned()), "begun anew: {wrong:?}");
}

#[test]
fn a_stream_that_is_there_is_expected_only_where_it_is() {
    let mut it = History::default();
    it.append(&batch(vec![row("k", 1, None)]), Kind::Ok, acked(0, 1, 1));
    it.append(&end(2, Some(EXISTS), TOMBSTONE), Kind::Ok, acked(1, 2, 2));
    it.append(&batch(vec![row("k", 3, Some(EXISTS))]), Kind::Ok, acked(2, 3, 3));
    let log = [(Some(1), EVENT), (Some(2), TOMBSTONE), (Some(3), EVENT)];
    assert_eq!(wrong(it, &log), ["condition-ignored"]);
    let refused = |expected: i64, current: i64| {
        with(|it| {
            it.ops.drain(it.ops.len() - 6..);
            it.append(
                &batch(vec![row("k", 8, Some(expected))]),
                Kind::Fail,
                conflict("version", current),
            );
            it.append(&end(6, Some(4), CLOSE), Kind::Ok, acked(4, 5, 5));
        })
    };
    assert_eq!(refused(EXISTS, 4), ["conflict-unjustified"], "it is there at 4");
    let unjustified = with(|it| {
        it.append(&batch(vec![row("k", 8, None)]), Kind::Fail, conflict("closed", 4));
    });
    assert!(unjustified.contains(&"conflict-unjustified".to_owned()), "{unjustified:?}");
}

#[test]
fn a_tombstone_without_a_number_is_somebodys() {
    let with = |kind: Kind, extra: Extra, log: &[(Option<i64>, Content)]| {
        let mut it = History::default();
        it.append(&batch(vec![row("k", 1, None)]), Kind::Ok, acked(0, 1, 1));
        it.append(&deletion(2, Some(EXISTS), TOMBSTONE), kind, extra);
        wrong(it, log)
    };
    let (kept, deleted) = ([LOG[0]], [LOG[0], LOG[1]]);
    assert_eq!(with(Kind::Info, Vec::new(), &kept), [""; 0]);
    assert_eq!(with(Kind::Info, Vec::new(), &deleted), [""; 0]);
    assert_eq!(with(Kind::Ok, acked(1, 2, 2), &kept), ["append-lost"]);
    let refused = with(Kind::Fail, conflict("version", 0), &deleted);
    assert!(refused.contains(&"refused-appended".to_owned()), "{refused:?}");
    let twice = [LOG[0], LOG[1], LOG[1]];
    assert_eq!(with(Kind::Ok, acked(1, 2, 2), &twice), ["append-from-nowhere"]);
    let other = [LOG[0], (None, CLOSE)];
    let other = with(Kind::Ok, acked(1, 2, 2), &other);
    assert!(other.contains(&"append-lost".to_owned()), "closed and not deleted: {other:?}");
}

#[test]
fn what_is_deleted_is_not_shown() {
    assert_eq!(with(|it| it.state(5, "deleted")), ["deletion-misjudged"]);
    assert_eq!(with(|it| it.state(5, "visible")), ["deletion-misjudged"]);
    let read = |events: &[[i64; 3]]| {
        with(|it| {
            // Before it was closed.
            it.ops.drain(it.ops.len() - 6..);
            let value = map([("key", text("k")), ("partition", int(0))]);
            let open = it.begin(READ, value);
            let numbers = |it: &[i64; 3]| Edn::Vector(it.map(int).to_vec());
            let events = Edn::Vector(events.iter().map(numbers).collect());
            let extra = vec![("version", int(4)), ("state", text("visible")), ("events", events)];
            it.end(open, Kind::Ok, extra);
            it.append(&end(6, Some(4), CLOSE), Kind::Ok, acked(4, 5, 5));
        })
    };
    assert_eq!(read(&[[3, 2, 4], [4, 3, 5]]), [""; 0]);
    let all = read(&[[1, 0, 1], [2, 1, 2], [3, 2, 4], [4, 3, 5]]);
    assert!(all.contains(&"deleted-shown".to_owned()), "{all:?}");
}

fn event(version: Option<i64>, offset: Option<i64>, content: Content) -> Event {
    let id = offset.and_then(|offset| LOG[offset as usize].0);
    Event { partition: 0, version, offset, id, content }
}

/// An event of the key, by its version.
fn of_key(version: i64) -> Event {
    event(Some(version), Some(version - 1), EVENT)
}

#[test]
fn who_listens_to_a_key_hears_each_event_once_and_in_order() {
    let ends = [event(Some(2), None, TOMBSTONE), event(Some(5), None, CLOSE)];
    let heard = |times: &[&[Event]]| {
        with(|it| {
            for (place, events) in times.iter().enumerate() {
                it.hear(Some("k"), events, place + 1 == times.len());
            }
        })
    };
    let [deleted, closed] = ends;
    assert_eq!(heard(&[&[of_key(1)], &[deleted, of_key(3)], &[of_key(4), closed]]), [""; 0]);
    assert_eq!(heard(&[&[closed]]), [""; 0], "it stands for all that was before");
    let gap = ["listener-gap"];
    assert_eq!(heard(&[&[of_key(1), deleted, of_key(4), closed]]), gap);
    assert_eq!(heard(&[&[of_key(1)], &[of_key(3), of_key(4), closed]]), gap, "of the deletion");
    let again = heard(&[&[of_key(1), deleted], &[deleted, of_key(3), of_key(4), closed]]);
    assert_eq!(again, ["listener-repeats"]);
    assert_eq!(heard(&[&[of_key(1), deleted, of_key(3)]]), ["listener-incomplete"]);
    let more = heard(&[&[of_key(1), deleted, of_key(3), of_key(4), closed], &[of_key(4)]]);
    assert_eq!(more, ["listener-differs", "listener-incomplete"], "behind the end");
    let other = Event { id: Some(9), ..of_key(1) };
    assert_eq!(heard(&[&[other, deleted, of_key(3), of_key(4), closed]]), ["listener-differs"]);
    let soft = Event { content: TOMBSTONE, ..closed };
    assert_eq!(heard(&[&[of_key(1), deleted, of_key(3), of_key(4), soft]]), ["listener-differs"]);
}

/// As they are read by offset.
fn records() -> Vec<Event> {
    (0..).zip(LOG).map(|(offset, (_, content))| event(None, Some(offset), content)).collect()
}

#[test]
fn who_listens_to_all_records_hears_each_once_and_in_order() {
    let heard = |times: &[&[Event]]| {
        with(|it| {
            for (place, events) in times.iter().enumerate() {
                it.hear(None, events, place + 1 == times.len());
            }
        })
    };
    let all = records();
    assert_eq!(heard(&[&all[..2], &all[2..]]), [""; 0]);
    assert_eq!(heard(&[&all[..2], &all[3..]]), ["listener-gap"]);
    assert_eq!(heard(&[&all[..2], &all[1..]]), ["listener-repeats"]);
    assert_eq!(heard(&[&all[1..]]), ["listener-gap"], "from the beginning");
    assert_eq!(heard(&[&all[..4]]), ["listener-incomplete"]);
    let other = Event { content: CLOSE, ..all[1] };
    assert_eq!(heard(&[&[&all[..1], &[other], &all[2..]].concat()]), ["listener-differs"]);
}

#[test]
fn records_by_offset_are_those_of_the_log_and_none_is_missing() {
    let all = records();
    let with = |from: i64, events: &[Event], consistency: &str| {
        with(|it| it.page(from, events, consistency))
    };
    assert_eq!(with(0, &all, "linearizable"), [""; 0]);
    assert_eq!(with(3, &all[3..], "linearizable"), [""; 0]);
    assert_eq!(with(0, &all[..3], "committed"), [""; 0]);
    assert_eq!(with(0, &all[..3], "linearizable"), ["stale-read"]);
    assert_eq!(with(3, &[], "linearizable"), ["stale-read"]);
    assert_eq!(with(0, &[all[0], all[2], all[3], all[4]], "committed"), ["records-differ"]);
    let other = Event { id: Some(9), ..all[0] };
    assert_eq!(with(0, &[other], "committed"), ["records-differ"]);
}

#[test]
fn too_few_ends_and_listeners_show_nothing() {
    let mut it = ended();
    it.hear(Some("k"), &[of_key(1)], false);
    it.page(0, &records(), "linearizable");
    it.log_of(&LOG);
    let least = |ends, closed, heard, records| {
        let least = Least { ends, closed, heard, records, ..Least::default() };
        verdict(&streams(&it.ops, least))
    };
    assert_eq!(least(2, 1, 1, 5), Verdict::Valid);
    for (ends, closed, heard, records) in [(3, 0, 0, 0), (0, 2, 0, 0), (0, 0, 2, 0), (0, 0, 0, 6)] {
        assert_eq!(least(ends, closed, heard, records), Verdict::Unknown);
    }
}
