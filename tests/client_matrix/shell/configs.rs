//! `kafka-configs` of topics from a file, of brokers, of groups and of what is not there; and a throttle of moves,
//! which is refused.

use serde_json::json;

use super::{replicas, row, says, tool};
use crate::support::cluster::Cluster;

const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// What it says on its way to failing.
fn refused(cluster: &Cluster, args: &[&str]) -> String {
    let said = tool(cluster, CONFIGS, args, "");
    assert_eq!(said.code, Some(1), "{args:?}: {}", said.stdout);
    said.stdout + &said.stderr
}

#[test]
fn kafka_configs_takes_lists_and_files_and_refuses_what_is_wrong() {
    let (cluster, topic) = (Cluster::shared(), "shell-configs-file");
    cluster.create_topic(topic, 1, 3);
    let of = ["--entity-type", "topics", "--entity-name", topic];
    let alter = |args: &[&str]| says(&cluster, CONFIGS, &[&["--alter"], &of[..], args].concat());
    alter(&["--add-config", "cleanup.policy=[compact,delete],retention.ms=3600000"]);
    let file = cluster.dir.join("topic.properties");
    std::fs::write(&file, "retention.bytes=1000000\nmin.cleanable.dirty.ratio=0.1\n").unwrap();
    alter(&["--add-config-file", file.to_str().unwrap()]);
    alter(&["--delete-config", "retention.ms", "--add-config", "max.message.bytes=200000"]);
    let expected = [
        "cleanup.policy=compact,delete",
        "max.message.bytes=200000",
        "min.cleanable.dirty.ratio=0.1",
        "retention.bytes=1000000",
    ];
    let named = |said: String| -> Vec<String> {
        let lines = said.lines().filter(|line| line.starts_with("  "));
        lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    cluster.wait("all is shown", || {
        let short = says(&cluster, CONFIGS, &["--describe", "--topic", topic]);
        (named(short) == expected).then_some(())
    });
    let all = says(&cluster, CONFIGS, &[&["--describe", "--all"], &of[..]].concat());
    let of_all = row(&all, &["retention.ms=604800000"]).join(" ");
    assert!(of_all.ends_with("synonyms={DEFAULT_CONFIG:log.retention.ms=604800000}"), "{of_all}");
    for wrong in ["no.such=1", "retention.ms=abc"] {
        let said = refused(&cluster, &[&["--alter", "--add-config", wrong], &of[..]].concat());
        assert!(said.contains("InvalidConfigurationException"), "{said}");
    }
    let missing = ["--alter", "--topic", "shell-missing", "--add-config", "retention.ms=1"];
    let missing = refused(&cluster, &missing);
    assert!(missing.contains("UnknownTopicOrPartitionException"), "{missing}");
}

#[test]
fn kafka_configs_sets_brokers_and_groups_while_they_run() {
    let cluster = Cluster::start("shell-brokers", 3);
    let said = |args: &[&str]| says(&cluster, CONFIGS, args);
    let (all, one) = (["--entity-type", "brokers", "--entity-default"], ["--broker", "1"]);
    let rate = "log.cleaner.io.max.bytes.per.second=10000000";
    said(&[&["--alter", "--add-config", "log.retention.ms=700000000"], &all[..]].concat());
    said(&[&["--alter", "--add-config", rate], &one[..]].concat());
    cluster.wait("both are shown", || {
        let shown = said(&["--describe", "--entity-type", "brokers"]);
        let has = |config: &str, source: &str| {
            shown.contains(&format!("{config} sensitive=false synonyms={{{source}:{config}"))
        };
        let both = has("log.retention.ms=700000000", "DYNAMIC_DEFAULT_BROKER_CONFIG")
            && has(rate, "DYNAMIC_BROKER_CONFIG");
        both.then_some(())
    });
    said(&[&["--alter", "--delete-config", "log.retention.ms"], &all[..]].concat());
    said(
        &[&["--alter", "--delete-config", "log.cleaner.io.max.bytes.per.second"], &one[..]]
            .concat(),
    );
    cluster.wait("neither is shown", || {
        let shown = said(&["--describe", "--entity-type", "brokers"]);
        (!shown.contains("sensitive")).then_some(())
    });
    let file = said(&["--describe", "--all", "--broker", "1"]);
    assert!(file.lines().any(|line| line.trim().starts_with("node.id=1 ")), "{file}");
    let fixed = refused(&cluster, &["--alter", "--broker", "1", "--add-config", "node.id=7"]);
    assert!(fixed.contains("it is not changed while brokers run"), "{fixed}");

    let group = ["--group", "billing"];
    let session = "consumer.session.timeout.ms";
    said(&[&["--alter", "--add-config", &format!("{session}=50000")], &group[..]].concat());
    let (own, behind) = (format!("{session}=50000"), format!("group.{session}=45000"));
    let from = format!("DYNAMIC_GROUP_CONFIG:{own}, DEFAULT_CONFIG:{behind}");
    let words = format!("{own} sensitive=false synonyms={{{from}}}");
    cluster.wait("it is shown", || {
        said(&[&["--describe"], &group[..]].concat()).contains(&words).then_some(())
    });
    // Quotas, which there are none of.
    let quotas = refused(&cluster, &["--describe", "--entity-type", "clients"]);
    assert!(quotas.contains("UnsupportedVersionException"), "{quotas}");
}

/// A throttle that is not kept to is refused, before anything is moved.
#[test]
fn kafka_reassign_partitions_with_a_throttle_moves_nothing() {
    let (cluster, topic) = (Cluster::shared(), "shell-limited");
    let body = json!({ "name": topic, "replicas": [[1, 2]] }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    let file = super::plan(&cluster, topic, &[vec![2, 3]]);
    let args = ["--reassignment-json-file", &file, "--execute", "--throttle", "10000000"];
    let class = "reassign.ReassignPartitionsCommand";
    let said = tool(&cluster, class, &args, "");
    assert_eq!(said.code, Some(1), "{said:?}");
    let words = "throttled.replicas is refused";
    assert!((said.stdout.clone() + &said.stderr).contains(words), "{said:?}");
    assert!(!says(&cluster, class, &["--list"]).contains(topic));
    assert_eq!(replicas(&cluster, topic), [[1, 2]]);
    let topic = says(&cluster, CONFIGS, &["--describe", "--topic", topic]);
    assert!(!topic.contains("throttled"), "{topic}");
    let brokers = says(&cluster, CONFIGS, &["--describe", "--entity-type", "brokers"]);
    assert!(!brokers.contains("throttled"), "{brokers}");
}
