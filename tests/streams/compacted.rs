//! Streams of compacted topics: turned on while such a topic is empty and not otherwise, whoever is asked in whichever way; and
//! a topic that gets both at once.

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};

use super::topics::wait_state;
use super::{append, ask, create_with, get};
use crate::support::clients;
use crate::support::cluster::{Broker, Cluster, SOON};
use crate::support::http::Answer;
use crate::support::kafka::{self, NONE};
use crate::support::wire::{Encoder, Wire};

const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
const LEADER_NOT_AVAILABLE: i16 = 5;
const INVALID_CONFIG: i16 = 40;

fn compacted() -> Value {
    json!({ "cleanup.policy": "compact" })
}

fn patch(broker: &Broker, topic: &str, configs: &Value, dry_run: bool) -> Answer {
    let body = json!({ "configs": configs, "dry_run": dry_run });
    ask(broker, "PATCH", &format!("/v1/topics/{topic}/configs"), &[], &body)
}

fn turn_on(broker: &Broker, topic: &str) -> Answer {
    patch(broker, topic, &json!({ "quorate.streams": "true" }), false)
}

/// IncrementalAlterConfigs that turns streams on: the error and what it says.
fn turn_on_by_wire(broker: &Broker, topic: &str) -> (i16, String) {
    let body = Encoder::default().i32(1).i8(2).string(topic).i32(1);
    let body = body.string("quorate.streams").i8(0).string("true").i8(0);
    let mut decoder = Wire::connect(broker.kafka).call(INCREMENTAL_ALTER_CONFIGS, 0, &body);
    decoder.i32();
    let rows = decoder.list(|decoder| {
        let (error, words) = (decoder.i16(), decoder.string());
        decoder.i8();
        decoder.string();
        (error, words.unwrap_or_default())
    });
    rows.into_iter().next().unwrap()
}

/// AlterConfigs by librdkafka, which replaces all that was set. It is answered then; its wrapper keeps to itself what the answer
/// says of the topic.
fn replace(cluster: &Cluster, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        clients::producer(&cluster.bootstrap()).create().unwrap();
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic))
        .set("cleanup.policy", "compact")
        .set("quorate.streams", "true");
    let options = AdminOptions::new().request_timeout(Some(SOON));
    block_on(admin.alter_configs([&change], &options)).unwrap();
}

/// Whether that broker says that the topic shall have streams.
fn wants_streams(broker: &Broker, topic: &str) -> bool {
    let told = get(broker, &format!("/v1/topics/{topic}/configs")).ok();
    let rows = told["configs"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == "quorate.streams").unwrap()["value"] == "true"
}

fn fill(cluster: &Cluster, topic: &str, records: usize) {
    let all: Vec<Value> =
        (0..records).map(|n| json!({ "key": format!("k{}", n % 10), "value": n })).collect();
    let body = json!({ "records": all, "partition": 0 });
    ask(cluster.broker(1), "POST", &format!("/v1/topics/{topic}/records"), &[], &body).ok();
}

/// The event's version, appended if its key has none.
fn first(broker: &Broker, stream: &str) -> Value {
    append(broker, stream, &[("if-none-match", "*")], &[json!("first")]).ok()
}

#[test]
fn a_compacted_topic_gets_streams_later_while_it_is_empty() {
    let cluster = Cluster::shared();
    for (topic, how) in [("empty-http", 0), ("empty-wire", 1), ("empty-replaced", 2)] {
        create_with(&cluster, topic, 5, &compacted());
        patch(cluster.broker(2), topic, &json!({ "quorate.streams": "true" }), true).ok();
        match how {
            0 => drop(turn_on(cluster.broker(3), topic).ok()),
            1 => assert_eq!(turn_on_by_wire(cluster.broker(2), topic), (NONE, String::new())),
            _ => replace(&cluster, topic),
        }
        wait_state(&cluster, topic, "on");
        for (broker, n) in cluster.brokers().iter().zip(0..) {
            assert_eq!(first(broker, &format!("{topic}/k{n}"))["version"], 1);
        }
    }
}

