//! Streams by key over HTTP: any broker takes an append and judges its conditions alike, any replica is read, and what a
//! client was told stays true when leaders change.

mod appends;
mod client;
mod compacted;
mod faults;
mod readers;
mod reads;
mod store;
mod tail;
mod topics;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cluster::{Broker, Cluster};
use crate::support::http::{self, Answer};

const LIMIT: Duration = Duration::from_secs(60);
const JSON: (&str, &str) = ("content-type", "application/json");

/// A topic with streams.
fn create(cluster: &Cluster, name: &str, partitions: u32) {
    create_with(cluster, name, partitions, &json!({ "quorate.streams": "true" }));
}

fn create_with(cluster: &Cluster, name: &str, partitions: u32, configs: &Value) {
    let replicas = cluster.brokers().len();
    let body = json!({ "name": name, "partitions": partitions, "replication_factor": replicas, "configs": configs });
    cluster.request("POST", "/v1/topics", Some(&body.to_string())).ok();
}

fn ask(
    broker: &Broker,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [&[JSON], headers].concat();
    let answer = http::request_with(LIMIT, method, &broker.url(path), &headers, body.as_bytes());
    answer.unwrap_or_else(|| panic!("no answer to {method} {path}"))
}

fn get(broker: &Broker, path: &str) -> Answer {
    ask(broker, "GET", path, &[], &Value::Null)
}

/// Appends events with these values.
fn append(broker: &Broker, stream: &str, headers: &[(&str, &str)], values: &[Value]) -> Answer {
    let events: Vec<Value> = values.iter().map(|value| json!({ "value": value })).collect();
    ask(broker, "POST", &path_of(stream), headers, &json!({ "events": events }))
}

/// `stream`: topic and key with a slash between.
fn path_of(stream: &str) -> String {
    let (topic, key) = stream.split_once('/').unwrap();
    format!("/v1/topics/{topic}/streams/{key}")
}

/// The values of an answer that has events or records.
fn values(answer: &Answer) -> Vec<Value> {
    let body = answer.ok();
    let events = body["events"].as_array().or_else(|| body["records"].as_array()).unwrap();
    events.iter().map(|event| event["value"].clone()).collect()
}

/// The broker that leads partition 0 of a topic, and another one.
fn leader_and_other(cluster: &Cluster, topic: &str) -> (u64, u64) {
    let leader = u64::try_from(crate::support::kafka::leader(cluster, topic, 0).leader).unwrap();
    let other = cluster.brokers().iter().map(|broker| broker.id).find(|id| *id != leader);
    (leader, other.unwrap())
}
