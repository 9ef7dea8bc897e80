//! `kafka-topics`, `kafka-get-offsets` and `kafka-leader-election` as they are used day by day, and in scripts.

use super::{row, says, tool, type_in};
use crate::support::cluster::Cluster;
use crate::support::kafka::leader;

const TOPICS: &str = "TopicCommand";

/// What it says on its way to failing.
fn refused(cluster: &Cluster, class: &str, args: &[&str]) -> String {
    let said = tool(cluster, class, args, "");
    assert_eq!(said.code, Some(1), "{args:?}: {}", said.stdout);
    said.stdout + &said.stderr
}

#[test]
fn kafka_topics_does_what_scripts_do_twice_and_says_why_it_refuses() {
    let (cluster, topic) = (Cluster::shared(), "shell-scripts.a");
    let named = ["--topic", topic];
    let made = [&["--create", "--replica-assignment", "1:2,2:3"], &named[..]].concat();
    says(&cluster, TOPICS, &made);
    says(&cluster, TOPICS, &[&made[..], &["--if-not-exists"]].concat());
    let again = refused(&cluster, TOPICS, &made);
    assert!(again.contains("exists already"), "{again}");
    let alike = refused(&cluster, TOPICS, &["--create", "--topic", "shell-scripts_a"]);
    assert!(alike.contains("differs from topic \"shell-scripts.a\" only in"), "{alike}");
    let many = ["--create", "--topic", "shell-many", "--replication-factor", "9"];
    let many = refused(&cluster, TOPICS, &many);
    assert!(many.contains("9 replicas need 9 brokers"), "{many}");
    let config = ["--create", "--topic", "shell-wrong", "--config", "no.such=1"];
    let config = refused(&cluster, TOPICS, &config);
    assert!(config.contains("Unknown topic config name: no.such"), "{config}");

    let fewer =
        refused(&cluster, TOPICS, &[&["--alter", "--partitions", "1"], &named[..]].concat());
    assert!(fewer.contains("the topic has 2 partitions, 1 is not more"), "{fewer}");
    let more = ["--alter", "--partitions", "3", "--replica-assignment", "1:2,2:3,3:1"];
    says(&cluster, TOPICS, &[&more[..], &named].concat());
    let shown = cluster.wait("the third is shown", || {
        let shown = says(&cluster, TOPICS, &["--describe", "--topic", "shell-scripts.*"]);
        (shown.matches("Partition: ").count() == 3).then_some(shown)
    });
    for (partition, replicas) in ["1,2", "2,3", "3,1"].iter().enumerate() {
        let of = ["Topic:", topic, "Partition:", &partition.to_string()];
        assert_eq!(row(&shown, &of)[7], *replicas, "{shown}");
    }
    let listed = says(&cluster, TOPICS, &["--list", "--topic", "shell-script.*"]);
    assert_eq!(listed.trim(), topic);
    let changed = says(&cluster, TOPICS, &["--describe", "--topics-with-overrides"]);
    assert!(!changed.contains(topic), "{changed}");

    for missing in ["--describe", "--delete"] {
        let args = [missing, "--topic", "shell-missing"];
        let words = refused(&cluster, TOPICS, &args);
        assert!(words.contains("Topic 'shell-missing' does not exist as expected"), "{words}");
        says(&cluster, TOPICS, &[&args[..], &["--if-exists"]].concat());
    }
}

#[test]
fn kafka_topics_tells_which_partitions_lack_a_replica() {
    let (cluster, topic) = (Cluster::start("shell-lacks", 3), "lacks");
    cluster.create_topic(topic, 2, 3);
    let lacks = |kind: &str| says(&cluster, TOPICS, &["--describe", kind]);
    for kind in ["--under-replicated-partitions", "--unavailable-partitions"] {
        assert_eq!(lacks(kind).trim(), "");
    }
    cluster.broker(3).kill9();
    let shown = cluster.wait("both lack the replica that is gone", || {
        let shown = lacks("--under-replicated-partitions");
        (shown.lines().filter(|line| line.contains("Topic: lacks")).count() == 2).then_some(shown)
    });
    for partition in ["0", "1"] {
        let row = row(&shown, &["Topic:", topic, "Partition:", partition]);
        let mut alive: Vec<&str> = row[9].split(',').collect();
        alive.sort_unstable();
        assert_eq!(alive, ["1", "2"], "{shown}");
    }
    // A majority is there, so each is led.
    cluster.wait("none is without a leader", || {
        lacks("--unavailable-partitions").trim().is_empty().then_some(())
    });
    cluster.broker(3).start();
    cluster.wait_whole();
    cluster.wait("none lacks a replica", || {
        lacks("--under-replicated-partitions").trim().is_empty().then_some(())
    });
}

