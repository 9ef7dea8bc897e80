//! One change of a topic, through one broker, by Kafka's protocol or by HTTP, and what became of it.

use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use rand::Rng;
use serde_json::json;

use super::{Topics, name};
use crate::admin::{Admin, Reply};
use crate::client::{self, Failure};
use crate::environment::Address;
use crate::history::{Body, Edn, Kind, int, map, text};
use crate::workload::session::{Extra, Session};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Create { number: u64, partitions: u32 },
    Grow { number: u64, partitions: u32 },
    Delete { number: u64 },
}

/// How a change ended.
enum Outcome {
    /// With the id of a created topic.
    Done(Option<String>),
    /// Nothing was changed, because of what there is: `exists`, `unknown` or `partitions`.
    Refused(&'static str),
    /// Nothing was changed.
    Failed(String),
    /// Nobody knows.
    Unknown(String),
}

impl Change {
    pub fn f(self) -> &'static str {
        match self {
            Change::Create { .. } => "create-topic",
            Change::Grow { .. } => "grow-topic",
            Change::Delete { .. } => "delete-topic",
        }
    }

    fn number(self) -> u64 {
        match self {
            Change::Create { number, .. }
            | Change::Grow { number, .. }
            | Change::Delete { number } => number,
        }
    }

    fn partitions(self) -> u32 {
        match self {
            Change::Create { partitions, .. } | Change::Grow { partitions, .. } => partitions,
            Change::Delete { .. } => 0,
        }
    }

    /// Makes it once and records it; `topics` is what workers believe.
    pub fn make(self, session: &mut Session, topics: &Mutex<Topics>) -> anyhow::Result<()> {
        let broker = session.client.any_broker();
        // Partitions are added by Kafka's protocol only.
        let http = session.random.random() && !matches!(self, Change::Grow { .. });
        let body = |id: Edn| {
            let value = map([
                ("topic", text(name(self.number()))),
                ("partitions", int(self.partitions())),
                ("broker", int(i64::try_from(broker).unwrap_or(-1))),
                ("via", text(if http { "http" } else { "kafka" })),
                ("id", id),
            ]);
            Body::Other(self.f().to_owned(), value)
        };
        let pending = session.invoke(body(Edn::Nil), Extra::new())?;
        let outcome =
            if http { self.by_http(session, broker) } else { self.by_kafka(session, broker) };
        let mut extra = Extra::new();
        let (kind, id) = match outcome {
            Outcome::Done(id) => {
                self.believe(&mut topics.lock());
                (Kind::Ok, id.map_or(Edn::Nil, text))
            }
            Outcome::Refused(why) => {
                extra.insert("refused".to_owned(), text(why));
                (Kind::Fail, Edn::Nil)
            }
            Outcome::Failed(why) => {
                extra.insert("error".to_owned(), text(why));
                (Kind::Fail, Edn::Nil)
            }
            Outcome::Unknown(why) => {
                extra.insert("error".to_owned(), text(why));
                (Kind::Info, Edn::Nil)
            }
        };
        session.complete(pending, kind, body(id), extra)
    }

    fn believe(self, topics: &mut Topics) {
        match self {
            Change::Create { number, partitions } => {
                topics.live.insert(number, partitions);
                topics.gone.retain(|gone| *gone != number);
            }
            Change::Grow { number, partitions } => {
                if let Some(known) = topics.live.get_mut(&number) {
                    *known = partitions.max(*known);
                }
            }
            Change::Delete { number } => {
                topics.live.remove(&number);
                topics.gone.push(number);
            }
        }
    }

    fn by_kafka(self, session: &mut Session, broker: u64) -> Outcome {
        let name = name(self.number());
        let patience = session.client.patience();
        let replication = session.env.settings.replication;
        let done = session.client.to(broker).and_then(|to| match self {
            Change::Create { partitions, .. } => {
                client::create_topic(to, &name, partitions, replication, patience)
                    .map(|id| Some(format!("{id:032x}")))
            }
            Change::Grow { partitions, .. } => {
                client::create_partitions(to, &name, partitions, patience).map(|()| None)
            }
            Change::Delete { .. } => client::delete_topic(to, &name, patience).map(|()| None),
        });
        let failure = match done {
            Ok(id) => return Outcome::Done(id),
            Err(failure) => failure,
        };
        if !matches!(failure, Failure::Code(_)) {
            session.client.disconnect(broker);
        }
        let refusals = [
            (ResponseError::TopicAlreadyExists, "exists"),
            (ResponseError::UnknownTopicOrPartition, "unknown"),
            (ResponseError::InvalidPartitions, "partitions"),
        ];
        match refusals.iter().find(|(error, _)| failure.is(*error)) {
            Some((_, why)) => Outcome::Refused(why),
            None if failure.kind() == Kind::Fail => Outcome::Failed(failure.to_string()),
            None => Outcome::Unknown(failure.to_string()),
        }
    }

    fn by_http(self, session: &Session, broker: u64) -> Outcome {
        let brokers: Vec<Address> = session.env.addresses();
        let Some(to) = brokers.iter().find(|address| address.id == broker) else {
            return Outcome::Failed(format!("broker {broker} has no known address"));
        };
        let admin = Admin::new(vec![*to]);
        let path = format!("/v1/topics/{}", name(self.number()));
        let answer = match self {
            Change::Create { number, partitions } => {
                let replication = session.env.settings.replication;
                let wanted = json!({
                    "name": name(number), "partitions": partitions,
                    "replication_factor": replication });
                admin.ask(to, "POST", "/v1/topics", Some(&wanted))
            }
            Change::Delete { .. } => admin.ask(to, "DELETE", &path, None),
            Change::Grow { .. } => return Outcome::Failed("there is no such request".to_owned()),
        };
        match answer {
            Ok(reply) => judge(&reply),
            Err(error) => Outcome::Unknown(format!("{error:#}")),
        }
    }
}

/// What an answer over HTTP promises, by the API's description.
fn judge(reply: &Reply) -> Outcome {
    match (reply.status, reply.code()) {
        (200..=299, _) => Outcome::Done(reply.body["id"].as_str().map(|id| id.replace('-', ""))),
        (409, "topic_exists") => Outcome::Refused("exists"),
        (404, "unknown_topic") => Outcome::Refused("unknown"),
        (400..=499 | 503, code) => Outcome::Failed(format!("{} {code}", reply.status)),
        (status, code) => Outcome::Unknown(format!("{status} {code}")),
    }
}
