//! Reading streams and records: pages, lines, events that go on, on any replica.

use serde_json::{Value, json};

use super::{append, ask, create, create_with, get, leader_and_other, values};
use crate::support::cluster::Cluster;
use crate::support::http::{self, EventStream};

/// A stream of these many events, each with its version as value.
fn fill(cluster: &Cluster, stream: &str, count: i64) {
    let all: Vec<Value> = (1..=count).map(|version| json!(version)).collect();
    append(cluster.broker(1), stream, &[], &all).ok();
}

#[test]
fn a_stream_is_read_in_pages_forward_and_backward_on_every_broker() {
    let cluster = Cluster::shared();
    create(&cluster, "paged", 2);
    fill(&cluster, "paged/k", 25);
    for broker in cluster.brokers() {
        for (direction, edge, first) in
            [("forward", "from_version", 1), ("backward", "to_version", 25)]
        {
            let mut found = Vec::new();
            let mut next = json!(first);
            while let Some(at) = next.as_i64() {
                let path = format!(
                    "/v1/topics/paged/streams/k?limit=10&direction={direction}&{edge}={at}"
                );
                let page = get(broker, &path);
                assert_eq!(page.ok()["version"], 25);
                assert!(values(&page).len() <= 10);
                found.extend(values(&page));
                next = page.json()["next_version"].clone();
            }
            let mut wanted: Vec<Value> = (1..=25).map(|version| json!(version)).collect();
            if direction == "backward" {
                wanted.reverse();
            }
            assert_eq!(found, wanted, "{direction} on broker {}", broker.id);
        }
        let part = get(broker, "/v1/topics/paged/streams/k?from_version=5&to_version=6");
        assert_eq!(values(&part), [json!(5), json!(6)]);
        let lines = [("accept", "application/x-ndjson")];
        let lines = ask(broker, "GET", "/v1/topics/paged/streams/k?limit=3", &lines, &Value::Null);
        assert_eq!(lines.headers["content-type"], "application/x-ndjson");
        assert_eq!(
            (lines.text.lines().count(), lines.headers["quorate-next-version"].as_str()),
            (3, "4")
        );
        assert_eq!(lines.headers["quorate-served-by"], broker.id.to_string());
    }
}

#[test]
fn a_stream_is_read_as_of_a_time_and_as_its_topic_limits_it() {
    let cluster = Cluster::shared();
    create(&cluster, "timed", 1);
    let event = |at: i64| json!({ "value": at, "timestamp": at });
    let post = |topic: &str, events: Value| {
        let path = format!("/v1/topics/{topic}/streams/k");
        ask(cluster.broker(1), "POST", &path, &[], &json!({ "events": events })).ok()
    };
    post("timed", json!([event(1_000), event(2_000), event(3_000)]));
    let path = "/v1/topics/timed/streams/k?as_of=";
    assert_eq!(
        values(&get(cluster.broker(2), &format!("{path}2000"))),
        [json!(1_000), json!(2_000)]
    );
    assert_eq!(
        values(&get(cluster.broker(3), &format!("{path}2999&direction=backward&limit=1"))),
        [json!(2_000)]
    );
    assert_eq!(values(&get(cluster.broker(1), &format!("{path}999"))), [] as [Value; 0]);
    let limits = json!({ "quorate.streams": "true", "quorate.streams.max.count": "2", "quorate.streams.max.age.ms": "3600000" });
    create_with(&cluster, "short-streams", 1, &limits);
    post("short-streams", json!([{ "value": 1 }, { "value": 2 }, event(1_000), { "value": 4 }]));
    for broker in cluster.brokers() {
        let found = get(broker, "/v1/topics/short-streams/streams/k");
        assert_eq!((values(&found), &found.json()["version"]), (vec![json!(4)], &json!(4)));
    }
}

