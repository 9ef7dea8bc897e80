//! One batch to be appended, by HTTP through any broker or by Kafka's protocol to the leader, sent once or, with a token,
//! until somebody says what became of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::known::Known;
use crate::admin::Admin;
use crate::checker::streams::{AGAIN, APPEND, Batch, Content, DELETE, EXISTS, Row};
use crate::client::{self, Record, Write};
use crate::environment::Phase;
use crate::history::{Body, Edn, Kind, int, map, text};
use crate::workload::session::{Extra, Session, now_ms};

/// How long a batch is sent again, and between two tries.
const PERSEVERE: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(100);

/// Which way a batch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// `POST /v1/topics/{t}/streams/{key}`: all records are of one key, and only the first may expect something.
    Stream,
    /// `POST /v1/topics/{t}/records`
    Records,
    Kafka,
    /// `DELETE /v1/topics/{t}/streams/{key}`: one tombstone, which cannot have a number.
    Delete,
}

/// The header that a tombstone has its number in.
pub const ID: &str = "id";
/// The header that closes a stream.
pub const CLOSE: &str = "quorate-close";

impl Via {
    fn name(self) -> &'static str {
        match self {
            Via::Stream => "streams",
            Via::Records => "records",
            Via::Kafka => "kafka",
            Via::Delete => DELETE,
        }
    }
}

/// An accepted batch that can be sent again.
pub struct Sent {
    batch: Batch,
    via: Via,
    told: Vec<i64>,
}

/// Appends a batch and records what came of it. One with a token is sent until that is known.
pub fn append(
    session: &mut Session,
    known: &Known,
    via: Via,
    mut batch: Batch,
) -> anyhow::Result<(Answer, Option<Sent>)> {
    via.name().clone_into(&mut batch.via);
    let pending = session.invoke(body(&batch), Extra::new())?;
    let deadline = Instant::now() + PERSEVERE;
    let mut tries = 1;
    let mut answer = once(session, known, via, &batch);
    let mut is_open = answer.kind() == Kind::Info;
    while is_open && batch.token.is_some() && Instant::now() < deadline {
        if session.env.phase() == Phase::Over {
            break;
        }
        std::thread::sleep(PAUSE);
        tries += 1;
        answer = once(session, known, via, &batch);
        // That another try did nothing says nothing of the first.
        is_open = !matches!(answer, Answer::Acked { .. } | Answer::Conflict { .. });
    }
    // What is expected may be so later, when a copy of which nobody heard arrives.
    is_open |= tries > 1 && known.may_hold_later(&batch) && answer.kind() == Kind::Fail;
    if is_open && answer.kind() != Kind::Info {
        answer = Answer::Unknown(format!("{answer:?} after an unknown outcome"));
    }
    let mut extra = answer.extra();
    extra.insert("tries".to_owned(), int(tries));
    session.complete(pending, answer.kind(), body(&batch), extra)?;
    note(known, &batch, &answer);
    let sent = told(&answer).filter(|_| batch.token.is_some());
    Ok((answer, sent.map(|told| Sent { batch, via, told })))
}

pub fn body(batch: &Batch) -> Body {
    Body::Other(APPEND.to_owned(), batch.to_edn())
}

/// Sends what was accepted again, once.
pub fn again(session: &mut Session, known: &Known, sent: &Sent) -> anyhow::Result<()> {
    let pending = session.invoke(again_body(&sent.batch, &sent.told), Extra::new())?;
    let answer = once(session, known, sent.via, &sent.batch);
    complete_again(session, pending, &sent.batch, &sent.told, &answer)
}

pub fn again_body(batch: &Batch, told: &[i64]) -> Body {
    let told = Edn::Vector(told.iter().copied().map(Edn::Integer).collect());
    let first = batch.rows.first().map_or(-1, |row| row.id);
    Body::Other(AGAIN.to_owned(), map([("of", int(first)), ("told", told)]))
}

/// Nothing was to happen anyway, so that nothing is left open.
pub fn complete_again(
    session: &mut Session,
    pending: crate::history::Pending,
    batch: &Batch,
    told_first: &[i64],
    answer: &Answer,
) -> anyhow::Result<()> {
    let mut extra = answer.extra();
    let kind = match (answer, told(answer)) {
        (Answer::Conflict { .. }, _) => Kind::Ok,
        (_, Some(told)) => {
            let told = told.into_iter().map(Edn::Integer).collect();
            extra.insert("again".to_owned(), Edn::Vector(told));
            Kind::Ok
        }
        _ => Kind::Fail,
    };
    session.complete(pending, kind, again_body(batch, told_first), extra)
}

