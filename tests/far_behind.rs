//! A replica that lacks what was purged is given the records that are left, serves them, and gives them to others.

use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::support::clients;
use crate::support::cluster::{Broker, Cluster, SOON};
use crate::support::kafka::{NONE, at_leader, delete_records, leader};

const TOPIC: &str = "far";
const RECORD: usize = 16 << 10;
const RECORDS: i64 = 2_000;
/// The first that is left.
const START: i64 = 300;

/// Each record is told by its number.
fn payload(number: i64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..RECORD as u64).map(|n| (n * n % 251) as u8).collect();
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn write(cluster: &Cluster, numbers: std::ops::Range<i64>) {
    let producer: BaseProducer = clients::producer(&cluster.bootstrap()).create().unwrap();
    for number in numbers {
        let payload = payload(number);
        let record = || BaseRecord::<(), [u8]>::to(TOPIC).partition(0).payload(&payload);
        while producer.send(record()).is_err() {
            producer.poll(std::time::Duration::from_millis(50));
        }
        producer.poll(std::time::Duration::ZERO);
    }
    producer.flush(SOON).unwrap();
}

/// What a broker says of its replica.
fn replica(broker: &Broker) -> Option<Value> {
    let groups = broker.get("/v1/raft/groups")?.json();
    let groups = groups["groups"].as_array()?.clone();
    groups.into_iter().find(|group| group["partition"] == format!("{TOPIC}-0"))
}

/// Bytes of the chunks that a broker has.
fn chunk_bytes(broker: &Broker) -> u64 {
    let metrics = broker.get("/metrics").unwrap().text;
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    let mut found = lines.filter_map(|line| Some(line.split_once("storage_chunk_bytes ")?.1));
    found.next().unwrap().parse().unwrap()
}

fn begin_move(cluster: &Cluster, replicas: &[u64]) {
    let path = format!("/v1/topics/{TOPIC}/partitions/0/replicas");
    let body = json!({ "brokers": replicas }).to_string();
    let answer = cluster.request("PUT", &path, Some(&body));
    assert_eq!(answer.status, 202, "{answer:?}");
}

fn has_moved(cluster: &Cluster, replicas: &[u64]) -> bool {
    let state = cluster.get(&format!("/v1/topics/{TOPIC}/partitions/0"));
    state["replicas"] == json!(replicas) && state["target"].is_null()
}

fn settled(cluster: &Cluster, replicas: &[u64]) {
    let moved = || has_moved(cluster, replicas).then_some(());
    cluster.wait_for("the replicas have moved", 2 * SOON, moved);
}

fn move_to(cluster: &Cluster, replicas: &[u64]) {
    begin_move(cluster, replicas);
    settled(cluster, replicas);
}

/// Waits until records arrive at a broker: a chunk is being written that no group has yet.
fn arriving(cluster: &Cluster, broker: &Broker) {
    cluster.wait("records arrive", || {
        let mut files = std::fs::read_dir(broker.data.join("db")).ok()?.flatten();
        files.any(|file| file.path().extension().is_some_and(|it| it == "chunk")).then_some(())
    });
}

/// Makes a broker leader and reads all that is left there.
fn serves_all(cluster: &Cluster, id: u64, numbers: std::ops::Range<i64>) {
    let path = format!("/v1/topics/{TOPIC}/partitions/0/leader");
    cluster.wait("it leads", || {
        cluster.request("PUT", &path, Some(&json!({ "broker": id }).to_string()));
        (leader(cluster, TOPIC, 0).leader as u64 == id).then_some(())
    });
    let consumer = clients::consumer_at(&cluster.bootstrap(), TOPIC, 0, numbers.start);
    assert_eq!(
        consumer.fetch_watermarks(TOPIC, 0, SOON).unwrap(),
        (numbers.start, numbers.end),
        "broker {id}"
    );
    for number in numbers {
        let message = consumer.poll(SOON).unwrap().unwrap();
        assert_eq!(message.offset(), number);
        assert!(message.payload() == Some(&payload(number)), "record {number} of broker {id}");
    }
}

