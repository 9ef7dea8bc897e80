//! A small HTTP client for the tests: status, content type and body, no opinion about errors.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::Value;

/// An answer of a broker's HTTP interface.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub headers: BTreeMap<String, String>,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of an answer that had to be a success.
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// The stable code of a problem document (RFC 9457), which the answer has to be.
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.content_type, "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], status, "{self:?}");
        assert!(body["title"].is_string() && body["detail"].is_string(), "{self:?}");
        body["code"].as_str().unwrap_or_else(|| panic!("no code: {self:?}")).to_owned()
    }
}

/// `None` when nobody answers.
pub fn request(method: &str, url: &str, body: Option<&str>) -> Option<Answer> {
    request_within(Duration::from_secs(60), method, url, body)
}

/// `None` when nobody answers in time.
pub fn request_within(
    limit: Duration,
    method: &str,
    url: &str,
    body: Option<&str>,
) -> Option<Answer> {
    let json = [("content-type", "application/json")];
    request_with(limit, method, url, &json, body.unwrap_or_default().as_bytes())
}

/// The same with headers of its own, and any bytes.
pub fn request_with(
    limit: Duration,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Answer> {
    let mut answer = send(limit, method, url, headers, body)?;
    let told = answer.headers().iter();
    let told = told.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").into()));
    let headers = told.collect();
    let content_type = answer.headers().get("content-type");
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().to_owned();
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string().ok()?;
    Some(Answer { status, content_type, headers, text })
}

fn send(
    limit: Duration,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<ureq::http::Response<ureq::Body>> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(limit))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match body {
        // A HEAD has none.
        [] if method == "HEAD" => agent.run(request.body(()).unwrap()).ok(),
        body => agent.run(request.body(body.to_vec()).unwrap()).ok(),
    }
}

/// An answer of Server-Sent Events that is being read.
pub struct EventStream {
    pub status: u16,
    lines: BufReader<ureq::BodyReader<'static>>,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SentEvent {
    pub kind: String,
    pub id: String,
    pub data: String,
}

impl EventStream {
    pub fn open(url: &str, last_event_id: Option<&str>) -> EventStream {
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        let answer = send(Duration::from_secs(60), "GET", url, &headers, &[]).expect("an answer");
        let status = answer.status().as_u16();
        EventStream { status, lines: BufReader::new(answer.into_body().into_reader()) }
    }

    /// The next event; comments are passed over, and so is what says where the stream is and is none.
    /// `None` when the broker has ended the answer.
    pub fn next(&mut self) -> Option<SentEvent> {
        loop {
            let event = self.next_with_id()?;
            if !event.data.is_empty() {
                return Some(event);
            }
        }
    }

    /// The next that has an id; where there is no data in it, it says where the stream is.
    pub fn next_with_id(&mut self) -> Option<SentEvent> {
        let mut event = SentEvent::default();
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).expect("an event in time") == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", kind)) => event.kind = kind.to_owned(),
                Some(("id", id)) => event.id = id.to_owned(),
                Some(("data", data)) => event.data = data.to_owned(),
                _ if line == "\n" && !event.id.is_empty() => return Some(event),
                _ => (),
            }
        }
    }
}
