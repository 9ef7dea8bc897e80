//! A broker that is gone for good leaves the cluster: its list, its metadata group, its health; and
//! does not come back.

use std::thread;

use serde_json::{Value, json};

use crate::support::cluster::{Broker, Cluster, SOON};
use crate::support::http::{self, Answer};
use crate::support::kafka;
use crate::support::wait;
use crate::support::wire::Wire;

/// The documented exit code of a broker its cluster refuses.
const REFUSED: i32 = 4;

/// Brokers that are fenced soon after they fall silent, and three of which vote on the metadata.
fn start(name: &str, brokers: u64) -> Cluster {
    let cluster = Cluster::start_with(name, brokers, &[("QUORATE_RAFT_FENCE_AFTER_MS", "3000")]);
    cluster.wait("the metadata group has three voters", || {
        (voters(&cluster)?.len() == 3).then_some(())
    });
    cluster
}

fn ids(list: &Value) -> Option<Vec<u64>> {
    let mut ids: Vec<u64> = list.as_array()?.iter().filter_map(Value::as_u64).collect();
    ids.sort_unstable();
    Some(ids)
}

fn voters(cluster: &Cluster) -> Option<Vec<u64>> {
    ids(&cluster.get("/v1/raft/groups/0")["voters"])
}

/// Waits until the metadata group's voters are these, to everybody.
fn until_voters(cluster: &Cluster, wanted: &[u64]) {
    cluster.wait(&format!("the metadata group's voters are {wanted:?}"), || {
        cluster.running().all(|it| voters_at(it).as_deref() == Some(wanted)).then_some(())
    });
}

fn voters_at(broker: &Broker) -> Option<Vec<u64>> {
    let group = broker.get("/v1/raft/groups/0")?;
    if group.status == 200 { ids(&group.json()["voters"]) } else { None }
}

fn leader(cluster: &Cluster) -> u64 {
    cluster.wait("the metadata group has a leader", || {
        cluster.get("/v1/cluster")["controller"].as_u64()
    })
}

/// A voter of the metadata group that is neither its leader nor the broker that formed the cluster.
fn some_voter(cluster: &Cluster) -> u64 {
    let leader = leader(cluster);
    let voters = voters(cluster).unwrap();
    voters.into_iter().rfind(|id| *id != leader && *id != 1).unwrap()
}

fn listed(broker: &Broker) -> Option<Vec<u64>> {
    let brokers = broker.get("/v1/brokers")?.json();
    Some(brokers["brokers"].as_array()?.iter().filter_map(|it| it["id"].as_u64()).collect())
}

fn others(cluster: &Cluster, gone: u64) -> Vec<u64> {
    cluster.brokers().iter().map(|broker| broker.id).filter(|id| *id != gone).collect()
}

fn until_fenced(cluster: &Cluster, id: u64) {
    cluster.wait(&format!("broker {id} is fenced"), || {
        let brokers = cluster.get("/v1/brokers");
        let broker = brokers["brokers"].as_array()?.iter().find(|it| it["id"] == id)?.clone();
        (broker["fenced"] == true).then_some(())
    });
}

fn path(id: u64) -> String {
    format!("/v1/brokers/{id}")
}

fn remove(cluster: &Cluster, id: u64) -> Answer {
    cluster.request("DELETE", &path(id), None)
}

/// Loses a broker that keeps nothing, and removes it.
fn lose(cluster: &Cluster, id: u64) -> Value {
    cluster.broker(id).kill9();
    until_fenced(cluster, id);
    remove(cluster, id).ok()
}

fn until_healthy(cluster: &Cluster) {
    cluster.wait("every broker says that the cluster is healthy", || {
        let healthy = |broker: &Broker| {
            broker.get("/v1/cluster").is_some_and(|answer| answer.json()["healthy"] == true)
        };
        cluster.running().all(healthy).then_some(())
    });
}

fn until_topics_can_be_made(cluster: &Cluster, name: &str) {
    cluster.wait("a topic is created", || {
        let body = json!({"name": name, "partitions": 1, "replication_factor": 2}).to_string();
        let answer = cluster.request("POST", "/v1/topics", Some(&body));
        [201, 409].contains(&answer.status).then_some(())
    });
}

/// Waits until the broker has ended by itself because it was removed, and checks that it says so.
fn ends_as_removed(broker: &Broker) {
    assert_eq!(broker.exit_code(), Some(REFUSED), "{}", broker.log_text());
    let log = broker.log_text();
    let reason = format!("broker {} was removed from the cluster", broker.id);
    let line = log.lines().rfind(|line| line.contains(&reason)).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("empty data directory"), "it says what to do: {line}");
}

fn move_partition(cluster: &Cluster, index: u64, to: &[u64]) {
    let path = format!("/v1/topics/kept/partitions/{index}");
    let body = json!({ "brokers": to }).to_string();
    let answer = cluster.request("PUT", &format!("{path}/replicas"), Some(&body));
    assert_eq!(answer.status, 202, "{answer:?}");
    cluster.wait(&format!("kept-{index} is on {to:?}"), || {
        let partition = cluster.get(&path);
        (partition["replicas"] == json!(to) && partition["target"].is_null()).then_some(())
    });
}

