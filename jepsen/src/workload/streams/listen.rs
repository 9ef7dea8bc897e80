//! Listeners: of a key, or of all records. Each hears for a moment what has come since, from whichever broker, and comes back
//! later where it was, by the place of the last event that it took.
//!
//! Who listens to all records goes on by pages now and then, from the same place.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::Rng;
use serde_json::Value;

use super::append::{error, stream_path};
use super::finish::until;
use super::known::{HOT, Known};
use super::look::{any, version};
use super::pages::record;
use crate::admin::Admin;
use crate::checker::streams::{Content, Event, LISTEN};
use crate::environment::Address;
use crate::history::{Body, Edn, Kind, int, map, text};
use crate::workload::session::{Extra, Session};

/// How long one listens at most, before it goes away and comes back.
const MOMENT: Duration = Duration::from_millis(900);
/// Events of one time, and of a page.
const EVENTS: usize = 2_000;
/// Of each kind, so many hear the rest in the end.
const LASTING: usize = 2;
/// Where streams are trimmed, what is missing is not waited for.
const LAST: Duration = Duration::from_secs(3);

/// What one listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    Hot,
    Mortal,
    Records,
}

/// Where a listener is.
pub struct Listener {
    number: i64,
    /// None: all records.
    key: Option<String>,
    /// The last id it was sent.
    place: Option<String>,
    /// Behind the last offset of each partition, or at the last version.
    at: BTreeMap<i64, i64>,
    /// Nothing can come any more.
    is_over: bool,
}

/// What came of one time.
#[derive(Default)]
struct Heard {
    events: Vec<Event>,
    why: Option<String>,
}

/// Has the listener of a worker hear what has come since.
pub fn listen(session: &mut Session, known: &Known, which: Which) -> anyhow::Result<()> {
    let slot = (session.worker, which);
    let key = match which {
        Which::Hot => Some(HOT.to_owned()),
        Which::Mortal => Some(known.mortal(session.worker, &mut session.random).0),
        Which::Records => None,
    };
    let before = known.listeners.lock().remove(&slot);
    // One whose stream has ended, or has another name by now, is left alone.
    let is_other = |it: &Listener| it.is_over || (which == Which::Mortal && it.key != key);
    let mut listener = match before {
        Some(listener) if !is_other(&listener) => listener,
        _ => Listener::new(known, key),
    };
    let moment = MOMENT.mul_f64(session.random.random_range(0.2..1.0));
    hear(session, known, &mut listener, moment, None)?;
    known.listeners.lock().insert(slot, listener);
    Ok(())
}

/// Has some listeners hear the rest, once nothing is appended any more; those that did not hear all of it in time.
pub fn hear_the_rest(
    session: &mut Session,
    known: &Known,
    is_over: &impl Fn() -> bool,
) -> anyhow::Result<Vec<String>> {
    let mut unheard = Vec::new();
    let all = std::mem::take(&mut *known.listeners.lock()).into_iter();
    let mut left =
        BTreeMap::from([Which::Hot, Which::Mortal, Which::Records].map(|it| (it, LASTING)));
    let lasting = all.filter(|((_, which), _)| {
        let left = left.entry(*which).or_default();
        std::mem::replace(left, left.saturating_sub(1)) > 0
    });
    for (_, mut listener) in lasting.collect::<Vec<_>>() {
        let ends: BTreeMap<i64, i64> = match &listener.key {
            Some(key) => {
                let told = until(is_over, || version(session, known, key))?;
                BTreeMap::from([(known.partition(key).into(), told.unwrap_or(i64::MAX))])
            }
            None => (0..known.partitions).map(|it| (it.into(), known.end(it))).collect(),
        };
        while !listener.has(&ends) && !listener.is_over && !is_over() {
            hear(session, known, &mut listener, LAST, Some(&ends))?;
            if known.padding > 0 {
                break;
            }
        }
        if known.padding == 0 && !listener.has(&ends) && !listener.is_over {
            unheard.push(format!("listener {} of {:?}", listener.number, listener.key));
        }
    }
    Ok(unheard)
}

