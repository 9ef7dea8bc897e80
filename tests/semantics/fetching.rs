//! Fetches of several partitions, their limits, and what ends a wait.

use std::time::Duration;

use super::create_on_first;
use crate::support::cluster::Cluster;
use crate::support::kafka::{
    self, FETCH, Fetch, Fetched, FetchedAll, NONE, OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC_OR_PARTITION,
    UNSUPPORTED_COMPRESSION, fetched, produce,
};
use crate::support::wire::{Batch, Encoder, Wire};

/// Fetch version 11 of several partitions of one topic, in that order, from an offset each.
fn fetch_many(wire: &mut Wire, topic: &str, from: &[(i32, i64)], bytes_max: i32) -> Vec<Fetched> {
    let body = Encoder::default().i32(-1).i32(0).i32(1).i32(bytes_max).i8(0).i32(0).i32(-1);
    let mut body = body.i32(1).string(topic).i32(from.len() as i32);
    for (index, offset) in from {
        body = body.i32(*index).i32(-1).i64(*offset).i64(-1).i32(1 << 20);
    }
    let all: FetchedAll = fetched(wire.call(FETCH, 11, &body.i32(0).string("")));
    assert_eq!(all.error, NONE);
    all.partitions
}

#[test]
fn partitions_share_the_limit_in_the_order_of_the_request() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "shared-limit", 3);
    let mut wire = kafka::at_leader(&cluster, "shared-limit", 0);
    let batch = Batch::of(&["x".repeat(1_000).as_str()]).bytes();
    for index in [0, 1, 2, 0, 1, 2] {
        assert_eq!(produce(&mut wire, "shared-limit", index, &batch).error, NONE);
    }
    let one = batch.len() as i32;
    for (bytes_max, batches) in [
        // The first batch comes whole whatever the limit.
        (0, [1, 0, 0]),
        (1, [1, 0, 0]),
        (one, [1, 0, 0]),
        (2 * one, [2, 0, 0]),
        (3 * one, [2, 1, 0]),
        (5 * one, [2, 2, 1]),
        (100 * one, [2, 2, 2]),
    ] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let from = order.map(|index| (index, 0));
            let found = fetch_many(&mut wire, "shared-limit", &from, bytes_max);
            let found: Vec<_> = found
                .iter()
                .map(|it| (it.index, it.error, it.records.as_ref().unwrap().len() / batch.len()))
                .collect();
            let expected: Vec<_> =
                order.iter().zip(batches).map(|(index, count)| (*index, NONE, count)).collect();
            assert_eq!(found, expected, "at most {bytes_max} bytes");
        }
    }
    // One that has nothing does not use up the exception for the first batch.
    let found = fetch_many(&mut wire, "shared-limit", &[(0, 2), (1, 1), (2, 0)], 1);
    let bytes: Vec<_> = found.iter().map(|it| it.records.as_ref().unwrap().len()).collect();
    assert_eq!(bytes, [0, batch.len(), 0]);
}

#[test]
fn a_partition_with_an_error_tells_no_offsets_and_stops_no_other() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "some-fail", 2);
    let mut wire = kafka::at_leader(&cluster, "some-fail", 0);
    for index in [0, 1] {
        produce(&mut wire, "some-fail", index, &Batch::of(&["x"]).bytes());
    }
    let found = fetch_many(&mut wire, "some-fail", &[(7, 0), (0, 50), (1, 0)], 1 << 20);
    let failed = |index, error| Fetched {
        index,
        error,
        high_watermark: -1,
        stable: -1,
        log_start: -1,
        aborted: None,
        records: Some(Vec::new()),
    };
    assert_eq!(found[0], failed(7, UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(found[1], failed(0, OFFSET_OUT_OF_RANGE));
    assert_eq!((found[2].error, found[2].high_watermark, found[2].log_start), (NONE, 1, 0));
    assert!(!found[2].records.as_ref().unwrap().is_empty());
}

#[test]
fn a_fetch_that_may_not_wait_does_not_and_one_that_waits_is_woken_by_the_end_of_its_topic() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "ends", 1);
    let mut wire = kafka::at_leader(&cluster, "ends", 0);
    let hasty = Fetch { min_bytes: 1 << 20, ..Fetch::of("ends", 0, 0) };
    let found = hasty.one(&mut wire);
    assert_eq!((found.error, found.records), (NONE, Some(Vec::new())));
    // Longer than the connection is willing to wait.
    wire.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let patient = Fetch { wait_ms: 300_000, ..Fetch::of("ends", 0, 0) };
    wire.send(FETCH, 11, &patient.body());
    cluster.request("DELETE", "/v1/topics/ends", None).ok();
    let found = fetched(wire.receive().unwrap().1);
    assert_eq!(found.partitions[0].error, UNKNOWN_TOPIC_OR_PARTITION, "{found:?}");
}

#[test]
fn where_nothing_was_aborted_the_list_is_empty_to_who_reads_what_is_committed_and_null_to_others() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "isolated", 1);
    let mut wire = kafka::at_leader(&cluster, "isolated", 0);
    produce(&mut wire, "isolated", 0, &Batch::of(&["a", "b"]).bytes());
    for (isolation, aborted) in [(0, None), (1, Some(vec![]))] {
        let found = Fetch { isolation, ..Fetch::of("isolated", 0, 0) }.one(&mut wire);
        assert_eq!((found.error, found.high_watermark, found.stable), (NONE, 2, 2), "{isolation}");
        assert_eq!(found.aborted, aborted, "{isolation}");
        assert!(found.records.is_some_and(|records| !records.is_empty()));
    }
}

#[test]
fn a_consumer_too_old_for_zstd_is_told_so() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "zstd", 2);
    let mut wire = kafka::at_leader(&cluster, "zstd", 0);
    let packed = Batch { attributes: 4, ..Batch::of(&["a", "b"]) }.packed();
    assert_eq!(produce(&mut wire, "zstd", 0, &packed).error, NONE);
    produce(&mut wire, "zstd", 1, &Batch::of(&["c"]).bytes());
    for (version, index, error, high_watermark) in
        [(9, 0, UNSUPPORTED_COMPRESSION, -1), (10, 0, NONE, 2), (9, 1, NONE, 1)]
    {
        let body = Encoder::default().i32(-1).i32(0).i32(1).i32(1 << 20).i8(0).i32(0).i32(-1);
        let body = body.i32(1).string("zstd").i32(1).i32(index).i32(-1).i64(0).i64(-1);
        let mut decoder = wire.call(FETCH, version, &body.i32(1 << 20).i32(0));
        decoder.i32();
        assert_eq!((decoder.i16(), decoder.i32(), decoder.i32()), (NONE, 0, 1));
        assert_eq!((decoder.string().as_deref(), decoder.i32()), (Some("zstd"), 1));
        let row = (decoder.i32(), decoder.i16(), decoder.i64());
        assert_eq!(row, (index, error, high_watermark), "version {version}");
        decoder.i64();
        decoder.i64();
        decoder.i32();
        assert_eq!(decoder.bytes().unwrap().is_empty(), error != NONE);
        decoder.end();
    }
}
