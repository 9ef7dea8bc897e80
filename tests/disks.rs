//! Disks that are full and disks that hang: nothing is lost, and it heals.

use std::net::TcpStream;

use crate::support::clients::Client;
use crate::support::cluster::{Broker, Cluster};
use crate::support::disk::Disk;
use crate::support::kafka::{self, Fetch, NONE, leader, list_offset, produce};
use crate::support::load::Load;
use crate::support::wire::Batch;

const MIB: u64 = 1 << 20;
const DISK: u64 = 256 * MIB;
const TOPIC: &str = "load";
const PARTITIONS: i32 = 3;
const SOME: usize = 3_000;
const NOT_ENOUGH_REPLICAS: i16 = 19;

/// What brokers log when their disk fills or hangs, as they should.
const SAID: [&str; 5] = [
    "disk space is low",
    "the disk is nearly full",
    "the disk does not answer",
    "storage failed",
    "broker ends",
];

fn on_small_disks(name: &str, settings: &[(&str, &str)]) -> Cluster {
    let cluster = Cluster::start_on_disks(name, 3, DISK, settings);
    SAID.iter().for_each(|part| cluster.allow(part));
    cluster
}

fn with_load(cluster: &Cluster) -> Load {
    cluster.create_topic(TOPIC, PARTITIONS as u32, 3);
    let load = Load::start(cluster, Client::Rust, TOPIC, PARTITIONS);
    load.progress(cluster, SOME);
    load
}

/// What `asked` says of the disk of each broker.
fn disks(asked: &Broker) -> Vec<String> {
    let Some(answer) = asked.get("/v1/brokers").filter(|answer| answer.status == 200) else {
        return Vec::new();
    };
    let brokers = answer.ok()["brokers"].as_array().cloned().unwrap_or_default();
    brokers.iter().map(|broker| broker["disk"].as_str().unwrap_or("?").to_owned()).collect()
}

fn wait_for_disks(cluster: &Cluster, expected: &str) {
    cluster.wait(&format!("every broker says of every disk that it is {expected}"), || {
        cluster.running().all(|broker| disks(broker) == [expected; 3]).then_some(())
    });
}

fn metric(broker: &Broker, name: &str) -> Option<f64> {
    let text = broker.get("/metrics")?.text;
    let found = |line: &str| {
        line.strip_prefix("quorate_")?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()
    };
    text.lines().find_map(found)
}

/// Batches of random bytes from an offset on until no more are taken; gives the offset behind what was acknowledged.
fn write_until_refused(cluster: &Cluster, topic: &str, begin: i64) -> i64 {
    let noise: Vec<u8> = {
        use rand::RngCore;
        let mut bytes = vec![0; 700_000];
        rand::rng().fill_bytes(&mut bytes);
        bytes.iter().map(|byte| b'a' + byte % 26).collect()
    };
    let value = String::from_utf8(noise).unwrap();
    let batch = Batch::of(&[value.as_str()]).bytes();
    let mut end = begin;
    let mut wire = kafka::at_leader(cluster, topic, 0);
    loop {
        let answer = produce(&mut wire, topic, 0, &batch);
        match answer.error {
            NONE => {
                assert_eq!(answer.base, end, "offsets are dense");
                end += 1;
            }
            kafka::NOT_LEADER => wire = kafka::at_leader(cluster, topic, 0),
            refused => {
                assert_eq!(refused, NOT_ENOUGH_REPLICAS, "the error that producers retry");
                return end;
            }
        }
        assert!(end as u64 * value.len() as u64 <= DISK, "the disk takes more than it holds");
    }
}

