//! What operators do with groups, over HTTP and by the command line: offsets are reset and deleted, groups deleted, listed page
//! by page and watched.

use rdkafka::util::Timeout;
use serde_json::json;

use super::*;

/// Resets, once nothing is refused for the moment: a partition that was just made may have no leader.
fn reset(cluster: &Cluster, group: &str, body: &Value) -> Answer {
    let path = format!("/v1/groups/{group}/offsets");
    cluster.wait("offsets can be reset", || {
        let answer = cluster.request("POST", &path, Some(&body.to_string()));
        (answer.status != 503).then_some(answer)
    })
}

fn new_offsets(answer: &Answer) -> Vec<Option<i64>> {
    let answer = answer.ok();
    answer["offsets"].as_array().unwrap().iter().map(|it| it["new_offset"].as_i64()).collect()
}

/// The offsets that a group has, by partition; `None` while there is no such group.
fn offsets(cluster: &Cluster, group: &str) -> Option<Vec<i64>> {
    let answer = cluster.request("GET", &format!("/v1/groups/{group}"), None);
    if answer.status == 404 {
        return None;
    }
    let answer = answer.ok();
    Some(answer["offsets"].as_array()?.iter().map(|it| it["offset"].as_i64().unwrap()).collect())
}

/// Writes records `0..100`, number `n` to partition `n % 4` and with a timestamp of `n` seconds after what is returned.
fn write_timed(cluster: &Cluster, topic: &str) -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let first_ms = i64::try_from(since.as_millis()).unwrap() - 200_000;
    let producer: BaseProducer = clients::producer(&cluster.bootstrap()).create().unwrap();
    for n in 0..100 {
        let record = BaseRecord::<(), str>::to(topic).partition(n % PARTITIONS).payload("it");
        let record = record.timestamp(first_ms + i64::from(n) * 1_000);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Timeout::After(SOON)).unwrap();
    first_ms
}

#[test]
fn offsets_are_reset_to_anywhere_that_there_is_and_a_dry_run_changes_nothing() {
    let (cluster, name) = (Cluster::shared(), "tools-reset");
    topic(&cluster, name);
    let first_ms = write_timed(&cluster, name);
    let everywhere = json!([{ "topic": name }]);
    let unknown = reset(&cluster, name, &json!({ "to": "earliest" }));
    assert_eq!(unknown.problem(404), "unknown_consumer_group");
    let dry = json!({ "to": "earliest", "topics": everywhere, "dry_run": true });
    let dry = reset(&cluster, name, &dry);
    assert_eq!(new_offsets(&dry), [Some(0); 4]);
    assert_eq!(dry.json()["offsets"][3]["old_offset"], Value::Null);
    assert_eq!(offsets(&cluster, name), None, "a dry run makes no group");
    // A shift that some partition has no offset for is made nowhere.
    let some = json!([{ "topic": name, "partitions": [2] }]);
    assert_eq!(
        new_offsets(&reset(&cluster, name, &json!({ "to": "latest", "topics": some }))),
        [Some(25)]
    );
    let shift = json!({ "to": { "shift": -5 }, "topics": everywhere, "dry_run": true });
    let told = reset(&cluster, name, &shift).ok();
    assert_eq!(told["offsets"][0]["error"], "no_offset", "{told}");
    assert_eq!(told["offsets"][2]["new_offset"], 20, "{told}");
    let shift = json!({ "to": { "shift": -5 }, "topics": everywhere });
    assert_eq!(reset(&cluster, name, &shift).problem(422), "invalid_reset");
    assert_eq!(offsets(&cluster, name), Some(vec![25]));

    reset(&cluster, name, &json!({ "to": "earliest", "topics": everywhere })).ok();
    let cases = [
        (json!({ "offset": 10 }), [10; 4]),
        (json!({ "shift": -3 }), [7; 4]),
        (json!({ "shift": 1_000 }), [25; 4]),
        (json!({ "shift": -1_000 }), [0; 4]),
        (json!({ "offset": 1_000 }), [25; 4]),
        // Record 50 is the 12th of its partition, as 51 is; of the others the first since then are 52 and 53.
        (json!({ "time_ms": first_ms + 50_000 }), [13, 13, 12, 12]),
        (json!({ "time_ms": first_ms + 49_001 }), [13, 13, 12, 12]),
        (json!({ "time": "2000-01-01T00:00:00+02:00" }), [0; 4]),
        (json!({ "time": "2100-01-01T00:00:00Z" }), [25; 4]),
        (json!("earliest"), [0; 4]),
        (json!("latest"), [25; 4]),
    ];
    for (to, expected) in cases {
        let before = offsets(&cluster, name).unwrap();
        for dry_run in [true, false] {
            let answer = reset(&cluster, name, &json!({ "to": to, "dry_run": dry_run })).ok();
            let of = |field: &str| -> Vec<i64> {
                answer["offsets"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|it| it[field].as_i64().unwrap())
                    .collect()
            };
            assert_eq!(
                (of("old_offset"), of("new_offset")),
                (before.clone(), expected.to_vec()),
                "{to}"
            );
            let now = offsets(&cluster, name).unwrap();
            assert_eq!(now, if dry_run { before.clone() } else { expected.to_vec() }, "{to}");
        }
    }
    // What is deleted cannot be read on from.
    let (low, error) = kafka::delete_records(&mut kafka::at_leader(&cluster, name, 1), name, 1, 5);
    assert_eq!((low, error), (5, kafka::NONE));
    assert_eq!(
        new_offsets(&reset(&cluster, name, &json!({ "to": { "offset": 1 } }))),
        [1, 5, 1, 1].map(Some)
    );
}

