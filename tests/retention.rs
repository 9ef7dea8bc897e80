//! Old records go, by age, by size and on request, and their disk space comes back.

use std::time::Duration;

use serde_json::json;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::clients;
use crate::support::cluster::{Broker, Cluster, SOON};
use crate::support::kafka::{self, NONE, delete_records, list_offset};

const MIB: u64 = 1 << 20;
const RECORD: usize = 32 << 10;

/// Small generations and frequent looks, so that a test sees what takes hours otherwise.
const SETTINGS: [(&str, &str); 2] =
    [("QUORATE_TOPICS_RETENTION_CHECK_MS", "200"), ("QUORATE_STORAGE_GENERATION_BYTES", "8388608")];

fn cluster_with_topic(name: &str, configs: &serde_json::Value) -> Cluster {
    let cluster = Cluster::start_with(name, 3, &SETTINGS);
    let body =
        json!({"name": "aging", "partitions": 1, "replication_factor": 3, "configs": configs});
    cluster.request("POST", "/v1/topics", Some(&body.to_string())).ok();
    cluster
}

/// Writes records of 32 KiB that do not compress.
fn write(cluster: &Cluster, bytes: u64) {
    let producer: BaseProducer = clients::producer(&cluster.bootstrap()).create().unwrap();
    let payload: Vec<u8> = (0..RECORD as u64).map(|n| (n * n % 251) as u8).collect();
    for _ in 0..bytes / RECORD as u64 {
        let record = || BaseRecord::<(), [u8]>::to("aging").partition(0).payload(&payload);
        while producer.send(record()).is_err() {
            producer.poll(Duration::from_millis(50));
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(SOON).unwrap();
}

fn log_start(cluster: &Cluster) -> i64 {
    let mut wire = kafka::at_leader(cluster, "aging", 0);
    list_offset(&mut wire, "aging", 0, -1, -2).offset
}

fn end(cluster: &Cluster) -> i64 {
    let mut wire = kafka::at_leader(cluster, "aging", 0);
    list_offset(&mut wire, "aging", 0, -1, -1).offset
}

fn disk_below(cluster: &Cluster, bytes: u64) {
    cluster.wait("every broker has given the disk space back", || {
        cluster.brokers().iter().all(|broker| broker.disk() < bytes).then_some(())
    });
}

#[test]
fn records_beyond_the_size_go_and_disk_space_comes_back_on_every_replica() {
    let cluster = cluster_with_topic("by-size", &json!({"retention.bytes": "4194304"}));
    write(&cluster, 128 * MIB);
    cluster.wait("the log is about four megabytes", || {
        let kept = (end(&cluster) - log_start(&cluster)) as u64 * RECORD as u64;
        (kept <= 6 * MIB).then_some(())
    });
    let kept = (end(&cluster) - log_start(&cluster)) as u64 * RECORD as u64;
    assert!(kept >= 3 * MIB, "no more goes than has to: {kept} bytes are left");
    // What is left, the generations being written, and their write-ahead logs.
    write(&cluster, 32 * MIB);
    disk_below(&cluster, 100 * MIB);
}

#[test]
fn records_beyond_their_age_go_even_when_nobody_writes() {
    let cluster = cluster_with_topic("by-age", &json!({"retention.ms": "3000"}));
    write(&cluster, MIB);
    let before = end(&cluster);
    cluster.wait("all records are too old", || (log_start(&cluster) == before).then_some(()));
    let mut wire = kafka::at_leader(&cluster, "aging", 0);
    let batch = crate::support::wire::Batch::of(&["x"]).bytes();
    assert_eq!(kafka::produce(&mut wire, "aging", 0, &batch).base, before, "offsets go on");
}

#[test]
fn deleting_records_frees_their_disk_space_and_survives_a_restart() {
    let cluster = cluster_with_topic("on-request", &json!({}));
    write(&cluster, 96 * MIB);
    let last = end(&cluster);
    assert!(cluster.brokers().iter().all(|broker| broker.disk() >= 80 * MIB));
    let mut wire = kafka::at_leader(&cluster, "aging", 0);
    assert_eq!(delete_records(&mut wire, "aging", 0, last - 1), (last - 1, NONE));
    disk_below(&cluster, 70 * MIB);
    cluster.brokers().iter().for_each(Broker::kill9);
    cluster.brokers().iter().for_each(Broker::start);
    cluster.wait_whole();
    assert_eq!((log_start(&cluster), end(&cluster)), (last - 1, last));
}

#[test]
fn a_replica_that_was_away_while_its_records_were_deleted_starts_at_the_new_log_start() {
    let cluster = cluster_with_topic("behind-start", &json!({}));
    write(&cluster, MIB);
    let away = (1..=3).find(|id| *id != kafka::leader(&cluster, "aging", 0).leader as u64).unwrap();
    cluster.broker(away).kill9();
    write(&cluster, 48 * MIB);
    let last = end(&cluster);
    let mut wire = kafka::at_leader(&cluster, "aging", 0);
    assert_eq!(delete_records(&mut wire, "aging", 0, last - 5), (last - 5, NONE));
    // The leader gives up the log that the absent broker would need.
    let group = cluster.get("/v1/topics/aging/partitions/0")["group"].to_string();
    cluster.wait("the leader has purged its log", || {
        let seen = cluster.get(&format!("/v1/raft/groups/{group}"));
        (seen["purged_index"].as_i64()? > 20).then_some(())
    });
    cluster.broker(away).start();
    cluster.wait_whole();
    let body = json!({ "broker": away }).to_string();
    cluster.wait("the broker that was away leads", || {
        let path = "/v1/topics/aging/partitions/0/leader";
        (cluster.request("PUT", path, Some(&body)).status == 200).then_some(())
    });
    assert_eq!((log_start(&cluster), end(&cluster)), (last - 5, last));
    let consumer = clients::consumer_at(&cluster.bootstrap(), "aging", 0, last - 5);
    for offset in last - 5..last {
        let message = consumer.poll(SOON).unwrap().unwrap();
        assert_eq!(rdkafka::Message::offset(&message), offset);
    }
}
