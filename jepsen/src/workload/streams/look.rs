//! Reads: a key's version, its events, through any broker.

use rand::Rng;
use serde_json::Value;

use super::answer::id_of;
use super::append::{error, stream_path};
use super::known::Known;
use crate::admin::Admin;
use crate::checker::streams::{READ, State, VERSION};
use crate::environment::Address;
use crate::history::{Body, Edn, Kind, Pending, int, map, text};
use crate::workload::session::{Extra, Session};

/// Events that a read in the middle of a run asks for, and of how many of the newest.
const EVENTS: i64 = 20;
/// Events on a page of a whole stream.
const PAGE: i64 = 500;

/// What a read asks for besides the key.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    pub committed: bool,
    pub min_offset: Option<i64>,
}

/// A read of a stream, from a broker.
struct Wanted<'a> {
    key: &'a str,
    broker: u64,
    how: How,
    is_final: bool,
}

impl Wanted<'_> {
    fn body(&self, known: &Known, f: &str) -> Body {
        let consistency = if self.how.committed { "committed" } else { "linearizable" };
        let value = map([
            ("key", text(self.key)),
            ("partition", int(known.partition(self.key))),
            ("broker", int(i64::try_from(self.broker).unwrap_or(-1))),
            ("consistency", text(consistency)),
            ("min-offset", self.how.min_offset.map_or(Edn::Nil, Edn::Integer)),
            ("final", Edn::Boolean(self.is_final)),
        ]);
        Body::Other(f.to_owned(), value)
    }
}

/// A page of a stream.
struct Page {
    version: i64,
    events: Vec<[i64; 3]>,
    next: Option<i64>,
    state: State,
}

impl Page {
    fn empty(version: i64, state: State) -> Page {
        Page { version, events: Vec::new(), next: None, state }
    }

    /// With those of the pages before.
    fn told(self, mut events: Vec<[i64; 3]>) -> Told {
        let Page { version, state, .. } = self;
        events.extend(self.events);
        Told { version, state, events: Some(events) }
    }
}

/// What was read.
struct Told {
    version: i64,
    state: State,
    events: Option<Vec<[i64; 3]>>,
}

pub fn any(session: &mut Session) -> Option<Address> {
    let brokers = session.env.addresses();
    let place = session.random.random_range(0..brokers.len().max(1));
    brokers.get(place).copied()
}

fn admin(session: &Session) -> Admin {
    Admin::with_patience(Vec::new(), session.client.patience())
}

fn topic(session: &Session, known: &Known, key: &str) -> String {
    session.keys.at(known.partition(key).into()).topic.to_string()
}

/// Asks for the version of a key; None if nobody says.
pub fn version(session: &mut Session, known: &Known, key: &str) -> anyhow::Result<Option<i64>> {
    let Some(to) = any(session) else { return Ok(None) };
    let wanted = Wanted { key, broker: to.id, how: How::default(), is_final: false };
    let body = wanted.body(known, VERSION);
    let pending = session.invoke(body.clone(), Extra::new())?;
    let path = stream_path(&topic(session, known, key), key);
    let told = match admin(session).ask_with(&to, "HEAD", &path, &[], None) {
        // Without a body it may as well be the topic that the broker does not know.
        Ok(reply) if [404, 410].contains(&reply.status) => {
            page(session, known, &to, &wanted, 1, 1).map(|page| (page.version, page.state))
        }
        Ok(reply) => {
            let etag = reply.number("etag").filter(|_| reply.status == 200);
            let etag = etag.ok_or_else(|| format!("{} without a version", reply.status));
            etag.map(|version| (version, State::Visible))
        }
        Err(error) => Err(format!("{error:#}")),
    };
    let told = told.map(|(version, state)| Told { version, state, events: None });
    finish(session, known, key, pending, told)
}