/// Nobody has asked for a coordinator before, so there is none.
#[test]
fn offsets_are_set_before_the_cluster_has_ever_had_a_group() {
    let (cluster, name) = (Cluster::start("tools-first", 3), "first");
    topic(&cluster, name);
    write(&cluster, name, 0, 100);
    let unknown = reset(&cluster, name, &json!({ "to": "earliest" }));
    assert_eq!(unknown.problem(404), "unknown_consumer_group");
    let body = json!({ "to": { "offset": 20 }, "topics": [{ "topic": name }] });
    assert_eq!(new_offsets(&reset(&cluster, name, &body)), [Some(20); 4]);
    assert_eq!(offsets(&cluster, name), Some(vec![20; 4]));
    let read = cluster.cli(&["consume", name, "--group", name, "-n", "20"], "").ok("consume");
    let read: BTreeSet<i32> = read.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(read, (80..100).collect(), "its first member begins there");
}

/// Each broker is asked, so two of three pass it on.
#[test]
fn every_broker_resets_and_deletes_and_says_why_it_does_not() {
    let (cluster, name) = (Cluster::shared(), "tools-refused");
    topic(&cluster, name);
    write(&cluster, name, 0, 100);
    for broker in cluster.brokers() {
        let ask = |method: &str, path: &str, body: Option<Value>| {
            let url = broker.url(&format!("/v1/groups/tools%2F{}{path}", broker.id));
            let body = body.map(|body| body.to_string());
            crate::support::http::request(method, &url, body.as_deref()).unwrap()
        };
        let named =
            |topic: &str, partitions: Value| json!([{ "topic": topic, "partitions": partitions }]);
        let reset = |topics: Value| {
            ask("POST", "/offsets", Some(json!({ "to": "latest", "topics": topics })))
        };
        assert_eq!(ask("DELETE", "", None).problem(404), "unknown_consumer_group");
        assert_eq!(reset(named("none-such", json!([0]))).problem(404), "unknown_topic");
        assert_eq!(reset(named(name, json!([0, 4]))).problem(404), "unknown_partition");
        assert_eq!(reset(json!([])).problem(422), "invalid_reset");
        let to = |to: Value| ask("POST", "/offsets", Some(json!({ "to": to })));
        assert_eq!(to(json!({ "time": "yesterday" })).problem(422), "invalid_reset");
        assert_eq!(to(json!({ "offset": 1, "shift": 1 })).problem(400), "malformed_body");
        let long = broker.url(&format!("/v1/groups/{}/offsets", "x".repeat(1025)));
        let body = json!({ "to": "latest", "topics": [{ "topic": name }] }).to_string();
        let long = crate::support::http::request("POST", &long, Some(&body)).unwrap();
        assert_eq!(long.problem(422), "invalid_reset");
        assert_eq!(new_offsets(&reset(named(name, json!([3, 1.0])))), [Some(25); 2]);
        let delete = |query: &str| ask("DELETE", &format!("/offsets?{query}"), None);
        assert_eq!(delete(&format!("topic={name}&partition=9")).problem(404), "unknown_partition");
        assert_eq!(delete("topic=none-such").problem(404), "unknown_topic");
        assert_eq!(delete(&format!("topic={name}&partition=1")).status, 204);
        let kept = ask("GET", "", None).ok();
        let kept = kept["offsets"].as_array().unwrap();
        assert!(kept.len() == 1 && kept[0]["partition"] == 3, "{kept:?}");
        assert_eq!(delete(&format!("topic={name}")).status, 204);
        assert_eq!(ask("GET", "", None).ok()["offsets"], json!([]));
        assert_eq!(ask("DELETE", "", None).status, 204);
        assert_eq!(ask("GET", "", None).problem(404), "unknown_consumer_group");
    }
}

