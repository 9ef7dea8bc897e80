//! Records of a partition by offset, over HTTP and through any broker, and how JSON shows a record.

use rand::Rng;
use serde_json::Value;

use super::answer::id_of;
use super::append::{ID, error};
use super::known::Known;
use super::look::any;
use crate::admin::Admin;
use crate::checker::streams::{Content, Event, RECORDS};
use crate::history::{Body, Edn, Kind, int, map, text};
use crate::workload::session::{Extra, Session};

/// Of the newest records that are known of, so many are asked for, and at most so many that came since.
const NEWEST: i64 = 20;
const LIMIT: usize = 100;

/// Reads the newest records of a partition.
pub fn records(session: &mut Session, known: &Known) -> anyhow::Result<()> {
    let Some(to) = any(session) else { return Ok(()) };
    let partition = session.random.random_range(0..known.partitions);
    let from = (known.end(partition) - NEWEST).max(0);
    let consistency = if session.random.random() { "linearizable" } else { "committed" };
    let value = map([
        ("partition", int(partition)),
        ("from", int(from)),
        ("broker", int(i64::try_from(to.id).unwrap_or(-1))),
        ("consistency", text(consistency)),
    ]);
    let body = Body::Other(RECORDS.to_owned(), value);
    let pending = session.invoke(body.clone(), Extra::new())?;
    let topic = session.keys.at(partition.into()).topic;
    let path = format!(
        "/v1/topics/{topic}/records?partition={partition}&offset={from}&limit={LIMIT}\
         &consistency={consistency}"
    );
    let admin = Admin::with_patience(Vec::new(), session.client.patience());
    let told = match admin.ask(&to, "GET", &path, None) {
        Ok(reply) if reply.status == 200 => {
            let told = reply.body["records"].as_array();
            told.and_then(|it| it.iter().map(record).collect::<Option<Vec<Event>>>())
                .ok_or_else(|| format!("unreadable records: {}", reply.body))
        }
        Ok(reply) => Err(format!("{} {}", reply.status, reply.code())),
        Err(error) => Err(format!("{error:#}")),
    };
    match told {
        Ok(told) => {
            let is_whole = Edn::Boolean(told.len() < LIMIT);
            let events = Edn::Vector(told.into_iter().map(Event::to_edn).collect());
            let extra =
                Extra::from([("events".to_owned(), events), ("whole".to_owned(), is_whole)]);
            session.complete(pending, Kind::Ok, body, extra)
        }
        Err(why) => session.complete(pending, Kind::Fail, body, error(why)),
    }
}

/// A record as an answer shows it.
pub fn record(shown: &Value) -> Option<Event> {
    let content = match (&shown["value"], shown["close"] == true) {
        (Value::Null, true) => Content::Close,
        (Value::Null, false) => Content::Tombstone,
        _ => Content::Event,
    };
    let headers = shown["headers"].as_array().map_or(&[][..], Vec::as_slice);
    let in_header = headers.iter().find(|header| header["name"] == ID);
    let in_header = in_header.and_then(|header| header["value"].as_str()?.parse().ok());
    let id = id_of(&shown["value"]).or(in_header);
    if id.is_none() && content == Content::Event {
        return None;
    }
    let (partition, version) = (shown["partition"].as_i64()?, shown["version"].as_i64());
    Some(Event { partition, version, offset: shown["offset"].as_i64(), id, content })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_an_event_or_a_tombstone_with_or_without_a_number() {
        let of = |more: Value| {
            let mut shown = json!({ "partition": 1, "offset": 7, "headers": [] });
            shown.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            record(&shown).map(|event| (event.id, event.content))
        };
        assert_eq!(of(json!({ "value": 5 })), Some((Some(5), Content::Event)));
        assert_eq!(of(json!({ "value": "?" })), None);
        assert_eq!(of(json!({ "value": null })), Some((None, Content::Tombstone)));
        assert_eq!(of(json!({ "value": null, "close": true })), Some((None, Content::Close)));
        let headers = json!([{ "name": "id", "value": "6" }]);
        let named = of(json!({ "value": null, "headers": headers }));
        assert_eq!(named, Some((Some(6), Content::Tombstone)));
    }
}
