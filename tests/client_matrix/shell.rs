//! Kafka's own shell commands, as one types them: each says what it says of Kafka.

mod configs;
mod console;
mod groups;
mod kcat;
mod measured;
mod topics;
mod transactions;

use serde_json::Value;

use super::LIMIT;
use crate::support::clients::installed;
use crate::support::cluster::Cluster;
use crate::support::process::{self, Output};

/// Runs the class behind a command, as `kafka-topics.sh` does.
fn tool(cluster: &Cluster, class: &str, args: &[&str], input: &str) -> Output {
    let jars = installed("tools/lib").join("*");
    let mut command = process::command("java");
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp"]);
    let name = if class.starts_with("kafka.") {
        class.into()
    } else {
        format!("org.apache.kafka.tools.{class}")
    };
    command.arg(jars).arg(name).args(args);
    if !args.contains(&"--bootstrap-server") {
        command.args(["--bootstrap-server", &cluster.bootstrap()]);
    }
    process::run_with(command, input, LIMIT)
}

/// What it says, when it has to do it.
fn says(cluster: &Cluster, class: &str, args: &[&str]) -> String {
    let said = tool(cluster, class, args, "");
    assert!(!said.stdout.contains("Error"), "{class} {args:?}: {}", said.stdout);
    said.ok(&format!("{class} {args:?}"))
}

/// The words of the line that begins with these.
fn row(text: &str, words: &[&str]) -> Vec<String> {
    let split = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let starts =
        |row: &Vec<String>| words.iter().zip(row).filter(|(a, b)| **a == b.as_str()).count();
    let found = text.lines().map(split).find(|row| starts(row) == words.len());
    found.unwrap_or_else(|| panic!("no line with {words:?} in {text}"))
}

/// Writes `key:value` lines as a person does.
fn type_in(cluster: &Cluster, topic: &str, lines: &str) {
    let args = ["--topic", topic, "--reader-property", "parse.key=true"];
    let args = [&args[..], &["--reader-property", "key.separator=:"]].concat();
    tool(cluster, "ConsoleProducer", &args, lines).ok("kafka-console-producer");
}

#[test]
fn kafka_topics_makes_shows_grows_and_deletes() {
    let (cluster, topic) = (Cluster::shared(), "shell-topics");
    let said = |args: &[&str]| says(&cluster, "TopicCommand", args);
    let made = ["--create", "--topic", topic, "--partitions", "2", "--replication-factor", "3"];
    let made = said(&[&made[..], &["--config", "retention.ms=86400000"]].concat());
    assert_eq!(made.trim(), format!("Created topic {topic}."));
    let shown = said(&["--describe", "--topic", topic]);
    let head = row(&shown, &["Topic:", topic]).join(" ");
    assert!(head.contains("PartitionCount: 2 ReplicationFactor: 3"), "{shown}");
    assert!(head.ends_with("Configs: retention.ms=86400000"), "{shown}");
    assert_eq!(shown.matches("Partition: ").count(), 2, "{shown}");
    said(&["--alter", "--topic", topic, "--partitions", "3"]);
    cluster.wait("it has three", || {
        let shown = said(&["--describe", "--topic", topic]);
        (shown.matches("Partition: ").count() == 3).then_some(())
    });
    let broken = said(&["--describe", "--topic", topic, "--unavailable-partitions"]);
    assert_eq!(broken, "");
    said(&["--delete", "--topic", topic]);
    cluster.wait("it is not listed", || {
        (!said(&["--list"]).lines().any(|line| line == topic)).then_some(())
    });
    let again = tool(&cluster, "TopicCommand", &["--describe", "--topic", topic], "");
    assert_eq!(again.code, Some(1), "{}", again.stdout);
}

