//! Kafka's own test of compaction, LogCompactionTester, which its tools bring along (`make more-clients` fetches them): it
//! writes many records of few keys, waits, reads all that is left, and compares the newest of every key. It makes its topics
//! with `cleanup.policy` alone, so what decides when there is enough to compact is set for all topics.

use std::path::Path;

use serde_json::json;

use super::{Run, went_well};
use crate::support::clients::installed;
use crate::support::cluster::{Cluster, fresh_dir};
use crate::support::process;

/// Records of each topic, and how often each key comes, on average.
const MESSAGES: &str = "200000";
const DUPLICATES: &str = "10";
/// How long it waits for compaction, in seconds.
const SLEEP: &str = "10";
/// So much at least has to be compacted away until it reads: how much depends on how fast the machine is.
const PERCENT_MIN: f64 = 50.0;

pub fn run() {
    let settings = [("QUORATE_COMPACTION_CHECK_MS", "500")];
    let cluster = Cluster::start_with("log-compaction", 3, &settings);
    let configs = json!({ "configs": {
        "log.segment.bytes": "262144", "log.cleaner.min.cleanable.ratio": "0.01", "log.roll.ms": "1000" } });
    cluster.request("PATCH", "/v1/cluster/configs", Some(&configs.to_string())).ok();
    let command = |bootstrap: &str, place: &Path| {
        let mut command = process::command("java");
        command.arg(format!("-Djava.io.tmpdir={}", place.display()));
        command.arg("-cp").arg(installed("tools").join("lib").join("*"));
        command.args([
            "org.apache.kafka.tools.LogCompactionTester",
            "--bootstrap-server",
            bootstrap,
        ]);
        command.args(["--topics", "3", "--messages", MESSAGES, "--duplicates", DUPLICATES]);
        command.args(["--percent-deletes", "20", "--compression-type", "lz4", "--sleep", SLEEP]);
        command
    };
    let run = Run {
        title: "LogCompactionTester".to_owned(),
        auto_create: false,
        alone: true,
        command: Box::new(command),
        doubt: Box::new(doubt),
    };
    assert!(went_well(&run, &cluster, &fresh_dir("log-compaction")));
}

/// It ends well also where nothing was compacted.
fn doubt(log: &str) -> Option<String> {
    let Some(told) = log.lines().find(|line| line.contains("% reduction")) else {
        return Some("it does not say how much was compacted".to_owned());
    };
    let percent = told.rsplit('(').next()?.split('%').next()?.parse::<f64>();
    let is_enough = percent.is_ok_and(|percent| percent >= PERCENT_MIN);
    let is_compared = log.contains("Validated ") && log.contains(" 0 mismatches");
    (!is_enough || !is_compared).then(|| told.to_owned())
}

#[test]
fn what_the_tester_says_tells_whether_anything_was_compacted() {
    let log = |reduction: &str, mismatches: u32| {
        format!(
            "10 rows of data produced, 1 rows of data consumed ({reduction}% reduction).\n\
             Validated 9 values, {mismatches} mismatches.Data verification is completed\n"
        )
    };
    assert_eq!(doubt(&log("90.0", 0)), None);
    assert!(doubt(&log("0.0", 0)).is_some());
    assert!(doubt(&log("90.0", 1)).is_some() && doubt("").is_some());
}
