//! A broker whose files lost something does not start as a smaller one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::cluster::{Broker, Cluster};
use crate::support::kafka::{Fetch, NONE, at_leader, leader, produce};
use crate::support::wire::{Batch, Wire};

/// The documented exit code of a broker that cannot trust its storage.
const DAMAGED: i32 = 3;
const REQUESTS: usize = 40;

type Files = BTreeMap<String, Vec<u8>>;

/// The database's files, but for who holds it.
fn files(broker: &Broker) -> Files {
    let files = fs::read_dir(broker.data.join("db")).unwrap().flatten();
    let files = files.map(|file| (file.file_name().to_string_lossy().into_owned(), file.path()));
    files
        .filter(|(name, _)| name != "quorate.lock")
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

/// Where the whole records of a manifest end: a header of seven bytes says how long each is.
fn record_ends(manifest: &[u8]) -> Vec<usize> {
    let (mut at, mut ends) = (0, Vec::new());
    while at + 7 <= manifest.len() {
        at += 7 + usize::from(u16::from_le_bytes([manifest[at + 4], manifest[at + 5]]));
        ends.push(at);
    }
    ends
}

/// Acknowledged records on partition 0 of a topic, as many as there are requests.
fn fill(cluster: &Cluster) {
    let mut wire = at_leader(cluster, "kept", 0);
    for _ in 0..REQUESTS {
        assert_eq!(produce(&mut wire, "kept", 0, &Batch::of(&["x"]).bytes()).error, NONE);
    }
}

/// Starts a broker that must refuse its directory, leave it as it is, and say why.
fn refused(broker: &Broker, what: &str) {
    let before = files(broker);
    let seen = broker.log_text().len();
    broker.start();
    assert_eq!(broker.exit_code(), Some(DAMAGED), "{what}: {}", broker.log_text());
    let log = broker.log_text()[seen..].to_owned();
    assert!(log.contains("the data directory is damaged"), "{what}: {log}");
    assert!(log.contains("nothing was changed"), "{what}: {log}");
    assert!(files(broker) == before, "{what}: a file was changed");
}

fn write(dir: &Path, files: &Files) {
    for (name, bytes) in files {
        fs::write(dir.join("db").join(name), bytes).unwrap();
    }
}

/// Cuts the manifest at its records, each time as if nothing else had happened; then puts it back.
fn cut_everywhere(broker: &Broker, before: &Files) {
    let name = String::from_utf8_lossy(&before["CURRENT"]).trim().to_owned();
    let whole = &before[&name];
    let ends = record_ends(whole);
    assert_eq!(ends.last(), Some(&whole.len()), "the records fill the manifest");
    for end in ends.iter().take(ends.len() - 1).chain([&0]) {
        fs::write(broker.data.join("db").join(&name), &whole[..*end]).unwrap();
        refused(broker, &format!("{name} cut to {end} of {}", whole.len()));
    }
    fs::write(broker.data.join("db").join(&name), whole).unwrap();
}

#[test]
fn a_broker_whose_manifest_lost_its_end_is_refused_and_whole_again_when_it_is_put_back() {
    let cluster = Cluster::start("cut-manifest", 1);
    cluster.create_topic("kept", 1, 1);
    fill(&cluster);
    let broker = cluster.broker(1);
    let formed = cluster.get("/v1/cluster")["cluster_id"].clone();
    broker.kill9();
    cluster.allow("the data directory is damaged");
    cut_everywhere(broker, &files(broker));
    broker.start();
    cluster.wait_whole();
    assert_eq!(cluster.get("/v1/cluster")["cluster_id"], formed);
    let mut wire = at_leader(&cluster, "kept", 0);
    let next = produce(&mut wire, "kept", 0, &Batch::of(&["x"]).bytes());
    assert_eq!((next.error, next.base), (NONE, REQUESTS as i64));
}

#[test]
fn an_older_database_under_a_newer_note_is_refused() {
    let cluster = Cluster::start("older-database", 1);
    cluster.create_topic("kept", 1, 1);
    let broker = cluster.broker(1);
    broker.kill9();
    let older = files(broker);
    broker.start();
    cluster.wait_whole();
    fill(&cluster);
    broker.kill9();
    let newer = files(broker);
    cluster.allow("the data directory is damaged");
    // All that RocksDB wrote, as it was; only our notes are new.
    let db = broker.data.join("db");
    fs::remove_dir_all(&db).unwrap();
    fs::create_dir(&db).unwrap();
    write(&broker.data, &older);
    let notes = newer.iter().filter(|(name, _)| name.starts_with("quorate."));
    write(&broker.data, &notes.map(|(name, bytes)| (name.clone(), bytes.clone())).collect());
    refused(broker, "an older database");
    fs::remove_dir_all(&db).unwrap();
    fs::create_dir(&db).unwrap();
    write(&broker.data, &newer);
    broker.start();
    cluster.wait_whole();
}

#[test]
fn in_a_cluster_the_others_go_on_and_the_broker_comes_back_with_its_files() {
    let cluster = Cluster::start("cut-manifest-of-three", 3);
    cluster.create_topic("kept", 1, 3);
    fill(&cluster);
    let victim = cluster.broker(leader(&cluster, "kept", 0).leader as u64);
    victim.kill9();
    cluster.allow("the data directory is damaged");
    cut_everywhere(victim, &files(victim));
    cluster.wait("the others take records", || {
        let others = cluster.running().map(|broker| {
            let mut wire = Wire::connect(broker.kafka);
            produce(&mut wire, "kept", 0, &Batch::of(&["x"]).bytes()).error
        });
        others.collect::<Vec<_>>().contains(&NONE).then_some(())
    });
    victim.start();
    cluster.wait_whole();
}

const LARGE: usize = 40_000;

/// Flips a bit in the middle of the broker's largest table, which holds records.
fn rot(broker: &Broker) {
    let files = files(broker);
    let tables = files.into_iter().filter(|(name, _)| name.ends_with(".sst"));
    let (name, mut bytes) = tables.max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(broker.data.join("db").join(name), bytes).unwrap();
}

/// The first damaged entry of the partition on a broker, as the broker says.
fn damaged(broker: &Broker) -> Option<u64> {
    let groups = broker.get("/v1/raft/groups")?.ok();
    let groups = groups["groups"].as_array()?.clone();
    let group = groups.into_iter().find(|group| group["partition"] == "kept-0")?;
    group["corrupt_index"].as_u64()
}

fn fetch_all(wire: &mut Wire) -> Vec<i16> {
    let one = |offset| Fetch::of("kept", 0, offset).one(wire).error;
    (0..REQUESTS as i64).map(one).collect()
}

#[test]
fn a_broker_with_a_rotten_table_starts_others_lead_and_serve_what_it_cannot_and_it_is_rebuilt() {
    let cluster = Cluster::start("rotten-table", 3);
    cluster.create_topic("kept", 1, 3);
    let text = "x".repeat(LARGE);
    let mut wire = at_leader(&cluster, "kept", 0);
    for _ in 0..REQUESTS {
        assert_eq!(produce(&mut wire, "kept", 0, &Batch::of(&[&text]).bytes()).error, NONE);
    }
    let victim = cluster.broker(leader(&cluster, "kept", 0).leader as u64);
    let away = cluster.running().find(|broker| broker.id != victim.id).unwrap();
    victim.stop();
    rot(victim);
    // While a replica is away the damaged one is needed.
    away.kill9();
    let rebuilt = ["is rebuilt from the others", "a replica differs or is damaged", "opened again"];
    for expected in ["damaged on disk", "partition log unreadable"].iter().chain(&rebuilt) {
        cluster.allow(expected);
    }
    victim.start();
    cluster.wait_whole();
    let body = format!("{{\"broker\": {}}}", victim.id);
    cluster.wait("the damage is found by a read", || {
        let path = "/v1/topics/kept/partitions/0/leader";
        cluster.request("PUT", path, Some(&body));
        fetch_all(&mut Wire::connect(victim.kafka));
        damaged(victim)
    });
    cluster.wait("another broker leads and serves everything", || {
        let state = leader(&cluster, "kept", 0);
        if state.leader as u64 == victim.id {
            return None;
        }
        let mut wire = Wire::connect(cluster.broker(state.leader as u64).kafka);
        fetch_all(&mut wire).iter().all(|error| *error == NONE).then_some(())
    });
    // It starts again, knows what is damaged before anybody reads it, and is not made leader.
    let known = damaged(victim);
    victim.kill9();
    victim.start();
    cluster.wait_whole();
    cluster.wait("it says what is damaged", || (damaged(victim) == known).then_some(()));
    let metrics = victim.get("/metrics").unwrap().text;
    assert!(metrics.contains("raft_corrupt_groups 1"), "{metrics}");
    assert_ne!(leader(&cluster, "kept", 0).leader as u64, victim.id);

    away.start();
    cluster.wait_whole();
    cluster.wait("it is rebuilt, leads and serves everything", || {
        let path = "/v1/topics/kept/partitions/0/leader";
        cluster.request("PUT", path, Some(&body));
        let all = fetch_all(&mut Wire::connect(victim.kafka));
        (damaged(victim).is_none() && all.iter().all(|error| *error == NONE)).then_some(())
    });
    let metrics = victim.get("/metrics").unwrap().text;
    assert!(metrics.contains("raft_corrupt_groups 0"), "{metrics}");
}
