//! `kafka-console-producer` and `kafka-console-consumer`: what is typed is what is shown, with everything a record has.

use super::{says, tool};
use crate::support::cluster::Cluster;

const WRITES: &str = "ConsoleProducer";
const READS: &str = "consumer.ConsoleConsumer";

/// The lines that it shows of so many records.
fn shown(cluster: &Cluster, args: &[&str], count: &str) -> Vec<String> {
    let args = [args, &["--max-messages", count, "--timeout-ms", "60000"]].concat();
    says(cluster, READS, &args).lines().map(str::to_owned).collect()
}

#[test]
fn the_console_writes_and_shows_headers_keys_and_nulls() {
    let (cluster, topic) = (Cluster::shared(), "shell-console");
    cluster.create_topic(topic, 1, 3);
    let mut args = vec!["--topic", topic, "--compression-codec", "zstd"];
    for property in ["parse.headers=true", "parse.key=true", "null.marker=NIL"] {
        args.extend(["--reader-property", property]);
    }
    let typed = "h1:v1,h2:v2\tk1\tone\nNIL\tNIL\ttwo\nh:x\tk3\tNIL\n";
    tool(&cluster, WRITES, &args, typed).ok(WRITES);
    let mut args = vec!["--topic", topic, "--from-beginning"];
    let prints = ["print.key=true", "print.headers=true", "print.offset=true", "null.literal=NIL"];
    for property in [&prints[..], &["print.partition=true"]].concat() {
        args.extend(["--formatter-property", property]);
    }
    let expected = [
        "Partition:0\tOffset:0\th1:v1,h2:v2\tk1\tone",
        "Partition:0\tOffset:1\tNO_HEADERS\tNIL\ttwo",
        "Partition:0\tOffset:2\th:x\tk3\tNIL",
    ];
    assert_eq!(shown(&cluster, &args, "3"), expected);
}

#[test]
fn the_console_reads_from_an_offset_several_topics_and_what_is_committed() {
    let cluster = Cluster::shared();
    for topic in ["shell-some-a", "shell-some-b"] {
        cluster.create_topic(topic, 1, 3);
        let args = ["--topic", topic, "--request-required-acks", "all", "--batch-size", "1"];
        tool(&cluster, WRITES, &args, &format!("{topic} 0\n{topic} 1\n{topic} 2\n")).ok(WRITES);
    }
    let of = ["--topic", "shell-some-a", "--partition", "0", "--offset"];
    assert_eq!(shown(&cluster, &[&of[..], &["1"]].concat(), "1"), ["shell-some-a 1"]);
    let all = ["shell-some-a 0", "shell-some-a 1", "shell-some-a 2"];
    assert_eq!(shown(&cluster, &[&of[..], &["earliest"]].concat(), "3"), all);
    let several = ["--include", "shell-some-.*", "--from-beginning"];
    let several = [&several[..], &["--isolation-level", "read_committed"]].concat();
    let mut both = shown(&cluster, &several, "6");
    both.sort();
    let other = all.map(|it| it.replace("-a", "-b"));
    let expected: Vec<String> = all.map(str::to_owned).into_iter().chain(other).collect();
    assert_eq!(both, expected);
    // It shows a transaction's records when that has ended, as kafka-producer-perf-test does.
    cluster.create_topic("shell-some-transactions", 1, 3);
    let mut args = vec!["--topic", "shell-some-transactions", "--throughput", "-1"];
    args.extend(["--num-records", "50", "--record-size", "10"]);
    args.extend(["--transactional-id", "shell-perf", "--transaction-duration-ms", "5"]);
    says(&cluster, "ProducerPerformance", &args);
    let read = ["--topic", "shell-some-transactions", "--from-beginning"];
    let read = [&read[..], &["--isolation-level", "read_committed"]].concat();
    assert!(shown(&cluster, &read, "50").iter().all(|line| line.len() == 10));
}
