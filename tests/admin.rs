//! Topics as people and programs manage them: the Kafka admin clients of Python and Java.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::clients::{java, python};
use crate::support::cluster::Cluster;
use crate::support::process;

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn the_python_admin_client_makes_changes_and_removes_a_topic() {
    let cluster = Cluster::shared();
    let command = python(&["admin", &cluster.bootstrap(), "python-admin"]);
    let seen: Value = serde_json::from_str(&process::run(command, LIMIT).ok("admin")).unwrap();
    assert_eq!(seen["create"], Value::Null, "{seen}");
    assert_eq!(seen["create again"], "TOPIC_ALREADY_EXISTS");
    assert_eq!(seen["create wide"], "INVALID_REPLICATION_FACTOR");
    assert_eq!(seen["create bad config"], "INVALID_CONFIG");
    assert_eq!(seen["grow"], Value::Null);
    assert_eq!(seen["shrink"], "INVALID_PARTITIONS");
    assert_eq!(seen["configs"]["retention.ms"], "5000");
    assert_eq!(seen["configs"]["cleanup.policy"], "delete");
    assert_eq!((&seen["alter"], &seen["altered"]), (&Value::Null, &json!("7000")));
    assert_eq!((&seen["replace"], &seen["replaced"]), (&Value::Null, &json!("900000")));
    assert_eq!(
        (&seen["back"], &seen["replace bad"]),
        (&json!("604800000"), &json!("INVALID_CONFIG"))
    );
    assert_eq!(seen["unsent"], 0);
    assert_eq!(seen["brokers"], json!([1, 2, 3]));
    assert_eq!(seen["replicas"], json!([3, 3, 3]));
    assert_eq!(seen["low watermark"], 4);
    assert_eq!((&seen["earliest"], &seen["latest"]), (&json!(4), &json!(10)));
    assert_eq!(seen["delete"], Value::Null);
    assert_eq!(seen["delete again"], "UNKNOWN_TOPIC_OR_PART");
}

#[test]
fn the_java_admin_client_makes_changes_and_removes_a_topic() {
    let cluster = Cluster::shared();
    let command = java(&["admin", &cluster.bootstrap(), "java-admin"]);
    let seen = process::run(command, LIMIT).ok("admin");
    let seen: Vec<&str> = seen.lines().collect();
    let expected = [
        "brokers 3",
        "create null",
        "create again TopicExistsException",
        "create wide InvalidReplicationFactorException",
        "create bad name InvalidTopicException",
        "create bad config InvalidConfigurationException",
        "grow null",
        "shrink InvalidPartitionsException",
        "retention.ms 5000 DYNAMIC_TOPIC_CONFIG",
        "retention.bytes -1 DEFAULT_CONFIG",
        "alter null",
        "altered 7000 DYNAMIC_TOPIC_CONFIG",
        "append null",
        "append to none InvalidConfigurationException",
        "alter bad InvalidConfigurationException",
        "reset null",
        "altered 604800000 DEFAULT_CONFIG",
        "alter broker InvalidConfigurationException",
        "partitions 3",
        "low watermark 4",
        "earliest 4",
        "latest 10",
        "newest 9",
        "supported {quorate.version=SupportedVersionRange[min_version:1, max_version:1], transaction.version=SupportedVersionRange[min_version:0, max_version:2]}",
        "finalized {quorate.version=FinalizedVersionRange[min_version_level:1, max_version_level:1], transaction.version=FinalizedVersionRange[min_version_level:2, max_version_level:2]} true",
        "same level null",
        "unknown level InvalidUpdateVersionException",
        "downgrade InvalidUpdateVersionException",
        "delete null",
        "delete again UnknownTopicOrPartitionException",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_deleted_topic_frees_its_name_and_a_new_one_of_that_name_is_empty() {
    let cluster = Cluster::shared();
    let made = |expected: u16| {
        let body = json!({"name": "again", "partitions": 1, "replication_factor": 3}).to_string();
        let answer = cluster.request("POST", "/v1/topics", Some(&body));
        assert_eq!(answer.status, expected, "{answer:?}");
        answer
    };
    let first = made(201).json()["id"].clone();
    made(409);
    let mut wire = crate::support::kafka::at_leader(&cluster, "again", 0);
    let batch = crate::support::wire::Batch::of(&["x"]).bytes();
    assert_eq!(crate::support::kafka::produce(&mut wire, "again", 0, &batch).base, 0);
    assert_eq!(cluster.request("DELETE", "/v1/topics/again", None).status, 204);
    assert_eq!(cluster.request("DELETE", "/v1/topics/again", None).problem(404), "unknown_topic");
    assert_ne!(made(201).json()["id"], first, "an id is never used twice");
    let mut wire = crate::support::kafka::at_leader(&cluster, "again", 0);
    assert_eq!(crate::support::kafka::produce(&mut wire, "again", 0, &batch).base, 0);
}

/// AlterPartitionReassignments, ListPartitionReassignments, ElectLeaders and UnregisterBroker.
#[test]
fn the_java_admin_client_moves_replicas_and_leaders() {
    let cluster = Cluster::start("reassigned", 4);
    let body = json!({ "name": "moved", "replicas": [[1, 2, 3]] }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    let seen = process::run(java(&["reassign", &cluster.bootstrap(), "moved"]), LIMIT).ok("moves");
    let expected = [
        "alter null",
        "cancel NoReassignmentInProgressException",
        "fewer InvalidReplicationFactorException",
        "unknown UnknownTopicOrPartitionException",
        "replicas [4, 2, 3]",
        "elect null",
        "again ElectionNotNeededException",
        "all null",
        "unclean InvalidRequestException",
        "unregister InvalidRequestException",
        "nobody BrokerIdNotRegisteredException",
    ];
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
}
