//! Topics with streams: turned on where there are records already, turned off and on, and what a topic with streams refuses.

use serde_json::{Value, json};

use super::{append, ask, create, get};
use crate::support::cluster::Cluster;
use crate::support::kafka::{self, CREATE_PARTITIONS, INVALID_PARTITIONS};
use crate::support::wire::Encoder;

fn turn(cluster: &Cluster, topic: &str, on: bool) {
    let body = json!({ "configs": { "quorate.streams": on.to_string() } }).to_string();
    cluster.request("PATCH", &format!("/v1/topics/{topic}/configs"), Some(&body)).ok();
}

/// Waits until every broker says that the streams of all partitions are in that state.
pub(super) fn wait_state(cluster: &Cluster, topic: &str, state: &str) {
    cluster.wait(&format!("the streams of {topic} are {state}"), || {
        let all = cluster.brokers().iter().all(|broker| {
            let told = get(broker, &format!("/v1/topics/{topic}/streams")).ok();
            let partitions = told["partitions"].as_array().unwrap();
            !partitions.is_empty() && partitions.iter().all(|it| it["state"] == state)
        });
        all.then_some(())
    });
}

#[test]
fn streams_are_turned_on_where_there_are_records_and_versions_are_right_then() {
    let cluster = Cluster::shared();
    cluster.create_topic("counted-later", 1, 3);
    let path = "/v1/topics/counted-later/records";
    let records = |count: usize| -> Vec<Value> {
        (0..count).map(|n| json!({ "key": format!("k{}", n % 10), "value": n })).collect()
    };
    for _ in 0..5 {
        ask(cluster.broker(1), "POST", path, &[], &json!({ "records": records(1_000) })).ok();
    }
    let keyless = json!({ "records": [{ "value": "no key" }], "partition": 0 });
    ask(cluster.broker(2), "POST", path, &[], &keyless).ok();
    let early = append(cluster.broker(3), "counted-later/k0", &[], &[json!(0)]);
    assert_eq!(early.problem(409), "streams_off");
    assert_eq!(
        get(cluster.broker(1), "/v1/topics/counted-later/streams/k0").problem(409),
        "streams_off"
    );
    turn(&cluster, "counted-later", true);
    // Appends without conditions go on meanwhile.
    ask(cluster.broker(2), "POST", path, &[], &json!({ "records": records(10) })).ok();
    let made = cluster.wait("the condition is judged", || {
        let made = append(
            cluster.broker(3),
            "counted-later/k0",
            &[("if-match", "\"501\"")],
            &[json!("next")],
        );
        if made.status == 503 {
            assert!(
                ["streams_building", "no_leader"].contains(&made.problem(503).as_str()),
                "{made:?}"
            );
            return None;
        }
        Some(made)
    });
    assert_eq!(made.ok()["version"], 502, "{made:?}");
    wait_state(&cluster, "counted-later", "on");
    let told = get(cluster.broker(2), "/v1/topics/counted-later/streams").ok();
    assert_eq!(
        (&told["partitions"][0]["streams"], &told["partitions"][0]["misplaced"]),
        (&json!(10), &json!(1))
    );
    for broker in cluster.brokers() {
        let found = get(broker, "/v1/topics/counted-later/streams/k1?limit=10000").ok();
        assert_eq!(
            (&found["version"], found["events"].as_array().unwrap().len()),
            (&json!(501), 501)
        );
        let last =
            get(broker, "/v1/topics/counted-later/streams/k0?direction=backward&limit=1").ok();
        assert_eq!(
            (&last["events"][0]["version"], &last["events"][0]["value"]),
            (&json!(502), &json!("next"))
        );
    }
}

#[test]
fn streams_are_turned_off_and_count_anew_when_they_are_turned_on() {
    let cluster = Cluster::shared();
    create(&cluster, "off-and-on", 1);
    append(cluster.broker(1), "off-and-on/k", &[], &[json!(1), json!(2)]).ok();
    turn(&cluster, "off-and-on", false);
    wait_state(&cluster, "off-and-on", "off");
    for broker in cluster.brokers() {
        assert_eq!(append(broker, "off-and-on/k", &[], &[json!(3)]).problem(409), "streams_off");
        assert_eq!(get(broker, "/v1/topics/off-and-on/streams/k").problem(409), "streams_off");
    }
    let record = json!({ "records": [{ "key": "k", "value": 3 }] });
    ask(cluster.broker(2), "POST", "/v1/topics/off-and-on/records", &[], &record).ok();
    turn(&cluster, "off-and-on", true);
    wait_state(&cluster, "off-and-on", "on");
    let made = append(cluster.broker(3), "off-and-on/k", &[("if-match", "\"3\"")], &[json!(4)]);
    assert_eq!(made.ok()["version"], 4);
}

#[test]
fn a_topic_with_streams_keeps_keys_where_they_belong() {
    let cluster = Cluster::shared();
    create(&cluster, "kept-apart", 2);
    let written: Vec<String> = ["0", "1"]
        .iter()
        .map(|partition| {
            let args = ["produce", "kept-apart", "-k", ":", "--partition", partition];
            let made = cluster.cli(&args, "k:v\n");
            if made.code == Some(0) { String::new() } else { made.stderr }
        })
        .collect();
    assert_eq!(written.iter().filter(|text| text.is_empty()).count(), 1, "{written:?}");
    assert!(written.iter().any(|text| text.contains("invalid record")), "{written:?}");
    let found = get(cluster.broker(2), "/v1/topics/kept-apart/streams/k").ok();
    assert_eq!((&found["version"], &found["events"][0]["value_text"]), (&json!(1), &json!("v")));
    let mut wire = kafka::at_leader(&cluster, "kept-apart", 0);
    let body = Encoder::default().i32(1).string("kept-apart").i32(4).i32(-1).i32(30_000).i8(0);
    let mut decoder = wire.call(CREATE_PARTITIONS, 1, &body);
    decoder.i32();
    let refused = decoder.list(|decoder| {
        let (_, error) = (decoder.string(), decoder.i16());
        (error, decoder.string().unwrap_or_default())
    });
    assert_eq!(refused[0].0, INVALID_PARTITIONS);
    assert!(refused[0].1.contains("streams"), "{refused:?}");
}
