//! Configs of brokers and of groups that change while brokers run: by Kafka's admin client, over HTTP and in the command
//! line; and topics that compress what they keep.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::clients::{Client, consumer_at, java, producer};
use crate::support::cluster::Cluster;
use crate::support::http::Answer;
use crate::support::kafka::{self, Fetch, NONE};
use crate::support::members::Member;
use crate::support::process;
use crate::support::wire::{Batch, Wire};

use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const LIMIT: Duration = Duration::from_secs(120);
/// Numbers of codecs, as the lowest bits of a batch's attributes have them.
const CODECS: [(&str, i8); 5] =
    [("uncompressed", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];

fn patch(cluster: &Cluster, path: &str, configs: &Value) -> Answer {
    cluster.request("PATCH", path, Some(&json!({ "configs": configs }).to_string()))
}

/// What a broker says of one config: its value and source.
fn shown(answer: &Value, name: &str) -> (Option<String>, Option<String>) {
    let row = answer["configs"].as_array().unwrap().iter().find(|row| row["name"] == name);
    let row = row.unwrap_or_else(|| panic!("{name} is not in {answer}"));
    let text = |field: &str| row[field].as_str().map(str::to_owned);
    (text("value"), text("source"))
}

/// Waits until every broker shows this value of a config, and where it comes from.
fn everywhere(cluster: &Cluster, path: &str, name: &str, expected: (&str, &str)) {
    let expected = (Some(expected.0.to_owned()), Some(expected.1.to_owned()));
    cluster.wait(&format!("{name} is {expected:?} everywhere"), || {
        let mut brokers = cluster.running();
        brokers.all(|it| shown(&it.get(path).unwrap().ok(), name) == expected).then_some(())
    });
}

#[test]
fn what_is_set_for_all_brokers_holds_for_topics_and_new_ones_and_stays_through_a_restart() {
    let often = [("QUORATE_TOPICS_RETENTION_CHECK_MS", "200")];
    let mut cluster = Cluster::start_with("dynamic-configs", 3, &often);
    cluster.create_topic("own", 1, 3);
    cluster.create_topic("follows", 1, 3);
    patch(&cluster, "/v1/topics/own/configs", &json!({ "max.message.bytes": "900000" })).ok();
    let set = json!({ "message.max.bytes": "1000", "num.partitions": "5" });
    patch(&cluster, "/v1/cluster/configs", &set).ok();
    everywhere(&cluster, "/v1/topics/follows/configs", "max.message.bytes", ("1000", "cluster"));
    everywhere(&cluster, "/v1/topics/own/configs", "max.message.bytes", ("900000", "topic"));
    let large = Batch::of(&[&"x".repeat(2_000)]).bytes();
    let produce = |topic: &str| {
        let mut wire = kafka::at_leader(&cluster, topic, 0);
        kafka::produce(&mut wire, topic, 0, &large).error
    };
    assert_eq!((produce("follows"), produce("own")), (kafka::MESSAGE_TOO_LARGE, NONE));
    cluster.request("POST", "/v1/topics", Some(r#"{"name":"new"}"#)).ok();
    let new = cluster.get("/v1/topics/new");
    assert_eq!(new["partitions"].as_array().unwrap().len(), 5, "{new}");

    for broker in cluster.brokers() {
        broker.kill9();
    }
    for broker in cluster.brokers_mut() {
        broker.start();
    }
    cluster.wait_whole();
    everywhere(&cluster, "/v1/topics/follows/configs", "max.message.bytes", ("1000", "cluster"));
    everywhere(&cluster, "/v1/cluster/configs", "num.partitions", ("5", "cluster"));

    // What lies there already is held to it as well.
    let mut wire = kafka::at_leader(&cluster, "own", 0);
    assert_eq!(kafka::produce(&mut wire, "own", 0, &large).error, NONE);
    patch(&cluster, "/v1/cluster/configs", &json!({ "log.retention.ms": "1" })).ok();
    cluster.wait("retention takes what is there", || {
        let start = cluster.get("/v1/topics/own/partitions/0")["log_start_offset"].as_i64();
        (start == Some(2)).then_some(())
    });
    let unset = json!({ "message.max.bytes": null, "log.retention.ms": null });
    patch(&cluster, "/v1/cluster/configs", &unset).ok();
    everywhere(&cluster, "/v1/topics/follows/configs", "retention.ms", ("604800000", "default"));
}

/// It has the config that was taken back while it was away, and nobody who could tell it so.
#[test]
fn a_broker_that_starts_again_tells_no_config_before_it_has_caught_up() {
    // So that it says soon that it does not know.
    let soon = [("QUORATE_HTTP_REQUEST_TIMEOUT_MS", "3000")];
    let cluster = Cluster::start_with("dynamic-late", 3, &soon);
    cluster.create_topic("late", 1, 3);
    let set = json!({ "log.retention.ms": "7000" });
    patch(&cluster, "/v1/cluster/configs", &set).ok();
    everywhere(&cluster, "/v1/topics/late/configs", "retention.ms", ("7000", "cluster"));
    let late = cluster.broker(3);
    late.kill9();
    patch(&cluster, "/v1/cluster/configs", &json!({ "log.retention.ms": null })).ok();
    cluster.broker(1).kill9();
    cluster.broker(2).kill9();
    late.start();
    cluster.wait("it answers", || late.get("/livez"));
    for path in [
        "/v1/cluster/configs",
        "/v1/topics/late/configs",
        "/v1/groups/g/configs",
        "/v1/brokers/3/configs",
    ] {
        assert_eq!(late.get(path).unwrap().problem(503), "not_current", "{path}");
    }
    cluster.broker(1).start();
    cluster.broker(2).start();
    let told = |path: &str| {
        cluster.wait("it has caught up", || late.get(path).filter(|answer| answer.status == 200))
    };
    let (value, _) = shown(&told("/v1/cluster/configs").json(), "log.retention.ms");
    assert_eq!(value, None, "the first that it tells");
    let topic = shown(&told("/v1/topics/late/configs").json(), "retention.ms");
    assert_eq!(topic, (Some("604800000".to_owned()), Some("default".to_owned())));
    cluster.wait_whole();
}

#[test]
fn what_cannot_be_changed_is_refused_and_nothing_is_half_done() {
    let cluster = Cluster::shared();
    for (path, configs, status) in [
        ("/v1/cluster/configs", json!({ "log.dirs": "/x" }), 422),
        ("/v1/cluster/configs", json!({ "log.retention.ms": "soon" }), 422),
        (
            "/v1/cluster/configs",
            json!({ "log.segment.bytes": "300000", "num.io.threads": "1" }),
            422,
        ),
        ("/v1/brokers/2/configs", json!({ "log.retention.ms": "1" }), 422),
        ("/v1/brokers/77/configs", json!({ "max.connections": "1" }), 404),
        ("/v1/groups/g/configs", json!({ "consumer.session.timeout.ms": "1" }), 422),
        ("/v1/groups/g/configs", json!({ "consumer.heartbeat.interval.ms": "45000" }), 422),
        ("/v1/groups/g/configs", json!({ "no.such": null }), 422),
    ] {
        let answer = patch(&cluster, path, &configs);
        assert_eq!(answer.status, status, "{path} {configs}: {answer:?}");
    }
    let (value, _) = shown(&cluster.get("/v1/cluster/configs"), "log.segment.bytes");
    assert_eq!(value, None, "not even the half that was allowed");
    assert_eq!(cluster.request("GET", "/v1/brokers/77/configs", None).status, 404);
}

#[test]
fn a_broker_takes_no_more_connections_than_was_set_of_it() {
    let cluster = Cluster::start("dynamic-connections", 2);
    let path = "/v1/brokers/1/configs";
    patch(&cluster, path, &json!({ "max.connections": "1" })).ok();
    everywhere(&cluster, path, "max.connections", ("1", "broker"));
    everywhere(&cluster, "/v1/brokers/2/configs", "max.connections", ("10000", "default"));
    let held = cluster.wait("one has the only place", || {
        let mut wire = Wire::connect(cluster.broker(1).kafka);
        let next = Wire::connect(cluster.broker(1).kafka).closed();
        (next && kafka::topic_id(&mut wire, "nobody").is_none()).then_some(wire)
    });
    patch(&cluster, path, &json!({ "max.connections": null })).ok();
    everywhere(&cluster, path, "max.connections", ("10000", "default"));
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    assert!(kafka::topic_id(&mut wire, "nobody").is_none());
    drop(held);
}

/// AlterConfigs, DescribeConfigs, ListConfigResources, DescribeLogDirs, DescribeQuorum and DescribeTopicPartitions.
#[test]
fn the_java_admin_client_sees_and_changes_what_there_is() {
    let cluster = Cluster::start("described", 3);
    let seen = java(&["describe", &cluster.bootstrap(), "described", "described-group"]);
    let seen = process::run(seen, LIMIT).ok("describe");
    let expected = [
        "group consumer.session.timeout.ms 45000 DEFAULT_CONFIG",
        "alter group null",
        "group consumer.session.timeout.ms 60000 DYNAMIC_GROUP_CONFIG",
        "alter all null",
        "broker log.retention.ms 7000 DYNAMIC_DEFAULT_BROKER_CONFIG",
        "all [log.retention.ms]",
        "topic retention.ms 7000 DYNAMIC_DEFAULT_BROKER_CONFIG",
        "alter one null",
        "broker max.connections 500 DYNAMIC_BROKER_CONFIG",
        "not of one InvalidConfigurationException",
        "not at all InvalidConfigurationException",
        "resources [BROKER:1, BROKER:2, BROKER:3, GROUP:described-group, TOPIC:described]",
        "back null",
        "topic retention.ms 604800000 DEFAULT_CONFIG",
        "dirs 1 partitions 3 bytes true room true",
        "quorum voters [1, 2, 3] led true ends true nodes 3",
        "topic 3 partitions 3 replicas",
        "unknown UnknownTopicOrPartitionException",
    ];
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
}

/// The member is silent for longer than the group allows and is gone, while those of other groups may be silent for longer.
#[test]
fn a_group_has_a_session_time_of_its_own() {
    let cluster = Cluster::shared();
    cluster.create_topic("short", 1, 3);
    let configs =
        json!({ "consumer.session.timeout.ms": "2000", "consumer.heartbeat.interval.ms": "500" });
    patch(&cluster, "/v1/groups/short/configs", &configs).ok();
    everywhere(
        &cluster,
        "/v1/groups/short/configs",
        "consumer.session.timeout.ms",
        ("2000", "group"),
    );
    let members = |group: &str| {
        let told = cluster.request("GET", &format!("/v1/groups/{group}"), None);
        if told.status == 200 { told.json()["members"].as_array().map(Vec::len) } else { None }
    };
    let start = |group| {
        let member =
            Member::start(&cluster, Client::Java, ("short", group), &["group.protocol=consumer"]);
        member.wait(&cluster, "it has its partition", |said| said.partitions.len() == 1);
        member
    };
    let (gone, stays) = (start("short"), start("patient"));
    gone.kill9();
    stays.kill9();
    cluster.wait("the member is gone", || (members("short") == Some(0)).then_some(()));
    assert_eq!(members("patient"), Some(1), "45 s have not passed");
}

#[test]
fn the_command_line_shows_and_changes_configs() {
    let cluster = Cluster::start("config-commands", 1);
    cluster.create_topic("orders", 1, 1);
    let run = |args: &[&str]| cluster.cli(args, "");
    let line = |text: &str, name: &str| {
        let found = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        found.unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    let set = run(&["config", "set", "cluster", "log.retention.ms=7000"]).ok("set");
    assert!(line(&set, "log.retention.ms").contains("cluster"), "{set}");
    let topic = run(&["config", "get", "topic", "orders"]).ok("get");
    let row = line(&topic, "retention.ms");
    assert!(row.contains("7000") && row.contains("cluster"), "{topic}");
    let set = run(&["config", "set", "broker", "1", "max.connections=6543", "--dry-run"]).ok("dry");
    assert!(!set.contains("6543"), "{set}");
    run(&["config", "set", "group", "a/b", "consumer.session.timeout.ms=60000"]).ok("group");
    let group = run(&["config", "get", "group", "a/b"]).ok("get");
    assert!(line(&group, "consumer.session.timeout.ms").contains("60000"), "{group}");
    let set = run(&["config", "set", "cluster", "--unset", "log.retention.ms"]).ok("unset");
    assert!(!line(&set, "log.retention.ms").contains("7000"), "{set}");
    for (args, code, words) in [
        (vec!["config", "set", "cluster", "log.dirs=/x"], 1, "configuration file"),
        (vec!["config", "set", "cluster"], 2, "required"),
        (vec!["config", "get", "broker", "x"], 2, "no broker's id"),
        (vec!["config", "set", "cluster", "a=1", "--unset", "a"], 2, "named twice"),
    ] {
        let refused = run(&args);
        assert_eq!(refused.code, Some(code), "{args:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "{args:?}: {}", refused.stderr);
    }
}

#[test]
fn a_topic_with_a_codec_of_its_own_keeps_all_batches_so() {
    let cluster = Cluster::shared();
    for (codec, number) in CODECS {
        let topic = format!("compressed-{codec}");
        let body = json!({
            "name": topic, "partitions": 1, "replication_factor": 3,
            "configs": { "compression.type": codec },
        });
        cluster.request("POST", "/v1/topics", Some(&body.to_string())).ok();
        kafka::leader(&cluster, &topic, 0);
        for sent in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let mut config = producer(&cluster.bootstrap());
            let producer: BaseProducer = config.set("compression.codec", sent).create().unwrap();
            let value = format!("{sent} {}", "x".repeat(5_000));
            let record = BaseRecord::to(&topic).partition(0).key("k").payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
            producer.flush(LIMIT).unwrap();
        }
        let mut wire = kafka::at_leader(&cluster, &topic, 0);
        let read = Fetch::of(&topic, 0, 0).one(&mut wire).records.unwrap();
        let mut rest = &read[..];
        let mut batches = 0;
        while rest.len() > 22 {
            assert_eq!(rest[22] & 7, number.cast_unsigned(), "{topic}");
            let length = i32::from_be_bytes(rest[8..12].try_into().unwrap());
            rest = &rest[12 + length as usize..];
            batches += 1;
        }
        assert_eq!(batches, 5, "{topic}");
        let consumer = consumer_at(&cluster.bootstrap(), &topic, 0, 0);
        for sent in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let message = consumer.poll(LIMIT).unwrap().unwrap();
            let value = message.payload_view::<str>().unwrap().unwrap();
            assert_eq!(value, format!("{sent} {}", "x".repeat(5_000)), "{topic}");
        }
        consumer.unassign().unwrap();
    }
}
