//! Streams of events over HTTP: load one, decide, and append if nobody else did meanwhile.
//!
//! Blocking, because most who decide on events do it on a thread of their own. Every append carries an idempotency key, so
//! what failed on the way is sent again, to any broker, without being carried out twice; only what the cluster refuses
//! comes back as an error.

use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::http_agent;
use crate::config::HostPort;
use crate::percent;

/// How long what may succeed later is tried again.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// How often a stream is loaded anew that is another behind its first page.
const LOADS_MAX: usize = 20;
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The streams of one topic.
#[derive(Clone, Debug)]
pub struct EventStore {
    agent: ureq::Agent,
    servers: Vec<HostPort>,
    topic: String,
}

/// What version a stream has to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Any,
    /// There is none, or it is deleted.
    NoStream,
    /// There is one.
    Exists,
    Exactly(i64),
}

/// An event to append: its bytes, and tags by which it is found again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NewEvent {
    value_base64: Option<String>,
    tags: Vec<String>,
}

/// An event of a stream.
#[derive(Clone, Debug, Deserialize)]
pub struct StoredEvent {
    pub version: i64,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    value: Option<Box<RawValue>>,
    value_text: Option<String>,
    value_base64: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A stream as it is now, or a part of it.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// How many events it has had; 0 if there never was any.
    pub version: i64,
    pub events: Vec<StoredEvent>,
    /// Each as the broker writes it.
    pub lines: Vec<String>,
    /// The version to go on with.
    pub next: Option<i64>,
    /// What was before is deleted.
    pub deleted: bool,
}

/// Which events are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventRange {
    pub from: Option<i64>,
    pub to: Option<i64>,
    pub backward: bool,
    pub limit: Option<usize>,
    /// How long the broker waits for one if there is none.
    pub wait: Duration,
}

/// Where events were appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct AppendedEvents {
    /// The version of the stream behind them.
    pub version: i64,
    pub partition: i32,
    /// The offset of the first of them.
    pub offset: i64,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the stream has version {current}, another than expected")]
    Conflict { current: i64 },
    #[error(
        "somebody else was faster {tries} times in a row, nothing was appended; the stream has version {current}"
    )]
    Contended { tries: usize, current: i64 },
    #[error("the stream was closed with version {current}")]
    Closed { current: i64 },
    #[error("{detail} ({code}, status {status})")]
    Refused { status: u16, code: String, detail: String, hint: Option<String> },
    #[error("no broker answers: {0}")]
    NoAnswer(String),
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
}

#[derive(Deserialize)]
struct Page {
    version: i64,
    events: Vec<Box<RawValue>>,
    next_version: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    hint: Option<String>,
    current_version: Option<i64>,
}

/// What is sent.
struct Question<'a> {
    method: &'a str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl NewEvent {
    pub fn new(value: &[u8]) -> Self {
        Self { value_base64: Some(BASE64_STANDARD.encode(value)), tags: Vec::new() }
    }

    #[must_use]
    pub fn tags(mut self, tags: Vec<String>) -> Self {
        self.tags = tags;
        self
    }
}

impl StoredEvent {
    /// Returns its bytes; `None` if it deletes what was before.
    pub fn value(&self) -> Option<Vec<u8>> {
        if let Some(bytes) = &self.value_base64 {
            return BASE64_STANDARD.decode(bytes).ok();
        }
        let text = self.value_text.as_deref();
        text.or(self.value.as_ref().map(|raw| raw.get())).map(|text| text.as_bytes().to_vec())
    }
}

impl EventStore {
    /// Returns the streams of a topic, at brokers that are asked in turn.
    pub fn new(servers: Vec<HostPort>, topic: impl Into<String>) -> Self {
        Self { agent: http_agent(), servers, topic: topic.into() }
    }

