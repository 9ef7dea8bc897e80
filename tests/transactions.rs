//! Transactions on brokers that die: between what they have decided and what they have told, with transactions open, one
//! of them and all at once. What is visible is what was committed, everywhere and for good.

mod coordinators;
mod far_behind;
mod leaders;
mod majority;
mod order;

use serde_json::json;

use crate::client_matrix::record::read_all;
use crate::support::cluster::Cluster;
use crate::support::kafka::{self, FIND_COORDINATOR, Fetch, Fetched, NONE, at_leader, leader};
use crate::support::transactions::{CONCURRENT, Producer, init};
use crate::support::wire::{Encoder, Wire};

/// The isolation level of who reads what is committed.
const COMMITTED: i8 = 1;

/// A producer of an id whose transactions may be open for so long, and a connection to their coordinator.
fn begin(cluster: &Cluster, id: &str, timeout_ms: i32) -> (Wire, Producer) {
    cluster.wait(&format!("{id} has a producer"), || {
        let mut wire = at_coordinator(cluster, id)?;
        let (error, producer, epoch) = init(&mut wire, id, timeout_ms, (-1, -1));
        let not_yet = [CONCURRENT, kafka::COORDINATOR_LOADING, kafka::COORDINATOR_NOT_AVAILABLE];
        if not_yet.contains(&error) || error == kafka::NOT_COORDINATOR {
            return None;
        }
        assert_eq!(error, NONE, "{id}");
        Some((wire, Producer { id: id.to_owned(), producer, epoch }))
    })
}

/// A connection to the broker that coordinates an id, as far as one that runs knows.
fn at_coordinator(cluster: &Cluster, id: &str) -> Option<Wire> {
    let mut wire = Wire::connect(cluster.running().next()?.kafka);
    let mut decoder = wire.call(FIND_COORDINATOR, 1, &Encoder::default().string(id).i8(1));
    decoder.i32();
    let error = decoder.i16();
    decoder.string();
    let broker = u64::try_from(decoder.i32()).ok().filter(|_| error == NONE)?;
    cluster.broker(broker).running().then(|| Wire::connect(cluster.broker(broker).kafka))
}

/// What a reader of what is committed is told of partition 0, from an offset on.
fn stable(wire: &mut Wire, topic: &str, offset: i64) -> Fetched {
    Fetch { isolation: COMMITTED, ..Fetch::of(topic, 0, offset) }.one(wire)
}

/// Waits until no transaction is open in partition 0, which ends at `end` then.
fn all_stable(cluster: &Cluster, topic: &str, end: i64) {
    cluster.wait(&format!("all of {topic} is stable"), || {
        let found = stable(&mut at_leader(cluster, topic, 0), topic, end);
        ((found.high_watermark, found.stable) == (end, end)).then_some(())
    });
}

/// The values in partition 0 that a reader of that isolation level sees.
fn values(cluster: &Cluster, topic: &str, isolation: &str) -> Vec<String> {
    let records = read_all(&cluster.bootstrap(), topic, 0, isolation);
    records.into_iter().map(|(_, it)| String::from_utf8(it.value.unwrap()).unwrap()).collect()
}

/// Has a broker lead partition 0.
fn lead(cluster: &Cluster, topic: &str, broker: u64) -> Wire {
    let path = format!("/v1/topics/{topic}/partitions/0/leader");
    cluster.wait(&format!("{broker} leads {topic}"), || {
        cluster.request("PUT", &path, Some(&json!({ "broker": broker }).to_string()));
        (leader(cluster, topic, 0).leader as u64 == broker).then_some(())
    });
    at_leader(cluster, topic, 0)
}
