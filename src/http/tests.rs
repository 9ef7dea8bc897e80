use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::*;
use crate::metadata::AdminError;

const SOURCES: [&str; 27] = [
    include_str!("../http.rs"),
    include_str!("cluster.rs"),
    include_str!("compaction.rs"),
    include_str!("configs.rs"),
    include_str!("ends.rs"),
    include_str!("events.rs"),
    include_str!("features.rs"),
    include_str!("group_changes.rs"),
    include_str!("groups.rs"),
    include_str!("health.rs"),
    include_str!("isolation.rs"),
    include_str!("log.rs"),
    include_str!("partition_transactions.rs"),
    include_str!("partitions.rs"),
    include_str!("placed.rs"),
    include_str!("raft.rs"),
    include_str!("reading.rs"),
    include_str!("record_reads.rs"),
    include_str!("records.rs"),
    include_str!("resource_configs.rs"),
    include_str!("reset.rs"),
    include_str!("scrape.rs"),
    include_str!("stream_progress.rs"),
    include_str!("stream_reads.rs"),
    include_str!("streams.rs"),
    include_str!("topics.rs"),
    include_str!("transactions.rs"),
];

/// The operations of the specification, such as `get /v1/topics`.
fn operations() -> Vec<String> {
    let document = serde_json::to_value(describe()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect()
}

#[test]
fn a_method_nobody_knows_makes_no_label_of_its_own() {
    assert_eq!(method_label(&Method::DELETE), "DELETE");
    for made_up in ["X1", "get", "PROPFIND"] {
        assert_eq!(method_label(&Method::from_bytes(made_up.as_bytes()).unwrap()), "other");
    }
}

#[test]
fn every_handler_is_mounted_and_in_the_specification() {
    let handlers: usize =
        SOURCES.iter().map(|source| source.matches("#[utoipa::path(").count()).sum();
    assert_eq!(operations().len(), handlers, "{:#?}", operations());
    // Nothing is mounted past the macro that describes what it mounts.
    let mounted = SOURCES[0].matches(".routes(routes!(").count();
    assert!(mounted > 10 && !SOURCES[0].contains(".route("), "{mounted}");
}

/// Of two schemas of one name the specification would show one for both.
#[test]
fn every_schema_has_a_name_of_its_own() {
    let mut seen = std::collections::BTreeSet::new();
    for source in SOURCES {
        for block in source.split("ToSchema)]").skip(1) {
            let mut words = block.split([' ', '<', '(', ';', '\n']);
            words.find(|word| ["struct", "enum"].contains(word));
            let name = words.next().unwrap();
            assert!(seen.insert(name), "{name} is declared twice");
        }
    }
    assert!(seen.len() > 15, "{seen:?}");
}

#[test]
fn the_specification_has_every_route_that_was_promised() {
    let operations = operations();
    for promised in [
        "get /livez",
        "get /readyz",
        "get /metrics",
        "get /openapi.json",
        "get /v1/cluster",
        "get /v1/cluster/features",
        "post /v1/cluster/features",
        "get /v1/brokers",
        "delete /v1/brokers/{broker}",
        "get /v1/topics",
        "post /v1/topics",
        "get /v1/topics/{topic}",
        "delete /v1/topics/{topic}",
        "get /v1/topics/{topic}/configs",
        "patch /v1/topics/{topic}/configs",
        "get /v1/topics/{topic}/compaction",
        "post /v1/topics/{topic}/compaction",
        "post /v1/topics/{topic}/partitions/{partition}/compaction",
        "get /v1/groups",
        "get /v1/groups/{group}",
        "delete /v1/groups/{group}",
        "post /v1/groups/{group}/offsets",
        "delete /v1/groups/{group}/offsets",
        "get /v1/topics/{topic}/partitions/{partition}",
        "put /v1/topics/{topic}/partitions/{partition}/replicas",
        "delete /v1/topics/{topic}/partitions/{partition}/replicas",
        "put /v1/topics/{topic}/partitions/{partition}/leader",
        "get /v1/topics/{topic}/streams",
        "post /v1/topics/{topic}/streams/{key}",
        "delete /v1/topics/{topic}/streams/{key}",
        "head /v1/topics/{topic}/streams/{key}",
        "get /v1/topics/{topic}/streams/{key}",
        "post /v1/topics/{topic}/records",
        "get /v1/topics/{topic}/records",
        "get /v1/transactions",
        "get /v1/transactions/{transactional_id}",
        "post /v1/transactions/{transactional_id}/abort",
        "get /v1/topics/{topic}/partitions/{partition}/transactions",
        "post /v1/topics/{topic}/partitions/{partition}/transactions/{producer_id}/abort",
        "get /v1/raft/groups",
        "get /v1/raft/groups/{group}",
        "put /v1/log/level",
    ] {
        assert!(
            operations.iter().any(|operation| operation == promised),
            "{promised}: {operations:#?}"
        );
    }
}

#[tokio::test]
async fn a_problem_is_a_problem_document_with_a_stable_code() {
    let response = Problem::from(AdminError::UnknownTopic("orders".into())).into_response();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "unknown_topic");
    assert_eq!(problem["status"], 404);
    assert_eq!(problem["detail"], "there is no topic orders");
    assert_eq!(problem["retriable"], false);
}

#[test]
fn an_unknown_outcome_is_never_called_a_failure() {
    assert_eq!(Problem::from(AdminError::Timeout).code(), "timeout_unknown_outcome");
}