#[test]
fn a_group_with_members_is_left_alone() {
    let (cluster, name) = (Cluster::shared(), "tools-living");
    topic(&cluster, name);
    write(&cluster, name, 0, 100);
    for (group, settings) in
        [("tools-classic", &[][..]), ("tools-consumer", &["group.protocol=consumer"][..])]
    {
        let member = Member::start(&cluster, Client::Python, (name, group), settings);
        committed(&cluster, &[&member], 100);
        let path = format!("/v1/groups/{group}");
        for dry_run in [true, false] {
            let body =
                json!({ "to": "earliest", "topics": [{ "topic": name }], "dry_run": dry_run });
            assert_eq!(reset(&cluster, group, &body).problem(409), "group_has_members");
        }
        assert_eq!(cluster.request("DELETE", &path, None).problem(409), "group_has_members");
        let of_topic = format!("{path}/offsets?topic={name}");
        assert_eq!(cluster.request("DELETE", &of_topic, None).problem(409), "group_reads_topic");
        let typed = cluster.cli(&["group", "delete", group], "");
        assert!(typed.code == Some(1) && typed.stderr.contains("has members"), "{}", typed.stderr);
        assert_eq!(offsets(&cluster, group), Some(vec![25; 4]));
        member.stop();
        assert_eq!(
            new_offsets(&reset(&cluster, group, &json!({ "to": "earliest" }))),
            [Some(0); 4]
        );
        let member = Member::start(&cluster, Client::Python, (name, group), settings);
        all_read(
            &[&{
                committed(&cluster, &[&member], 100);
                member.stop()
            }],
            100,
        );
        assert_eq!(cluster.request("DELETE", &path, None).status, 204);
        assert_eq!(offsets(&cluster, group), None);
    }
}

