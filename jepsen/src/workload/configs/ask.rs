//! One change or one question, to one broker, by Kafka's protocol or by HTTP.

use anyhow::Context;
use kafka_protocol::ResponseError;
use rand::Rng;
use serde_json::json;

use crate::admin::Admin;
use crate::client::{self, Failure};
use crate::history::{Body, Edn, Kind, int, map, text};
use crate::workload::session::{Extra, Session};

/// Both are times in milliseconds that may be as long as one likes.
const PAIR: [&str; 2] = ["retention.ms", "message.timestamp.before.max.ms"];
/// Values are beyond this, so that nothing is removed or refused for them: some thirty years.
const BASE: i64 = 1_000_000_000_000;

/// Gives both configs of a topic the value of that number.
pub fn change(session: &mut Session, broker: u64, topic: &str, number: u64) -> anyhow::Result<()> {
    let http = session.random.random();
    let number = i64::try_from(number)?;
    let body = Body::Other(
        "change-configs".to_owned(),
        map([
            ("topic", text(topic)),
            ("value", int(number)),
            ("broker", int(i64::try_from(broker)?)),
            ("via", text(if http { "http" } else { "kafka" })),
        ]),
    );
    let pending = session.invoke(body.clone(), Extra::new())?;
    let value = (BASE + number).to_string();
    let (kind, why) = if http {
        change_by_http(session, broker, topic, &value)
    } else {
        change_by_kafka(session, broker, topic, &value)
    };
    let extra = why.map(|why| ("error".to_owned(), text(why)));
    session.complete(pending, kind, body, extra.into_iter().collect())
}

fn change_by_kafka(
    session: &mut Session,
    broker: u64,
    topic: &str,
    value: &str,
) -> (Kind, Option<String>) {
    let patience = session.client.patience();
    let to = session.client.to(broker);
    let failure = match to.and_then(|to| client::set_configs(to, topic, &PAIR, value, patience)) {
        Ok(()) => return (Kind::Ok, None),
        Err(failure) => failure,
    };
    if !matches!(failure, Failure::Code(_)) {
        session.client.disconnect(broker);
    }
    // No attempt can have reached the log.
    let is_refused = failure.is(ResponseError::NotController);
    (if is_refused { Kind::Fail } else { failure.kind() }, Some(failure.to_string()))
}

fn change_by_http(
    session: &Session,
    broker: u64,
    topic: &str,
    value: &str,
) -> (Kind, Option<String>) {
    let brokers = session.env.addresses();
    let Some(to) = brokers.iter().find(|address| address.id == broker) else {
        return (Kind::Fail, Some(format!("broker {broker} has no known address")));
    };
    let configs: serde_json::Map<_, _> =
        PAIR.iter().map(|name| ((*name).to_owned(), json!(value))).collect();
    let path = format!("/v1/topics/{topic}/configs");
    match Admin::new(vec![*to]).ask(to, "PATCH", &path, Some(&json!({ "configs": configs }))) {
        Ok(reply) => {
            let kind = match reply.status {
                200..=299 => Kind::Ok,
                // By the API's description nothing was changed.
                400..=499 | 503 => Kind::Fail,
                _ => Kind::Info,
            };
            (kind, (kind != Kind::Ok).then(|| format!("{} {}", reply.status, reply.code())))
        }
        Err(error) => (Kind::Info, Some(format!("{error:#}"))),
    }
}

/// Asks a broker for the values of both, and records what it says; nothing if it does not answer. -1 is a default.
pub fn read(
    session: &mut Session,
    broker: u64,
    topic: &str,
    last: bool,
) -> anyhow::Result<Option<Vec<i64>>> {
    let http = session.random.random();
    let at = i64::try_from(broker)?;
    let body = |values: Edn| {
        let value = map([
            ("topic", text(topic)),
            ("broker", int(at)),
            ("via", text(if http { "http" } else { "kafka" })),
            ("final", Edn::Boolean(last)),
            ("values", values),
        ]);
        Body::Other("read-configs".to_owned(), value)
    };
    let pending = session.invoke(body(Edn::Nil), Extra::new())?;
    let told = if http {
        read_by_http(session, broker, topic)
    } else {
        read_by_kafka(session, broker, topic)
    };
    match told {
        Ok(values) => {
            let values: Vec<i64> = values.iter().map(|value| number(value)).collect();
            let told = Edn::Vector(values.iter().map(|value| int(*value)).collect());
            session.complete(pending, Kind::Ok, body(told), Extra::new())?;
            Ok(Some(values))
        }
        Err(why) => {
            // It changed nothing.
            let extra = Extra::from([("error".to_owned(), text(why))]);
            session.complete(pending, Kind::Fail, body(Edn::Nil), extra)?;
            Ok(None)
        }
    }
}

/// The number of a value that somebody gave, or that it is another one.
fn number(value: &str) -> i64 {
    let number = value.parse::<i64>().ok().and_then(|value| value.checked_sub(BASE));
    number.filter(|number| (0..BASE).contains(number)).unwrap_or(-1)
}

fn read_by_kafka(session: &mut Session, broker: u64, topic: &str) -> Result<Vec<String>, String> {
    let patience = session.client.patience();
    let to = session.client.to(broker);
    let told = to.and_then(|to| client::describe_configs(to, topic, &PAIR, patience));
    told.map_err(|failure| {
        session.client.disconnect(broker);
        failure.to_string()
    })
}

fn read_by_http(session: &Session, broker: u64, topic: &str) -> Result<Vec<String>, String> {
    let told = || {
        let brokers = session.env.addresses();
        let to = brokers.iter().find(|address| address.id == broker).context("no address")?;
        let path = format!("/v1/topics/{topic}/configs");
        let patience = session.client.patience();
        let reply = Admin::with_patience(vec![*to], patience).ask(to, "GET", &path, None)?;
        let configs = reply.body["configs"].as_array().context("no configs")?;
        let value = |name: &&str| {
            let found = configs.iter().find(|config| config["name"] == **name);
            let value = found.and_then(|config| config["value"].as_str());
            value.map(str::to_owned).with_context(|| format!("no {name}"))
        };
        PAIR.iter().map(value).collect::<anyhow::Result<Vec<String>>>()
    };
    told().map_err(|error| format!("{error:#}"))
}
