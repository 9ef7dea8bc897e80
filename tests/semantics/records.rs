//! Produce, and the requests about what was produced: several partitions at once, and arguments at the edge.

use super::create_on_first;
use crate::support::cluster::Cluster;
use crate::support::kafka::{
    self, CORRUPT_MESSAGE, DELETE_RECORDS, Fetch, INVALID_RECORD, INVALID_REQUEST, LIST_OFFSETS,
    NONE, NOT_LEADER, OFFSET_OUT_OF_RANGE, PRODUCE, UNKNOWN_TOPIC_OR_PARTITION,
    UNSUPPORTED_COMPRESSION, UNSUPPORTED_VERSION, end_of_epoch, leader, list_offset,
};
use crate::support::wire::{Batch, Encoder, Wire};

#[test]
fn the_partitions_of_a_produce_fail_one_by_one() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "one-by-one", 5);
    let mut wire = kafka::at_leader(&cluster, "one-by-one", 0);
    let good = Batch::of(&["x"]).bytes();
    let rows: [(&str, i32, Vec<u8>, i16, i64); 8] = [
        ("one-by-one", 0, good.clone(), NONE, 0),
        ("one-by-one", 1, Batch { crc_error: 1, ..Batch::of(&["x"]) }.bytes(), CORRUPT_MESSAGE, -1),
        ("one-by-one", 2, good.clone(), NONE, 0),
        ("one-by-one", 9, good.clone(), UNKNOWN_TOPIC_OR_PARTITION, -1),
        ("nowhere", 0, good.clone(), UNKNOWN_TOPIC_OR_PARTITION, -1),
        ("one-by-one", 3, Vec::new(), INVALID_RECORD, -1),
        ("one-by-one", 4, good.clone(), INVALID_REQUEST, -1),
        ("one-by-one", 4, good.clone(), INVALID_REQUEST, -1),
    ];
    let mut body = Encoder::default().null().i16(-1).i32(30_000).i32(rows.len() as i32);
    for (topic, index, records, _, _) in &rows {
        body = body.string(topic).i32(1).i32(*index).bytes(records);
    }
    let mut decoder = wire.call(PRODUCE, 7, &body);
    let produced = decoder.list(|decoder| {
        let topic = decoder.string().unwrap();
        let partition = decoder.list(|decoder| {
            let row = (decoder.i32(), decoder.i16(), decoder.i64());
            assert_eq!(decoder.i64(), -1, "the records' own time counts");
            assert_eq!(decoder.i64(), if row.1 == NONE { 0 } else { -1 }, "log start of {row:?}");
            row
        });
        (topic, partition)
    });
    decoder.i32();
    decoder.end();
    let expected =
        rows.map(|(topic, index, _, error, base)| (topic.to_owned(), vec![(index, error, base)]));
    assert_eq!(produced, expected);
    let end = list_offset(&mut wire, "one-by-one", 4, -1, -1).offset;
    assert_eq!(end, 0, "of a partition that is named twice nothing is written");
}

#[test]
fn offsets_are_listed_per_partition_and_a_partition_named_twice_is_refused() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "twice", 2);
    let mut wire = kafka::at_leader(&cluster, "twice", 0);
    kafka::produce(&mut wire, "twice", 1, &Batch::of(&["x", "y"]).bytes());
    let body = Encoder::default().i32(-1).i8(0).i32(1).string("twice").i32(4);
    let body = [0, 1, 0, 9].into_iter().fold(body, |body, index| body.i32(index).i32(-1).i64(-1));
    let mut decoder = wire.call(LIST_OFFSETS, 5, &body);
    decoder.i32();
    let mut topics = decoder.list(|decoder| {
        decoder.string();
        decoder.list(|decoder| {
            let (index, error, _) = (decoder.i32(), decoder.i16(), decoder.i64());
            let offset = decoder.i64();
            decoder.i32();
            (index, error, offset)
        })
    });
    decoder.end();
    let twice = (0, INVALID_REQUEST, -1);
    let expected = [twice, (1, NONE, 2), twice, (9, UNKNOWN_TOPIC_OR_PARTITION, -1)];
    assert_eq!(topics.remove(0), expected);
}