    /// Loads a stream as it is now; nothing if there is none. One that is deleted and written again each time while it is
    /// loaded is [`StoreError::Contended`] in the end.
    pub fn load(&self, key: &str) -> Result<Loaded, StoreError> {
        let first = |found: &Loaded| found.events.first().map(|event| event.version);
        let mut current = 0;
        for _ in 0..LOADS_MAX {
            let mut whole = self.read(key, EventRange::default())?;
            let is_one_page = whole.next.is_none();
            while let Some(next) = whole.next {
                let range = EventRange { from: Some(next), ..EventRange::default() };
                let more = self.read(key, range)?;
                if more.deleted {
                    return Ok(more);
                }
                (whole.version, whole.next) = (more.version, more.next);
                whole.events.extend(more.events);
                whole.lines.extend(more.lines);
            }
            // It may have been deleted and written to again between two pages; then it begins elsewhere.
            let range = EventRange { limit: Some(1), ..EventRange::default() };
            if is_one_page || first(&self.read(key, range)?) == first(&whole) {
                return Ok(whole);
            }
            current = whole.version;
        }
        Err(StoreError::Contended { tries: LOADS_MAX, current })
    }

    /// Reads some events of a stream.
    pub fn read(&self, key: &str, range: EventRange) -> Result<Loaded, StoreError> {
        let mut path = format!("{}?", self.path(key));
        let number = |name: &str, number: Option<i64>| {
            number.map_or_else(String::new, |number| format!("{name}={number}&"))
        };
        path += &number("from_version", range.from);
        path += &number("to_version", range.to);
        path += &number("limit", range.limit.and_then(|limit| i64::try_from(limit).ok()));
        path += &number("wait_ms", i64::try_from(range.wait.as_millis()).ok().filter(|ms| *ms > 0));
        path += if range.backward { "direction=backward" } else { "direction=forward" };
        let asked = Question { method: "GET", path, headers: Vec::new(), body: String::new() };
        let (status, text) = self.ask(&asked)?;
        if status != 200 {
            let problem: Problem = serde_json::from_str(&text).unwrap_or_default();
            let version = problem.current_version.unwrap_or(0);
            return match problem.code.as_str() {
                "unknown_stream" => Ok(Loaded::default()),
                "stream_deleted" => Ok(Loaded { version, deleted: true, ..Loaded::default() }),
                _ => Err(refused(status, problem, &text)),
            };
        }
        let page: Page = serde_json::from_str(&text).map_err(malformed)?;
        // A value may have been written over several lines.
        let line = |raw: &RawValue| raw.get().replace(['\n', '\r'], " ");
        let lines: Vec<String> = page.events.iter().map(|raw| line(raw)).collect();
        let events = lines.iter().map(|line| serde_json::from_str(line).map_err(malformed));
        let events = events.collect::<Result<_, _>>()?;
        let (version, next) = (page.version, page.next_version);
        Ok(Loaded { version, events, lines, next, deleted: false })
    }

    /// Appends events, all of them or none.
    pub fn append(
        &self,
        key: &str,
        expected: Expected,
        events: &[NewEvent],
    ) -> Result<AppendedEvents, StoreError> {
        self.append_once(key, expected, events, &Uuid::new_v4().to_string())
    }

