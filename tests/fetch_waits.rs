//! What a waiting fetch waits for, and what waiting costs.

use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::kafka::{self, FETCH, Fetch, NONE, NOT_LEADER, UNKNOWN_TOPIC_OR_PARTITION};
use crate::support::wire::{Batch, Wire, batches};

/// Longer than `Wire` waits for an answer, so a fetch that waits it out fails its test.
const FOR_EVER_MS: i32 = 120_000;

fn fill(cluster: &Cluster, topic: &str, count: usize, bytes: usize) {
    let mut wire = kafka::at_leader(cluster, topic, 0);
    let value = "x".repeat(bytes);
    for _ in 0..count {
        assert_eq!(kafka::produce(&mut wire, topic, 0, &Batch::of(&[&value]).bytes()).error, NONE);
    }
}

#[test]
fn more_than_an_answer_can_hold_is_not_waited_for() {
    let cluster = Cluster::shared();
    cluster.create_topic("overfull", 1, 1);
    fill(&cluster, "overfull", 30, 300_000);
    let mut wire = kafka::at_leader(&cluster, "overfull", 0);
    let fetch = Fetch { wait_ms: FOR_EVER_MS, ..Fetch::of("overfull", 0, 0) };
    for (what, fetch, expected) in [
        ("a partition's limit", Fetch { min_bytes: 1 << 20, ..fetch.clone() }, 3),
        ("more than the partition's limit", Fetch { min_bytes: 5 << 20, ..fetch.clone() }, 3),
        (
            "the answer's limit",
            Fetch {
                min_bytes: 3 << 20,
                max_bytes: 2 << 20,
                partition_max_bytes: 16 << 20,
                ..fetch.clone()
            },
            6,
        ),
        (
            "more than any answer",
            Fetch { min_bytes: i32::MAX, partition_max_bytes: 4 << 20, ..fetch.clone() },
            13,
        ),
        ("less than one batch", Fetch { min_bytes: 1 << 20, max_bytes: 1, ..fetch.clone() }, 1),
    ] {
        let records = fetch.one(&mut wire).records.unwrap();
        assert_eq!(batches(&records).len(), expected, "{what}");
    }
}

#[test]
fn as_much_as_is_asked_for_is_waited_for_and_counted_without_reading_it() {
    let cluster = Cluster::start("counted", 1);
    cluster.create_topic("counted", 1, 1);
    fill(&cluster, "counted", 80, 100_000);
    let fetch = Fetch {
        wait_ms: FOR_EVER_MS,
        min_bytes: 10_000_000,
        partition_max_bytes: 16 << 20,
        ..Fetch::of("counted", 0, 0)
    };
    let mut waiting: Vec<Wire> = (0..8).map(|_| kafka::at_leader(&cluster, "counted", 0)).collect();
    for wire in &mut waiting {
        wire.send(FETCH, 11, &fetch.body());
    }
    // Eight million bytes wait, and every commit wakes all eight fetches.
    let before = cluster.broker(1).cpu();
    fill(&cluster, "counted", 400, 100);
    let spent = cluster.broker(1).cpu().saturating_sub(before);
    assert!(spent < Duration::from_secs(3), "{spent:?} of processor time for 400 small batches");
    fill(&cluster, "counted", 20, 100_000);
    for wire in &mut waiting {
        let fetched = kafka::fetched(wire.receive().unwrap().1).partitions.remove(0);
        let bytes = fetched.records.unwrap().len();
        assert!((10_000_000..10_200_000).contains(&bytes), "{bytes}");
    }
}

#[test]
fn a_fetch_that_waits_hears_that_its_topic_is_deleted() {
    let cluster = Cluster::shared();
    cluster.create_topic("deleted-under-it", 1, 1);
    let mut wire = kafka::at_leader(&cluster, "deleted-under-it", 0);
    let fetch = Fetch { wait_ms: FOR_EVER_MS, ..Fetch::of("deleted-under-it", 0, 0) };
    wire.send(FETCH, 11, &fetch.body());
    cluster.request("DELETE", "/v1/topics/deleted-under-it", None);
    let fetched = kafka::fetched(wire.receive().unwrap().1).partitions.remove(0);
    assert!([UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER].contains(&fetched.error), "{fetched:?}");
}