#[test]
fn kafka_get_offsets_tells_ends_and_offsets_of_a_time() {
    let (cluster, topic) = (Cluster::shared(), "shell-times");
    cluster.create_topic(topic, 1, 3);
    let offsets = |args: &[&str]| {
        let args = [&["--topic-partitions", "shell-times:0"], args].concat();
        says(&cluster, "GetOffsetShell", &args).trim().to_owned()
    };
    assert_eq!(offsets(&["--time", "latest"]), "shell-times:0:0");
    type_in(&cluster, topic, "a:1\nb:2\n");
    assert_eq!(offsets(&[]), "shell-times:0:2");
    assert_eq!(offsets(&["--time", "-2"]), "shell-times:0:0");
    assert_eq!(offsets(&["--time", "0"]), "shell-times:0:0");
    // Nothing is as late as that.
    assert_eq!(offsets(&["--time", "99999999999999"]), "");
    let newest = offsets(&["--time", "max-timestamp"]);
    assert!(["shell-times:0:0", "shell-times:0:1"].contains(&newest.as_str()), "{newest}");
    assert_eq!(offsets(&["--time", "earliest-local"]), "shell-times:0:0");
    let filtered = ["--topic", "shell-tim.*", "--partitions", "0,1", "--exclude-internal-topics"];
    assert_eq!(says(&cluster, "GetOffsetShell", &filtered).trim(), "shell-times:0:2");
    let missing = refused(&cluster, "GetOffsetShell", &["--topic", "shell-nothing"]);
    assert!(missing.contains("Could not match any topic-partitions"), "{missing}");
}

#[test]
fn kafka_leader_election_hands_partitions_back_to_their_first_replicas() {
    let cluster = Cluster::start("shell-elects", 3);
    cluster.create_topic("elects", 3, 3);
    cluster.broker(2).kill9();
    cluster.wait("others lead what it led", || {
        let led = |index| leader(&cluster, "elects", index).leader;
        (0..3).all(|index| led(index) != 2).then_some(())
    });
    cluster.broker(2).start();
    cluster.wait_whole();
    let file = cluster.dir.join("elect.json");
    let two =
        r#"{"partitions":[{"topic":"elects","partition":0},{"topic":"elects","partition":1}]}"#;
    std::fs::write(&file, two).unwrap();
    let preferred = ["--election-type", "preferred"];
    let elect =
        |args: &[&str]| says(&cluster, "LeaderElectionCommand", &[&preferred[..], args].concat());
    elect(&["--path-to-json-file", file.to_str().unwrap()]);
    elect(&["--all-topic-partitions"]);
    for index in 0..3 {
        let shown = says(&cluster, TOPICS, &["--describe", "--topic", "elects"]);
        let row = row(&shown, &["Topic:", "elects", "Partition:", &index.to_string()]);
        assert_eq!(row[5], row[7].split(',').next().unwrap(), "{shown}");
    }
    let unclean = ["--election-type", "unclean", "--topic", "elects", "--partition", "0"];
    let unclean = refused(&cluster, "LeaderElectionCommand", &unclean);
    assert!(unclean.contains("InvalidRequestException"), "no replica leads that lacks records");
    let missing = [&preferred[..], &["--topic", "nothing", "--partition", "0"]].concat();
    let missing = refused(&cluster, "LeaderElectionCommand", &missing);
    assert!(missing.contains("UnknownTopicOrPartitionException"), "{missing}");
}
