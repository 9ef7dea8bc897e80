//! What is appended and what is refused, and how that is told.

use serde_json::{Value, json};

use super::{append, ask, create, get, path_of, values};
use crate::support::cluster::Cluster;
use crate::support::http;

#[test]
fn any_broker_appends_and_the_version_of_a_stream_is_its_entity_tag() {
    let cluster = Cluster::shared();
    create(&cluster, "entity-tagged", 3);
    let mut version = 0;
    for key in ["a", "b", "c", "d"] {
        let stream = format!("entity-tagged/{key}");
        for broker in cluster.brokers() {
            let expected = if version == 0 {
                ("if-none-match", "*".to_owned())
            } else {
                ("if-match", format!("\"{version}\""))
            };
            let headers = [(expected.0, expected.1.as_str())];
            let made = append(broker, &stream, &headers, &[json!(1), json!(2)]);
            assert_eq!(made.status, 201, "{made:?}");
            let told = made.json();
            assert_eq!(
                (&told["first_version"], &told["version"]),
                (&json!(version + 1), &json!(version + 2))
            );
            assert_eq!(told["last_offset"].as_i64(), told["offset"].as_i64().map(|it| it + 1));
            version += 2;
            assert_eq!(made.headers["etag"], format!("\"{version}\""));
            assert_eq!(made.headers["location"], path_of(&stream));
            let again = append(broker, &stream, &headers, &[json!(3)]);
            assert_eq!(again.problem(412), "version_conflict");
            assert_eq!(again.json()["current_version"], version);
            assert_eq!(again.headers["etag"], format!("\"{version}\""));
            let head = ask(broker, "HEAD", &path_of(&stream), &[], &Value::Null);
            assert_eq!(head.headers["etag"], format!("\"{version}\""));
            assert_eq!(head.headers["quorate-offset"], told["last_offset"].to_string());
        }
        version = 0;
    }
}

#[test]
fn of_many_who_want_to_be_the_first_one_is() {
    let cluster = Cluster::shared();
    create(&cluster, "unique", 1);
    for key in 0..5 {
        let stream = format!("unique/{key}");
        let made: Vec<u16> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..9)
                .map(|n| {
                    let (broker, stream) = (&cluster.brokers()[n % 3], &stream);
                    let first = [("if-none-match", "*")];
                    scope.spawn(move || append(broker, stream, &first, &[json!(n)]).status)
                })
                .collect();
            all.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(made.iter().filter(|status| **status == 201).count(), 1, "{made:?}");
        assert!(made.iter().all(|status| [201, 412].contains(status)), "{made:?}");
    }
}

#[test]
fn a_retry_under_its_idempotency_key_is_answered_as_before_by_every_broker() {
    let cluster = Cluster::shared();
    create(&cluster, "once-appended", 2);
    let headers = [("if-match", "\"0\""), ("idempotency-key", "one")];
    let first = append(cluster.broker(1), "once-appended/k", &headers, &[json!(1), json!(2)]).ok();
    append(cluster.broker(1), "once-appended/k", &[], &[json!(3)]).ok();
    for broker in cluster.brokers() {
        assert_eq!(append(broker, "once-appended/k", &headers, &[json!(1), json!(2)]).ok(), first);
        let other = append(broker, "once-appended/k", &headers, &[json!(1), json!(9)]);
        assert_eq!(other.problem(422), "idempotency_key_reused");
        let other = append(broker, "once-appended/k", &headers[1..], &[json!(1), json!(2)]);
        assert_eq!(other.problem(422), "idempotency_key_reused", "without its condition");
    }
    assert_eq!(values(&get(cluster.broker(2), "/v1/topics/once-appended/streams/k")).len(), 3);
    let delete = |broker: u64| {
        let key = [("idempotency-key", "two")];
        ask(
            cluster.broker(broker),
            "DELETE",
            "/v1/topics/once-appended/streams/k",
            &key,
            &Value::Null,
        )
        .ok()
    };
    assert_eq!(delete(1), delete(3));
    let records = json!({ "records": [{ "key": "k", "value": 5 }] });
    let post = |broker: u64| {
        let key = [("idempotency-key", "three")];
        ask(cluster.broker(broker), "POST", "/v1/topics/once-appended/records", &key, &records).ok()
    };
    assert_eq!(post(1), post(2));
}

