//! One cluster of two releases: a rolling upgrade under load, back again, and the level that there is no way back from.
//!
//! The next release is the same source told to be it (`RELEASE=next`, see `storage/src/mutant.rs`): its table of topic
//! configs has one more, its partitions cut spans of half as many entries, and its metadata leader writes a command
//! that this release does not know, each behind level 2. `make test` builds it beside the broker.

use serde_json::{Value, json};

use crate::support::clients::Client;
use crate::support::cluster::{Broker, Cluster, with_defects};
use crate::support::http::Answer;
use crate::support::kafka::{self, NONE, produce};
use crate::support::load::Load;
use crate::support::wire::Batch;

/// The documented exit code of a broker its cluster refuses.
const REFUSED: i32 = 4;
/// The documented exit code of a broker that cannot go on with what is in its log.
const UNREADABLE: i32 = 3;
const FENCED_SOON: (&str, &str) = ("QUORATE_RAFT_FENCE_AFTER_MS", "3000");
const FEATURES: &str = "/v1/cluster/features";

fn start_next(broker: &Broker, env: &[(&str, &str)]) {
    let env = [&[("RELEASE", "next")], env].concat();
    broker.start_as(&with_defects(), &env);
}

/// Restarts a broker as the next release, as an operator upgrades it.
fn upgrade(cluster: &Cluster, id: u64, env: &[(&str, &str)]) {
    cluster.broker(id).stop();
    start_next(cluster.broker(id), env);
    cluster.wait_whole();
}

fn possible(cluster: &Cluster, level: u64) {
    cluster.wait(&format!("level {level} is the highest that every broker supports"), || {
        (cluster.get(FEATURES)["possible"] == level).then_some(())
    });
}

fn finalize(cluster: &Cluster, body: &Value) -> Answer {
    cluster.request("POST", FEATURES, Some(&body.to_string()))
}

/// Asks for a topic with the config that the next release has.
fn create_with_next(cluster: &Cluster, name: &str) -> Answer {
    let configs = json!({"next.release": "true"});
    let topic = json!({"name": name, "partitions": 1, "replication_factor": 3, "configs": configs});
    cluster.request("POST", "/v1/topics", Some(&topic.to_string()))
}

fn until_level(cluster: &Cluster, topic: &str, partitions: u64, level: u64) {
    for partition in 0..partitions {
        let path = format!("/v1/topics/{topic}/partitions/{partition}");
        cluster.wait(&format!("{topic}-{partition} is at level {level}"), || {
            (cluster.get(&path)["level"] == level).then_some(())
        });
    }
}

/// Writes to a partition and waits until its leader has found that all its replicas, whatever their release, made the same
/// of it.
fn replicas_agree(cluster: &Cluster, topic: &str) {
    let batch = Batch::of(&["a record"]).bytes();
    assert_eq!(produce(&mut kafka::at_leader(cluster, topic, 0), topic, 0, &batch).error, NONE);
    let group = &cluster.get(&format!("/v1/topics/{topic}/partitions/0"))["group"];
    cluster.wait(&format!("the replicas of {topic} are compared"), || {
        let leads = |row: &&Value| row["group"] == *group && row["role"] == "leader";
        cluster.running().find_map(|broker| {
            let groups = broker.get("/v1/raft/groups")?.json();
            let row = groups["groups"].as_array()?.iter().find(leads)?;
            (row["compared_index"].is_u64() && row["compared_index"] == row["applied_index"])
                .then_some(())
        })
    });
}

/// Waits until the broker has ended by itself because of the level, and checks that it says what to do.
fn ends_as_unfit(broker: &Broker) {
    assert_eq!(broker.exit_code(), Some(REFUSED), "{}", broker.log_text());
    let log = broker.log_text();
    let reason = "finalized at feature level 2, from which there is no way back";
    let line = log.lines().rfind(|line| line.contains(reason)).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("this release supports 1 alone"), "{line}");
    assert!(line.contains("start this broker with a release that supports the level"), "{line}");
}