#[test]
fn special_times_mean_what_kafka_says_and_others_below_zero_nothing() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "special", 1);
    let mut wire = kafka::at_leader(&cluster, "special", 0);
    for (timestamp, value) in [(5_000, "a"), (9_000, "b"), (7_000, "c")] {
        let batch = Batch { timestamp, ..Batch::of(&[value]) };
        assert_eq!(kafka::produce(&mut wire, "special", 0, &batch.bytes()).error, NONE);
    }
    assert_eq!(kafka::delete_records(&mut wire, "special", 0, 1), (1, NONE));
    for (time, error, timestamp, offset) in [
        (-1, NONE, -1, 3),
        (-2, NONE, -1, 1),
        (-3, NONE, 9_000, 1),
        // Nothing is kept elsewhere: the local log starts where the log does, and nothing is tiered.
        (-4, NONE, -1, 1),
        (-5, NONE, -1, -1),
        (-99, UNSUPPORTED_VERSION, -1, -1),
        (i64::MIN, UNSUPPORTED_VERSION, -1, -1),
    ] {
        let found = list_offset(&mut wire, "special", 0, -1, time);
        let found = (found.error, found.timestamp, found.offset);
        assert_eq!(found, (error, timestamp, offset), "time {time}");
    }
}

#[test]
fn an_empty_log_has_no_newest_record_and_pending_uploads_are_asked_of_newer_brokers() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "no-newest", 1);
    let mut wire = kafka::at_leader(&cluster, "no-newest", 0);
    // -6 is of version 11, which is not announced.
    for (time, error) in [(-3, NONE), (-6, UNSUPPORTED_VERSION)] {
        let found = list_offset(&mut wire, "no-newest", 0, -1, time);
        assert_eq!((found.error, found.timestamp, found.offset), (error, -1, -1), "time {time}");
    }
}

#[test]
fn a_record_without_a_time_is_taken_and_found_by_its_offset_alone() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "timeless", 1);
    let mut wire = kafka::at_leader(&cluster, "timeless", 0);
    let batch = Batch { timestamp: -1, ..Batch::of(&["x"]) }.bytes();
    let answer = kafka::produce(&mut wire, "timeless", 0, &batch);
    assert_eq!((answer.error, answer.base, answer.append_time), (NONE, 0, -1));
    let found = list_offset(&mut wire, "timeless", 0, -1, 0);
    assert_eq!((found.error, found.offset), (NONE, -1));
    let read = Fetch::of("timeless", 0, 0).one(&mut wire).records.unwrap();
    assert_eq!(read[16..], batch[16..]);
}

#[test]
fn a_producer_too_old_for_zstd_is_told_so() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "zstd-sent", 1);
    let mut wire = kafka::at_leader(&cluster, "zstd-sent", 0);
    let packed = Batch { attributes: 4, ..Batch::of(&["a", "b"]) }.packed();
    let body = kafka::produce_body("zstd-sent", 0, -1, &packed);
    for (version, error, base) in [(6, UNSUPPORTED_COMPRESSION, -1), (7, NONE, 0)] {
        let answer = kafka::produced(wire.call(PRODUCE, version, &body));
        assert_eq!((answer.error, answer.base), (error, base), "version {version}");
    }
}

#[test]
fn a_follower_answers_for_no_partition() {
    let cluster = Cluster::shared();
    cluster.create_topic("followed", 1, 3);
    let state = leader(&cluster, "followed", 0);
    let follower = state.replicas.iter().find(|id| **id != state.leader).unwrap();
    let mut wire = Wire::connect(cluster.broker(*follower as u64).kafka);
    assert_eq!(end_of_epoch(&mut wire, "followed", 0, -1, state.epoch), (NOT_LEADER, -1, -1));
    assert_eq!(list_offset(&mut wire, "followed", 0, -1, -2).error, NOT_LEADER);
    assert_eq!(kafka::delete_records(&mut wire, "followed", 0, -1), (-1, NOT_LEADER));
}

#[test]
fn records_are_deleted_from_each_partition_on_its_own() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "trimmed", 4);
    let mut wire = kafka::at_leader(&cluster, "trimmed", 0);
    for index in 0..4 {
        kafka::produce(&mut wire, "trimmed", index, &Batch::of(&["a", "b", "c"]).bytes());
    }
    let wanted = [(0, 2), (1, -1), (2, 4), (3, -2), (9, 0)];
    let body = Encoder::default().i32(1).string("trimmed").i32(wanted.len() as i32);
    let body = wanted.iter().fold(body, |body, (index, before)| body.i32(*index).i64(*before));
    let mut decoder = wire.call(DELETE_RECORDS, 1, &body.i32(30_000));
    decoder.i32();
    let topics = decoder.list(|decoder| {
        (
            decoder.string().unwrap(),
            decoder.list(|decoder| (decoder.i32(), decoder.i64(), decoder.i16())),
        )
    });
    decoder.end();
    let expected = vec![
        (0, 2, NONE),
        (1, 3, NONE),
        (2, -1, OFFSET_OUT_OF_RANGE),
        (3, -1, OFFSET_OUT_OF_RANGE),
        (9, -1, UNKNOWN_TOPIC_OR_PARTITION),
    ];
    assert_eq!(topics, [("trimmed".to_owned(), expected)]);
}