    /// The same under an idempotency key: asked for again, also by another process, it is not carried out twice.
    pub fn append_once(
        &self,
        key: &str,
        expected: Expected,
        events: &[NewEvent],
        idempotency_key: &str,
    ) -> Result<AppendedEvents, StoreError> {
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("idempotency-key", idempotency_key.to_owned()),
        ];
        match expected {
            Expected::Any => {}
            Expected::NoStream => headers.push(("if-none-match", "*".to_owned())),
            Expected::Exists => headers.push(("if-match", "*".to_owned())),
            Expected::Exactly(version) => headers.push(("if-match", format!("\"{version}\""))),
        }
        let body = serde_json::json!({ "events": events }).to_string();
        let asked = Question { method: "POST", path: self.path(key), headers, body };
        let (status, text) = self.ask(&asked)?;
        if status == 201 {
            return serde_json::from_str(&text).map_err(malformed);
        }
        let problem = serde_json::from_str(&text).unwrap_or_default();
        Err(refused(status, problem, &text))
    }

    /// Loads a stream, has `decide` say what follows from it, and appends that if nobody else appended meanwhile; else does
    /// it all again, so many times at most; then it is [`StoreError::Contended`]. Returns the version; nothing is appended if `decide` returns no events.
    pub fn update<E: From<StoreError>>(
        &self,
        key: &str,
        tries: usize,
        mut decide: impl FnMut(&Loaded) -> Result<Vec<NewEvent>, E>,
    ) -> Result<i64, E> {
        let mut tried = 0;
        loop {
            let loaded = self.load(key)?;
            let events = decide(&loaded)?;
            if events.is_empty() {
                return Ok(loaded.version);
            }
            tried += 1;
            match self.append(key, Expected::Exactly(loaded.version), &events) {
                Ok(appended) => return Ok(appended.version),
                Err(StoreError::Conflict { .. }) if tried < tries => {}
                Err(StoreError::Conflict { current }) => {
                    return Err(StoreError::Contended { tries: tried, current }.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn path(&self, key: &str) -> String {
        format!("/v1/topics/{}/streams/{}", percent::encoded(&self.topic), percent::encoded(key))
    }

    /// Asks brokers in turn until one says yes or no.
    #[expect(clippy::disallowed_methods, reason = "a client that blocks, on a thread of its own")]
    fn ask(&self, asked: &Question<'_>) -> Result<(u16, String), StoreError> {
        let started = Instant::now();
        let mut last = StoreError::NoAnswer("there is no broker to ask".to_owned());
        loop {
            for server in &self.servers {
                match self.ask_one(server, asked) {
                    Ok((503 | 504, text)) => {
                        let problem: Problem = serde_json::from_str(&text).unwrap_or_default();
                        last = refused(503, problem, &text);
                    }
                    Ok(answer) => return Ok(answer),
                    Err(error) => last = StoreError::NoAnswer(format!("http://{server}: {error}")),
                }
            }
            if started.elapsed() + PAUSE > PATIENCE || self.servers.is_empty() {
                return Err(last);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn ask_one(
        &self,
        server: &HostPort,
        asked: &Question<'_>,
    ) -> Result<(u16, String), ureq::Error> {
        let url = format!("http://{server}{}", asked.path);
        let mut request = ureq::http::Request::builder().method(asked.method).uri(url);
        for (name, value) in &asked.headers {
            request = request.header(*name, value);
        }
        let mut answer = match asked.body.as_str() {
            "" => self.agent.run(request.body(())?)?,
            body => self.agent.run(request.body(body.to_owned())?)?,
        };
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        Ok((answer.status().as_u16(), body))
    }
}

fn malformed(error: serde_json::Error) -> StoreError {
    StoreError::Malformed(error.to_string())
}

fn refused(status: u16, problem: Problem, text: &str) -> StoreError {
    let Problem { code, detail, hint, current_version } = problem;
    match (code.as_str(), current_version) {
        ("version_conflict", Some(current)) => StoreError::Conflict { current },
        ("stream_closed", Some(current)) => StoreError::Closed { current },
        _ => {
            let detail = if detail.is_empty() { text.chars().take(500).collect() } else { detail };
            StoreError::Refused { status, code, detail, hint }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_bytes_that_were_appended() {
        let of = |value: &str| {
            let text = format!(r#"{{"version": 1, "offset": 0, "timestamp": 5, {value}}}"#);
            serde_json::from_str::<StoredEvent>(&text).unwrap().value()
        };
        assert_eq!(of(r#""value": {"n": 1.10}"#), Some(br#"{"n": 1.10}"#.to_vec()));
        assert_eq!(of(r#""value_text": "null""#), Some(b"null".to_vec()));
        assert_eq!(of(r#""value_base64": "/w==""#), Some(vec![0xff]));
        assert_eq!(of(r#""value": null"#), None);
    }

    #[test]
    fn a_conflict_says_the_version_there_is() {
        let told = r#"{"code": "version_conflict", "detail": "", "current_version": 7}"#;
        let problem = serde_json::from_str(told).unwrap();
        assert_eq!(refused(412, problem, told), StoreError::Conflict { current: 7 });
        let other = refused(502, Problem::default(), "<p>");
        assert_eq!(other.to_string(), "<p> (, status 502)");
    }
}
