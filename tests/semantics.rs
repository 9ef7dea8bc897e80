//! What Kafka's protocol promises in its corners, asked by hand, request by request: the cases that clients
//! rely on without saying so.

mod admin;
mod consumer_protocol;
mod creation;
mod described;
mod encoding;
mod fetching;
mod groups;
mod leaders;
mod naming;
mod offsets;
mod rebalances;
mod records;
mod transaction_limits;
mod transaction_readers;
mod transactions;

use crate::support::cluster::Cluster;
use crate::support::kafka;

/// AclOperation's numbers as bits: all there is to be done with a topic.
const ON_TOPIC: i32 = 0b1101_1111_1000;

/// A topic whose partitions are all led by broker 1.
fn create_on_first(cluster: &Cluster, topic: &str, partitions: usize) {
    let replicas = vec![[1]; partitions];
    let body = serde_json::json!({ "name": topic, "replicas": replicas }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    for index in 0..partitions {
        kafka::leader(cluster, topic, index as i32);
    }
}