#[test]
fn a_deleted_stream_goes_on_with_the_next_version_and_a_closed_one_does_not() {
    let cluster = Cluster::shared();
    create(&cluster, "ended-streams", 1);
    let (one, two) = (cluster.broker(1), cluster.broker(2));
    let path = "/v1/topics/ended-streams/streams/k";
    let none = Value::Null;
    assert_eq!(ask(one, "DELETE", path, &[], &none).problem(404), "unknown_stream");
    append(one, "ended-streams/k", &[], &[json!(1), json!(2)]).ok();
    assert_eq!(
        ask(two, "DELETE", path, &[("if-match", "\"1\"")], &none).problem(412),
        "version_conflict"
    );
    assert_eq!(ask(two, "DELETE", path, &[("if-match", "\"2\"")], &none).ok()["version"], 3);
    for broker in cluster.brokers() {
        let gone = get(broker, path);
        assert_eq!(gone.problem(404), "stream_deleted");
        assert_eq!(gone.json()["current_version"], 3);
        let head = ask(broker, "HEAD", path, &[], &none);
        assert_eq!((head.status, head.headers["etag"].as_str()), (404, "\"3\""));
    }
    assert_eq!(ask(two, "DELETE", path, &[], &none).problem(404), "stream_deleted");
    let exists = [("if-match", "*")];
    assert_eq!(
        append(two, "ended-streams/k", &exists, &[json!(4)]).problem(412),
        "version_conflict"
    );
    assert_eq!(
        append(two, "ended-streams/k", &[("if-none-match", "*")], &[json!(4)]).ok()["version"],
        4
    );
    assert_eq!(values(&get(one, path)), [json!(4)]);
    assert_eq!(append(two, "ended-streams/k", &exists, &[json!(5)]).ok()["version"], 5);
    let closed = ask(one, "DELETE", &format!("{path}?hard=true"), &[], &none).ok();
    assert_eq!(closed["version"], 6);
    for broker in cluster.brokers() {
        assert_eq!(get(broker, path).problem(410), "stream_closed");
        assert_eq!(
            append(broker, "ended-streams/k", &[], &[json!(6)]).problem(410),
            "stream_closed"
        );
        assert_eq!(ask(broker, "HEAD", path, &[], &none).status, 410);
    }
}

#[test]
fn records_of_several_keys_are_taken_together_or_not_at_all() {
    let cluster = Cluster::shared();
    create(&cluster, "together", 1);
    let post = |broker: u64, body: Value| {
        ask(cluster.broker(broker), "POST", "/v1/topics/together/records", &[], &body)
    };
    let record = |key: &str, expected: i64| json!({ "key": key, "value": expected, "expected_version": expected });
    let both = json!({ "records": [record("a", 0), record("a", 1), record("b", -1)], "expected_offset": 0 });
    assert_eq!(
        post(1, both.clone()).ok(),
        json!({ "topic": "together", "partition": 0, "offset": 0, "last_offset": 2 })
    );
    for broker in [1, 2, 3] {
        let conflict = post(broker, both.clone());
        conflict.problem(412);
        let one_wrong = post(broker, json!({ "records": [record("b", 1), record("a", 1)] }));
        assert_eq!(one_wrong.problem(412), "version_conflict");
        assert_eq!(
            (&one_wrong.json()["key"], &one_wrong.json()["current_version"]),
            (&json!("a"), &json!(2))
        );
        let elsewhere = post(broker, json!({ "records": [{ "key": "a" }], "expected_offset": 2 }));
        assert_eq!(elsewhere.problem(412), "offset_conflict");
        assert_eq!(elsewhere.json()["current_offset"], 3);
    }
    let tagged = json!({ "records": [{ "key": "a", "value": 1, "tags": ["t"] }], "no_tag_after": [{ "tag": "t", "offset": -1 }] });
    assert_eq!(post(2, tagged.clone()).ok()["offset"], 3);
    let conflict = post(3, tagged);
    assert_eq!(conflict.problem(412), "tag_conflict");
    assert_eq!(
        (&conflict.json()["tag"], &conflict.json()["current_offset"]),
        (&json!("t"), &json!(3))
    );
    let behind =
        json!({ "records": [{ "key": "b" }], "no_tag_after": [{ "tag": "t", "offset": 3 }] });
    assert_eq!(post(1, behind).ok()["offset"], 4);
}

