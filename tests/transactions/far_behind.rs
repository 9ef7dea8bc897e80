//! A replica that lacks what was purged is given the records, and what is known of their transactions: which were aborted,
//! and which are open.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;

use super::{all_stable, at_coordinator, begin, lead, stable};
use crate::client_matrix::record::read_all;
use crate::support::clients;
use crate::support::cluster::{Broker, Cluster, SOON};
use crate::support::kafka::{NONE, at_leader};

const TOPIC: &str = "far-transactions";
const RECORD: usize = 16 << 10;
/// Every other is aborted.
const TRANSACTIONS: i64 = 40;
const RECORDS: i64 = 50;

fn payload(number: i64) -> Vec<u8> {
    let mut bytes = vec![7; RECORD];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Writes transactions; each takes an offset more than it has records.
fn write(cluster: &Cluster) {
    let mut config = clients::producer(&cluster.bootstrap());
    config.set("transactional.id", "far").set("message.timeout.ms", "60000");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(SOON).unwrap();
    for transaction in 0..TRANSACTIONS {
        producer.begin_transaction().unwrap();
        for number in 0..RECORDS {
            let payload = payload(transaction * RECORDS + number);
            let record = || BaseRecord::<(), [u8]>::to(TOPIC).partition(0).payload(&payload);
            while producer.send(record()).is_err() {
                producer.poll(Duration::from_millis(50));
            }
        }
        producer.flush(SOON).unwrap();
        match transaction % 2 {
            0 => producer.commit_transaction(SOON).unwrap(),
            _ => producer.abort_transaction(SOON).unwrap(),
        }
    }
}

/// The log of its replica begins later than at its start.
fn purged(broker: &Broker) -> bool {
    let told = broker.get("/v1/raft/groups").map(|it| it.json()).unwrap_or_default();
    let groups = told["groups"].as_array().cloned().unwrap_or_default();
    let name = format!("{TOPIC}-0");
    groups.iter().any(|group| group["partition"] == *name && group["purged_index"].is_u64())
}

fn move_to(cluster: &Cluster, replicas: &[u64]) {
    let path = format!("/v1/topics/{TOPIC}/partitions/0");
    let body = json!({ "brokers": replicas }).to_string();
    let answer = cluster.request("PUT", &format!("{path}/replicas"), Some(&body));
    assert_eq!(answer.status, 202, "{answer:?}");
    cluster.wait_for("the replicas have moved", 2 * SOON, || {
        let state = cluster.get(&path);
        (state["replicas"] == json!(replicas) && state["target"].is_null()).then_some(())
    });
}

/// What is committed is read from a broker, and nothing else is.
fn serves(cluster: &Cluster, broker: u64) {
    lead(cluster, TOPIC, broker);
    let read = read_all(&cluster.bootstrap(), TOPIC, 0, "read_committed");
    let read: Vec<(i64, i64)> = read
        .iter()
        .map(|(offset, it)| {
            let number = it.value.as_ref().unwrap()[..8].try_into().unwrap();
            (*offset, i64::from_be_bytes(number))
        })
        .collect();
    let numbers = (0..TRANSACTIONS).step_by(2).flat_map(|transaction| {
        let numbers = transaction * RECORDS..(transaction + 1) * RECORDS;
        numbers.map(move |number| (number + transaction, number))
    });
    assert_eq!(read, numbers.collect::<Vec<_>>(), "broker {broker}");
}

#[test]
fn a_replica_that_lacks_what_was_purged_knows_which_transactions_were_aborted_and_which_are_open() {
    let cluster = Cluster::start("tx-far-behind", 4);
    let body = json!({ "name": TOPIC, "replicas": [[1, 2]] }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    write(&cluster);
    let end = TRANSACTIONS * (RECORDS + 1);
    all_stable(&cluster, TOPIC, end);
    let (_, open) = begin(&cluster, "stays-open", 600_000);
    assert_eq!(open.write(&cluster, &mut at_leader(&cluster, TOPIC, 0), TOPIC, "open"), end);
    cluster.wait_for("the log begins later on both", 2 * SOON, || {
        [1, 2].iter().all(|id| purged(cluster.broker(*id))).then_some(())
    });

    // Broker 3 has never had anything; broker 4 is filled by it.
    for (replicas, filled) in [([1, 3], 3), ([3, 4], 4)] {
        move_to(&cluster, &replicas);
        serves(&cluster, filled);
        let found = stable(&mut at_leader(&cluster, TOPIC, 0), TOPIC, end);
        assert_eq!((found.high_watermark, found.stable), (end + 1, end), "broker {filled}");
        cluster.broker(filled).kill9();
        cluster.broker(filled).start();
        cluster.wait_whole();
        serves(&cluster, filled);
    }
    cluster.wait("it has ended", || {
        let mut wire = at_coordinator(&cluster, &open.id)?;
        (open.end_and_bump(&mut wire, false).0 == NONE).then_some(())
    });
    all_stable(&cluster, TOPIC, end + 2);
    let found = stable(&mut at_leader(&cluster, TOPIC, 0), TOPIC, end);
    assert_eq!(found.aborted, Some(vec![(open.producer, end)]));
    serves(&cluster, 4);
}