/// Reads the newest events of a key.
pub fn newest(session: &mut Session, known: &Known, key: &str, how: How) -> anyhow::Result<()> {
    let Some(to) = any(session) else { return Ok(()) };
    let wanted = Wanted { key, broker: to.id, how, is_final: false };
    let pending = session.invoke(wanted.body(known, READ), Extra::new())?;
    let from = (known.version(key) - EVENTS).max(1);
    let told = page(session, known, &to, &wanted, from, EVENTS);
    let told = told.map(|page| page.told(Vec::new()));
    finish(session, known, key, pending, told).map(drop)
}

/// Reads all of a stream from one broker, once everything is over; whether that was done.
pub fn whole(
    session: &mut Session,
    known: &Known,
    to: &Address,
    key: &str,
) -> anyhow::Result<bool> {
    let wanted = Wanted { key, broker: to.id, how: How::default(), is_final: true };
    let pending = session.invoke(wanted.body(known, READ), Extra::new())?;
    let (mut from, mut events) = (1, Vec::new());
    let told = loop {
        match page(session, known, to, &wanted, from, PAGE) {
            Ok(Page { next: Some(next), events: more, .. }) if next > from => {
                events.extend(more);
                from = next;
            }
            Ok(page) => break Ok(page.told(events)),
            Err(why) => break Err(why),
        }
    };
    Ok(finish(session, known, key, pending, told)?.is_some())
}

fn page(
    session: &Session,
    known: &Known,
    to: &Address,
    wanted: &Wanted<'_>,
    from: i64,
    limit: i64,
) -> Result<Page, String> {
    let mut path = stream_path(&topic(session, known, wanted.key), wanted.key);
    path.push_str(&format!("?from_version={from}&limit={limit}"));
    if wanted.how.committed {
        path.push_str("&consistency=committed");
    }
    if let Some(offset) = wanted.how.min_offset {
        path.push_str(&format!("&min_offset={offset}"));
    }
    let reply = admin(session).ask(to, "GET", &path, None).map_err(|it| format!("{it:#}"))?;
    let body = &reply.body;
    match (reply.status, reply.code()) {
        (200, _) => {
            let version = body["version"].as_i64().ok_or("no version")?;
            let events = body["events"].as_array().ok_or("no events")?;
            let events = events.iter().map(event).collect::<Option<_>>();
            let events = events.ok_or_else(|| format!("unreadable events: {body}"))?;
            let next = body["next_version"].as_i64();
            Ok(Page { version, events, next, state: State::Visible })
        }
        (404, "unknown_stream") => Ok(Page::empty(0, State::Unknown)),
        (404, "stream_deleted") | (410, "stream_closed") => {
            let version = body["current_version"].as_i64().ok_or("no version")?;
            let is_closed = reply.status == 410;
            Ok(Page::empty(version, if is_closed { State::Closed } else { State::Deleted }))
        }
        (status, code) => Err(format!("{status} {code}")),
    }
}

fn event(event: &Value) -> Option<[i64; 3]> {
    Some([event["version"].as_i64()?, event["offset"].as_i64()?, id_of(&event["value"])?])
}

/// Records what was read; that nothing was changes nothing.
fn finish(
    session: &mut Session,
    known: &Known,
    key: &str,
    pending: Pending,
    told: Result<Told, String>,
) -> anyhow::Result<Option<i64>> {
    let body = pending.body.clone();
    let Told { version, state, events } = match told {
        Ok(told) => told,
        Err(why) => {
            session.complete(pending, Kind::Fail, body, error(why))?;
            return Ok(None);
        }
    };
    let mut extra = Extra::from([("version".to_owned(), int(version))]);
    extra.insert("state".to_owned(), text(state.name()));
    if let Some(events) = events {
        let event = |it: &[i64; 3]| Edn::Vector(it.iter().copied().map(Edn::Integer).collect());
        extra.insert("events".to_owned(), Edn::Vector(events.iter().map(event).collect()));
    }
    session.complete(pending, Kind::Ok, body, extra)?;
    known.note_version(key, version);
    Ok(Some(version))
}