/// What an answer says of the place, to be compared; nothing if it does not.
pub fn told(answer: &Answer) -> Option<Vec<i64>> {
    let Answer::Acked { offset: Some(offset), versions } = answer else { return None };
    let versions = versions.iter().flat_map(|(first, last)| [*first, *last]);
    Some(std::iter::once(*offset).chain(versions).collect())
}

fn once(session: &mut Session, known: &Known, via: Via, batch: &Batch) -> Answer {
    if via == Via::Kafka {
        return by_kafka(session, known, batch);
    }
    let topic = session.keys.at(batch.partition).topic;
    let after = batch.no_tag_after.iter();
    let after: Vec<Value> =
        after.map(|(tag, offset)| json!({ "tag": tag, "offset": offset })).collect();
    let mut headers = Vec::new();
    headers.extend(batch.token.iter().map(|token| ("idempotency-key", token.clone())));
    let mut asked = Map::new();
    if via != Via::Delete {
        let name = if via == Via::Stream { "events" } else { "records" };
        let events = batch.rows.iter().map(|row| event(known, row, via));
        asked.insert(name.to_owned(), events.collect());
    }
    if !after.is_empty() {
        asked.insert("no_tag_after".to_owned(), after.into());
    }
    let path = if let (Via::Stream | Via::Delete, Some(first)) = (via, batch.rows.first()) {
        headers.extend(precondition(first, via));
        let hard = via == Via::Delete && first.content == Content::Close;
        stream_path(&topic, &first.key) + if hard { "?hard=true" } else { "" }
    } else {
        if let Some(offset) = batch.expected_offset {
            asked.insert("expected_offset".to_owned(), offset.into());
        }
        format!("/v1/topics/{topic}/records")
    };
    let brokers = session.env.addresses();
    let Some(to) = brokers.get(session.random.random_range(0..brokers.len().max(1))) else {
        return Answer::Failed("there are no brokers".to_owned());
    };
    let admin = Admin::with_patience(Vec::new(), session.client.patience());
    let (method, asked) = match via {
        Via::Delete => ("DELETE", None),
        _ => ("POST", Some(Value::Object(asked))),
    };
    Answer::of_http(admin.ask_with(to, method, &path, &headers, asked.as_ref()))
}

/// What is expected of a stream, as a header. Who deletes one and says nothing means one that is there.
fn precondition(row: &Row, via: Via) -> Option<(&'static str, String)> {
    match row.expected? {
        -1 => Some(("if-none-match", "*".to_owned())),
        EXISTS if via == Via::Delete && row.content == Content::Tombstone && row.id % 2 == 0 => {
            None
        }
        EXISTS => Some(("if-match", "*".to_owned())),
        version => Some(("if-match", format!("\"{version}\""))),
    }
}

fn by_kafka(session: &mut Session, known: &Known, batch: &Batch) -> Answer {
    let at = session.keys.at(batch.partition);
    let leader = match session.client.leader(&at) {
        Ok(leader) => leader.broker,
        Err(failure) => return Answer::Failed(failure.to_string()),
    };
    let patience = session.client.patience();
    let bytes = Write::PLAIN.batch(&records(known, batch));
    let was_on = known.is_on();
    let judged = session.client.to(leader).and_then(|to| {
        let deadline = Instant::now() + patience;
        client::send_produce(to, &at, -1, bytes, patience)?;
        client::receive_judged(to, deadline)
    });
    if let Err(failure) = &judged {
        session.client.learn(leader, &at, failure);
    }
    match Answer::of_kafka(judged, batch) {
        // For want of streams, in whatever words.
        Answer::Refused(why) if !was_on && !why.starts_with("streams_") => {
            Answer::Refused(format!("streams_: {why}"))
        }
        answer => answer,
    }
}