#[test]
fn a_replica_that_lacks_what_was_purged_is_given_the_records_and_gives_them_to_others() {
    let settings = [("QUORATE_TOPICS_RETENTION_CHECK_MS", "200")];
    let cluster = Cluster::start_with("far-behind", 4, &settings);
    let body = json!({ "name": TOPIC, "replicas": [[1, 2]] }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    write(&cluster, 0..RECORDS / 2);
    let (low, error) = delete_records(&mut at_leader(&cluster, TOPIC, 0), TOPIC, 0, START);
    assert_eq!((low, error), (START, NONE));
    write(&cluster, RECORDS / 2..RECORDS);
    cluster.wait_for("the log begins later on both", 2 * SOON, || {
        let purged = |id| replica(cluster.broker(id))?["purged_index"].as_u64();
        Some((purged(1)?, purged(2)?))
    });
    assert_eq!((chunk_bytes(cluster.broker(1)), chunk_bytes(cluster.broker(2))), (0, 0));

    // Broker 3 has never had anything.
    move_to(&cluster, &[1, 3]);
    let filled = cluster.broker(3);
    let left = (RECORDS - START) as u64 * RECORD as u64;
    assert!(chunk_bytes(filled) > left / 2, "most of it came as records: {}", cluster.report());
    serves_all(&cluster, 3, START..RECORDS);
    write(&cluster, RECORDS..RECORDS + 200);
    filled.kill9();
    filled.start();
    cluster.wait_whole();
    serves_all(&cluster, 3, START..RECORDS + 200);

    // Broker 4 is filled by one that was filled.
    move_to(&cluster, &[3, 4]);
    assert!(chunk_bytes(cluster.broker(4)) > left / 2);
    serves_all(&cluster, 4, START..RECORDS + 200);

    // What is deleted of it gives its space back.
    let end = RECORDS + 200;
    let (low, error) = delete_records(&mut at_leader(&cluster, TOPIC, 0), TOPIC, 0, end);
    assert_eq!((low, error), (end, NONE));
    cluster.wait_for("the chunks are gone", 2 * SOON, || {
        [3, 4].iter().all(|id| chunk_bytes(cluster.broker(*id)) == 0).then_some(())
    });
    // Broker 2 is given a checkpoint and no record, and goes on from there.
    move_to(&cluster, &[3, 2]);
    write(&cluster, end..end + 10);
    serves_all(&cluster, 2, end..end + 10);
    serves_all(&cluster, 3, end..end + 10);
}

#[test]
fn a_transfer_of_records_goes_on_after_either_end_was_killed_in_the_middle() {
    const MANY: i64 = 16_000;
    let cluster = Cluster::start("far-behind-killed", 3);
    let body = json!({ "name": TOPIC, "replicas": [[1, 2]] }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    write(&cluster, 0..MANY);
    cluster.wait_for("the log begins later on both", 2 * SOON, || {
        let purged = |id| replica(cluster.broker(id))?["purged_index"].as_u64();
        Some((purged(1)?, purged(2)?))
    });

    let receiver = cluster.broker(3);
    begin_move(&cluster, &[1, 3]);
    arriving(&cluster, receiver);
    receiver.kill9();
    assert!(!has_moved(&cluster, &[1, 3]), "in the middle");
    receiver.start();
    cluster.wait_whole();
    arriving(&cluster, receiver);
    let sender = cluster.broker(leader(&cluster, TOPIC, 0).leader as u64);
    sender.kill9();
    sender.start();
    cluster.wait_whole();
    settled(&cluster, &[1, 3]);
    assert!(chunk_bytes(receiver) > MANY as u64 * RECORD as u64 / 2);
    serves_all(&cluster, 3, 0..MANY);
}
