//! What a history says of streams, operation by operation.

use std::collections::{BTreeMap, HashMap};

use super::batch::{Batch, Content, string, strings};
use super::{AGAIN, APPEND, CONSUME, LISTEN, ON, READ, RECORDS, VERSION};
use crate::checker::extra::{field, list, number};
use crate::history::{Body, Edn, Kind, Op, int, text};

/// See the module. Times are indexes of the history.
#[derive(Default)]
pub struct Seen {
    pub appends: Vec<Append>,
    pub agains: Vec<Again>,
    pub looks: Vec<Look>,
    pub consumed: Vec<Consumed>,
    pub heard: Vec<Heard>,
    pub pages: Vec<Page>,
    /// The topic began without streams.
    pub is_turned_on: bool,
}

/// A batch and what its sender was told.
pub struct Append {
    pub began: u64,
    pub ended: u64,
    pub batch: Batch,
    pub outcome: Outcome,
    /// How often it was sent.
    pub tries: i64,
    /// Its producer gave up, for it was out of order again and again.
    pub is_out_of_order: bool,
}

pub enum Outcome {
    /// Where it is, and from and up to which version of the key, if that was told.
    Acked {
        offset: Option<i64>,
        versions: Option<(i64, i64)>,
    },
    Conflict(Conflict),
    /// Refused for something else than what there is.
    Refused(String),
    /// It certainly never came to be.
    Failed,
    Unknown,
}

/// Why a condition does not hold.
pub struct Conflict {
    pub why: Why,
    pub current: i64,
    /// The key or the tag, if it was told.
    pub about: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Version,
    Tag,
    Offset,
    Closed,
}

/// An accepted batch that was sent again, by the same token or sequence.
pub struct Again {
    pub ended: u64,
    pub told: Vec<i64>,
    /// None if the answer was a conflict.
    pub again: Option<Vec<i64>>,
}

/// A read of a key's version, and of its events perhaps.
pub struct Look {
    pub began: u64,
    pub ended: u64,
    pub partition: i64,
    pub key: String,
    pub broker: i64,
    pub is_linearizable: bool,
    pub is_final: bool,
    pub min_offset: Option<i64>,
    pub version: i64,
    /// What it was said to be, if that was told.
    pub state: Option<State>,
    /// Version, offset and value of each, if they were asked for.
    pub events: Option<Vec<[i64; 3]>>,
}

/// What a reader is told that a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There never was one.
    Unknown,
    Visible,
    Deleted,
    Closed,
}

/// What a listener was sent by one broker, behind what it had.
pub struct Heard {
    pub began: u64,
    pub ended: u64,
    pub listener: i64,
    /// The key of its stream; none if it listens to all records.
    pub key: Option<String>,
    pub partition: i64,
    /// It had all there was by then.
    pub is_final: bool,
    pub events: Vec<Event>,
}

/// A record, or the end of a stream, as a listener is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub partition: i64,
    /// Where records are read by key.
    pub version: Option<i64>,
    /// Not of the end of a stream that is told as such.
    pub offset: Option<i64>,
    pub id: Option<i64>,
    pub content: Content,
}

/// Records of a partition by HTTP, from an offset on.
pub struct Page {
    pub began: u64,
    pub ended: u64,
    pub partition: i64,
    pub from: i64,
    pub is_linearizable: bool,
    /// It ends because there was no more.
    pub is_whole: bool,
    pub events: Vec<Event>,
}

/// Part of a partition's log.
pub struct Consumed {
    pub ended: u64,
    pub partition: i64,
    /// All before this may be gone.
    pub start: i64,
    pub end: i64,
    pub records: Vec<Record>,
    pub is_final: bool,
}

/// A record as a consumer read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub key: String,
    /// [`NAMELESS`] until it is known whose tombstone it is.
    pub id: i64,
    pub tags: Vec<String>,
    pub content: Content,
}

/// The number of a record that has none.
pub const NAMELESS: i64 = -1;

