//! Partitions without a majority fail by themselves, and take nobody's time but once.

use crate::support::cluster::Cluster;
use crate::support::kafka::{
    self, DELETE_RECORDS, LIST_OFFSETS, NONE, OFFSET_FOR_LEADER_EPOCH, PRODUCE, leader, produce,
};
use crate::support::wire::{Batch, Decoder, Encoder, Wire};

/// One after the other, at two seconds each, they would take longer than `Wire` waits.
const SICK: usize = 20;

fn name(n: usize) -> String {
    format!("sick-{n:02}")
}

/// A request that names all sick partitions, and then the healthy one; `partition` is told which it is.
fn all(head: Encoder, partition: impl Fn(Encoder, bool) -> Encoder) -> Encoder {
    let sick = (0..SICK).map(|n| (name(n), false));
    let names = sick.chain([("healthy".to_owned(), true)]);
    let topic = |body: Encoder, (name, healthy): (String, bool)| {
        partition(body.string(&name).i32(1).i32(0), healthy)
    };
    names.fold(head.i32(SICK as i32 + 1), topic)
}

/// The rows of an answer's partitions, one for each topic.
fn rows<T>(mut decoder: Decoder, partition: impl Fn(&mut Decoder) -> T) -> Vec<T> {
    decoder.i32();
    let topics = decoder.list(|decoder| {
        decoder.string();
        decoder.list(&partition)
    });
    decoder.end();
    topics.into_iter().flatten().collect()
}

#[test]
fn partitions_without_a_majority_do_not_take_healthy_ones_along() {
    let cluster = Cluster::start("sick", 3);
    for n in 0..SICK {
        let body = serde_json::json!({ "name": name(n), "replicas": [[1, 2]] }).to_string();
        cluster.request("POST", "/v1/topics", Some(&body)).ok();
    }
    let body = serde_json::json!({ "name": "healthy", "replicas": [[1]] }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    let mut wire = kafka::at_leader(&cluster, "healthy", 0);
    for n in 0..SICK {
        cluster
            .wait("broker 1 leads", || (leader(&cluster, &name(n), 0).leader == 1).then_some(()));
        assert_eq!(produce(&mut wire, &name(n), 0, &Batch::of(&["x", "y"]).bytes()).error, NONE);
    }
    assert_eq!(produce(&mut wire, "healthy", 0, &Batch::of(&["x", "y"]).bytes()).error, NONE);
    let epoch = leader(&cluster, "healthy", 0).epoch;
    cluster.broker(2).kill9();

    let body = all(Encoder::default().i32(-1).i8(0), |body, _| body.i32(-1).i64(-1));
    let listed = rows(wire.call(LIST_OFFSETS, 5, &body), |decoder| {
        decoder.i32();
        let error = decoder.i16();
        decoder.i64();
        (error, decoder.i64(), decoder.i32())
    });
    assert_eq!(listed[SICK], (NONE, 2, epoch));
    assert!(listed[..SICK].iter().all(|row| row.0 != NONE), "{listed:?}");

    // Of the newest epoch, whose end moves.
    let newest = |healthy| if healthy { epoch } else { i32::MAX };
    let body = all(Encoder::default().i32(-1), |body, healthy| body.i32(-1).i32(newest(healthy)));
    let ends = rows(wire.call(OFFSET_FOR_LEADER_EPOCH, 3, &body), |decoder| {
        let error = decoder.i16();
        decoder.i32();
        (error, decoder.i32(), decoder.i64())
    });
    assert_eq!(ends[SICK], (NONE, epoch, 2));
    assert!(ends[..SICK].iter().all(|row| row.0 != NONE), "{ends:?}");

    let body = all(Encoder::default(), |body, _| body.i64(1)).i32(5_000);
    let deleted = rows(wire.call(DELETE_RECORDS, 1, &body), |decoder| {
        decoder.i32();
        (decoder.i64(), decoder.i16())
    });
    assert_eq!(deleted[SICK], (1, NONE));
    assert!(deleted[..SICK].iter().all(|row| row.1 != NONE), "{deleted:?}");
}

#[test]
fn a_timeout_too_short_for_any_commit_is_not_taken_at_its_word() {
    let cluster = Cluster::shared();
    cluster.create_topic("impatient", 1, 3);
    let mut wire = kafka::at_leader(&cluster, "impatient", 0);
    let batch = Batch::of(&["x"]).bytes();
    let mut produced = 0;
    for acks in [1, -1] {
        for timeout in [0, 1, -1] {
            for _ in 0..10 {
                let body =
                    Encoder::default().null().i16(acks).i32(timeout).i32(1).string("impatient");
                let body = body.i32(1).i32(0).bytes(&batch);
                let answer = kafka::produced(wire.call(PRODUCE, 7, &body));
                assert_eq!((answer.error, answer.base), (NONE, produced), "acks {acks}");
                produced += 1;
            }
        }
    }
    // A change of another kind: the records are deleted, and that is said.
    let body = Encoder::default().i32(1).string("impatient").i32(1).i32(0).i64(5).i32(0);
    let deleted = rows(wire.call(DELETE_RECORDS, 1, &body), |decoder| {
        decoder.i32();
        (decoder.i64(), decoder.i16())
    });
    assert_eq!(deleted, [(5, NONE)]);
}

#[test]
fn what_no_majority_stores_is_not_acknowledged_when_the_stated_time_is_over() {
    let cluster = Cluster::start("lone", 3);
    cluster.create_topic("lone", 1, 3);
    let led_by = leader(&cluster, "lone", 0).leader as u64;
    let mut wire = Wire::connect(cluster.broker(led_by).kafka);
    assert_eq!(produce(&mut wire, "lone", 0, &Batch::of(&["x"]).bytes()).error, NONE);
    for broker in cluster.brokers().iter().filter(|broker| broker.id != led_by) {
        broker.kill9();
    }
    let body = Encoder::default().null().i16(-1).i32(2_000).i32(1).string("lone").i32(1).i32(0);
    let answer = kafka::produced(wire.call(PRODUCE, 7, &body.bytes(&Batch::of(&["y"]).bytes())));
    assert_ne!(answer.error, NONE);
}
