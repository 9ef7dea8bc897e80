//! Brokers join a running cluster; replicas and leaders move while clients write; a crash at any
//! moment leaves a change that is finished or cancelled afterwards.

use serde_json::{Value, json};

use crate::support::clients::Client;
use crate::support::cluster::{Cluster, SOON};
use crate::support::kafka::leader;
use crate::support::load::Load;
use crate::support::wait;

const SOME: usize = 2_000;

fn replicas_path(topic: &str) -> String {
    format!("/v1/topics/{topic}/partitions/0/replicas")
}

fn partition(cluster: &Cluster, topic: &str) -> Value {
    cluster.get(&format!("/v1/topics/{topic}/partitions/0"))
}

/// Waits until the replicas are these and no change is under way.
fn settled(cluster: &Cluster, topic: &str, replicas: &[u64]) {
    cluster.wait_for(&format!("{topic}-0 is on {replicas:?}"), 2 * SOON, || {
        let state = partition(cluster, topic);
        let mut voters: Vec<u64> =
            state["raft"]["voters"].as_array()?.iter().filter_map(Value::as_u64).collect();
        voters.sort_unstable();
        let mut wanted = replicas.to_vec();
        wanted.sort_unstable();
        (state["replicas"] == json!(replicas) && state["target"].is_null() && voters == wanted)
            .then_some(())
    });
}

fn move_to(cluster: &Cluster, topic: &str, replicas: &[u64]) {
    let body = json!({ "brokers": replicas }).to_string();
    let answer = cluster.request("PUT", &replicas_path(topic), Some(&body));
    assert_eq!(answer.status, 202, "{answer:?}");
}