#[test]
fn kafka_consumer_groups_lists_describes_resets_and_deletes_what_the_console_has_read() {
    let (cluster, topic, group) = (Cluster::shared(), "shell-groups", "shell-group");
    cluster.create_topic(topic, 1, 3);
    type_in(&cluster, topic, "a:1\nb:2\nc:3\n");
    let read = ["--topic", topic, "--group", group, "--from-beginning", "--max-messages", "3"];
    let read = [&read[..], &["--formatter-property", "print.key=true"]].concat();
    let read = tool(&cluster, "consumer.ConsoleConsumer", &read, "").ok("kafka-console-consumer");
    let lines: Vec<&str> = read.lines().filter(|line| line.contains('\t')).collect();
    assert_eq!(lines, ["a\t1", "b\t2", "c\t3"]);

    let said = |args: &[&str]| {
        let args = [args, &["--group", group]].concat();
        says(&cluster, "consumer.group.ConsumerGroupCommand", &args)
    };
    let listed = says(&cluster, "consumer.group.ConsumerGroupCommand", &["--list"]);
    assert!(listed.lines().any(|line| line == group), "{listed}");
    assert_eq!(row(&said(&["--describe"]), &[group, topic])[2..6], ["0", "3", "3", "0"]);
    assert!(row(&said(&["--describe", "--state"]), &[group]).contains(&"Empty".to_owned()));
    let dry = said(&["--reset-offsets", "--topic", topic, "--to-earliest", "--dry-run"]);
    assert_eq!(row(&dry, &[group, topic])[2..], ["0", "0"]);
    assert_eq!(row(&said(&["--describe"]), &[group, topic])[3], "3", "that was to see only");
    said(&["--reset-offsets", "--topic", topic, "--shift-by", "-2", "--execute"]);
    assert_eq!(row(&said(&["--describe"]), &[group, topic])[2..6], ["0", "1", "3", "2"]);
    let gone = said(&["--delete-offsets", "--topic", topic]);
    assert_eq!(row(&gone, &[topic, "0"])[2], "Successful");
    let gone = said(&["--delete"]);
    assert!(gone.contains("was successful"), "{gone}");
    let listed = says(&cluster, "GroupsCommand", &["--list"]);
    assert!(!listed.contains(group), "{listed}");
}

#[test]
fn kafka_configs_sets_shows_and_takes_back() {
    let (cluster, topic) = (Cluster::shared(), "shell-configs");
    cluster.create_topic(topic, 1, 3);
    let said = |args: &[&str]| {
        let of = ["--entity-type", "topics", "--entity-name", topic];
        says(&cluster, "kafka.admin.ConfigCommand", &[args, &of].concat())
    };
    said(&["--alter", "--add-config", "retention.ms=7000000,max.message.bytes=2000000"]);
    cluster.wait("both are shown", || {
        let shown = said(&["--describe"]);
        let both = shown.contains("retention.ms=7000000 sensitive=false")
            && shown.contains("max.message.bytes=2000000 sensitive=false");
        both.then_some(())
    });
    said(&["--alter", "--delete-config", "retention.ms"]);
    cluster.wait("one is shown", || {
        let shown = said(&["--describe"]);
        (!shown.contains("retention.ms=7") && shown.contains("max.message.bytes=2")).then_some(())
    });
}