impl Append {
    /// The key whose version a conflict names; nobody's if it may be that of several.
    pub fn about<'a>(&'a self, conflict: &'a Conflict) -> Option<&'a str> {
        if let Some(about) = &conflict.about {
            return Some(about);
        }
        let is_closed = conflict.why == Why::Closed;
        let rows = self.batch.rows.iter().filter(|row| is_closed || row.expected.is_some());
        let mut keys = rows.map(|row| row.key.as_str());
        let first = keys.next()?;
        keys.all(|key| key == first).then_some(first)
    }
}

impl Seen {
    pub fn of(history: &[Op]) -> Seen {
        let mut seen = Seen::default();
        let mut open: HashMap<_, &Op> = HashMap::new();
        for op in history {
            let Body::Other(f, _) = &op.body else { continue };
            if op.kind == Kind::Invoke {
                open.insert(op.process, op);
                continue;
            }
            seen.is_turned_on |= f == ON;
            if let Some(began) = open.remove(&op.process) {
                seen.take(f, began.index, op);
            }
        }
        // What never ended may have happened, or may yet.
        for op in open.into_values() {
            if let Body::Other(f, _) = &op.body {
                seen.take(f, op.index, &Op { kind: Kind::Info, ..op.clone() });
            }
        }
        seen.appends.sort_by_key(|append| append.began);
        seen
    }

    fn take(&mut self, f: &str, began: u64, op: &Op) {
        let Body::Other(_, value) = &op.body else { return };
        match (f, op.kind) {
            (APPEND, _) => self.appends.extend(append(began, op, value)),
            (AGAIN, Kind::Ok) => self.agains.extend(again(op, value)),
            (VERSION | READ, Kind::Ok) => self.looks.extend(look(began, op, value)),
            (CONSUME, Kind::Ok) => self.consumed.extend(consumed(op, value)),
            (LISTEN, Kind::Ok) => self.heard.extend(heard(began, op, value)),
            (RECORDS, Kind::Ok) => self.pages.extend(page(began, op, value)),
            _ => {}
        }
    }
}

fn extra(op: &Op, name: &str) -> Option<i64> {
    match op.extra.get(name)? {
        Edn::Integer(number) => Some(*number),
        _ => None,
    }
}

