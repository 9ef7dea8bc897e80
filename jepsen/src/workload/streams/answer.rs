//! What a broker answers to an append, by either interface, and what that promises.

use kafka_protocol::ResponseError;
use serde_json::Value;

use crate::admin::{Reply, is_unsent};
use crate::checker::streams::Batch;
use crate::client::{Failure, Produced, RecordRefused};
use crate::history::{Edn, Kind, int, text};
use crate::workload::session::Extra;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The first offset; from which version of the key up to which, where that is told.
    Acked { offset: Option<i64>, versions: Option<(i64, i64)> },
    /// Nothing was appended, for something is otherwise than expected.
    Conflict { why: &'static str, current: i64, about: Option<String> },
    /// Nothing was appended, and not for what there is.
    Refused(String),
    /// Nothing was appended; it may be tried again.
    Failed(String),
    /// Nobody knows.
    Unknown(String),
}

impl Answer {
    pub fn kind(&self) -> Kind {
        match self {
            Answer::Acked { .. } => Kind::Ok,
            Answer::Conflict { .. } | Answer::Refused(_) | Answer::Failed(_) => Kind::Fail,
            Answer::Unknown(_) => Kind::Info,
        }
    }

    /// As the history has it.
    pub fn extra(&self) -> Extra {
        let mut extra = Extra::new();
        let mut put = |name: &str, value: Edn| extra.insert(name.to_owned(), value);
        match self {
            Answer::Acked { offset, versions } => {
                put("offset", offset.map_or(Edn::Nil, Edn::Integer));
                if let Some((first, last)) = versions {
                    put("versions", Edn::Vector(vec![int(*first), int(*last)]));
                }
            }
            Answer::Conflict { why, current, about } => {
                put("conflict", text(*why));
                put("current", int(*current));
                if let Some(about) = about {
                    put("about", text(about));
                }
            }
            Answer::Refused(why) => drop(put("refused", text(why))),
            Answer::Failed(why) | Answer::Unknown(why) => drop(put("error", text(why))),
        }
        extra
    }

    /// Of `POST` and `DELETE .../streams/{key}`, and of `POST .../records`.
    pub fn of_http(asked: anyhow::Result<Reply>) -> Answer {
        let reply = match asked {
            Ok(reply) => reply,
            Err(error) if is_unsent(&error) => return Answer::Failed(format!("{error:#}")),
            Err(error) => return Answer::Unknown(format!("{error:#}")),
        };
        let number = |name: &str| reply.body[name].as_i64();
        let about = |name: &str| reply.body[name].as_str().map(str::to_owned);
        let conflict = |why, current: Option<i64>, about| match current {
            Some(current) => Answer::Conflict { why, current, about },
            None => Answer::Refused(format!("{why}: no current one in {}", reply.body)),
        };
        match (reply.status, reply.code()) {
            (200..=299, _) => match number("offset") {
                Some(offset) => {
                    let versions = number("first_version").zip(number("version"));
                    Answer::Acked { offset: Some(offset), versions }
                }
                None => Answer::Unknown(format!("{} without an offset", reply.status)),
            },
            (412, "version_conflict") => {
                conflict("version", number("current_version"), about("key"))
            }
            // Who deletes a stream expects one.
            (404, "unknown_stream") => conflict("version", Some(0), None),
            (404, "stream_deleted") => conflict("version", number("current_version"), None),
            (410, "stream_closed") => conflict("closed", number("current_version"), None),
            (412, "tag_conflict") => conflict("tag", number("current_offset"), about("tag")),
            (412, "offset_conflict") => conflict("offset", number("current_offset"), None),
            (409 | 503, code) if code.starts_with("streams_") => Answer::Refused(code.to_owned()),
            // A broker that begins may not know yet what there is.
            (404 | 429 | 503, code) => Answer::Failed(format!("{} {code}", reply.status)),
            (400..=499, _) => Answer::Refused(format!("{} {}", reply.status, reply.body)),
            (status, code) => Answer::Unknown(format!("{status} {code}")),
        }
    }