#[test]
fn a_lost_broker_is_removed_once_nothing_counts_on_it_and_the_cluster_is_whole_without_it() {
    let cluster = start("remove", 4);
    let lost = some_voter(&cluster);
    let before = voters(&cluster).unwrap();
    let kept = json!({ "name": "kept", "replicas": [before, before] }).to_string();
    cluster.request("POST", "/v1/topics", Some(&kept)).ok();
    until_healthy(&cluster);
    assert_eq!(remove(&cluster, 99).problem(404), "unknown_broker");
    assert_eq!(remove(&cluster, lost).problem(409), "broker_alive");

    cluster.broker(lost).kill9();
    cluster.broker(lost).wipe();
    until_fenced(&cluster, lost);
    let rest = others(&cluster, lost);
    for (index, in_the_way) in [(0, "2 partitions (kept-0, kept-1)"), (1, "1 partitions (kept-1)")]
    {
        let refused = remove(&cluster, lost);
        assert_eq!(refused.problem(409), "broker_has_replicas");
        assert!(refused.text.contains(in_the_way), "{refused:?}");
        move_partition(&cluster, index, &rest);
    }
    let said = cluster.cli(&["cluster", "remove-broker", &lost.to_string()], "");
    let said = said.ok("cluster remove-broker");
    assert!(said.contains(&format!("broker {lost} is removed")), "{said}");
    assert_eq!(remove(&cluster, lost).problem(404), "broker_removed");

    until_healthy(&cluster);
    until_voters(&cluster, &rest);
    for broker in cluster.running() {
        cluster.wait("nobody lists it", || {
            let seen = kafka::metadata(&mut Wire::connect(broker.kafka), None, false);
            let clients = seen.brokers.iter().all(|it| it.0 as u64 != lost);
            (listed(broker)? == rest && clients).then_some(())
        });
    }
    // The group of three has its reserve back: it outlives another loss, even its leader's.
    cluster.broker(leader(&cluster)).kill9();
    until_topics_can_be_made(&cluster, "after-another-loss");
}

#[test]
fn a_removed_broker_that_comes_back_is_refused_and_says_why() {
    let mut cluster = start("remove-back", 4);
    cluster.allow("was removed from the cluster");
    let lost = some_voter(&cluster);
    lose(&cluster, lost);
    let rest = others(&cluster, lost);
    until_voters(&cluster, &rest);
    cluster.broker(lost).start();
    ends_as_removed(cluster.broker(lost));
    // Nor may another, empty directory have the id.
    cluster.broker(lost).wipe();
    cluster.broker(lost).start();
    ends_as_removed(cluster.broker(lost));
    // A new broker takes its place.
    cluster.add(5).start();
    cluster.wait_whole();
    until_healthy(&cluster);
    until_voters(&cluster, &rest);
}

#[test]
fn the_broker_that_formed_the_cluster_can_be_removed_and_is_refused_without_being_told_whom_to_ask()
{
    let cluster = start("remove-founder", 4);
    cluster.allow("was removed from the cluster");
    lose(&cluster, 1);
    cluster.broker(1).start();
    ends_as_removed(cluster.broker(1));
    // The others need it for nothing, although it is the only member they were configured with.
    cluster.broker(2).kill9();
    cluster.broker(2).start();
    cluster.wait_whole();
    until_voters(&cluster, &[2, 3, 4]);
    until_healthy(&cluster);
}

#[test]
fn a_broker_that_was_removed_while_it_was_paused_ends_when_it_goes_on() {
    let cluster = start("remove-paused", 4);
    cluster.allow("was removed from the cluster");
    let paused = some_voter(&cluster);
    cluster.broker(paused).pause();
    let elsewhere = cluster.running().find(|broker| broker.id != paused).unwrap();
    wait::until("the paused broker is fenced and removed", SOON, || {
        let answer = http::request("DELETE", &elsewhere.url(&path(paused)), None)?;
        if answer.status == 409 {
            assert_eq!(answer.problem(409), "broker_alive");
            return None;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        Some(())
    });
    cluster.broker(paused).unpause();
    ends_as_removed(cluster.broker(paused));
    until_voters(&cluster, &others(&cluster, paused));
    until_healthy(&cluster);
}

#[test]
fn a_removal_outlives_the_metadata_leader_after_it_and_in_the_middle_of_it() {
    let cluster = start("remove-leader", 5);
    let first = some_voter(&cluster);
    let removed = lose(&cluster, first);
    let after = ids(&removed["metadata_voters"]).unwrap();
    assert!(after.len() == 3 && !after.contains(&first), "{removed}");
    let chief = leader(&cluster);
    cluster.broker(chief).kill9();
    until_topics_can_be_made(&cluster, "without-the-leader");
    until_voters(&cluster, &after);
    cluster.request("DELETE", "/v1/topics/without-the-leader", None).ok();
    cluster.broker(chief).start();
    cluster.wait_whole();
    until_healthy(&cluster);

    let second = some_voter(&cluster);
    cluster.broker(second).kill9();
    until_fenced(&cluster, second);
    let chief = leader(&cluster);
    let witness = cluster.running().find(|broker| broker.id != chief).unwrap();
    let url = witness.url(&path(second));
    let asked = thread::spawn(move || http::request("DELETE", &url, None));
    wait::until("the witness sees the removal", SOON, || {
        (!listed(witness)?.contains(&second)).then_some(())
    });
    cluster.broker(chief).kill9();
    cluster.broker(chief).start();
    let answer = asked.join().unwrap().expect("an answer");
    assert!([200, 202].contains(&answer.status), "{answer:?}");
    cluster.wait_whole();
    let rest: Vec<u64> = cluster.running().map(|broker| broker.id).collect();
    until_voters(&cluster, &rest);
    until_healthy(&cluster);
}