#[test]
fn kafka_get_offsets_and_kafka_delete_records_agree() {
    let (cluster, topic) = (Cluster::shared(), "shell-offsets");
    cluster.create_topic(topic, 1, 3);
    type_in(&cluster, topic, "a:1\nb:2\nc:3\n");
    let offset = |args: &[&str]| {
        says(&cluster, "GetOffsetShell", &[&["--topic", topic], args].concat()).trim().to_owned()
    };
    assert_eq!(offset(&[]), format!("{topic}:0:3"));
    let file = cluster.dir.join("delete-records.json");
    let before =
        format!(r#"{{"version":1,"partitions":[{{"topic":"{topic}","partition":0,"offset":2}}]}}"#);
    std::fs::write(&file, before).unwrap();
    let args = ["--offset-json-file", file.to_str().unwrap()];
    let said = says(&cluster, "DeleteRecordsCommand", &args);
    assert_eq!(
        row(&said, &["partition:"]),
        ["partition:", &format!("{topic}-0"), "low_watermark:", "2"]
    );
    assert_eq!(offset(&["--time", "earliest"]), format!("{topic}:0:2"));
}

#[test]
fn the_measuring_and_verifying_commands_write_and_read() {
    let (cluster, topic) = (Cluster::shared(), "shell-measured");
    cluster.create_topic(topic, 3, 3);
    let args = ["--topic", topic, "--num-records", "1000", "--record-size", "100"];
    let said =
        says(&cluster, "ProducerPerformance", &[&args[..], &["--throughput", "-1"]].concat());
    assert!(said.starts_with("1000 records sent"), "{said}");
    let args = ["--topic", topic, "--num-records", "1000", "--group", topic];
    let said = says(&cluster, "ConsumerPerformance", &args);
    let columns: Vec<&str> = said.lines().last().unwrap().split(", ").collect();
    assert_eq!(columns[4], "1000", "{said}");
    let said = says(&cluster, "VerifiableProducer", &["--topic", topic, "--max-messages", "20"]);
    assert!(said.contains(r#""sent":20,"acked":20"#), "{said}");
    let args = ["--topic", topic, "--max-messages", "1020", "--group-id", "shell-verified"];
    let said = says(
        &cluster,
        "VerifiableConsumer",
        &[&args[..], &["--reset-policy", "earliest"]].concat(),
    );
    let reads = said.lines().filter(|line| line.contains(r#""name":"records_consumed""#));
    let count = |line: &str| serde_json::from_str::<Value>(line).unwrap()["count"].as_u64();
    assert_eq!(reads.filter_map(count).sum::<u64>(), 1020, "{said}");
}

#[test]
fn the_commands_about_the_cluster_know_it() {
    let (cluster, topic) = (Cluster::shared(), "shell-cluster");
    cluster.create_topic(topic, 1, 3);
    let id = says(&cluster, "ClusterTool", &["cluster-id"]);
    let told = cluster.get("/v1/cluster")["cluster_id"].as_str().unwrap().to_owned();
    assert_eq!(id.trim(), format!("Cluster ID: {told}"));
    let brokers = says(&cluster, "ClusterTool", &["list-endpoints"]);
    for broker in cluster.brokers() {
        let (id, port) = (broker.id.to_string(), broker.kafka.to_string());
        assert_eq!(row(&brokers, &[&id])[1..3], ["127.0.0.1", &port]);
    }
    let versions = says(&cluster, "BrokerApiVersionsCommand", &[]);
    assert_eq!(versions.matches("Produce(0): 0 to ").count(), 3, "{versions}");
    let features =
        says(&cluster, "FeatureCommand", &["--bootstrap-server", &cluster.bootstrap(), "describe"]);
    assert!(features.contains("quorate.version"), "{features}");
    let args = ["--election-type", "preferred", "--topic", topic, "--partition", "0"];
    let elected = says(&cluster, "LeaderElectionCommand", &args);
    let done = ["Valid replica already elected", "Successfully completed leader election"];
    assert!(done.iter().any(|it| elected.contains(it)), "{elected}");
}

/// A file for `kafka-reassign-partitions`: each partition with its replicas.
fn plan(cluster: &Cluster, topic: &str, replicas: &[Vec<u64>]) -> String {
    let row = |(partition, replicas)| serde_json::json!({ "topic": topic, "partition": partition, "replicas": replicas });
    let rows: Vec<Value> = replicas.iter().enumerate().map(row).collect();
    let file = cluster.dir.join(format!("{topic}.json"));
    std::fs::write(&file, serde_json::json!({ "version": 1, "partitions": rows }).to_string())
        .unwrap();
    file.to_str().unwrap().to_owned()
}

/// The replicas of each partition.
fn replicas(cluster: &Cluster, topic: &str) -> Vec<Vec<u64>> {
    let shown = cluster.get(&format!("/v1/topics/{topic}"));
    let ids = |it: &Value| it.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    shown["partitions"].as_array().unwrap().iter().map(|it| ids(&it["replicas"])).collect()
}

#[test]
fn kafka_reassign_partitions_proposes_moves_and_verifies() {
    let (cluster, topic) = (Cluster::shared(), "shell-moved");
    cluster.create_topic(topic, 2, 2);
    type_in(&cluster, topic, "a:1\nb:2\nc:3\n");
    let said = |args: &[&str]| says(&cluster, "reassign.ReassignPartitionsCommand", args);
    let file = cluster.dir.join("topics-to-move.json");
    std::fs::write(&file, format!(r#"{{"version":1,"topics":[{{"topic":"{topic}"}}]}}"#)).unwrap();
    let file = ["--topics-to-move-json-file", file.to_str().unwrap()];
    let proposed = said(&[&["--generate", "--broker-list", "1,2,3"], &file[..]].concat());
    let lines: Vec<Value> =
        proposed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let counts: Vec<usize> =
        lines.iter().map(|it| it["partitions"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [2, 2], "what is and what is proposed: {proposed}");

    // Each to the broker that has it not, and away from one that has it.
    let other = |now: &Vec<u64>| vec![6 - now.iter().sum::<u64>(), now[0]];
    let target: Vec<Vec<u64>> = replicas(&cluster, topic).iter().map(other).collect();
    let file = plan(&cluster, topic, &target);
    let args = ["--reassignment-json-file", &file];
    let started = said(&[&["--execute"], &args[..]].concat());
    let words = format!("Successfully started partition reassignments for {topic}-0,{topic}-1");
    assert!(started.contains(&words), "{started}");
    let verified = cluster.wait("both are moved", || {
        let verified = said(&[&["--verify"], &args[..]].concat());
        let done = |n| verified.contains(&format!("partition {topic}-{n} is completed"));
        (done(0) && done(1)).then_some(verified)
    });
    assert!(verified.contains(&format!("throttles on topic {topic}")), "{verified}");
    assert_eq!(replicas(&cluster, topic), target);
    let cancelled = said(&[&["--cancel"], &args[..]].concat());
    assert!(cancelled.contains("None of the specified"), "{cancelled}");
    assert!(!said(&["--list"]).contains(topic));
}

/// The broker that is to have it is away, so the move goes on for as long as that.
#[test]
fn kafka_reassign_partitions_lists_and_cancels_what_is_under_way() {
    let settings = [("QUORATE_RAFT_FENCE_AFTER_MS", "600000")];
    let (cluster, topic) = (Cluster::start_with("shell-moves", 3, &settings), "moving");
    let body = serde_json::json!({ "name": topic, "replicas": [[1, 2]] }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    cluster.broker(3).kill9();
    let said = |args: &[&str]| says(&cluster, "reassign.ReassignPartitionsCommand", args);
    let file = plan(&cluster, topic, &[vec![1, 3]]);
    // What throttles it has nobody set, and the broker that is away could not be asked.
    let args = ["--reassignment-json-file", &file, "--preserve-throttles"];
    let started = said(&["--execute", "--reassignment-json-file", &file]);
    assert!(started.contains("Successfully started partition reassignment"), "{started}");
    let listed = said(&["--list"]);
    let words = format!("{topic}-0: replicas: 1,2,3. adding: 3. removing: 2.");
    assert!(listed.contains(&words), "{listed}");
    let verified = said(&[&["--verify"], &args[..]].concat());
    assert!(verified.contains("partition moving-0 is still in progress"), "{verified}");
    let cancelled = said(&[&["--cancel"], &args[..]].concat());
    assert!(cancelled.contains("Successfully cancelled partition reassignment"), "{cancelled}");
    assert_eq!(said(&["--list"]).trim(), "No partition reassignments found.");
    assert_eq!(replicas(&cluster, topic), [[1, 2]]);
}

#[test]
fn kafka_log_dirs_tells_what_each_broker_keeps() {
    let (cluster, topic) = (Cluster::shared(), "shell-dirs");
    cluster.create_topic(topic, 1, 2);
    type_in(&cluster, topic, "a:1\nb:2\nc:3\n");
    let hosts = replicas(&cluster, topic).remove(0);
    // A follower applies what is committed a little later.
    let told = cluster.wait("both replicas have the records", || {
        let said = says(&cluster, "LogDirsCommand", &["--describe", "--topic-list", topic]);
        let told: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let size = |it: &Value| it["logDirs"][0]["partitions"][0]["size"].as_i64().unwrap_or(0);
        let sizes = told["brokers"].as_array().unwrap().iter().map(size);
        (sizes.filter(|size| *size > 0).count() == 2).then_some(told)
    });
    assert_eq!(told["version"], 1);
    let brokers = told["brokers"].as_array().unwrap();
    assert_eq!(brokers.len(), 3, "{told}");
    for broker in brokers {
        let dirs = broker["logDirs"].as_array().unwrap();
        assert_eq!((dirs.len(), &dirs[0]["error"]), (1, &Value::Null), "{told}");
        assert!(dirs[0]["logDir"].as_str().unwrap().starts_with('/'), "{told}");
        let partitions = dirs[0]["partitions"].as_array().unwrap();
        let hosted = hosts.contains(&broker["broker"].as_u64().unwrap());
        assert_eq!(partitions.len(), usize::from(hosted), "{told}");
        for it in partitions {
            assert_eq!(it["partition"], format!("{topic}-0"));
            assert_eq!((&it["offsetLag"], &it["isFuture"]), (&0.into(), &false.into()));
        }
    }
    let one = says(&cluster, "LogDirsCommand", &["--describe", "--broker-list", "2"]);
    let one: Value = serde_json::from_str(one.lines().last().unwrap()).unwrap();
    assert_eq!(
        (one["brokers"].as_array().unwrap().len(), &one["brokers"][0]["broker"]),
        (1, &2.into())
    );
}

#[test]
fn kafka_metadata_quorum_tells_who_leads_and_who_follows() {
    let cluster = Cluster::shared();
    let bootstrap = cluster.bootstrap();
    let said = |args: &[&str]| {
        let args = [&["--bootstrap-server", &bootstrap, "describe"], args].concat();
        says(&cluster, "MetadataQuorumCommand", &args)
    };
    let status = said(&["--status"]);
    let field = |name: &str| row(&status, &[name])[1].clone();
    assert_eq!(field("ClusterId:"), cluster.get("/v1/cluster")["cluster_id"].as_str().unwrap());
    let leader: u64 = field("LeaderId:").parse().unwrap();
    assert!((1..=3).contains(&leader), "{status}");
    for name in ["LeaderEpoch:", "HighWatermark:", "MaxFollowerLag:"] {
        assert!(field(name).parse::<i64>().unwrap() >= 0, "{status}");
    }
    let list = |name: &str| -> Vec<Value> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        serde_json::from_str(line.trim()).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let mut voters: Vec<u64> =
        list("CurrentVoters:").iter().map(|it| it["id"].as_u64().unwrap()).collect();
    voters.sort_unstable();
    assert_eq!((voters, list("CurrentObservers:").len()), (vec![1, 2, 3], 0), "{status}");
    for more in [&["--replication"][..], &["--replication", "--human-readable"]] {
        let table = said(more);
        let state = |id: u64| row(&table, &[&id.to_string()]).last().unwrap().clone();
        let follows = (1..=3).filter(|id| state(*id) == "Follower").count();
        assert_eq!((state(leader).as_str(), follows), ("Leader", 2), "{table}");
    }
}
