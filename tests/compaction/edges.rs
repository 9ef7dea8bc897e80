//! Where compaction meets something else: retention that deletes chunks, and readers of a batch of which nothing is left.

use std::fs;

use serde_json::json;

use super::table::{Table, now_ms};
use super::{OFTEN, compacted_upto, create, metric, set};
use crate::support::clients::{self, Client};
use crate::support::cluster::{Broker, Cluster, SOON};
use crate::support::kafka::{Fetch, NONE, at_leader, list_offset, produce};
use crate::support::process;
use crate::support::wire::{Batch, batches};

use rdkafka::Message;

const DAY_MS: i64 = 86_400_000;
/// Retention goes by stretches of a quarter of a megabyte.
const STRETCH: u64 = 256 << 10;

fn chunk_bytes(broker: &Broker) -> Option<u64> {
    let metrics = broker.get("/metrics")?.text;
    metrics.lines().find_map(|line| line.strip_prefix("quorate_storage_chunk_bytes "))?.parse().ok()
}

#[test]
fn what_is_compacted_and_deleted_goes_by_age_and_by_size_chunk_by_chunk() {
    let small = [
        ("QUORATE_STORAGE_GENERATION_BYTES", "1048576"),
        ("QUORATE_TOPICS_RETENTION_CHECK_MS", "200"),
    ];
    let cluster = Cluster::start_with("compaction-deletes", 1, &[OFTEN, small].concat());
    let broker = cluster.broker(1);
    let topic = "both";
    let configs = json!({
        "cleanup.policy": "compact,delete", "min.cleanable.dirty.ratio": "1",
        "retention.ms": "-1", "retention.bytes": "-1" });
    create(&cluster, topic, &[1], &configs);
    let mut table = Table::new(topic, 200);
    let compact = |table: &Table| {
        cluster.request("POST", &format!("/v1/topics/{topic}/compaction"), None).ok();
        compacted_upto(&cluster, broker, topic, table.end());
    };
    let log_start = || list_offset(&mut at_leader(&cluster, topic, 0), topic, 0, -1, -2).offset;
    // The first keys are old; every second of the others is written twice.
    let old = 8_000;
    table.write(&cluster, now_ms() - 10 * DAY_MS, 0..old, |_| false);
    table.write(&cluster, now_ms(), old..4 * old, |_| false);
    table.write(&cluster, now_ms(), (old..4 * old).filter(|key| key % 2 > 0), |key| key % 10 == 1);
    compact(&table);
    table.assert_compacted(&cluster, 0);
    let before = chunk_bytes(broker).unwrap();
    assert!(before > 8 * STRETCH, "{before} bytes in chunks");

    set(&cluster, "topics/both", &json!({ "retention.ms": DAY_MS.to_string() }));
    let near = |start: i64| i64::from(old) - start;
    let start = cluster.wait("what is older than a day is gone", || {
        // Up to where a stretch begins.
        let start = log_start();
        (near(start) * 200 < 2 * STRETCH as i64).then_some(start)
    });
    assert!(near(start) >= 0, "{start}: what is younger stays");
    table.assert_compacted(&cluster, start);
    cluster.wait("chunks of what is gone are dropped", || {
        (chunk_bytes(broker)? < before - before / 8).then_some(())
    });

    let kept = before / 3;
    set(&cluster, "topics/both", &json!({ "retention.bytes": kept.to_string() }));
    cluster.wait("no more is left than that and a stretch, in full chunks", || {
        (chunk_bytes(broker)? < kept + 8 * STRETCH).then_some(())
    });
    let start = log_start();
    assert!(start > i64::from(old), "{start}");
    let left = chunk_bytes(broker).unwrap();
    assert!(left > kept / 2, "no more goes than has to: {left} of {kept} bytes");
    table.assert_compacted(&cluster, start);

    // It is compacted on where it begins in the middle of a chunk.
    set(&cluster, "topics/both", &json!({ "retention.bytes": "-1" }));
    table.write(&cluster, now_ms(), (0..4 * old).filter(|key| key % 4 == 0), |_| false);
    compact(&table);
    let start = log_start();
    table.assert_compacted(&cluster, start);
    broker.kill9();
    broker.start();
    cluster.wait_whole();
    assert_eq!(log_start(), start);
    table.assert_compacted(&cluster, start);
    assert_eq!(metric(broker, "compaction_failures_total", topic), Some(0.0));
}

#[test]
fn stock_clients_read_past_a_batch_of_which_nothing_is_left() {
    let cluster = Cluster::start_with("compaction-empty", 1, &OFTEN);
    let topic = "empty";
    let configs = json!({
        "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "1", "delete.retention.ms": "0" });
    create(&cluster, topic, &[1], &configs);
    let mut wire = at_leader(&cluster, topic, 0);
    let mut append = |batch: &Batch| {
        assert_eq!(produce(&mut wire, topic, 0, &batch.bytes()).error, NONE);
    };
    let keys = ["a", "b", "c", "d"].map(Some);
    append(&Batch::of(&["1", "2", "3", "4"]).keyed(&keys));
    // Two of them die in the last batch, of which nothing stays but itself.
    append(&Batch { values: vec![None, None], ..Batch::of(&[]) }.keyed(&keys[..2]));
    cluster.request("POST", &format!("/v1/topics/{topic}/compaction"), None).ok();
    let served = || {
        let fetched = Fetch::of(topic, 0, 0).one(&mut at_leader(&cluster, topic, 0));
        let found = batches(&fetched.records.unwrap()).into_iter();
        found.map(|(base, _, records)| (base, records)).collect::<Vec<_>>()
    };
    cluster.wait("tombstones are gone", || (served() == [(0, 2), (4, 0)]).then_some(()));

    // Who reads to the end comes to it.
    let bootstrap = cluster.bootstrap();
    let mut kcat = process::command("kcat");
    kcat.args(["-C", "-q", "-e", "-b", &bootstrap, "-t", topic, "-p", "0", "-o", "beginning"]);
    kcat.args(["-f", "%o %k %s\n"]);
    let text = process::run(kcat, SOON).ok("kcat to the end");
    assert_eq!(text, "2 c 3\n3 d 4\n");

    append(&Batch::of(&["5", "6"]).keyed(&[Some("e"), Some("f")]));
    assert_eq!(served(), [(0, 2), (4, 0), (6, 2)]);
    for client in Client::ALL {
        let file = cluster.dir.join(format!("{client:?}.read"));
        client.read(&bootstrap, topic, 4, &file);
        let read = fs::read_to_string(&file).unwrap();
        assert_eq!(read, "2\tc\t3\n3\td\t4\n6\te\t5\n7\tf\t6\n", "{client:?}");
    }
    for offset in 4..=6 {
        let consumer = clients::consumer_at(&bootstrap, topic, 0, offset);
        let message = consumer.poll(SOON).expect("a record within time").unwrap();
        assert_eq!((message.offset(), message.payload()), (6, Some(&b"5"[..])), "from {offset}");
    }
}