fn extra_text(extra: &BTreeMap<String, Edn>, name: &str) -> Option<String> {
    match extra.get(name)? {
        Edn::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn integer(value: &Edn) -> Option<i64> {
    match value {
        Edn::Integer(number) => Some(*number),
        _ => None,
    }
}

fn numbers(value: Option<&Edn>) -> Vec<i64> {
    list(value).iter().filter_map(integer).collect()
}

fn append(began: u64, op: &Op, value: &Edn) -> Option<Append> {
    let outcome = match op.kind {
        Kind::Ok => {
            let versions = match numbers(op.extra.get("versions"))[..] {
                [first, last] => Some((first, last)),
                _ => None,
            };
            Outcome::Acked { offset: extra(op, "offset"), versions }
        }
        Kind::Fail => match (conflict(op), extra_text(&op.extra, "refused")) {
            (Some(conflict), _) => Outcome::Conflict(conflict),
            (None, Some(why)) => Outcome::Refused(why),
            (None, None) => Outcome::Failed,
        },
        Kind::Info | Kind::Invoke => Outcome::Unknown,
    };
    let tries = extra(op, "tries").unwrap_or(1);
    let is_out_of_order = op.extra.contains_key("sequence-refused");
    let (ended, batch) = (op.index, Batch::of(value)?);
    Some(Append { began, ended, batch, outcome, tries, is_out_of_order })
}

fn conflict(op: &Op) -> Option<Conflict> {
    let why = match extra_text(&op.extra, "conflict")?.as_str() {
        "version" => Why::Version,
        "tag" => Why::Tag,
        "offset" => Why::Offset,
        "closed" => Why::Closed,
        _ => return None,
    };
    let about = extra_text(&op.extra, "about");
    Some(Conflict { why, current: extra(op, "current")?, about })
}

fn again(op: &Op, value: &Edn) -> Option<Again> {
    let told = numbers(field(value, "told"));
    let again = match op.extra.get("conflict") {
        Some(_) => None,
        None => Some(numbers(op.extra.get("again"))),
    };
    Some(Again { ended: op.index, told, again })
}

fn look(began: u64, op: &Op, value: &Edn) -> Option<Look> {
    let event = |it: &Edn| match numbers(Some(it))[..] {
        [version, offset, id] => Some([version, offset, id]),
        _ => None,
    };
    let events = op.extra.get("events").map(|it| list(Some(it)).iter().filter_map(event).collect());
    Some(Look {
        began,
        ended: op.index,
        partition: number(value, "partition")?,
        key: string(value, "key")?,
        broker: number(value, "broker").unwrap_or(-1),
        is_linearizable: string(value, "consistency").as_deref() == Some("linearizable"),
        is_final: field(value, "final") == Some(&Edn::Boolean(true)),
        min_offset: number(value, "min-offset"),
        version: extra(op, "version")?,
        state: extra_text(&op.extra, "state").and_then(|name| State::of(&name)),
        events,
    })
}

fn consumed(op: &Op, value: &Edn) -> Option<Consumed> {
    let record = |it: &Edn| match list(Some(it)) {
        [Edn::Integer(offset), Edn::String(key), id, tags, Edn::String(content)] => {
            let (key, id) = (key.clone(), integer(id).unwrap_or(NAMELESS));
            let (tags, content) = (strings(tags), Content::of(content)?);
            Some(Record { offset: *offset, key, id, tags, content })
        }
        _ => None,
    };
    Some(Consumed {
        ended: op.index,
        partition: number(value, "partition")?,
        start: extra(op, "start")?,
        end: extra(op, "end")?,
        records: list(op.extra.get("records")).iter().filter_map(record).collect(),
        is_final: field(value, "final") == Some(&Edn::Boolean(true)),
    })
}

fn events(op: &Op) -> Vec<Event> {
    list(op.extra.get("events")).iter().filter_map(Event::of).collect()
}

fn heard(began: u64, op: &Op, value: &Edn) -> Option<Heard> {
    Some(Heard {
        began,
        ended: op.index,
        listener: number(value, "listener")?,
        key: string(value, "key"),
        partition: number(value, "partition").unwrap_or(-1),
        is_final: op.extra.get("final") == Some(&Edn::Boolean(true)),
        events: events(op),
    })
}

fn page(began: u64, op: &Op, value: &Edn) -> Option<Page> {
    Some(Page {
        began,
        ended: op.index,
        partition: number(value, "partition")?,
        from: number(value, "from")?,
        is_linearizable: string(value, "consistency").as_deref() == Some("linearizable"),
        is_whole: op.extra.get("whole") == Some(&Edn::Boolean(true)),
        events: events(op),
    })
}

impl Event {
    /// `[partition version offset id content]`
    pub fn to_edn(self) -> Edn {
        let maybe = |number: Option<i64>| number.map_or(Edn::Nil, Edn::Integer);
        let content = text(self.content.name());
        let place = [maybe(self.version), maybe(self.offset), maybe(self.id)];
        Edn::Vector([vec![int(self.partition)], place.to_vec(), vec![content]].concat())
    }

    fn of(value: &Edn) -> Option<Event> {
        let [partition, version, offset, id, Edn::String(content)] = list(Some(value)) else {
            return None;
        };
        Some(Event {
            partition: integer(partition)?,
            version: integer(version),
            offset: integer(offset),
            id: integer(id),
            content: Content::of(content)?,
        })
    }
}

impl State {
    const ALL: [State; 4] = [State::Unknown, State::Visible, State::Deleted, State::Closed];

    pub fn name(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Visible => "visible",
            State::Deleted => "deleted",
            State::Closed => "closed",
        }
    }

    fn of(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|it| it.name() == name)
    }
}