#[test]
fn brokers_are_upgraded_one_by_one_and_back_until_the_level_is_finalized_and_not_after() {
    let mut cluster = Cluster::start_with("levels", 3, &[FENCED_SOON]);
    cluster.allow("finalized at feature level 2");
    cluster.create_topic("kept", 3, 3);
    cluster.create_topic("still", 1, 3);
    let load = Load::start(&cluster, Client::Rust, "kept", 3);
    load.progress(&cluster, 1_000);
    possible(&cluster, 1);
    assert_eq!(cluster.get(FEATURES)["finalized"], 1);
    assert_eq!(create_with_next(&cluster, "early").problem(422), "invalid_config");

    for id in 1..=3 {
        upgrade(&cluster, id, &[]);
        load.progress(&cluster, 1_000);
        let early = create_with_next(&cluster, "early");
        assert_eq!(early.problem(422), "invalid_config", "after broker {id}");
        replicas_agree(&cluster, "still");
        if id < 3 {
            let refused = finalize(&cluster, &json!({"level": 2, "confirm": true}));
            assert_eq!(refused.problem(409), "level_not_supported");
            assert!(refused.text.contains("broker "), "{refused:?}");
        }
    }
    possible(&cluster, 2);
    // Back to where it came from, and on again: nothing was written that the old release cannot read.
    cluster.broker(2).stop();
    cluster.broker(2).start();
    cluster.wait_whole();
    possible(&cluster, 1);
    load.progress(&cluster, 1_000);
    upgrade(&cluster, 2, &[]);
    possible(&cluster, 2);

    // Said before it is done, wherever it is asked for.
    let unsure = finalize(&cluster, &json!({"level": 2}));
    assert_eq!(unsure.problem(422), "not_confirmed");
    assert!(unsure.text.contains("no way back"), "{unsure:?}");
    finalize(&cluster, &json!({"level": 2, "dry_run": true})).ok();
    let said = cluster.cli(&["cluster", "finalize", "2"], "");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("no way back") && said.stderr.contains("--yes"));
    assert_eq!(cluster.get(FEATURES)["finalized"], 1, "nothing was changed by asking");

    // One that is away counts by the release it registered with.
    cluster.broker(3).stop();
    let said = cluster.cli(&["cluster", "finalize", "2", "--yes"], "");
    assert!(said.ok("cluster finalize").contains("level 2 is finalized"));
    until_level(&cluster, "kept", 3, 2);
    create_with_next(&cluster, "late").ok();
    until_level(&cluster, "late", 1, 2);
    replicas_agree(&cluster, "still");
    // It comes back as the old release, whose directory does not know better, and learns it from the log.
    cluster.broker(3).start();
    ends_as_unfit(cluster.broker(3));
    start_next(cluster.broker(3), &[]);
    cluster.wait_whole();
    load.progress(&cluster, 1_000);
    // By now its directory does.
    cluster.wait("the directory notes the level", || {
        let log = cluster.broker(3).log_text();
        log.contains("the data directory is written at this feature level level=2").then_some(())
    });
    cluster.broker(3).stop();
    cluster.broker(3).start();
    ends_as_unfit(cluster.broker(3));
    start_next(cluster.broker(3), &[]);
    cluster.wait_whole();
    // A newcomer of the old release is not let in.
    cluster.add(4).start();
    ends_as_unfit(cluster.broker(4));

    assert_eq!(
        finalize(&cluster, &json!({"level": 1, "confirm": true})).problem(409),
        "level_not_lowered"
    );
    let features = cluster.cli(&["cluster", "features"], "").ok("cluster features");
    assert!(features.contains("quorate.version: level 2 is finalized"), "{features}");
    load.finish_and_verify(&cluster);
}

#[test]
fn a_release_that_used_what_it_has_new_before_the_level_is_finalized_would_end_the_others() {
    let cluster = Cluster::start("level-gate", 3);
    cluster.allow("metadata log is not readable");
    cluster.allow("next.release");
    let defect = [("MUTANT", "level-gate-skipped")];
    for id in 1..=2 {
        upgrade(&cluster, id, &defect);
    }
    if cluster.get("/v1/cluster")["controller"] == 3 {
        cluster.broker(3).stop();
        cluster.broker(3).start();
        cluster.wait_whole();
    }
    assert_ne!(cluster.get("/v1/cluster")["controller"], 3, "the old release does not decide");
    assert_eq!(cluster.get(FEATURES)["finalized"], 1);
    create_with_next(&cluster, "early").ok();
    // That one more is away has the leader write its new command.
    let away = if cluster.get("/v1/cluster")["controller"] == 1 { 2 } else { 1 };
    cluster.broker(away).kill9();
    assert_eq!(cluster.broker(3).exit_code(), Some(UNREADABLE), "{}", cluster.broker(3).log_text());
}

#[test]
fn a_release_that_counted_by_its_own_rules_would_be_found_by_its_state() {
    let cluster = Cluster::start("rules-by-release", 3);
    for expected in [
        "the state of this replica",
        "is rebuilt from the others",
        "a replica differs or is damaged",
        "opened again",
    ] {
        cluster.allow(expected);
    }
    cluster.create_topic("kept", 1, 3);
    upgrade(&cluster, 3, &[("MUTANT", "rules-by-release")]);
    // More than its rules have in a span, and fewer than the others'.
    let batch = Batch::of(&["a record"]).bytes();
    for _ in 0..70 {
        cluster.wait("a batch is taken", || {
            let mut wire = kafka::at_leader(&cluster, "kept", 0);
            (produce(&mut wire, "kept", 0, &batch).error == NONE).then_some(())
        });
    }
    let group = cluster.get("/v1/topics/kept/partitions/0")["group"].clone();
    cluster.wait("broker 3 is found to differ", || {
        let groups = cluster.broker(3).get("/v1/raft/groups")?.json();
        let row = groups["groups"].as_array()?.iter().find(|row| row["group"] == group)?.clone();
        let found = row["divergence"].is_string();
        (found || cluster.broker(3).log_text().contains("is rebuilt from the others")).then_some(())
    });
}