/// The path of a key's stream.
pub fn stream_path(topic: &str, key: &str) -> String {
    let mut path = format!("/v1/topics/{topic}/streams/");
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// The same bytes whenever it is sent.
fn value(known: &Known, row: &Row) -> Value {
    if known.padding == 0 {
        return json!(row.id);
    }
    let length = usize::try_from(row.id).unwrap_or(0).wrapping_mul(7_919) % known.padding;
    json!({ "id": row.id, "padding": "x".repeat(length) })
}

fn event(known: &Known, row: &Row, via: Via) -> Value {
    let mut event = Map::new();
    if row.content == Content::Event {
        event.insert("value".to_owned(), value(known, row));
    } else {
        let id = json!({ "name": ID, "value": row.id.to_string() });
        event.insert("headers".to_owned(), json!([id]));
    }
    if !row.tags.is_empty() {
        event.insert("tags".to_owned(), json!(row.tags));
    }
    if via == Via::Records {
        event.insert("key".to_owned(), json!(row.key));
        if let Some(expected) = row.expected {
            event.insert("expected_version".to_owned(), expected.into());
        }
    }
    Value::Object(event)
}

/// As Kafka's clients send them: what is asked for stands in headers, of the first record if it is asked of the batch.
pub fn records(known: &Known, batch: &Batch) -> Vec<Record> {
    let header = |name: &'static str, value: String| {
        (Bytes::from_static(name.as_bytes()), Some(Bytes::from(value)))
    };
    let timestamp = now_ms();
    let record = |(place, row): (usize, &Row)| {
        let mut headers = Vec::new();
        if place == 0 {
            let offset = batch.expected_offset.iter();
            headers.extend(offset.map(|it| header("quorate-expected-offset", it.to_string())));
            let after = batch.no_tag_after.iter();
            headers
                .extend(after.map(|(tag, offset)| {
                    header("quorate-no-tag-after", format!("{offset} {tag}"))
                }));
        }
        let expected = row.expected.iter();
        headers.extend(expected.map(|it| header("quorate-expected-version", it.to_string())));
        headers.extend(row.tags.iter().map(|tag| header("quorate-tag", tag.clone())));
        let value = match row.content {
            Content::Event => Some(value(known, row).to_string().into()),
            Content::Tombstone | Content::Close => {
                headers.push(header(ID, row.id.to_string()));
                None
            }
        };
        if row.content == Content::Close {
            headers.push((Bytes::from_static(CLOSE.as_bytes()), None));
        }
        Record { timestamp, key: Some(row.key.clone().into()), value, headers }
    };
    batch.rows.iter().enumerate().map(record).collect()
}

/// Takes note of what an answer says of what there is.
pub fn note(known: &Known, batch: &Batch, answer: &Answer) {
    let partition = u32::try_from(batch.partition).unwrap_or(0);
    let first = batch.rows.first();
    match answer {
        Answer::Acked { offset: Some(offset), versions } => {
            known.note_end(partition, offset + batch.count());
            if let (Some((_, last)), Some(row)) = (versions, first) {
                known.note_version(&row.key, *last);
            }
            for (row, at) in batch.rows.iter().zip(*offset..) {
                if let (None, Some(expected @ -1..)) = (versions, row.expected) {
                    known.note_version(&row.key, expected.max(0) + 1);
                }
                row.tags.iter().for_each(|tag| known.note_tag(partition, tag, at));
            }
        }
        Answer::Conflict { why: "version", current, about } => {
            let mut expecting = batch.rows.iter().filter(|row| row.expected.is_some());
            // One that has another version than that is the one meant, if nobody says so.
            let is_it = |row: &&Row| match about {
                Some(about) => row.key == *about,
                None => row.expected.map(|it| it.max(0)) != Some(*current),
            };
            if let Some(row) = expecting.find(is_it) {
                known.note_version(&row.key, *current);
            }
        }
        Answer::Conflict { why: "closed", current, about } => {
            if let Some(key) = about.as_ref().or(first.map(|row| &row.key)) {
                known.note_version(key, *current);
            }
        }
        Answer::Conflict { why: "tag", current, about } => {
            let tag = about.as_ref().or(batch.no_tag_after.first().map(|(tag, _)| tag));
            tag.iter().for_each(|tag| known.note_tag(partition, tag, *current));
        }
        Answer::Conflict { why: "offset", current, .. } => known.note_end(partition, *current),
        _ => {}
    }
}

/// A token that nobody else has.
pub fn token(row: &Row) -> String {
    format!("token-{}", row.id)
}

/// The error of a read, as the history has it.
pub fn error(why: impl Into<String>) -> Extra {
    Extra::from([("error".to_owned(), text(why.into()))])
}