#[test]
fn a_compacted_topic_with_records_gets_streams_once_they_are_deleted() {
    let cluster = Cluster::shared();
    create_with(&cluster, "was-used", 1, &compacted());
    fill(&cluster, "was-used", 25);
    let says_what_to_do = |words: &str| {
        assert!(words.contains("partition 0 has offsets 0 to 24"), "{words}");
        assert!(words.contains("cleanup.policy to compact,delete"), "{words}");
    };
    for broker in cluster.brokers() {
        for dry_run in [true, false] {
            let on = json!({ "quorate.streams": "true" });
            let refused = patch(broker, "was-used", &on, dry_run);
            assert_eq!(refused.problem(422), "invalid_config");
            says_what_to_do(refused.json()["detail"].as_str().unwrap());
        }
        let (error, words) = turn_on_by_wire(broker, "was-used");
        assert_eq!(error, INVALID_CONFIG);
        says_what_to_do(&words);
    }
    replace(&cluster, "was-used");
    assert!(cluster.brokers().iter().all(|broker| !wants_streams(broker, "was-used")));
    // Every other config of it may be changed as ever.
    let both = json!({ "cleanup.policy": "compact,delete" });
    patch(cluster.broker(1), "was-used", &both, false).ok();
    assert_eq!(turn_on(cluster.broker(2), "was-used").problem(422), "invalid_config");
    let mut wire = kafka::at_leader(&cluster, "was-used", 0);
    // All but one is not empty.
    assert_eq!(kafka::delete_records(&mut wire, "was-used", 0, 24), (24, NONE));
    assert_eq!(turn_on(cluster.broker(2), "was-used").problem(422), "invalid_config");
    assert_eq!(kafka::delete_records(&mut wire, "was-used", 0, 25), (25, NONE));
    replace(&cluster, "was-used");
    wait_state(&cluster, "was-used", "on");
    let made = first(cluster.broker(3), "was-used/k1");
    assert_eq!((&made["version"], &made["offset"]), (&json!(1), &json!(25)));
}

/// What is there is counted before it is compacted.
#[test]
fn a_topic_with_records_that_gets_streams_and_is_compacted_then_counts_them_all() {
    let often = [("QUORATE_COMPACTION_CHECK_MS", "100")];
    let cluster = Cluster::start_with("streams-compacted", 3, &often);
    cluster.create_topic("both-later", 1, 3);
    for _ in 0..20 {
        fill(&cluster, "both-later", 1_000);
    }
    let both = json!({
        "quorate.streams": "true",
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0",
        "segment.ms": "1",
    });
    patch(cluster.broker(2), "both-later", &both, false).ok();
    wait_state(&cluster, "both-later", "on");
    cluster.wait("it is compacted", || {
        let told = get(cluster.broker(1), "/v1/topics/both-later/partitions/0").ok();
        (told["compaction"]["compacted_upto"].as_i64()? == 20_000).then_some(())
    });
    for broker in cluster.brokers() {
        for n in 0..10 {
            let found = get(broker, &format!("/v1/topics/both-later/streams/k{n}")).ok();
            assert_eq!(found["version"], 2_000, "k{n} at broker {}", broker.id);
        }
    }
}

#[test]
fn whether_a_topic_is_empty_is_said_by_its_leaders_or_by_nobody() {
    let cluster = Cluster::start("streams-unanswered", 3);
    let body = json!({ "name": "unheard", "replicas": [[1], [3]], "configs": compacted() });
    cluster.request("POST", "/v1/topics", Some(&body.to_string())).ok();
    kafka::at_leader(&cluster, "unheard", 1);
    cluster.broker(3).kill9();
    let mut refused = turn_on(cluster.broker(1), "unheard");
    // The metadata may need another leader first.
    if refused.status == 503 && refused.json()["code"] == "no_controller" {
        cluster.wait("there is a metadata leader", || {
            refused = turn_on(cluster.broker(1), "unheard");
            (refused.json()["code"] != "no_controller").then_some(())
        });
    }
    assert_eq!(refused.problem(503), "no_leader", "{refused:?}");
    assert_eq!(refused.json()["retriable"], true);
    assert!(refused.json()["detail"].as_str().unwrap().contains("unheard-1"), "{refused:?}");
    let (error, words) = turn_on_by_wire(cluster.broker(2), "unheard");
    assert_eq!(error, LEADER_NOT_AVAILABLE, "{words}");
    assert!(!wants_streams(cluster.broker(2), "unheard"));
    cluster.broker(3).start();
    cluster.wait("its leader is heard", || {
        (turn_on(cluster.broker(2), "unheard").status == 200).then_some(())
    });
    wait_state(&cluster, "unheard", "on");
}
