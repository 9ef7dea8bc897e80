//! Wall clocks that are wrong: nothing is deleted by them and nothing stored twice.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::clock;
use crate::support::cluster::{Broker, Cluster};
use crate::support::kafka::{self, NONE, leader, list_offset, produce, producer_id};
use crate::support::wire::{Batch, Wire};

const DAY: Duration = Duration::from_secs(86_400);
const RECORDS: i64 = 20;

fn cluster(name: &str, brokers: u64) -> Cluster {
    let settings =
        [("QUORATE_TOPICS_RETENTION_CHECK_MS", "200"), (clock::PRELOAD, clock::library())];
    let cluster = Cluster::start_with(name, brokers, &settings);
    let body = json!({"name": "aging", "partitions": 1, "replication_factor": brokers,
        "configs": {"retention.ms": (3 * DAY.as_millis()).to_string()}});
    cluster.request("POST", "/v1/topics", Some(&body.to_string())).ok();
    cluster
}

/// A batch of records of now.
fn batch(producer: (i64, i16)) -> Vec<u8> {
    let timestamp = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let values = vec![Some("value".to_owned()); RECORDS as usize];
    Batch { values, timestamp, ..Batch::of(&[]) }.from(producer, 0).bytes()
}

/// Where the batch is, asked of the leader by sending it again.
fn again(cluster: &Cluster, batch: &[u8]) -> (i16, i64) {
    let answer = produce(&mut kafka::at_leader(cluster, "aging", 0), "aging", 0, batch);
    (answer.error, answer.base)
}

fn log_start(cluster: &Cluster) -> i64 {
    list_offset(&mut kafka::at_leader(cluster, "aging", 0), "aging", 0, -1, -2).offset
}

/// Waits until a broker's `/v1/cluster` gives a reason with these words, or none with them.
fn says(cluster: &Cluster, broker: &Broker, words: &str, said: bool) {
    cluster.wait(&format!("broker {} says `{words}`: {said}", broker.id), || {
        let status = broker.get("/v1/cluster")?.json();
        let reasons: Vec<String> = serde_json::from_value(status["reasons"].clone()).unwrap();
        (reasons.iter().any(|reason| reason.contains(words)) == said).then_some(())
    });
}

fn trusted(broker: &Broker) -> bool {
    broker.get("/metrics").unwrap().text.contains("\nquorate_clock_trusted 1\n")
}

/// How far broker `of` is ahead in the eyes of `by`, in whole hours.
fn hours_ahead(by: &Broker, of: u64) -> Option<i64> {
    let brokers = by.get("/v1/brokers")?.json();
    let rows: Vec<Value> = serde_json::from_value(brokers["brokers"].clone()).unwrap();
    let row = rows.into_iter().find(|row| row["id"] == of)?;
    Some(row["clock_ahead_ms"].as_i64()? / 3_600_000)
}

#[test]
fn a_broker_with_a_wrong_clock_hands_over_and_deletes_nothing() {
    let cluster = cluster("wrong-clock", 3);
    cluster.allow("the clock is not trusted");
    for broker in cluster.brokers() {
        says(&cluster, broker, "clock", false);
        assert!(trusted(broker));
    }
    let id = producer_id(&mut kafka::at_leader(&cluster, "aging", 0));
    let batch = batch(id);
    assert_eq!(again(&cluster, &batch), (NONE, 0));
    let alone = json!({"name": "alone", "partitions": 3, "replication_factor": 1,
        "configs": {"retention.ms": (3 * DAY.as_millis()).to_string()}});
    cluster.request("POST", "/v1/topics", Some(&alone.to_string())).ok();
    for index in 0..3 {
        assert_eq!(
            produce(&mut kafka::at_leader(&cluster, "alone", index), "alone", index, &batch).base,
            0
        );
    }

    for back in [false, true] {
        let wrong = cluster.broker(leader(&cluster, "aging", 0).leader as u64);
        clock::set(wrong, 8 * DAY, back);
        says(
            &cluster,
            wrong,
            if back { "691200 s behind a majority" } else { "691200 s ahead of a majority" },
            true,
        );
        cluster.wait("another broker leads", || {
            (leader(&cluster, "aging", 0).leader as u64 != wrong.id).then_some(())
        });
        assert!(!trusted(wrong));
        let other = cluster.brokers().iter().find(|broker| broker.id != wrong.id).unwrap();
        says(&cluster, other, &format!("the clock of broker {}", wrong.id), true);
        cluster.wait("all see whose clock is off", || {
            let hours = if back { -192 } else { 192 };
            (hours_ahead(other, wrong.id)?.abs_diff(hours) <= 1).then_some(())
        });
        assert!(trusted(other));
        assert_eq!(again(&cluster, &batch), (NONE, 0), "the next leader knows it");

        let body = format!("{{\"broker\": {}}}", wrong.id);
        let asked = cluster.request("PUT", "/v1/topics/aging/partitions/0/leader", Some(&body));
        assert!(asked.text.contains("should not lead now"), "{}", asked.text);
        // What nobody else can lead it leads, and takes batches, and forgets nothing.
        let index = (0..3).find(|at| leader(&cluster, "alone", *at).leader as u64 == wrong.id);
        let (index, mut wire) = (index.unwrap(), Wire::connect(wrong.kafka));
        assert_eq!(produce(&mut wire, "alone", index, &Batch::of(&["x"]).bytes()).error, NONE);
        assert_eq!(produce(&mut wire, "alone", index, &batch).base, 0);
        assert_eq!(list_offset(&mut wire, "alone", index, -1, -2).offset, 0);
        clock::set(wrong, Duration::ZERO, false);
        says(&cluster, wrong, "clock", false);
        assert_eq!(again(&cluster, &batch), (NONE, 0), "nothing was forgotten");
    }
    assert_eq!(log_start(&cluster), 0, "nothing was deleted");
}

#[test]
fn a_lone_broker_whose_clock_jumps_deletes_nothing_before_it_is_told() {
    let cluster = cluster("lone-clock", 1);
    cluster.allow("the clock is not trusted");
    let broker = cluster.broker(1);
    let id = producer_id(&mut kafka::at_leader(&cluster, "aging", 0));
    let batch = batch(id);
    assert_eq!(again(&cluster, &batch), (NONE, 0));
    says(&cluster, broker, "clock", false);
    for back in [false, true] {
        clock::set(broker, 8 * DAY, back);
        says(&cluster, broker, "its clock was set", true);
        assert!(!trusted(broker));
        assert_eq!(again(&cluster, &batch), (NONE, 0));
        clock::set(broker, Duration::ZERO, false);
        says(&cluster, broker, "clock", false);
    }
    assert_eq!((log_start(&cluster), again(&cluster, &batch)), (0, (NONE, 0)));

    // An operator says that eight days did pass.
    clock::set(broker, 8 * DAY, false);
    says(&cluster, broker, "its clock was set", true);
    cluster.cli(&["cluster", "confirm-clock"], "").ok("confirm-clock");
    cluster.wait("the records are past their retention", || {
        (log_start(&cluster) == RECORDS).then_some(())
    });
    assert_eq!(again(&cluster, &batch), (NONE, 0), "no leader was in office for a day");
    assert!(trusted(broker));
}

#[test]
fn a_cluster_takes_no_operators_word_for_a_clock() {
    let cluster = Cluster::shared();
    let refused = cluster.request("POST", "/v1/clock/confirm", None);
    assert_eq!(refused.problem(409), "clocks_are_compared");
}