#[test]
fn three_disks_that_fill_together_refuse_records_lose_nothing_and_heal_when_a_topic_goes() {
    let cluster = on_small_disks("disk-full", &[]);
    let load = with_load(&cluster);
    cluster.create_topic("big", 1, 3);
    // The first disk that is low refuses for all.
    let acknowledged = write_until_refused(&cluster, "big", 0);
    assert!(acknowledged > 50, "refused after {acknowledged} records, with the disk nearly empty");
    cluster.wait("every broker says of a disk that it is low", || {
        cluster.running().all(|broker| disks(broker).contains(&"low".to_owned())).then_some(())
    });
    let state = cluster.get("/v1/cluster");
    assert_eq!(state["healthy"], false);
    assert!(state["reasons"].to_string().contains("short of disk space"), "{state}");
    for broker in cluster.brokers() {
        assert!(metric(broker, "storage_free_bytes").unwrap() > 16.0 * MIB as f64);
        assert!(broker.ready(), "what is there can be read");
    }
    let low = |broker| metric(broker, "storage_low_space") == Some(1.0);
    assert!(cluster.brokers().iter().any(low), "whose disk it is says so");
    let mut wire = kafka::at_leader(&cluster, "big", 0);
    assert_eq!(list_offset(&mut wire, "big", 0, -1, -1).offset, acknowledged);

    // Somebody takes what is left of the disks while the brokers are down.
    cluster.brokers().iter().for_each(Broker::kill9);
    cluster.disks().iter().for_each(Disk::fill);
    cluster.brokers().iter().for_each(Broker::start);
    cluster.wait_whole();
    let mut wire = kafka::at_leader(&cluster, "big", 0);
    assert_eq!(list_offset(&mut wire, "big", 0, -1, -1).offset, acknowledged);
    // Opening may have made some room; what is left of it is used up.
    let acknowledged = write_until_refused(&cluster, "big", acknowledged);
    for offset in 0..acknowledged {
        let read = Fetch::of("big", 0, offset).one(&mut wire);
        assert!(read.error == NONE && !read.records.unwrap().is_empty(), "{offset} is there");
    }

    cluster.request("DELETE", "/v1/topics/big", None).ok();
    wait_for_disks(&cluster, "ok");
    load.progress(&cluster, SOME);
    cluster.disks().iter().for_each(Disk::empty);
    cluster.wait("the ballast is made again", || {
        let ballast = |broker| metric(broker, "storage_ballast_bytes");
        cluster.brokers().iter().all(|broker| ballast(broker) > Some(0.0)).then_some(())
    });
    load.finish_and_verify(&cluster);
}

#[test]
fn a_broker_whose_disk_hangs_lets_others_lead_closes_its_sockets_and_ends() {
    let settings =
        [("QUORATE_STORAGE_STALL_STEP_ASIDE_MS", "1000"), ("QUORATE_STORAGE_STALL_END_MS", "6000")];
    let cluster = on_small_disks("disk-hangs", &settings);
    let load = with_load(&cluster);
    let victim = cluster.broker(leader(&cluster, TOPIC, 0).leader as u64);
    let disk = &cluster.disks()[victim.id as usize - 1];
    disk.freeze();
    let witness = cluster.broker(victim.id % 3 + 1);
    cluster.wait("the others know of it", || {
        (disks(witness).get(victim.id as usize - 1)? == "stalled").then_some(())
    });
    load.progress(&cluster, SOME);
    // The write still waits in the kernel, and with it the process; nobody else has to.
    for port in [victim.kafka, victim.http, victim.peer] {
        cluster.wait("the sockets are closed", || {
            TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())
        });
    }
    load.progress(&cluster, SOME);
    disk.thaw();
    assert_eq!(victim.exit_code(), Some(3));
    assert!(victim.log_text().contains("the disk does not answer"), "{}", victim.log_text());
    victim.start();
    cluster.wait_whole();
    load.finish_and_verify(&cluster);
}

#[test]
fn where_the_disks_of_a_majority_hang_nobody_ends_and_all_go_on_when_they_answer() {
    let settings =
        [("QUORATE_STORAGE_STALL_STEP_ASIDE_MS", "500"), ("QUORATE_STORAGE_STALL_END_MS", "6000")];
    let cluster = on_small_disks("disks-hang", &settings);
    let load = with_load(&cluster);
    cluster.disks()[..2].iter().for_each(Disk::freeze);
    cluster.wait("both would have ended long ago", || {
        let stalled = |broker| metric(broker, "storage_stalled_seconds");
        cluster.brokers()[..2].iter().all(|broker| stalled(broker) > Some(9.0)).then_some(())
    });
    cluster.disks()[..2].iter().for_each(Disk::thaw);
    wait_for_disks(&cluster, "ok");
    cluster.wait_whole();
    load.progress(&cluster, SOME);
    load.finish_and_verify(&cluster);
}
