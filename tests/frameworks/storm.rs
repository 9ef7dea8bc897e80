//! Apache Storm in a local cluster: a spout that reads, a bolt that writes. Every record at least once, whoever dies, and one
//! that is started anew goes on where its spout has committed.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use super::program;
use crate::client_matrix::record::{end, read_all};
use crate::support::asked::Asked;
use crate::support::clients;
use crate::support::cluster::{Cluster, SOON};
use crate::support::kafka::{self, NONE};

const PARTITIONS: usize = 3;
const PART: usize = 3_000;
const PARTS: usize = 4;
const GROUP: &str = "storm";

/// The records by their place: `PARTITION-OFFSET` and the value there.
fn model(parts: usize) -> BTreeSet<(String, String)> {
    let place = |n: usize| format!("{}-{}", n % PARTITIONS, n / PARTITIONS);
    (0..parts * PART).map(|n| (place(n), format!("event {n}"))).collect()
}

fn write(cluster: &Cluster, part: usize) {
    let producer: BaseProducer = clients::producer(&cluster.bootstrap()).create().unwrap();
    for n in part * PART..(part + 1) * PART {
        let value = format!("event {n}");
        let record = BaseRecord::<[u8], str>::to("events").payload(&value);
        let record = record.partition((n % PARTITIONS) as i32);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
}

/// What was written from these offsets on: place and value of each record.
fn placed(cluster: &Cluster, from: &[i64]) -> Vec<(String, String)> {
    let all = from.iter().enumerate().flat_map(|(index, from)| {
        let records = read_all(&cluster.bootstrap(), "placed", index as i32, "read_committed");
        let records = records.into_iter().filter(|(at, _)| at >= from);
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
        records.map(|(_, it)| (text(it.key), text(it.value))).collect::<Vec<_>>()
    });
    all.collect()
}

/// Waits until so many different records were written.
fn reaches(cluster: &Cluster, records: usize) {
    cluster.wait_for(&format!("{records} records are placed"), 2 * SOON, || {
        let placed: BTreeSet<_> = placed(cluster, &[0; PARTITIONS]).into_iter().collect();
        (placed.len() >= records).then_some(())
    });
}

/// Starts the topology; gives what its spout is, as it says itself.
fn start(cluster: &Cluster) -> (Asked, String, i64) {
    let mut command = program("storm", "Storm", &["-Xmx512m"]);
    command.args([&cluster.bootstrap(), "events", "placed", GROUP]);
    let mut storm = Asked::start("storm", command);
    let said = loop {
        if let Some(said) = storm.hear().strip_prefix("topology ") {
            break said.to_owned();
        }
    };
    let (topology, task) = said.split_once(' ').unwrap();
    (storm, topology.to_owned(), task.parse().unwrap())
}

/// What the group has committed: the offset of each partition, and the text beside it.
fn committed(cluster: &Cluster) -> BTreeMap<i32, (i64, String)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap()).set("group.id", GROUP);
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range("events", 0, PARTITIONS as i32 - 1);
    let list = consumer.committed_offsets(list, SOON).unwrap();
    let list = list.elements();
    let row = |it: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        (it.partition(), (it.offset().to_raw().unwrap(), it.metadata().to_owned()))
    };
    list.iter().map(row).collect()
}

/// Waits until the group has committed so many records; the text has to be as the spout wrote it.
fn commits(cluster: &Cluster, records: usize, topology: &str, task: i64) {
    let committed = cluster.wait("all is committed", || {
        let committed = committed(cluster);
        let all: i64 = committed.values().map(|(offset, _)| *offset).sum();
        (all == records as i64).then_some(committed)
    });
    for (_, text) in committed.values() {
        let said: Value = serde_json::from_str(text).unwrap();
        let names: Vec<&String> = said.as_object().unwrap().keys().collect();
        assert_eq!(names, ["taskId", "threadName", "topologyId"], "{text}");
        assert_eq!(
            (said["topologyId"].as_str(), said["taskId"].as_i64()),
            (Some(topology), Some(task))
        );
        assert!(said["threadName"].as_str().unwrap().contains("reads"), "{text}");
    }
}

#[test]
fn every_record_is_processed_and_a_new_topology_goes_on_where_the_last_one_committed() {
    let cluster = Cluster::start("storm", 3);
    ["events", "placed"].iter().for_each(|it| cluster.create_topic(it, PARTITIONS as u32, 3));
    write(&cluster, 0);
    let (mut storm, topology, task) = start(&cluster);
    reaches(&cluster, PART / 3);
    let (error, dead) = kafka::coordinator(cluster.broker(1), GROUP);
    assert_eq!(error, NONE);
    let dead = cluster.broker(dead as u64);
    dead.kill9();
    write(&cluster, 1);
    reaches(&cluster, 2 * PART);
    commits(&cluster, 2 * PART, &topology, task);
    dead.start();
    cluster.wait_whole();

    write(&cluster, 2);
    reaches(&cluster, 2 * PART + PART / 3);
    let leader = cluster.broker(kafka::leader(&cluster, "events", 0).leader as u64);
    leader.kill9();
    storm.kill9();
    write(&cluster, 3);
    leader.start();
    cluster.wait_whole();
    let before = committed(&cluster);
    let ends: Vec<i64> = (0..PARTITIONS as i32)
        .map(|index| end(&cluster.bootstrap(), "placed", index, "read_committed"))
        .collect();

    let (storm, topology, task) = start(&cluster);
    reaches(&cluster, PARTS * PART);
    commits(&cluster, PARTS * PART, &topology, task);
    storm.stop();
    let all: BTreeSet<_> = placed(&cluster, &[0; PARTITIONS]).into_iter().collect();
    assert!(
        all == model(PARTS),
        "{:?}",
        all.symmetric_difference(&model(PARTS)).collect::<Vec<_>>()
    );
    let mut first: BTreeMap<i32, i64> = BTreeMap::new();
    for (place, _) in placed(&cluster, &ends) {
        let (partition, offset) = place.split_once('-').unwrap();
        let (partition, offset): (i32, i64) = (partition.parse().unwrap(), offset.parse().unwrap());
        first.entry(partition).and_modify(|it| *it = offset.min(*it)).or_insert(offset);
    }
    let goes_on: BTreeMap<i32, i64> = before.into_iter().map(|(it, (at, _))| (it, at)).collect();
    assert!(goes_on.values().all(|at| *at > 0), "{goes_on:?}");
    assert_eq!(first, goes_on);
}
