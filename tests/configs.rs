//! Configs of a topic that change while it is used: over HTTP, in the command line, and by Kafka's two requests.

use serde_json::{Value, json};

use crate::support::cluster::{Broker, Cluster};
use crate::support::http::Answer;
use crate::support::kafka::{
    self, Fetch, INVALID_REQUEST, MESSAGE_TOO_LARGE, NONE, UNKNOWN_TOPIC_OR_PARTITION,
};
use crate::support::wire::{Batch, Encoder, Wire};

const ALTER_CONFIGS: i16 = 33;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
const INVALID_CONFIG: i16 = 40;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Operations of IncrementalAlterConfigs.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

fn patch(cluster: &Cluster, topic: &str, body: &Value) -> Answer {
    cluster.request("PATCH", &format!("/v1/topics/{topic}/configs"), Some(&body.to_string()))
}

/// Waits until every broker says that the config has this value, set explicitly or not.
fn in_force(cluster: &Cluster, topic: &str, name: &str, expected: (&str, bool)) {
    cluster.wait(&format!("{name} is {expected:?} everywhere"), || {
        let told = cluster.running().all(|broker| {
            let answer = broker.get(&format!("/v1/topics/{topic}/configs")).unwrap().ok();
            let rows = answer["configs"].as_array().unwrap().clone();
            let row = rows.into_iter().find(|row| row["name"] == name).unwrap();
            (row["value"].as_str(), row["explicit"].as_bool())
                == (Some(expected.0), Some(expected.1))
        });
        told.then_some(())
    });
}

#[test]
fn a_config_that_is_changed_is_obeyed_by_the_leader_and_kept_through_a_restart() {
    let often = [("QUORATE_TOPICS_RETENTION_CHECK_MS", "200")];
    let cluster = Cluster::start_with("configs", 3, &often);
    cluster.create_topic("changed", 1, 3);
    let large = Batch::of(&[&"x".repeat(2_000)]).bytes();
    let produced = |cluster: &Cluster| {
        let mut wire = kafka::at_leader(cluster, "changed", 0);
        kafka::produce(&mut wire, "changed", 0, &large).error
    };
    assert_eq!(produced(&cluster), NONE);
    patch(&cluster, "changed", &json!({ "configs": { "max.message.bytes": "1000" } })).ok();
    in_force(&cluster, "changed", "max.message.bytes", ("1000", true));
    assert_eq!(produced(&cluster), MESSAGE_TOO_LARGE);
    cluster.brokers().iter().for_each(Broker::kill9);
    cluster.brokers().iter().for_each(Broker::start);
    cluster.wait_whole();
    in_force(&cluster, "changed", "max.message.bytes", ("1000", true));
    assert_eq!(produced(&cluster), MESSAGE_TOO_LARGE);
    patch(&cluster, "changed", &json!({ "configs": { "max.message.bytes": null } })).ok();
    in_force(&cluster, "changed", "max.message.bytes", ("1048588", false));
    assert_eq!(produced(&cluster), NONE);
    // Retention is what replicas decide on; the log start moves past what no longer fits.
    patch(&cluster, "changed", &json!({ "configs": { "retention.ms": "1" } })).ok();
    cluster.wait("what is over goes", || {
        let mut wire = kafka::at_leader(&cluster, "changed", 0);
        (kafka::list_offset(&mut wire, "changed", 0, -1, -2).offset == 2).then_some(())
    });
}

#[test]
fn a_change_is_made_whole_or_not_at_all_and_every_refusal_says_why() {
    let cluster = Cluster::shared();
    cluster.create_topic("kept", 1, 3);
    let refused = [
        (
            json!({ "configs": { "retention.ms": "5", "retention.bytes": "lots" } }),
            422,
            "invalid_config",
        ),
        (json!({ "configs": { "retention.ms": "5", "no.such": "1" } }), 422, "invalid_config"),
        (
            json!({ "configs": { "retention.ms": "5", "min.insync.replicas": "3" } }),
            422,
            "invalid_config",
        ),
        (json!({ "configs": { "retention.ms": 5 } }), 400, "invalid_body"),
        (json!({ "configs": { "retention.mss": null } }), 422, "invalid_config"),
        (json!({ "config": {} }), 400, "invalid_body"),
    ];
    for (body, status, code) in refused {
        assert_eq!(patch(&cluster, "kept", &body).problem(status), code, "{body}");
    }
    let twice = r#"{"configs":{"retention.ms":"1","retention.ms":"2"}}"#;
    let answer = cluster.request("PATCH", "/v1/topics/kept/configs", Some(twice));
    assert_eq!(answer.problem(400), "invalid_body");
    let body = json!({ "configs": { "retention.ms": "5" } });
    assert_eq!(patch(&cluster, "nobody", &body).problem(404), "unknown_topic");
    let dry = json!({ "configs": { "retention.ms": "5" }, "dry_run": true });
    let shown = patch(&cluster, "kept", &dry).ok().to_string();
    assert!(shown.contains("\"value\":\"5\""), "{shown}");
    in_force(&cluster, "kept", "retention.ms", ("604800000", false));

    let alter =
        ["topic", "alter", "kept", "--config", "retention.ms=7000", "--default", "segment.ms"];
    let said = cluster.cli(&alter, "").ok("alter");
    assert!(said.contains("7000") && said.contains("MEANING"), "{said}");
    in_force(&cluster, "kept", "retention.ms", ("7000", true));
    let twice =
        ["topic", "alter", "kept", "--config", "retention.ms=1", "--default", "retention.ms"];
    let twice = cluster.cli(&twice, "");
    assert_eq!(
        (twice.code, twice.stderr.contains("named twice")),
        (Some(2), true),
        "{}",
        twice.stderr
    );
    let shown = cluster.cli(&["topic", "alter", "kept"], "").ok("show");
    assert!(shown.contains("7000"), "{shown}");
}