    /// Of Produce.
    pub fn of_kafka(
        produced: Result<Result<Produced, RecordRefused>, Failure>,
        batch: &Batch,
    ) -> Answer {
        let refused = match produced {
            Ok(Ok(produced)) => {
                return Answer::Acked { offset: produced.base_offset, versions: None };
            }
            Ok(Err(refused)) => refused,
            // It is in the log, too long ago for the broker to know where.
            Err(failure) if failure.is(ResponseError::DuplicateSequenceNumber) => {
                return Answer::Acked { offset: None, versions: None };
            }
            Err(failure) if failure.kind() == Kind::Fail => {
                return Answer::Failed(failure.to_string());
            }
            Err(failure) => return Answer::Unknown(failure.to_string()),
        };
        let message = refused.message;
        let mut all = ["closed", "version", "tag", "offset"].into_iter();
        let why = all.find(|why| message.contains(why));
        match why.zip(current(&message)) {
            Some((why, current)) => {
                let record = refused.record.and_then(|record| usize::try_from(record).ok());
                let row = record.and_then(|record| batch.rows.get(record));
                let is_of_key = ["closed", "version"].contains(&why);
                let about = row.filter(|_| is_of_key).map(|row| row.key.clone());
                Answer::Conflict { why, current, about }
            }
            // For a broker that has not heard yet that the topic has streams.
            None if message.contains("stream") => Answer::Refused(format!("streams_: {message}")),
            None => Answer::Refused(message),
        }
    }
}

/// The number in `... (current=7)`.
fn current(message: &str) -> Option<i64> {
    let (_, rest) = message.rsplit_once("(current=")?;
    rest.strip_suffix(')')?.parse().ok()
}

/// The number of an event, from what it holds.
pub fn id_of(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value["id"].as_i64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::checker::streams::Row;

    use super::*;

    fn http(status: u16, body: Value) -> Answer {
        Answer::of_http(Ok(Reply { status, headers: ureq::http::HeaderMap::new(), body }))
    }

    #[test]
    fn http_says_what_was_appended_and_what_was_not() {
        let acked = http(201, json!({"offset": 7, "first_version": 2, "version": 3}));
        assert_eq!(acked, Answer::Acked { offset: Some(7), versions: Some((2, 3)) });
        let conflict = http(412, json!({"code": "version_conflict", "current_version": 4}));
        assert_eq!(conflict, Answer::Conflict { why: "version", current: 4, about: None });
        let nothing = http(412, json!({"code": "version_conflict"}));
        assert!(matches!(nothing, Answer::Refused(_)), "{nothing:?}");
        let closed = http(410, json!({"code": "stream_closed", "current_version": 4}));
        assert_eq!(closed, Answer::Conflict { why: "closed", current: 4, about: None });
        let none = http(404, json!({"code": "unknown_stream"}));
        assert_eq!(none, Answer::Conflict { why: "version", current: 0, about: None });
        assert_eq!(http(404, json!({"code": "unknown_topic"})).kind(), Kind::Fail);
        assert_eq!(http(503, json!({"code": "no_leader"})).kind(), Kind::Fail);
        assert_eq!(http(504, json!({"code": "timeout_unknown_outcome"})).kind(), Kind::Info);
        assert_eq!(http(500, json!({})).kind(), Kind::Info);
        let off = http(409, json!({"code": "streams_off"}));
        assert_eq!(off, Answer::Refused("streams_off".to_owned()));
    }

    #[test]
    fn kafka_says_it_in_words() {
        let refused = |message: &str| {
            let message = message.to_owned();
            let row = Row { key: "k".to_owned(), ..Row::default() };
            let batch = Batch { rows: vec![row], ..Batch::default() };
            Answer::of_kafka(Ok(Err(RecordRefused { record: Some(0), message })), &batch)
        };
        let version = refused("version of the key is 7, expected 5 (current=7)");
        let about = Some("k".to_owned());
        assert_eq!(version, Answer::Conflict { why: "version", current: 7, about });
        let closed = refused("the stream is closed (current=7)");
        let about = Some("k".to_owned());
        assert_eq!(closed, Answer::Conflict { why: "closed", current: 7, about });
        let tag = refused("the tag has a record at offset 9 (current=9)");
        assert_eq!(tag, Answer::Conflict { why: "tag", current: 9, about: None });
        assert!(matches!(refused("key too long"), Answer::Refused(_)));
        let unsure = Err(Failure::Code(ResponseError::RequestTimedOut.code()));
        let unsure = Answer::of_kafka(unsure, &Batch::default());
        assert_eq!(unsure.kind(), Kind::Info);
    }
}