/// `until`: where it ends, which it is to reach.
fn hear(
    session: &mut Session,
    known: &Known,
    listener: &mut Listener,
    moment: Duration,
    until: Option<&BTreeMap<i64, i64>>,
) -> anyhow::Result<()> {
    let Some(to) = any(session) else { return Ok(()) };
    let is_paged = listener.key.is_none() && session.random.random_ratio(1, 3);
    let partition = listener.key.as_ref().map_or(-1, |key| known.partition(key).into());
    let value = map([
        ("listener", int(listener.number)),
        ("key", listener.key.as_ref().map_or(Edn::Nil, text)),
        ("partition", int(partition)),
        ("broker", int(i64::try_from(to.id).unwrap_or(-1))),
        ("how", text(if is_paged { "page" } else { "live" })),
    ]);
    let body = Body::Other(LISTEN.to_owned(), value);
    let pending = session.invoke(body.clone(), Extra::new())?;
    let topic = session.keys.at(partition.max(0)).topic.to_string();
    let heard = if is_paged {
        listener.page(session, &to, &topic)
    } else {
        listener.live(&to, &topic, partition, moment, until)
    };
    let Heard { events, why } = heard;
    let is_nothing = events.is_empty() && why.is_some();
    let kind = if is_nothing { Kind::Fail } else { Kind::Ok };
    let mut extra = why.map(error).unwrap_or_default();
    let is_final = until.is_some_and(|ends| listener.has(ends));
    extra.insert("final".to_owned(), Edn::Boolean(is_final));
    let events = events.into_iter().map(Event::to_edn).collect();
    extra.insert("events".to_owned(), Edn::Vector(events));
    session.complete(pending, kind, body, extra)
}

impl Listener {
    fn new(known: &Known, key: Option<String>) -> Listener {
        let number = known.listener_numbers.fetch_add(1, Ordering::Relaxed);
        Listener { number, key, place: None, at: BTreeMap::new(), is_over: false }
    }

    fn has(&self, ends: &BTreeMap<i64, i64>) -> bool {
        ends.iter().all(|(partition, end)| self.at.get(partition).unwrap_or(&0) >= end)
    }

    fn take(&mut self, event: Event, place: String) {
        let at = event.version.or(event.offset.map(|offset| offset + 1));
        self.at.insert(event.partition, at.unwrap_or(0));
        self.is_over |= self.key.is_some() && event.content == Content::Close;
        self.place = Some(place);
    }

    /// Goes on by one page, as far as it goes.
    fn page(&mut self, session: &Session, to: &Address, topic: &str) -> Heard {
        let place = self.place.as_deref().unwrap_or_default();
        let path = format!("/v1/topics/{topic}/records?limit={EVENTS}&position={place}");
        let admin = Admin::with_patience(Vec::new(), session.client.patience());
        let mut heard = Heard::default();
        let body = match admin.ask(to, "GET", &path, None) {
            Ok(reply) if reply.status == 200 => reply.body,
            Ok(reply) => {
                // What came next was removed meanwhile.
                self.is_over = reply.code() == "offset_trimmed";
                heard.why = Some(format!("{} {}", reply.status, reply.code()));
                return heard;
            }
            Err(error) => return Heard { why: Some(format!("{error:#}")), ..heard },
        };
        let records = body["records"].as_array().map(|it| it.iter().map(record).collect());
        match (records, body["position"].as_str()) {
            (Some(Some(records)), Some(position)) => {
                heard.events = records;
                for event in &heard.events {
                    self.take(*event, position.to_owned());
                }
            }
            _ => heard.why = Some(format!("unreadable: {body}")),
        }
        heard
    }