#[test]
fn live_events_begin_where_the_client_was_and_go_on_without_a_gap() {
    let cluster = Cluster::shared();
    create(&cluster, "followed-live", 1);
    fill(&cluster, "followed-live/k", 3);
    let path = "/v1/topics/followed-live/streams/k";
    let mut live: Vec<EventStream> = cluster
        .brokers()
        .iter()
        .map(|broker| EventStream::open(&broker.url(path), Some("1")))
        .collect();
    let next = |live: &mut Vec<EventStream>| {
        let events: Vec<_> = live.iter_mut().map(|it| it.next().unwrap()).collect();
        assert!(events.windows(2).all(|two| two[0].id == two[1].id && two[0].kind == two[1].kind));
        events[0].clone()
    };
    assert_eq!(next(&mut live).id, "2");
    assert_eq!(next(&mut live).id, "3");
    append(cluster.broker(2), "followed-live/k", &[], &[json!("new")]).ok();
    let event = next(&mut live);
    assert_eq!((event.id.as_str(), event.kind.as_str()), ("4", ""));
    let data: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!((&data["version"], &data["value"]), (&json!(4), &json!("new")));
    ask(cluster.broker(3), "DELETE", path, &[], &Value::Null).ok();
    let event = next(&mut live);
    assert_eq!((event.id.as_str(), event.kind.as_str()), ("5", "deleted"));
    ask(cluster.broker(3), "DELETE", &format!("{path}?hard=true"), &[], &Value::Null).ok();
    let event = next(&mut live);
    assert_eq!((event.id.as_str(), event.kind.as_str()), ("6", "closed"));
    assert!(live.iter_mut().all(|it| it.next().is_none()), "a closed stream has no more events");
    assert_eq!(EventStream::open(&cluster.broker(1).url(path), Some("6")).status, 410);
    assert_eq!(EventStream::open(&cluster.broker(1).url(path), Some("x")).status, 400);
}

#[test]
fn a_reader_who_waits_is_answered_when_an_event_comes() {
    let cluster = Cluster::shared();
    create(&cluster, "awaited", 1);
    std::thread::scope(|scope| {
        let path = "/v1/topics/awaited/streams/k?wait_ms=30000";
        let waits: Vec<_> =
            cluster.brokers().iter().map(|broker| scope.spawn(move || get(broker, path))).collect();
        let records =
            scope.spawn(|| get(cluster.broker(1), "/v1/topics/awaited/records?wait_ms=30000"));
        append(cluster.broker(3), "awaited/k", &[], &[json!(1)]).ok();
        for wait in waits {
            assert_eq!(values(&wait.join().unwrap()), [json!(1)]);
        }
        assert_eq!(values(&records.join().unwrap()), [json!(1)]);
    });
    let path = "/v1/topics/awaited/streams/k?from_version=2&wait_ms=50";
    assert_eq!(values(&get(cluster.broker(2), path)), [] as [Value; 0]);
    let path = "/v1/topics/awaited/streams/other?wait_ms=50";
    assert_eq!(get(cluster.broker(2), path).problem(404), "unknown_stream");
}

#[test]
fn records_are_read_from_all_partitions_and_a_position_says_how_far() {
    let cluster = Cluster::shared();
    cluster.create_topic("positions", 3, 2);
    for n in 0..30 {
        let body = json!({ "records": [{ "key": format!("k{n}"), "value": n }] });
        ask(cluster.broker(1 + n % 3), "POST", "/v1/topics/positions/records", &[], &body).ok();
    }
    for broker in cluster.brokers() {
        let mut found = Vec::new();
        let mut position = String::new();
        loop {
            let page =
                get(broker, &format!("/v1/topics/positions/records?limit=7&position={position}"));
            let these = values(&page);
            assert!(these.len() <= 7, "{page:?}");
            page.json()["position"].as_str().unwrap().clone_into(&mut position);
            if these.is_empty() {
                break;
            }
            found.extend(these.into_iter().map(|it| it.as_i64().unwrap()));
        }
        found.sort_unstable();
        assert_eq!(found, (0..30).collect::<Vec<i64>>(), "broker {}", broker.id);
    }
    let one =
        get(cluster.broker(1), "/v1/topics/positions/records?partition=0&offset=1&limit=1").ok();
    assert_eq!(
        (&one["records"][0]["partition"], &one["records"][0]["offset"]),
        (&json!(0), &json!(1))
    );
    for (query, status, code) in [
        ("offset=1", 422, "partition_needed"),
        ("partition=0&offset=0&position=", 422, "ambiguous_position"),
        ("position=!", 422, "invalid_position"),
        ("position=OTow", 422, "invalid_position"),
        ("partition=9", 404, "unknown_partition"),
        ("limit=0", 400, "malformed_query"),
    ] {
        let answer = get(cluster.broker(2), &format!("/v1/topics/positions/records?{query}"));
        assert_eq!(answer.problem(status), code, "{query}");
    }
}

