//! Records as JSON: how they are written in requests, and how answers show them.
//!
//! A value that is JSON is never taken apart: its text goes into the record as it came and comes out as it is, so that no
//! number loses digits. What is no JSON is text, and what is no text is base64.

use axum::http::StatusCode;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::problem::Problem;
use super::whole::WholeNumber;
use crate::record::{RESERVED, Record};

const TAG: &str = "quorate-tag";
const CLOSE: &str = "quorate-close";
/// Headers that only mean something on the way in, or are shown apart.
const HIDDEN: [&[u8]; 5] = [
    TAG.as_bytes(),
    CLOSE.as_bytes(),
    b"quorate-expected-version",
    b"quorate-expected-offset",
    b"quorate-no-tag-after",
];
const EXPECTED_VERSION: &str = "quorate-expected-version";

/// An event to append. One of `value`, `value_text` and `value_base64`; without any of them it deletes what was before.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEvent {
    /// Any JSON, kept as it is written. `null` is no value.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<Box<RawValue>>,
    value_text: Option<String>,
    #[schema(example = "AAEC")]
    value_base64: Option<String>,
    #[serde(default)]
    headers: Vec<NewHeader>,
    /// By which it can be asked whether anything like it was appended since; 256 bytes each at most.
    #[serde(default)]
    #[schema(max_items = 16)]
    tags: Vec<String>,
    /// Milliseconds since 1970; the time of the broker if left out.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 253_402_300_799_999_i64)]
    timestamp: Option<WholeNumber<i64>>,
}

/// A record to append: an event with its key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRecord {
    #[schema(example = "order-1")]
    key: Option<String>,
    key_base64: Option<String>,
    /// The version of its key just before it, records before it in the request included: -1 if there is no such stream, -2
    /// for any, -3 for any that is there.
    #[schema(value_type = Option<i64>, minimum = -3, maximum = 9_223_372_036_854_775_807_i64)]
    expected_version: Option<WholeNumber<i64>>,
    /// Any JSON, kept as it is written. `null` is no value.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<Box<RawValue>>,
    value_text: Option<String>,
    value_base64: Option<String>,
    #[serde(default)]
    headers: Vec<NewHeader>,
    #[serde(default)]
    #[schema(max_items = 16)]
    tags: Vec<String>,
    /// Milliseconds since 1970; the time of the broker if left out.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 253_402_300_799_999_i64)]
    timestamp: Option<WholeNumber<i64>>,
}

/// A header of a record, with a text, with bytes, or with no value. Names that begin with `quorate-` are reserved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewHeader {
    #[schema(example = "type")]
    name: String,
    value: Option<String>,
    value_base64: Option<String>,
}

/// That no record with a tag stands behind an offset.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoTagAfter {
    /// 1 to 256 bytes.
    #[schema(example = "course:c1")]
    pub(super) tag: String,
    /// -1 if no record that is kept may have it.
    #[schema(value_type = i64, minimum = -1, maximum = 9_223_372_036_854_775_807_i64)]
    pub(super) offset: WholeNumber<i64>,
}

/// A record as it is to be appended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    /// The broker's own if there is none.
    pub(super) timestamp: Option<i64>,
}

/// A record of a partition.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Event {
    partition: i32,
    pub(super) offset: i64,
    /// Milliseconds since 1970.
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The key if it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    /// The how manieth record of its key it is; left out where records are not read by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<i64>,
    /// The value if it is JSON; null if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<Option<Box<RawValue>>>,
    /// The value if it is text and no JSON, or the JSON `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    headers: Vec<Header>,
    tags: Vec<String>,
    /// Tags that are no UTF-8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags_base64: Vec<String>,
    /// It is the last of its key for ever.
    #[serde(skip_serializing_if = "is_false")]
    close: bool,
}

/// A header of a record.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Header {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// The value if it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

fn is_false(it: &bool) -> bool {
    !*it
}