/// A config of a request: its name, what is done to it and its value.
type Config<'a> = (&'a str, i8, Option<&'a str>);

/// One of the two requests in version 0; the error of each resource.
fn alter(wire: &mut Wire, api: i16, resources: &[(i8, &str, &[Config<'_>])]) -> Vec<i16> {
    alter_or_try(wire, api, resources, false)
}

fn alter_or_try(
    wire: &mut Wire,
    api: i16,
    resources: &[(i8, &str, &[Config<'_>])],
    validate_only: bool,
) -> Vec<i16> {
    let mut body = Encoder::default().i32(resources.len() as i32);
    for (kind, name, configs) in resources {
        body = body.i8(*kind).string(name).i32(configs.len() as i32);
        for (name, operation, value) in *configs {
            body = body.string(name);
            body = if api == INCREMENTAL_ALTER_CONFIGS { body.i8(*operation) } else { body };
            body = value.map_or(body.clone().null(), |value| body.string(value));
        }
    }
    let mut decoder = wire.call(api, 0, &body.i8(i8::from(validate_only)));
    decoder.i32();
    let rows = decoder.list(|decoder| {
        let error = decoder.i16();
        assert_eq!(decoder.string().is_none(), error == NONE, "an error says why");
        (error, decoder.i8(), decoder.string().unwrap())
    });
    decoder.end();
    let named: Vec<(i8, &str)> =
        rows.iter().map(|(_, kind, name)| (*kind, name.as_str())).collect();
    let asked: Vec<(i8, &str)> = resources.iter().map(|(kind, name, _)| (*kind, *name)).collect();
    assert_eq!(named, asked);
    rows.into_iter().map(|row| row.0).collect()
}

#[test]
fn single_configs_are_changed_or_all_are_replaced_each_resource_by_itself() {
    let cluster = Cluster::shared();
    for topic in ["replaced", "replaced-too"] {
        cluster.create_topic(topic, 1, 1);
    }
    let mut wire = Wire::connect(cluster.broker(2).kafka);
    let set: &[Config<'_>] =
        &[("retention.ms", SET, Some("5000")), ("retention.bytes", SET, Some("600"))];
    let changes: [(i8, &str, &[Config<'_>]); 9] = [
        (TOPIC, "replaced", set),
        (TOPIC, "replaced-too", &[("retention.ms", APPEND, Some("1"))]),
        (TOPIC, "nobody", set),
        (BROKER, "2", &[("num.partitions", SET, Some("2"))]),
        (BROKER, "", &[("log.dirs", SET, Some("/x"))]),
        (BROKER, "none", &[("max.connections", SET, Some("2"))]),
        (77, "x", &[]),
        (TOPIC, "twice", &[]),
        (TOPIC, "twice", &[]),
    ];
    let expected = [
        NONE,
        INVALID_CONFIG,
        UNKNOWN_TOPIC_OR_PARTITION,
        INVALID_CONFIG,
        INVALID_CONFIG,
        INVALID_REQUEST,
        INVALID_REQUEST,
        INVALID_REQUEST,
        INVALID_REQUEST,
    ];
    assert_eq!(alter(&mut wire, INCREMENTAL_ALTER_CONFIGS, &changes), expected);
    in_force(&cluster, "replaced", "retention.bytes", ("600", true));
    let some: &[Config<'_>] =
        &[("retention.ms", DELETE, None), ("cleanup.policy", APPEND, Some("delete"))];
    assert_eq!(alter(&mut wire, INCREMENTAL_ALTER_CONFIGS, &[(TOPIC, "replaced", some)]), [NONE]);
    in_force(&cluster, "replaced", "retention.ms", ("604800000", false));
    in_force(&cluster, "replaced", "retention.bytes", ("600", true));
    let compact: &[Config<'_>] = &[("cleanup.policy", APPEND, Some("compacted"))];
    assert_eq!(
        alter(&mut wire, INCREMENTAL_ALTER_CONFIGS, &[(TOPIC, "replaced", compact)]),
        [INVALID_CONFIG]
    );
    // Whoever says what all shall be leaves out what shall have its default.
    let all: &[Config<'_>] = &[("retention.ms", SET, Some("7000"))];
    assert_eq!(alter(&mut wire, ALTER_CONFIGS, &[(TOPIC, "replaced", all)]), [NONE]);
    in_force(&cluster, "replaced", "retention.ms", ("7000", true));
    in_force(&cluster, "replaced", "retention.bytes", ("-1", false));
}

#[test]
fn what_is_only_tried_changes_nothing() {
    let cluster = Cluster::shared();
    cluster.create_topic("tried", 1, 1);
    let mut wire = Wire::connect(cluster.broker(3).kafka);
    let good: &[Config<'_>] = &[("retention.ms", SET, Some("5000"))];
    let bad: &[Config<'_>] = &[("retention.ms", SET, Some("soon"))];
    for api in [ALTER_CONFIGS, INCREMENTAL_ALTER_CONFIGS] {
        let resources = [(TOPIC, "tried", good), (TOPIC, "nobody", good)];
        let tried = alter_or_try(&mut wire, api, &resources, true);
        assert_eq!(tried, [NONE, UNKNOWN_TOPIC_OR_PARTITION]);
        assert_eq!(alter_or_try(&mut wire, api, &[(TOPIC, "tried", bad)], true), [INVALID_CONFIG]);
    }
    in_force(&cluster, "tried", "retention.ms", ("604800000", false));
}

#[test]
fn changes_of_different_configs_at_the_same_time_are_all_made() {
    let cluster = Cluster::shared();
    cluster.create_topic("raced", 1, 3);
    let configs =
        [("retention.ms", 1, 7000), ("retention.bytes", 2, 700), ("max.message.bytes", 3, 70_000)];
    std::thread::scope(|scope| {
        for (name, broker, value) in configs {
            let port = cluster.broker(broker).kafka;
            scope.spawn(move || {
                let mut wire = Wire::connect(port);
                for step in 0..20 {
                    let value = (value + step).to_string();
                    let config: &[Config<'_>] = &[(name, SET, Some(&value))];
                    let altered =
                        alter(&mut wire, INCREMENTAL_ALTER_CONFIGS, &[(TOPIC, "raced", config)]);
                    assert_eq!(altered, [NONE]);
                }
            });
        }
    });
    for (name, _, value) in configs {
        in_force(&cluster, "raced", name, (&(value + 19).to_string(), true));
    }
}

/// A topic that is made through one broker is changed through another at once.
#[test]
fn a_topic_that_was_made_a_moment_ago_is_known() {
    let cluster = Cluster::shared();
    let mut wires = [1, 2, 3].map(|broker| Wire::connect(cluster.broker(broker).kafka));
    for round in 0..10 {
        let name = format!("moment-{round}");
        let body = json!({ "name": name, "partitions": 1, "replication_factor": 1 }).to_string();
        cluster.request("POST", "/v1/topics?leader_wait_ms=0", Some(&body)).ok();
        let config: &[Config<'_>] = &[("retention.ms", SET, Some("5000"))];
        for wire in &mut wires {
            let altered = alter(wire, INCREMENTAL_ALTER_CONFIGS, &[(TOPIC, &name, config)]);
            assert_eq!(altered, [NONE], "{name}");
        }
    }
}

/// Batches that were taken while larger ones were are read all the same.
#[test]
fn a_batch_that_would_be_too_large_now_is_still_read() {
    let cluster = Cluster::shared();
    cluster.create_topic("shrunk", 1, 3);
    let large = Batch::of(&[&"x".repeat(500_000)]).bytes();
    let mut wire = kafka::at_leader(&cluster, "shrunk", 0);
    assert_eq!(kafka::produce(&mut wire, "shrunk", 0, &large).error, NONE);
    patch(&cluster, "shrunk", &json!({ "configs": { "max.message.bytes": "1000" } })).ok();
    in_force(&cluster, "shrunk", "max.message.bytes", ("1000", true));
    let read = Fetch { partition_max_bytes: 1, ..Fetch::of("shrunk", 0, 0) }.one(&mut wire);
    let bytes = read.records.map_or(0, |records| records.len());
    assert_eq!((read.error, bytes), (NONE, large.len()));
}

#[test]
fn what_returns_to_its_default_returns_to_that_of_the_operator() {
    let own = [("QUORATE_TOPICS_RETENTION_MS", "-1"), ("QUORATE_TOPICS_RETENTION_BYTES", "900000")];
    let cluster = Cluster::start_with("own-defaults", 1, &own);
    cluster.create_topic("own", 1, 1);
    in_force(&cluster, "own", "retention.ms", ("-1", true));
    patch(&cluster, "own", &json!({ "configs": { "retention.ms": "5000" } })).ok();
    patch(&cluster, "own", &json!({ "configs": { "retention.ms": null } })).ok();
    in_force(&cluster, "own", "retention.ms", ("-1", true));
    // Also where everything that is not named returns to it.
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    let all: &[Config<'_>] = &[("max.message.bytes", SET, Some("70000"))];
    assert_eq!(alter(&mut wire, ALTER_CONFIGS, &[(TOPIC, "own", all)]), [NONE]);
    in_force(&cluster, "own", "max.message.bytes", ("70000", true));
    in_force(&cluster, "own", "retention.ms", ("-1", true));
    in_force(&cluster, "own", "retention.bytes", ("900000", true));
}