#[test]
fn records_are_followed_live_and_who_comes_back_misses_none() {
    let cluster = Cluster::shared();
    create(&cluster, "all-live", 3);
    let url = cluster.broker(2).url("/v1/topics/all-live/records");
    let mut live = EventStream::open(&url, None);
    let mut id = None;
    for n in 0..12 {
        append(cluster.broker(1), &format!("all-live/k{n}"), &[], &[json!(n)]).ok();
        if n == 6 {
            live = EventStream::open(&url, id.as_deref());
        }
        let event = live.next().unwrap();
        let data: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(data["value"], n);
        id = Some(event.id);
    }
}

#[test]
fn who_is_sent_to_another_broker_finds_the_partition_there() {
    let cluster = Cluster::shared();
    let configs = json!({ "quorate.streams": "true" });
    let body = json!({ "name": "placed-once", "replicas": [[2]], "configs": configs });
    cluster.request("POST", "/v1/topics", Some(&body.to_string())).ok();
    let path = "/v1/topics/placed-once/streams/k";
    for broker in cluster.brokers() {
        append(broker, "placed-once/k", &[], &[json!(1)]).ok();
        let found = get(broker, path);
        assert_eq!(found.headers["quorate-served-by"], "2");
        let head = ask(broker, "HEAD", path, &[], &Value::Null);
        assert_eq!(head.headers["etag"], found.headers["etag"]);
        let progress = get(broker, "/v1/topics/placed-once/streams").ok();
        assert_eq!(
            (&progress["partitions"][0]["state"], &progress["partitions"][0]["streams"]),
            (&json!("on"), &json!(1))
        );
        get(broker, "/v1/topics/placed-once/records?limit=1").ok();
    }
    let live = [("accept", "text/event-stream")];
    let url = cluster.broker(1).url(path);
    let moved = http::request_with(super::LIMIT, "GET", &url, &live, &[]).unwrap();
    assert_eq!(
        (moved.status, moved.headers["location"].as_str()),
        (307, cluster.broker(2).url(path).as_str())
    );
}

#[test]
fn a_follower_answers_when_it_has_what_was_asked_for() {
    let cluster = Cluster::shared();
    create(&cluster, "behind", 1);
    fill(&cluster, "behind/k", 1);
    let (leader, other) = leader_and_other(&cluster, "behind");
    let path = "/v1/topics/behind/streams/k";
    for version in 2..=20 {
        let made = append(cluster.broker(leader), "behind/k", &[], &[json!(version)]).ok();
        let linearizable = get(cluster.broker(other), path);
        assert_eq!(linearizable.json()["version"], version);
        assert_eq!(linearizable.headers["quorate-role"], "follower");
        let made = append(cluster.broker(leader), "behind/other", &[], &[made]).ok();
        let end = made["last_offset"].as_i64().unwrap() + 1;
        let path = format!("{path}?consistency=committed&min_offset={end}");
        let committed = get(cluster.broker(other), &path);
        assert_eq!(committed.json()["version"], version);
        let mark: i64 = committed.headers["quorate-high-watermark"].parse().unwrap();
        assert!(mark >= end, "{committed:?}");
    }
    assert_eq!(get(cluster.broker(leader), path).headers["quorate-role"], "leader");
}
