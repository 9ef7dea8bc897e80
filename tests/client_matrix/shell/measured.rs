//! The commands that measure, with what they are given for a payload, a transaction and a report.

use super::{says, tool};
use crate::support::cluster::Cluster;

#[test]
fn the_measuring_commands_write_payloads_and_read_them_through() {
    let (cluster, topic) = (Cluster::shared(), "shell-measured-more");
    cluster.create_topic(topic, 1, 3);
    let latency = ["--topic", topic, "--num-records", "20", "--producer-acks", "all"];
    let headers =
        ["--num-headers", "2", "--record-header-key-size", "5", "--record-header-size", "10"];
    let sizes = ["--record-size", "100", "--record-key-size", "10"];
    let said = says(&cluster, "EndToEndLatency", &[&latency[..], &sizes, &headers].concat());
    assert!(said.contains("Avg latency: ") && said.contains("Percentiles: 50th = "), "{said}");

    let file = cluster.dir.join("payload.txt");
    std::fs::write(&file, "some\nmore\n").unwrap();
    let file = ["--payload-file", file.to_str().unwrap(), "--print-metrics"];
    let args = ["--topic", topic, "--num-records", "80", "--throughput", "-1"];
    let said = says(&cluster, "ProducerPerformance", &[&args[..], &file].concat());
    assert!(said.contains("80 records sent"), "{said}");
    assert!(said.contains("producer-metrics:record-send-total"), "{said}");
    let lz4 = ["--payload-monotonic", "--command-property", "acks=1", "compression.type=lz4"];
    says(&cluster, "ProducerPerformance", &[&args[..], &lz4].concat());

    let all = ["--topic", topic, "--num-records", "180", "--show-detailed-stats"];
    let all = [&all[..], &["--reporting-interval", "10", "--hide-header"]].concat();
    says(&cluster, "ConsumerPerformance", &all);
    let none = ["--topic", topic, "--num-records", "1", "--from-latest", "--timeout", "1000"];
    let none = tool(&cluster, "ConsumerPerformance", &none, "").ok("kafka-consumer-perf-test");
    assert!(none.contains("Exiting before consuming the expected number of records"), "{none}");
    let ends = says(&cluster, "GetOffsetShell", &["--topic", topic]);
    assert_eq!(ends.trim(), format!("{topic}:0:180"));
}
