//! File descriptors are few, and strangers may take only those that nobody else needs.

use std::fs;
use std::net::TcpStream;

use crate::support::cluster::{BINARY, Broker, Cluster, SOON, fresh_dir};
use crate::support::kafka::{self, API_VERSIONS, NONE, produce};
use crate::support::process;
use crate::support::wire::{Batch, Encoder, Wire};

/// Generations so small that tables are written all the time, which takes descriptors.
const SETTINGS: &[(&str, &str)] = &[("QUORATE_STORAGE_GENERATION_BYTES", "1048576")];

/// Connections that say nothing.
fn idle(port: u16, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect()
}

/// Soft and hard limit of a broker's open files.
fn limits(broker: &Broker) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{}/limits", broker.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().map(|word| word.parse().unwrap_or(u64::MAX));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn open_files(broker: &Broker) -> usize {
    fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap().count()
}

/// Writes until several tables were written on every broker.
fn write_much(cluster: &Cluster, wire: &mut Wire, topic: &str) {
    let value = "x".repeat(200_000);
    for n in 0..60 {
        let produced = produce(wire, topic, 0, &Batch::of(&[&value]).bytes());
        assert_eq!(produced.error, NONE, "batch {n}\n{}", cluster.report());
    }
}

#[test]
fn a_soft_limit_is_raised_to_the_hard_one() {
    process::raise_open_files();
    let cluster = Cluster::start_limited("soft-limit", 3, SETTINGS, Some("1024:"));
    cluster.create_topic("soft", 1, 3);
    let mut wire = kafka::at_leader(&cluster, "soft", 0);
    let mut idle = Vec::new();
    for broker in cluster.brokers() {
        let (soft, hard) = limits(broker);
        assert_eq!(soft, hard.min(1 << 20), "broker {}", broker.id);
        assert!(broker.log_text().contains("file descriptors divided"));
        // Each is served, so none was turned away.
        for _ in 0..1_100 {
            let mut wire = Wire::connect(broker.kafka);
            wire.send(API_VERSIONS, 2, &Encoder::default());
            wire.receive().unwrap();
            idle.push(wire);
        }
    }
    write_much(&cluster, &mut wire, "soft");
    for broker in cluster.brokers() {
        assert!(open_files(broker) > 1_100, "broker {}: {}", broker.id, open_files(broker));
    }
}

#[test]
fn strangers_on_every_port_leave_storage_and_peers_their_descriptors() {
    process::raise_open_files();
    let cluster = Cluster::start_limited("hard-limit", 3, SETTINGS, Some("1024:1024"));
    cluster.allow("fewer client connections are admitted than configured");
    cluster.create_topic("hard", 1, 3);
    let leader = kafka::leader(&cluster, "hard", 0);
    let mut wire = kafka::at_leader(&cluster, "hard", 0);
    let mut strangers = Vec::new();
    for broker in cluster.brokers() {
        assert_eq!(limits(broker), (1_024, 1_024));
        strangers.extend(idle(broker.kafka, 1_100));
        strangers.extend(idle(broker.peer, 1_100));
        // More than it may have; many more would not fit into the kernel's queue.
        strangers.extend(idle(broker.http, 100));
    }
    write_much(&cluster, &mut wire, "hard");
    for broker in cluster.brokers() {
        let open = open_files(broker);
        assert!(open < 1_024 - 100, "broker {} has {open} of 1,024 files open", broker.id);
    }
    // A peer that comes back finds its places, whoever knocks at the same time.
    let other = cluster.brokers().iter().find(|it| it.id != leader.leader as u64).unwrap();
    other.kill9();
    strangers.retain(|it| it.peer_addr().is_ok_and(|it| it.port() != other.http));
    other.start();
    for broker in cluster.brokers().iter().filter(|it| it.id != other.id) {
        strangers.extend(idle(broker.peer, 500));
    }
    cluster.wait("the broker is back", || other.ready().then_some(()));
    write_much(&cluster, &mut wire, "hard");
    drop(strangers);
    cluster.wait_whole();
    cluster.wait("the strangers are gone", || {
        cluster.brokers().iter().all(|broker| open_files(broker) < 400).then_some(())
    });
    let mut again = kafka::at_leader(&cluster, "hard", 0);
    write_much(&cluster, &mut again, "hard");
}

#[test]
fn a_limit_that_is_too_low_to_run_on_is_refused_before_anything_is_made() {
    let dir = fresh_dir("too-few");
    let data = dir.join("data");
    let mut command = process::command("prlimit");
    command.arg("--nofile=300:300").arg(BINARY);
    command.args(["serve", "--data-dir"]).arg(&data);
    command.args(["--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--peer", "127.0.0.1:0"]);
    let output = process::run(command, SOON);
    assert_eq!(output.code, Some(2), "{}{}", output.stdout, output.stderr);
    let said = output.stdout + &output.stderr;
    assert!(said.contains("300 files open") && said.contains("ulimit -Hn"), "{said}");
    assert!(!data.exists());
}
