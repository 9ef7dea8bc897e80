//! Compaction that is held in the middle of a table: by an operator, and by a disk that is short of space. Readers see all
//! that counts meanwhile, and it goes on where it was.

use serde_json::{Value, json};

use super::table::{Table, now_ms};
use super::{OFTEN, compacted_upto, create, metric, set, state};
use crate::support::cluster::{Broker, Cluster};
use crate::support::kafka::at_leader;

const TOPIC: &str = "held";
const MIB: u64 = 1 << 20;
/// Such that compaction takes as long as a test wants it to.
const SLOW: &str = "2000000";

/// Waits until the leader says that of its compaction.
fn until(cluster: &Cluster, what: &str, holds: impl Fn(&Value) -> bool) {
    cluster.wait(what, || holds(&state(cluster.broker(1), TOPIC)).then_some(()));
}

fn ask(cluster: &Cluster) {
    cluster.request("POST", &format!("/v1/topics/{TOPIC}/compaction"), None).ok();
}

fn pace(cluster: &Cluster, bytes: Option<&str>) {
    let configs = json!({ "log.cleaner.io.max.bytes.per.second": bytes });
    set(cluster, "brokers/1", &configs);
}

fn compacted(broker: &Broker) -> i64 {
    metric(broker, "compaction_compacted_offset", TOPIC).unwrap() as i64
}

fn table(cluster: &Cluster, keys: u32, value: usize) -> Table {
    let compact = json!({ "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "1" });
    create(cluster, TOPIC, &[1], &compact);
    let mut table = Table::new(TOPIC, value);
    table.write(cluster, now_ms(), 0..keys, |_| false);
    table.write(cluster, now_ms(), (0..keys).filter(|key| key % 3 > 0), |key| key % 10 == 2);
    table
}

#[test]
fn a_compaction_that_is_paused_in_the_middle_of_a_table_stops_there_and_goes_on() {
    let small = [
        ("QUORATE_STORAGE_GENERATION_BYTES", "1048576"),
        ("QUORATE_COMPACTION_KEY_MEMORY_BYTES", "1048576"),
    ];
    let cluster = Cluster::start_with("compaction-paused", 1, &[OFTEN, small].concat());
    let broker = cluster.broker(1);
    let mut table = table(&cluster, 45_000, 60);
    pace(&cluster, Some(SLOW));
    ask(&cluster);
    until(&cluster, "the middle of the second pass", |told| {
        told["compacted_upto"].as_i64() > Some(0)
            && told["compacted_upto"].as_i64() < Some(table.end())
            && told["running"] == true
    });
    let enable =
        |enable: Value| set(&cluster, "brokers/1", &json!({ "log.cleaner.enable": enable }));
    enable(json!("false"));
    until(&cluster, "it stops", |told| told["paused"] == true && told["running"] == false);
    let mark = compacted(broker);
    assert!(mark < table.end(), "compacted to {mark} of {}", table.end());
    let left = table.assert_kept(&cluster, 0, mark);
    assert!(left > 45_000, "the rest is not compacted: {left} records");

    // What is written meanwhile waits with the rest, and a restart does not begin it.
    table.write(&cluster, now_ms(), 0..1_000, |_| false);
    broker.kill9();
    broker.start();
    cluster.wait_whole();
    at_leader(&cluster, TOPIC, 0);
    ask(&cluster);
    until(&cluster, "it is paused as before", |told| told["paused"] == true);
    assert_eq!(
        (compacted(broker), metric(broker, "compaction_runs_total", TOPIC)),
        (mark, Some(0.0))
    );
    table.assert_kept(&cluster, 0, mark);

    pace(&cluster, None);
    enable(Value::Null);
    compacted_upto(&cluster, broker, TOPIC, table.end());
    table.assert_compacted(&cluster, 0);
    assert_eq!(metric(broker, "compaction_failures_total", TOPIC), Some(0.0));
}

#[test]
fn a_disk_that_gets_short_of_space_holds_compaction_until_there_is_room() {
    let cluster = Cluster::start_on_disks("compaction-short", 1, 256 * MIB, &OFTEN);
    ["disk space is low", "not compacted"].iter().for_each(|part| cluster.allow(part));
    let broker = cluster.broker(1);
    let table = table(&cluster, 20_000, 700);
    pace(&cluster, Some(SLOW));
    ask(&cluster);
    until(&cluster, "it is under way", |told| {
        told["running"] == true && told["bytes_read"].as_u64() > Some(MIB)
    });
    // Less is left than there has to be, and more than what is under way takes.
    cluster.disks()[0].fill_but(40 * MIB);
    let short = |expected: &str| {
        let line = format!("quorate_storage_low_space {expected}");
        let is_said =
            || broker.get("/metrics").is_some_and(|it| it.text.lines().any(|it| it == line));
        cluster.wait(&line, || is_said().then_some(()));
    };
    short("1");
    pace(&cluster, None);
    cluster.wait("it cannot write chunks", || {
        (metric(broker, "compaction_failures_total", TOPIC)? > 0.0).then_some(())
    });
    let mark = compacted(broker);
    assert!(mark < table.end(), "compacted to {mark} although there is no room");
    table.assert_kept(&cluster, 0, mark);
    // Also not after a restart, which finds what was being written.
    broker.kill9();
    broker.start();
    cluster.wait_whole();
    short("1");
    cluster.wait("it tries again", || {
        (metric(broker, "compaction_failures_total", TOPIC)? > 0.0).then_some(())
    });
    table.assert_kept(&cluster, 0, compacted(broker));

    cluster.disks()[0].empty();
    short("0");
    compacted_upto(&cluster, broker, TOPIC, table.end());
    table.assert_compacted(&cluster, 0);
}