#[test]
fn what_cannot_be_appended_is_refused_in_words_that_say_why() {
    let cluster = Cluster::shared();
    create(&cluster, "picky", 3);
    cluster.create_topic("streamless", 1, 3);
    let events = json!({ "events": [{ "value": 1 }] });
    let long = format!("/v1/topics/picky/streams/{}", "k".repeat(513));
    let key = "/v1/topics/picky/streams/k";
    let records = "/v1/topics/picky/records";
    let many: Vec<Value> = (0..1001).map(|_| json!({})).collect();
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Value, u16, &'a str);
    let cases: Vec<Case<'_>> = vec![
        ("/v1/topics/none/streams/k", &[], events.clone(), 404, "unknown_topic"),
        ("/v1/topics/streamless/streams/k", &[], events.clone(), 409, "streams_off"),
        (&long, &[], events.clone(), 422, "invalid_key"),
        (key, &[("if-match", "1")], events.clone(), 400, "malformed_header"),
        (key, &[("if-none-match", "\"1\"")], events.clone(), 400, "malformed_header"),
        (key, &[("idempotency-key", "")], events, 400, "malformed_header"),
        (key, &[], json!({ "events": [] }), 400, "invalid_body"),
        (key, &[], json!({ "events": many }), 400, "invalid_body"),
        (key, &[], json!({ "events": [{ "vaule": 1 }] }), 400, "invalid_body"),
        (key, &[], json!({ "events": [{ "value": 1, "value_text": "x" }] }), 422, "invalid_event"),
        (key, &[], json!({ "events": [{ "value_base64": "?" }] }), 422, "invalid_event"),
        (
            key,
            &[],
            json!({ "events": [{ "headers": [{ "name": "quorate-close" }] }] }),
            422,
            "invalid_event",
        ),
        (key, &[], json!({ "events": [{ "tags": [""] }] }), 422, "invalid_event"),
        (records, &[], json!({ "records": [{ "value": 1 }] }), 422, "several_partitions"),
        (
            records,
            &[],
            json!({ "records": [{ "key": "a" }, { "key": "b" }, { "key": "c" }] }),
            422,
            "several_partitions",
        ),
        (
            records,
            &[],
            json!({ "records": [{ "value": 1 }], "partition": 0 }),
            422,
            "invalid_event",
        ),
        (
            records,
            &[],
            json!({ "records": [{ "key": "a" }], "partition": 9 }),
            404,
            "unknown_partition",
        ),
        (
            "/v1/topics/streamless/records",
            &[],
            json!({ "records": [{ "key": "a", "expected_version": 1 }] }),
            409,
            "streams_off",
        ),
    ];
    for (path, headers, body, status, code) in cases {
        for broker in cluster.brokers() {
            let answer = ask(broker, "POST", path, headers, &body);
            assert_eq!(answer.problem(status), code, "{path} {headers:?} {body}");
        }
    }
    let url = cluster.broker(1).url(key);
    let form = [("content-type", "text/plain")];
    let answer = http::request_with(super::LIMIT, "POST", &url, &form, b"x").unwrap();
    assert_eq!(answer.problem(415), "not_json");
}

#[test]
fn a_record_is_taken_in_the_partition_of_its_key_alone() {
    let cluster = Cluster::shared();
    create(&cluster, "placed-by-key", 3);
    let post = |partition| {
        let body = json!({ "records": [{ "key": "a" }], "partition": partition });
        ask(cluster.broker(1), "POST", "/v1/topics/placed-by-key/records", &[], &body).status
    };
    let wrong: Vec<u16> = (0..3).map(post).collect();
    assert_eq!(wrong.iter().filter(|status| **status == 201).count(), 1, "{wrong:?}");
    assert_eq!(wrong.iter().filter(|status| **status == 422).count(), 2, "{wrong:?}");
}

#[test]
fn any_bytes_are_keys_and_values_and_numbers_pass_unchanged() {
    let cluster = Cluster::shared();
    create(&cluster, "exact", 3);
    let broker = cluster.broker(2);
    let text =
        r#"{"events": [{"value": {"a": 1.10, "b": 12345678901234567890123.0, "c": 1e400}}]}"#;
    let url = broker.url("/v1/topics/exact/streams/n");
    http::request("POST", &url, Some(text)).unwrap().ok();
    for broker in cluster.brokers() {
        let found = get(broker, "/v1/topics/exact/streams/n");
        assert!(
            found.text.contains(r#"{"a": 1.10, "b": 12345678901234567890123.0, "c": 1e400}"#),
            "{found:?}"
        );
    }
    // A key of bytes that are no text, and one that means something in a path.
    let path = "/v1/topics/exact/streams/_wD-?key_encoding=base64url";
    let octets = [("content-type", "application/octet-stream")];
    let made =
        http::request_with(super::LIMIT, "POST", &broker.url(path), &octets, b"\xff\x00").unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.headers["location"], path);
    let found = get(cluster.broker(3), path).ok();
    assert_eq!(
        (&found["events"][0]["key_base64"], &found["events"][0]["value_base64"]),
        (&json!("/wD+"), &json!("/wA="))
    );
    append(broker, "exact/a%2Fb%20%25%C3%A9", &[], &[json!(1)]).ok();
    let found = get(cluster.broker(1), "/v1/topics/exact/streams/a%2Fb%20%25%C3%A9").ok();
    assert_eq!(found["events"][0]["key"], "a/b %\u{e9}");
    let wrong = get(broker, "/v1/topics/exact/streams/a!?key_encoding=base64url");
    assert_eq!(wrong.problem(422), "invalid_key");
}
