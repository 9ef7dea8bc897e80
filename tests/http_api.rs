//! The HTTP interface: every broker answers, errors are problem documents, and the description of it all
//! is complete.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::{clients, http, process};

/// Makes one of each thing that a path can name, called `described`. Returns the Raft group of its partition.
fn make_described(cluster: &Cluster) -> String {
    let body = json!({ "name": "described", "configs": { "quorate.streams": "true" } }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    let event = json!({ "events": [{ "value": 1 }] }).to_string();
    cluster.request("POST", "/v1/topics/described/streams/described", Some(&event)).ok();
    cluster.wait_whole();
    clients::commit(&cluster.bootstrap(), "described", "described", 0);
    drop(clients::transactional(&cluster.bootstrap(), "described"));
    cluster.get("/v1/topics/described/partitions/0")["group"].to_string()
}

#[test]
fn the_openapi_document_lists_every_route_and_each_get_is_answered_by_every_broker() {
    let cluster = Cluster::shared();
    let group = make_described(&cluster);
    let document = cluster.get("/openapi.json");
    let paths = document["paths"].as_object().unwrap();
    let listed: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    for (path, methods) in [
        ("/livez", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
        ("/openapi.json", "get"),
        ("/v1/cluster", "get"),
        ("/v1/cluster/configs", "get patch"),
        ("/v1/cluster/features", "get post"),
        ("/v1/brokers", "get"),
        ("/v1/brokers/{broker}", "delete"),
        ("/v1/brokers/{broker}/configs", "get patch"),
        ("/v1/topics", "get post"),
        ("/v1/topics/{topic}", "get delete"),
        ("/v1/topics/{topic}/compaction", "get post"),
        ("/v1/topics/{topic}/configs", "get patch"),
        ("/v1/topics/{topic}/partitions/{partition}", "get"),
        ("/v1/topics/{topic}/partitions/{partition}/compaction", "post"),
        ("/v1/topics/{topic}/partitions/{partition}/replicas", "put delete"),
        ("/v1/topics/{topic}/partitions/{partition}/leader", "put"),
        ("/v1/topics/{topic}/partitions/{partition}/transactions", "get"),
        ("/v1/topics/{topic}/partitions/{partition}/transactions/{producer_id}/abort", "post"),
        ("/v1/topics/{topic}/streams", "get"),
        ("/v1/topics/{topic}/streams/{key}", "get head post delete"),
        ("/v1/topics/{topic}/records", "get post"),
        ("/v1/ends", "get"),
        ("/v1/groups", "get"),
        ("/v1/groups/{group}", "get delete"),
        ("/v1/groups/{group}/configs", "get patch"),
        ("/v1/groups/{group}/offsets", "post delete"),
        ("/v1/transactions", "get"),
        ("/v1/transactions/{transactional_id}", "get"),
        ("/v1/transactions/{transactional_id}/abort", "post"),
        ("/v1/raft/groups", "get"),
        ("/v1/raft/groups/{group}", "get"),
    ] {
        let described = |method: &str| paths.get(path).is_some_and(|it| it[method].is_object());
        assert!(methods.split(' ').all(described), "{methods} {path} is not described: {listed:?}");
    }
    for (path, methods) in paths {
        let real = path.replace("{topic}", "described").replace("{partition}", "0");
        let real = real.replace("/raft/groups/{group}", &format!("/raft/groups/{group}"));
        let real = real.replace("{group}", "described").replace("{broker}", "1");
        let real = real.replace("{key}", "described").replace("{producer_id}", "0");
        let real = real.replace("{transactional_id}", "described");
        assert!(!real.contains('{'), "a parameter this test does not know: {path}");
        for broker in cluster.brokers().iter().filter(|_| methods.get("get").is_some()) {
            let answer = broker.get(&real).unwrap();
            assert_eq!(answer.status, 200, "{path} on broker {}: {answer:?}", broker.id);
        }
        for method in ["get", "put", "post", "patch", "delete"] {
            let answer =
                http::request(&method.to_uppercase(), &cluster.broker(1).url("/nowhere"), None);
            assert_eq!(answer.unwrap().problem(404), "no_such_route");
            if let Some(operation) = methods.get(method) {
                assert!(operation["summary"].is_string(), "{method} {path} is not explained");
                assert!(operation["responses"].is_object());
            }
        }
    }
}

#[test]
fn errors_are_problem_documents_with_stable_codes() {
    let cluster = Cluster::shared();
    cluster.create_topic("problems", 1, 3);
    let cases: [(&str, &str, Option<Value>, u16, &str); 19] = [
        ("GET", "/v1/topics/none", None, 404, "unknown_topic"),
        ("GET", "/v1/topics/problems/partitions/9", None, 404, "unknown_partition"),
        ("GET", "/v1/topics/problems/partitions/x", None, 400, "malformed_path"),
        ("GET", "/v1/raft/groups/999999", None, 404, "unknown_group"),
        ("POST", "/v1/topics", Some(json!({"name": "problems"})), 409, "topic_exists"),
        ("POST", "/v1/topics", Some(json!({"name": "a b"})), 422, "invalid_name"),
        ("POST", "/v1/topics", Some(json!({"name": "x", "nmae": 1})), 400, "invalid_body"),
        ("POST", "/v1/topics?leader_wait=1", Some(json!({"name": "x"})), 400, "malformed_query"),
        (
            "POST",
            "/v1/topics?leader_wait_ms=600001",
            Some(json!({"name": "x"})),
            400,
            "malformed_query",
        ),
        ("GET", "/v1/topics?limit=0", None, 400, "malformed_query"),
        ("GET", "/v1/topics?limit=1001", None, 400, "malformed_query"),
        ("DELETE", "/v1/topics/problems?dry_run=true", None, 400, "malformed_query"),
        (
            "POST",
            "/v1/topics",
            Some(json!({"name": "x", "partitions": 0})),
            422,
            "invalid_partitions",
        ),
        (
            "POST",
            "/v1/topics",
            Some(json!({"name": "x", "replication_factor": 9})),
            422,
            "not_enough_brokers",
        ),
        (
            "POST",
            "/v1/topics",
            Some(json!({"name": "x", "configs": {"retention.ms": "soon"}})),
            422,
            "invalid_config",
        ),
        (
            "POST",
            "/v1/topics",
            Some(json!({"name": "x", "configs": {"no.such": "1"}})),
            422,
            "invalid_config",
        ),
        ("PUT", "/v1/topics/problems/partitions/0/leader", Some(json!({"broker": 77})), 422, ""),
        (
            "PUT",
            "/v1/topics/problems/partitions/0/replicas",
            Some(json!({"brokers": [1, 77]})),
            422,
            "",
        ),
        ("PATCH", "/v1/topics", None, 405, "no_such_method"),
    ];
    for (method, path, body, status, code) in cases {
        let body = body.map(|body| body.to_string());
        let answer = cluster.request(method, path, body.as_deref());
        let found = answer.problem(status);
        assert!(code.is_empty() || found == code, "{method} {path}: {answer:?}");
    }
    let malformed = cluster.request("POST", "/v1/topics", Some("{\"name\": "));
    assert_eq!(malformed.problem(400), "malformed_body");
}

#[test]
fn compaction_is_asked_of_compacted_topics_only() {
    let cluster = Cluster::shared();
    cluster.create_topic("uncompacted", 1, 3);
    for (path, status, code) in [
        ("none/compaction", 404, "unknown_topic"),
        ("uncompacted/compaction", 409, "not_compacted"),
        ("uncompacted/partitions/0/compaction", 409, "not_compacted"),
        ("uncompacted/compaction?partition=0", 400, "malformed_query"),
    ] {
        let answer = cluster.request("POST", &format!("/v1/topics/{path}"), None);
        assert_eq!(answer.problem(status), code, "{path}");
    }
}

#[test]
fn routes_of_groups_ends_and_configs_are_refused_with_stable_codes() {
    let cluster = Cluster::shared();
    let connections = json!({"configs": {"max.connections": "1"}});
    let cases: [(&str, &str, Option<Value>, u16, &str); 8] = [
        ("DELETE", "/v1/groups/no-such-group", None, 404, "unknown_consumer_group"),
        ("DELETE", "/v1/groups/no-such-group?force=true", None, 400, "malformed_query"),
        ("DELETE", "/v1/groups/no-such-group/offsets", None, 400, "malformed_query"),
        (
            "POST",
            "/v1/groups/no-such-group/offsets",
            Some(json!({"to": "never"})),
            400,
            "invalid_body",
        ),
        (
            "PUT",
            "/v1/groups/no-such-group/configs",
            Some(connections.clone()),
            405,
            "no_such_method",
        ),
        ("PATCH", "/v1/brokers/77/configs", Some(connections.clone()), 404, "unknown_broker"),
        ("PATCH", "/v1/groups/no-such-group/configs", Some(connections), 422, "invalid_config"),
        ("GET", "/v1/ends?time_ms=soon", None, 400, "malformed_query"),
    ];
    for (method, path, body, status, code) in cases {
        let body = body.map(|body| body.to_string());
        let answer = cluster.request(method, path, body.as_deref());
        assert_eq!(answer.problem(status), code, "{method} {path}: {answer:?}");
    }
}

#[test]
fn a_body_too_large_is_refused_and_the_client_gets_to_read_why() {
    let cluster = Cluster::shared();
    let body = format!("{{\"name\": \"{}\"}}", "x".repeat(8 << 20));
    // The refusal comes while the client still sends; a socket closed at once would reset it.
    for path in ["/v1/topics", "/v1/nowhere"].repeat(20) {
        let answer = cluster.request("POST", path, Some(&body));
        match path {
            "/v1/topics" => assert_eq!(answer.problem(413), "body_too_large"),
            _ => assert_eq!(answer.problem(404), "no_such_route"),
        }
    }
}

#[test]
fn a_topic_is_created_with_its_leaders_and_who_has_none_is_told() {
    // A broker that is gone stays on the list, so that it is given replicas.
    let settings = [("QUORATE_RAFT_FENCE_AFTER_MS", "600000")];
    let cluster = Cluster::start_with("leaders", 3, &settings);
    for n in 0..10 {
        let body = json!({"name": format!("led-{n}"), "partitions": 12, "replication_factor": 3});
        let made = cluster.request("POST", "/v1/topics", Some(&body.to_string())).ok();
        assert_eq!(made["leaderless"], 0, "{made}");
        let partitions = made["partitions"].as_array().unwrap();
        assert!(partitions.iter().all(|partition| partition["leader"].is_u64()), "{made}");
    }
    let made = cluster.cli(&["topic", "create", "typed-led", "--partitions", "12"], "");
    assert_eq!(made.stderr, "");
    assert!(
        !made.ok("create").lines().skip(2).any(|row| row.split_whitespace().nth(1) == Some("-"))
    );

    let gone = cluster.broker(3);
    gone.kill9();
    cluster.wait("the others notice", || {
        let brokers = cluster.get("/v1/brokers");
        let rows = brokers["brokers"].as_array()?;
        rows.iter().any(|row| row["id"] == 3 && row["alive"] == false).then_some(())
    });
    let body = json!({"name": "half", "replicas": [[1], [3], [2], [3]]}).to_string();
    for (name, wait) in [("half", "?leader_wait_ms=300"), ("none", "?leader_wait_ms=0")] {
        let body = body.replace("half", name);
        let made = cluster.request("POST", &format!("/v1/topics{wait}"), Some(&body));
        assert_eq!(made.status, 201, "{made:?}");
        let leaderless = made.json()["leaderless"].as_u64().unwrap();
        assert!(leaderless >= 2 && (wait.ends_with("=0") || leaderless == 2), "{made:?}");
    }
    let flags = ["--partitions", "12", "--replication", "1", "--wait", "1"];
    let made = cluster.cli(&[&["topic", "create", "typed-half"][..], &flags[..]].concat(), "");
    assert!(made.stderr.contains(" of its partitions have no leader yet"), "{}", made.stderr);
    made.ok("create");
    gone.start();
    cluster.wait_whole();
}

#[test]
fn a_dry_run_checks_and_creates_nothing() {
    let cluster = Cluster::shared();
    let body = json!({"name": "dry", "partitions": 3, "dry_run": true}).to_string();
    let answer = cluster.request("POST", "/v1/topics", Some(&body));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(cluster.request("GET", "/v1/topics/dry", None).problem(404), "unknown_topic");
}

#[test]
fn raft_groups_tell_role_term_voters_and_how_far_each_follower_is() {
    let cluster = Cluster::shared();
    cluster.create_topic("grouped", 1, 3);
    let leader = crate::support::kafka::leader(&cluster, "grouped", 0);
    let number = cluster.get("/v1/topics/grouped/partitions/0")["group"].to_string();
    for broker in cluster.brokers() {
        let group = broker.get(&format!("/v1/raft/groups/{number}")).unwrap().ok();
        assert_eq!(group["partition"], "grouped-0");
        assert_eq!(group["leader"], leader.leader);
        assert_eq!(group["term"], leader.epoch);
        assert_eq!(group["voters"].as_array().unwrap().len(), 3);
    }
    cluster.wait("both followers have everything", || {
        let group = cluster.get(&format!("/v1/raft/groups/{number}"));
        let followers = group["followers"].as_array()?;
        let others: Vec<&Value> =
            followers.iter().filter(|f| f["broker"] != leader.leader).collect();
        let caught_up = others.iter().all(|f| f["matched_index"] == group["last_index"]);
        (group["role"] == "leader" && others.len() == 2 && caught_up).then_some(())
    });
}

#[test]
fn metrics_are_prometheus_text_with_help_for_each_name() {
    let cluster = Cluster::shared();
    let answer = cluster.request("GET", "/metrics", None);
    assert_eq!(answer.status, 200);
    let lines = || answer.text.lines();
    let helped = |prefix| lines().filter(|line| line.starts_with(prefix)).count();
    assert!(helped("# HELP ") >= 10, "{}", answer.text);
    assert_eq!(helped("# HELP "), helped("# TYPE "));
    for line in lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(line.starts_with("quorate_") || line.starts_with("process_"), "{line}");
    }
}

#[test]
fn the_log_level_changes_while_the_broker_runs() {
    let cluster = Cluster::start("level", 1);
    let broker = cluster.broker(1);
    let level = |method, body: Option<&str>| {
        http::request(method, &broker.url("/v1/log/level"), body).unwrap()
    };
    let before = broker.log_text();
    assert!(!before.contains("DEBUG"), "{before}");
    assert_eq!(level("PUT", Some(r#"{"level": "debug"}"#)).status, 200);
    // What is told per request is at debug: here a client that hangs up in the middle of a frame.
    let mut wire = crate::support::wire::Wire::connect(broker.kafka);
    std::io::Write::write_all(&mut wire.stream, &[0, 0, 0, 9, 0]).unwrap();
    drop(wire);
    cluster.wait("debug lines", || broker.log_text().contains("DEBUG").then_some(()));
    assert!(level("PUT", Some(r#"{"level": "loud"}"#)).status >= 400);
    assert_eq!(level("GET", None).json()["level"], "debug");
}

/// Schemathesis knows nothing of the broker but its description: it sends what the description allows, and what it
/// does not, and compares every answer with it.
#[test]
fn the_openapi_document_is_true() {
    let cluster = Cluster::start("described-truly", 1);
    // The description's own examples name it.
    let configs = json!({ "cleanup.policy": "compact,delete", "quorate.streams": "true" });
    let topic =
        json!({ "name": "orders", "partitions": 3, "replication_factor": 1, "configs": configs });
    cluster.request("POST", "/v1/topics", Some(&topic.to_string())).ok();
    let url = cluster.broker(1).url("/openapi.json");
    let output = process::run(clients::schemathesis(&url), Duration::from_secs(600));
    let report = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.code, Some(0), "{report}");
    let cases = report.rsplit("Test cases:").next().and_then(|it| it.split_whitespace().next());
    let cases = cases.and_then(|number| number.parse::<u32>().ok());
    assert!(cases > Some(500), "{cases:?} cases: {report}");
}