#[test]
fn the_command_line_resets_and_deletes() {
    let (cluster, name) = (Cluster::shared(), "tools-typed");
    topic(&cluster, name);
    write(&cluster, name, 0, 100);
    let reset =
        |more: &[&str]| cluster.cli(&[&["group", "reset-offsets", name], more].concat(), "");
    let rows = |said: String| -> Vec<Vec<String>> {
        said.lines().skip(1).map(|it| it.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let dry = reset(&["--topic", &format!("{name}:0,2"), "--to-latest", "--dry-run"]);
    assert!(dry.stderr.contains("nothing was changed"), "{}", dry.stderr);
    assert_eq!(rows(dry.ok("dry run")), [[name, "0", "-", "25", "-"], [name, "2", "-", "25", "-"]]);
    assert_eq!(offsets(&cluster, name), None);
    assert!(reset(&["--to-latest"]).stderr.contains("no consumer group"));
    reset(&["--topic", name, "--to-offset", "7"]).ok("--to-offset");
    for (flags, expected) in [
        (&["--shift-by", "-3"][..], "4"),
        (&["--to-time", "1000"], "0"),
        (&["--to-time", "2100-01-01T00:00:00Z"], "25"),
        (&["--to-earliest"], "0"),
    ] {
        let rows = rows(reset(flags).ok("reset"));
        assert!(
            rows.len() == 4 && rows.iter().all(|row| row[3] == expected),
            "{flags:?}: {rows:?}"
        );
    }
    for wrong in [&[][..], &["--to-earliest", "--to-latest"], &["--to-offset", "-1"]] {
        assert_eq!(reset(wrong).code, Some(2), "{wrong:?}");
    }
    let soon = reset(&["--to-time", "soon"]);
    assert!(
        soon.code == Some(1) && soon.stderr.contains("2026-11-27T05:30:00Z"),
        "{}",
        soon.stderr
    );
    let one = format!("{name}:1");
    cluster.cli(&["group", "delete-offsets", name, "--topic", &one], "").ok("delete-offsets");
    assert_eq!(offsets(&cluster, name), Some(vec![0; 3]));
    cluster.cli(&["group", "delete", name], "").ok("delete");
    assert_eq!(offsets(&cluster, name), None);
}

#[test]
fn groups_are_listed_page_by_page() {
    let (cluster, name) = (Cluster::shared(), "tools-pages");
    topic(&cluster, name);
    let made: BTreeSet<String> = (0..25).map(|n| format!("tools&page {n:02}")).collect();
    for group in &made {
        let escaped = group.replace('&', "%26").replace(' ', "%20");
        reset(&cluster, &escaped, &json!({ "to": "latest", "topics": [{ "topic": name }] })).ok();
    }
    for broker in cluster.brokers() {
        let (mut listed, mut path) = (Vec::new(), "/v1/groups?limit=7".to_owned());
        loop {
            let page = broker.get(&path).unwrap().ok();
            assert_eq!(page["unreachable"], json!([]), "{page}");
            let groups = page["groups"].as_array().unwrap();
            assert!(groups.len() <= 7, "{page}");
            listed.extend(groups.iter().map(|it| it["group"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            assert!(groups.len() == 7 && listed.last().unwrap() == next, "{page}");
            let next = next.replace('%', "%25").replace('&', "%26").replace(' ', "%20");
            path = format!("/v1/groups?limit=7&after={next}");
        }
        assert!(listed.is_sorted(), "{listed:?}");
        let of_here: Vec<&String> = listed.iter().filter(|it| made.contains(*it)).collect();
        assert_eq!(of_here, made.iter().collect::<Vec<_>>(), "each once");
    }
    let typed = cluster.cli(&["group", "list"], "").ok("list");
    assert!(made.iter().all(|group| typed.contains(group.as_str())), "{typed}");
    assert_eq!(cluster.request("GET", "/v1/groups?limit=0", None).problem(400), "malformed_query");
}

#[test]
fn the_coordinator_of_a_group_tells_its_lag_as_a_metric() {
    let (cluster, name) = (Cluster::shared(), "tools-metrics");
    topic(&cluster, name);
    write(&cluster, name, 0, 100);
    let body = json!({ "to": { "offset": 10 }, "topics": [{ "topic": name }] });
    reset(&cluster, "tools%22quoted%5C", &body).ok();
    let line = |metric: &str, partition: i32, value: i64| {
        let labels = format!(r#"group="tools\"quoted\\",topic="{name}",partition="{partition}""#);
        format!("quorate_consumer_group_{metric}{{{labels}}} {value}")
    };
    let told = |what: &str, expected: &[String]| {
        cluster.wait(what, || {
            let texts: Option<Vec<String>> =
                cluster.brokers().iter().map(|it| Some(it.get("/metrics")?.text)).collect();
            let all = texts?.join("\n");
            let once = |it: &String| all.lines().filter(|line| line == it).count() == 1;
            let of_it =
                all.lines().filter(|line| line.contains(&format!("topic=\"{name}\""))).count();
            (of_it == expected.len() && expected.iter().all(once)).then_some(())
        });
    };
    let of = |metric: &'static str, value| (0..PARTITIONS).map(move |it| (metric, it, value));
    let lines: Vec<String> = of("offset", 10)
        .chain(of("lag", 15))
        .map(|(metric, it, value)| line(metric, it, value))
        .collect();
    told("one broker tells it, whoever leads the partitions", &lines);
    reset(&cluster, "tools%22quoted%5C", &json!({ "to": "latest" })).ok();
    let lines: Vec<String> = of("offset", 25)
        .chain(of("lag", 0))
        .map(|(metric, it, value)| line(metric, it, value))
        .collect();
    told("it has caught up", &lines);
    cluster.request("DELETE", "/v1/groups/tools%22quoted%5C", None);
    told("of a group that is deleted nothing is told", &[]);
}