impl NewEvent {
    /// Returns the record of that key.
    pub(super) fn draft(self, key: Option<Bytes>) -> Result<Draft, Problem> {
        let json = self.value.map(|raw| Bytes::from(raw.get().to_owned()));
        let text = self.value_text.map(Bytes::from);
        let bytes = self.value_base64.map(|text| base64("value_base64", &text)).transpose()?;
        let value = one_of("value, value_text and value_base64", [json, text, bytes])?;
        let mut headers = Vec::with_capacity(self.headers.len() + self.tags.len());
        for NewHeader { name, value, value_base64 } in self.headers {
            if name.as_bytes().starts_with(RESERVED) {
                let detail = format!("the header {name} is reserved");
                return Err(invalid_event(detail)
                    .hint("tags are `tags`, conditions are If-Match or fields of the request"));
            }
            let bytes = value_base64.map(|text| base64("value_base64", &text)).transpose()?;
            let value = one_of("value and value_base64", [value.map(Bytes::from), bytes])?;
            headers.push((name, value.map(Vec::from)));
        }
        headers.extend(self.tags.into_iter().map(|tag| (TAG.to_owned(), Some(tag.into_bytes()))));
        Ok(Draft { key, value, headers, timestamp: self.timestamp.map(|it| it.0) })
    }
}

impl NewRecord {
    pub(super) fn draft(self) -> Result<Draft, Problem> {
        let Self { value, value_text, value_base64, headers, tags, timestamp, .. } = self;
        let bytes = self.key_base64.map(|text| base64("key_base64", &text)).transpose()?;
        let key = one_of("key and key_base64", [self.key.map(Bytes::from), bytes])?;
        let event = NewEvent { value, value_text, value_base64, headers, tags, timestamp };
        let mut draft = event.draft(key)?;
        if let Some(WholeNumber(version)) = self.expected_version {
            let text = version.to_string().into_bytes();
            draft.headers.push((EXPECTED_VERSION.to_owned(), Some(text)));
        }
        Ok(draft)
    }
}

impl Draft {
    /// Returns the end of a stream; `hard`: for ever.
    pub(super) fn tombstone(key: Bytes, hard: bool) -> Self {
        let headers = if hard { vec![(CLOSE.to_owned(), None)] } else { Vec::new() };
        Self { key: Some(key), value: None, headers, timestamp: None }
    }
}

fn one_of<const N: usize>(what: &str, given: [Option<Bytes>; N]) -> Result<Option<Bytes>, Problem> {
    let mut given = given.into_iter().flatten();
    let first = given.next();
    match given.next() {
        None => Ok(first),
        Some(_) => Err(invalid_event(format!("only one of {what} may be given"))),
    }
}

fn base64(field: &str, text: &str) -> Result<Bytes, Problem> {
    let decoded = BASE64_STANDARD.decode(text);
    decoded.map(Bytes::from).map_err(|error| invalid_event(format!("{field}: {error}")))
}

/// A record that is described well and cannot be appended.
pub(super) fn invalid_event(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_event", detail)
}

impl Event {
    pub(super) fn new(partition: i32, offset: i64, record: &Record) -> Self {
        let (key, key_base64) = text_or_base64(record.key.as_ref());
        let (mut value, mut value_text, mut value_base64) = (None, None, None);
        match &record.value {
            None => value = Some(None),
            // The text `null` would be taken for no value.
            Some(bytes) => match serde_json::from_slice::<Box<RawValue>>(bytes) {
                Ok(raw) if raw.get() != "null" => value = Some(Some(raw)),
                _ => (value_text, value_base64) = text_or_base64(Some(bytes)),
            },
        }
        let mut event = Self {
            partition,
            offset,
            timestamp: record.timestamp,
            key,
            key_base64,
            version: None,
            value,
            value_text,
            value_base64,
            headers: Vec::new(),
            tags: Vec::new(),
            tags_base64: Vec::new(),
            close: false,
        };
        record.headers.iter().for_each(|(name, value)| event.header(&name, value.as_ref()));
        event
    }

    fn header(&mut self, name: &[u8], value: Option<&Bytes>) {
        let (text, bytes) = text_or_base64(value);
        if name == TAG.as_bytes() {
            self.tags.extend(text);
            self.tags_base64.extend(bytes);
        } else if name == CLOSE.as_bytes() {
            self.close = true;
        } else if !HIDDEN.contains(&name) {
            let name = String::from_utf8_lossy(name).into_owned();
            self.headers.push(Header { name, value: text, value_base64: bytes });
        }
    }

    /// Returns it as one line of JSON. What a producer wrote over several lines is one line here.
    pub(super) fn line(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text }
    }
}

fn text_or_base64(bytes: Option<&Bytes>) -> (Option<String>, Option<String>) {
    let Some(bytes) = bytes else { return (None, None) };
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

/// Returns the bytes of a key in a path or a query.
pub(super) fn decoded_url_safe(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

pub(super) fn encoded_url_safe(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests;