fn create_on(cluster: &Cluster, topic: &str, replicas: &[u64]) {
    let body = json!({ "name": topic, "replicas": [replicas] }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    leader(cluster, topic, 0);
}

#[test]
fn a_cluster_grows_by_joining_brokers_and_its_metadata_gets_three_voters() {
    let mut cluster = Cluster::start("grow", 1);
    cluster.create_topic("early", 1, 1);
    for id in 2..=4 {
        cluster.add(id).start();
        cluster.wait_whole();
    }
    cluster.wait("the metadata group has three voters and one learner", || {
        let group = cluster.get("/v1/raft/groups/0");
        let count = |field: &str| group[field].as_array().map_or(0, Vec::len);
        (count("voters") == 3 && count("learners") == 1).then_some(())
    });
    // The new ones serve at once: all know the old topic, and a new one is spread over them.
    for broker in cluster.brokers() {
        let topics = broker.get("/v1/topics").unwrap().ok();
        assert_eq!(topics["topics"][0]["name"], "early");
    }
    cluster.create_topic("late", 8, 3);
    let described = cluster.get("/v1/topics/late");
    for id in 1..=4_u64 {
        let hosts = |partition: &&Value| {
            partition["replicas"].as_array().unwrap().iter().any(|replica| *replica == id)
        };
        let count = described["partitions"].as_array().unwrap().iter().filter(hosts).count();
        assert!((5..=7).contains(&count), "24 replicas on 4 brokers, and one before: {described}");
    }
    // Losing the broker that formed the cluster loses nothing but itself.
    cluster.broker(1).kill9();
    cluster.wait("the others make topics", || {
        let body = json!({"name": "later", "partitions": 1, "replication_factor": 3}).to_string();
        let answer = cluster.request("POST", "/v1/topics", Some(&body));
        [201, 409].contains(&answer.status).then_some(())
    });
}

#[test]
fn replicas_move_to_other_brokers_while_a_client_writes() {
    let cluster = Cluster::start("move", 5);
    create_on(&cluster, "moving", &[1, 2, 3]);
    let load = Load::start(&cluster, Client::Rust, "moving", 1);
    load.progress(&cluster, SOME);
    for replicas in [vec![3, 4, 5], vec![1, 2, 4], vec![5], vec![1, 2, 3]] {
        move_to(&cluster, "moving", &replicas);
        settled(&cluster, "moving", &replicas);
        load.progress(&cluster, SOME);
        for broker in cluster.brokers() {
            cluster.wait("only the new replicas keep the group", || {
                let groups = broker.get("/v1/raft/groups")?.json();
                let hosts = groups["groups"]
                    .as_array()?
                    .iter()
                    .any(|group| group["partition"] == "moving-0");
                (hosts == replicas.contains(&broker.id)).then_some(())
            });
        }
    }
    load.finish_and_verify(&cluster);
}

#[test]
fn a_move_survives_killing_any_broker_in_the_middle() {
    let cluster = Cluster::start("move-kill", 4);
    create_on(&cluster, "moving", &[1, 2, 3]);
    let load = Load::start(&cluster, Client::Rust, "moving", 1);
    load.progress(&cluster, SOME);
    let mut at = vec![1, 2, 3];
    for victim in [4, 1, 2, 3, 1, 4, 3, 2] {
        // One replica goes, the one broker that had none comes.
        let spare = (1..=4).find(|id| !at.contains(id)).unwrap();
        let to: Vec<u64> = at[1..].iter().copied().chain([spare]).collect();
        move_to(&cluster, "moving", &to);
        cluster.broker(victim).kill9();
        cluster.broker(victim).start();
        cluster.wait_whole();
        settled(&cluster, "moving", &to);
        load.progress(&cluster, SOME);
        at = to;
    }
    load.finish_and_verify(&cluster);
}

#[test]
fn a_move_to_a_dead_broker_waits_can_be_cancelled_and_leaves_the_partition_writable() {
    let cluster = Cluster::start("move-cancel", 4);
    create_on(&cluster, "moving", &[1, 2, 3]);
    let load = Load::start(&cluster, Client::Rust, "moving", 1);
    cluster.broker(4).kill9();
    move_to(&cluster, "moving", &[2, 3, 4]);
    load.progress(&cluster, SOME);
    assert_eq!(partition(&cluster, "moving")["target"], json!([2, 3, 4]), "it waits for broker 4");
    let cancelled = cluster.request("DELETE", &replicas_path("moving"), None);
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    settled(&cluster, "moving", &[1, 2, 3]);
    let nothing = cluster.request("DELETE", &replicas_path("moving"), None);
    assert_eq!(nothing.problem(409), "no_change_under_way");
    load.progress(&cluster, SOME);
    load.finish_and_verify(&cluster);
}

#[test]
fn moves_to_a_dead_broker_hold_up_neither_others_nor_their_own_cancellation() {
    let fenced_never = [("QUORATE_RAFT_FENCE_AFTER_MS", "600000")];
    let cluster = Cluster::start_with("move-stuck", 4, &fenced_never);
    let stuck: Vec<String> = (0..8).map(|n| format!("stuck-{n}")).collect();
    stuck.iter().for_each(|topic| create_on(&cluster, topic, &[1, 2]));
    create_on(&cluster, "free", &[1, 2]);
    cluster.broker(4).kill9();
    stuck.iter().for_each(|topic| move_to(&cluster, topic, &[1, 4]));
    let last = stuck.last().unwrap();
    let cancelled = cluster.request("DELETE", &replicas_path(last), None);
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    settled(&cluster, last, &[1, 2]);
    move_to(&cluster, "free", &[1, 3]);
    settled(&cluster, "free", &[1, 3]);
    assert_eq!(partition(&cluster, &stuck[0])["target"], json!([1, 4]), "it still waits");
    cluster.broker(4).start();
    stuck[..7].iter().for_each(|topic| settled(&cluster, topic, &[1, 4]));
}

#[test]
fn a_topic_made_while_a_broker_is_away_has_a_replica_there_when_it_is_back() {
    let cluster = Cluster::start_with("away", 3, &[("QUORATE_RAFT_FENCE_AFTER_MS", "1000")]);
    cluster.broker(3).kill9();
    cluster.wait("broker 3 is out of service", || {
        let brokers = cluster.get("/v1/brokers");
        (brokers["brokers"][2]["fenced"] == true).then_some(())
    });
    let said = cluster.cli(&["topic", "create", "made"], "").ok("topic create");
    assert!(said.contains("out of service: broker 3"), "{said}");
    let replicas = partition(&cluster, "made")["replicas"].clone();
    assert_eq!(replicas.as_array().unwrap().len(), 3, "{replicas}");
    leader(&cluster, "made", 0);
    cluster.broker(3).start();
    cluster.cli(&["cluster", "status", "--wait"], "").ok("healthy again");
    let described = cluster.get("/v1/topics/made");
    assert_eq!(described["out_of_service"], json!([]));
    // It counts: the loss of another broker is survived.
    cluster.broker(2).kill9();
    cluster.wait("records are taken with broker 3's help", || {
        let produced = cluster.cli(&["produce", "made"], "one\n");
        (produced.code == Some(0)).then_some(())
    });
}

#[test]
fn leaders_move_on_request_without_an_error_to_the_client() {
    let cluster = Cluster::start("lead", 3);
    create_on(&cluster, "led", &[1, 2, 3]);
    let load = Load::start(&cluster, Client::Java, "led", 1);
    load.progress(&cluster, SOME);
    for to in [2, 3, 1, 3, 2, 1_u64] {
        let body = json!({ "broker": to }).to_string();
        let path = "/v1/topics/led/partitions/0/leader";
        // Refused with a reason while the follower is behind; then it is asked again.
        wait::until("the leader can be moved", SOON, || {
            let answer = cluster.request("PUT", path, Some(&body));
            assert!([200, 503].contains(&answer.status), "{answer:?}");
            (answer.status == 200).then_some(())
        });
        assert_eq!(leader(&cluster, "led", 0).leader as u64, to);
        load.progress(&cluster, SOME);
    }
    let refused =
        cluster.request("PUT", "/v1/topics/led/partitions/0/leader", Some("{\"broker\": 9}"));
    assert_eq!(refused.status, 422, "{refused:?}");
    load.finish_and_verify(&cluster);
}