    /// Listens for a moment.
    fn live(
        &mut self,
        to: &Address,
        topic: &str,
        partition: i64,
        moment: Duration,
        until: Option<&BTreeMap<i64, i64>>,
    ) -> Heard {
        let path = match &self.key {
            Some(key) => stream_path(topic, key),
            None => format!("/v1/topics/{topic}/records"),
        };
        let mut heard = Heard::default();
        let answer = match open(to, &path, self.place.as_deref(), moment) {
            Ok(answer) => answer,
            Err(error) => return Heard { why: Some(error.to_string()), ..heard },
        };
        if answer.status() != 200 {
            return Heard { why: Some(answer.status().to_string()), ..heard };
        }
        let mut lines = BufReader::new(answer.into_body().into_reader());
        let deadline = Instant::now() + moment;
        let most = if until.is_some() { usize::MAX } else { EVENTS };
        while heard.events.len() < most && Instant::now() < deadline {
            if self.is_over || until.is_some_and(|ends| self.has(ends)) {
                break;
            }
            let sent = match sent(&mut lines) {
                Ok(Some(sent)) => sent,
                // The time is over, the connection is, or the broker ended it: it comes back.
                Ok(None) => break,
                Err(error) => {
                    heard.why = Some(error.to_string());
                    break;
                }
            };
            let Some(event) = sent.event(partition) else {
                heard.why = Some(format!("unreadable: {}", sent.data));
                break;
            };
            heard.events.push(event);
            self.take(event, sent.id);
        }
        heard
    }
}

fn open(
    to: &Address,
    path: &str,
    place: Option<&str>,
    moment: Duration,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(moment))
        .max_idle_connections(0)
        .build()
        .into();
    let url = format!("http://{}{path}", to.http);
    let mut request = agent.get(url).header("accept", "text/event-stream");
    if let Some(place) = place {
        request = request.header("last-event-id", place);
    }
    request.call()
}

/// One of the Server-Sent Events.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    kind: String,
    id: String,
    data: String,
}

/// The next one that is there as a whole.
fn sent(lines: &mut impl BufRead) -> std::io::Result<Option<Sent>> {
    let mut sent = Sent::default();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end_matches(['\r', '\n']).split_once(": ") {
            Some(("event", kind)) => kind.clone_into(&mut sent.kind),
            Some(("id", id)) => id.clone_into(&mut sent.id),
            Some(("data", data)) => data.clone_into(&mut sent.data),
            _ if line.trim_end().is_empty() && !sent.data.is_empty() => return Ok(Some(sent)),
            _ => {}
        }
    }
}

impl Sent {
    fn event(&self, partition: i64) -> Option<Event> {
        let data: Value = serde_json::from_str(&self.data).ok()?;
        let content = match self.kind.as_str() {
            "" => return record(&data).filter(|_| !self.id.is_empty()),
            "deleted" => Content::Tombstone,
            "closed" => Content::Close,
            _ => return None,
        };
        let version = Some(data["version"].as_i64()?);
        Some(Event { partition, version, offset: None, id: None, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_when_they_are_there_as_a_whole() {
        let text = "retry: 1000\n\n: still here\n\nid: 2\ndata: {\"partition\":0,\"offset\":5,\
                    \"version\":2,\"value\":9}\n\nevent: deleted\nid: 3\ndata: {\"version\":3}\n\nid: 4\n";
        let mut lines = text.as_bytes();
        let first = sent(&mut lines).unwrap().unwrap();
        let event = first.event(0).unwrap();
        assert_eq!((event.version, event.offset, event.id), (Some(2), Some(5), Some(9)));
        let second = sent(&mut lines).unwrap().unwrap();
        assert_eq!(second.event(0).unwrap().content, Content::Tombstone);
        assert_eq!((second.id.as_str(), sent(&mut lines).unwrap()), ("3", None));
        let unknown = Sent { kind: "moved".to_owned(), ..second };
        assert_eq!(unknown.event(0), None);
    }
}
