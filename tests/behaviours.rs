//! What clients rely on and clones get wrong: metadata, leader epochs, offsets, log start.

use std::io::Write;

use crate::support::cluster::Cluster;
use crate::support::kafka::{
    self, API_VERSIONS, FENCED_LEADER_EPOCH, Fetch, INVALID_TOPIC, METADATA, NONE, NOT_LEADER,
    OFFSET_OUT_OF_RANGE, Offset, TOPIC_EXISTS, UNKNOWN_LEADER_EPOCH, UNKNOWN_TOPIC_OR_PARTITION,
    delete_records, end_of_epoch, leader, list_offset, metadata, produce,
};
use crate::support::wire::{Batch, Encoder, Wire};

#[test]
fn every_api_of_the_table_is_announced_and_an_unknown_version_is_answered_in_version_zero() {
    let cluster = Cluster::shared();
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    let mut decoder = wire.call(API_VERSIONS, 99, &Encoder::default());
    assert_eq!(decoder.i16(), 35, "UNSUPPORTED_VERSION");
    let announced = decoder.list(|decoder| (decoder.i16(), decoder.i16(), decoder.i16()));
    decoder.end();
    assert!(announced.iter().any(|api| api.0 == API_VERSIONS), "{announced:?}");

    let mut decoder = wire.call(API_VERSIONS, 2, &Encoder::default());
    assert_eq!(decoder.i16(), NONE);
    let announced = decoder.list(|decoder| (decoder.i16(), decoder.i16(), decoder.i16()));
    decoder.i32();
    decoder.end();
    // Produce, Fetch, ListOffsets, Metadata, ApiVersions, CreateTopics, DeleteTopics, DeleteRecords,
    // InitProducerId, OffsetForLeaderEpoch, DescribeConfigs, CreatePartitions, UpdateFeatures, DescribeCluster.
    for key in [0, 1, 2, 3, 18, 19, 20, 21, 22, 23, 32, 37, 57, 60] {
        assert!(announced.iter().any(|api| api.0 == key), "api {key} is missing: {announced:?}");
    }
}

#[test]
fn an_unknown_api_or_version_closes_the_connection() {
    let cluster = Cluster::shared();
    for (api, version) in [(METADATA, 99), (METADATA, -1), (999, 0), (-7, 0)] {
        let mut wire = Wire::connect(cluster.broker(2).kafka);
        wire.send(api, version, &Encoder::default().i32(-1));
        assert!(wire.closed(), "api {api} version {version}");
    }
}

#[test]
fn metadata_names_all_brokers_and_tells_the_same_leader_and_epoch_everywhere() {
    let cluster = Cluster::shared();
    cluster.create_topic("told", 6, 3);
    let mut leaders = Vec::new();
    for index in 0..6 {
        let partition = leader(&cluster, "told", index);
        assert!(partition.epoch > 0, "a made-up epoch: {partition:?}");
        let mut replicas = partition.replicas.clone();
        replicas.sort_unstable();
        assert_eq!(replicas, [1, 2, 3]);
        leaders.push(partition.leader);
    }
    for id in [1, 2, 3] {
        assert_eq!(leaders.iter().filter(|leader| **leader == id).count(), 2, "{leaders:?}");
    }
    let ids: Vec<String> = cluster
        .brokers()
        .iter()
        .map(|broker| {
            let seen = metadata(&mut Wire::connect(broker.kafka), Some(&[]), false);
            assert!(seen.topics.is_empty(), "an empty list is none from version 1 on");
            let mut brokers = seen.brokers;
            brokers.sort_unstable();
            let expected: Vec<(i32, i32)> =
                cluster.brokers().iter().map(|b| (b.id as i32, i32::from(b.kafka))).collect();
            assert_eq!(brokers, expected);
            assert!([1, 2, 3].contains(&seen.controller));
            seen.cluster_id
        })
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0] && !id.is_empty()), "{ids:?}");
    assert_eq!(
        cluster.get("/v1/cluster")["cluster_id"],
        ids[0].as_str(),
        "the same text over HTTP"
    );
    let all = metadata(&mut Wire::connect(cluster.broker(1).kafka), None, false);
    assert!(all.topics.iter().any(|topic| topic.name == "told"));
}

#[test]
fn an_unknown_topic_is_an_error_and_is_created_only_when_the_client_allows_it() {
    let cluster = Cluster::shared();
    let mut wire = Wire::connect(cluster.broker(2).kafka);
    let seen = metadata(&mut wire, Some(&["nobody-made-it"]), false);
    assert_eq!(seen.topics[0].error, UNKNOWN_TOPIC_OR_PARTITION);
    let seen = metadata(&mut wire, Some(&["bad name!"]), true);
    assert_eq!(seen.topics[0].error, INVALID_TOPIC);
    cluster.wait("a topic is created by asking for it", || {
        let seen = metadata(&mut wire, Some(&["asked-for"]), true);
        let topic = &seen.topics[0];
        let made = topic.error == NONE && topic.partitions.iter().all(|p| p.leader > 0);
        made.then_some(())
    });
    let seen = metadata(&mut wire, Some(&["nobody-made-it"]), false);
    assert_eq!(seen.topics[0].error, UNKNOWN_TOPIC_OR_PARTITION, "still not created");
}

#[test]
fn any_broker_creates_topics_and_says_why_it_does_not() {
    let cluster = Cluster::shared();
    for id in [1, 2, 3] {
        let mut wire = Wire::connect(cluster.broker(id).kafka);
        let name = format!("made-by-{id}");
        assert_eq!(kafka::create_topic(&mut wire, &name, 1, 3, true), NONE, "only checked");
        assert_eq!(kafka::create_topic(&mut wire, &name, 1, 3, false), NONE);
        assert_eq!(kafka::create_topic(&mut wire, &name, 1, 3, false), TOPIC_EXISTS);
        assert_eq!(kafka::create_topic(&mut wire, "a/b", 1, 3, false), INVALID_TOPIC);
        assert_eq!(kafka::create_topic(&mut wire, "..", 1, 3, false), INVALID_TOPIC);
        assert_eq!(kafka::create_topic(&mut wire, &"x".repeat(250), 1, 3, false), INVALID_TOPIC);
        assert_eq!(kafka::create_topic(&mut wire, "too-wide", 1, 4, false), 38);
        assert_eq!(kafka::create_topic(&mut wire, "no-partitions", 0, 3, false), 37);
    }
}

#[test]
fn requests_with_another_leader_epoch_are_fenced_and_those_to_a_follower_refused() {
    let cluster = Cluster::shared();
    cluster.create_topic("fenced", 1, 3);
    let mut wire = kafka::at_leader(&cluster, "fenced", 0);
    let partition = leader(&cluster, "fenced", 0);
    for (epoch, error) in [
        (partition.epoch, NONE),
        (-1, NONE),
        (partition.epoch - 1, FENCED_LEADER_EPOCH),
        (partition.epoch + 1, UNKNOWN_LEADER_EPOCH),
    ] {
        let fetch = Fetch { epoch, ..Fetch::of("fenced", 0, 0) };
        assert_eq!(fetch.one(&mut wire).error, error, "fetch with epoch {epoch}");
        assert_eq!(list_offset(&mut wire, "fenced", 0, epoch, -1).error, error, "list, {epoch}");
        assert_eq!(end_of_epoch(&mut wire, "fenced", 0, epoch, 0).0, error, "end, {epoch}");
    }
    let follower = partition.replicas.iter().find(|id| **id != partition.leader).unwrap();
    let mut wire = Wire::connect(cluster.broker(*follower as u64).kafka);
    assert_eq!(produce(&mut wire, "fenced", 0, &Batch::of(&["x"]).bytes()).error, NOT_LEADER);
    assert_eq!(list_offset(&mut wire, "fenced", 0, -1, -1).error, NOT_LEADER);
    assert_eq!(Fetch::of("fenced", 0, 0).one(&mut wire).error, NOT_LEADER);
}

#[test]
fn the_end_of_a_leader_epoch_is_where_the_next_one_starts() {
    let cluster = Cluster::shared();
    cluster.create_topic("epochs", 1, 3);
    let first = leader(&cluster, "epochs", 0);
    let mut wire = kafka::at_leader(&cluster, "epochs", 0);
    produce(&mut wire, "epochs", 0, &Batch::of(&["a", "b"]).bytes());
    let other = first.replicas.iter().find(|id| **id != first.leader).unwrap();
    let body = format!("{{\"broker\": {other}}}");
    cluster.request("PUT", "/v1/topics/epochs/partitions/0/leader", Some(&body)).ok();
    let second = cluster.wait("the leader has moved", || {
        let now = leader(&cluster, "epochs", 0);
        (now.leader == *other).then_some(now)
    });
    assert!(second.epoch > first.epoch);
    let mut wire = kafka::at_leader(&cluster, "epochs", 0);
    assert_eq!(produce(&mut wire, "epochs", 0, &Batch::of(&["c"]).bytes()).base, 2);

    let mut end = |epoch| end_of_epoch(&mut wire, "epochs", 0, second.epoch, epoch);
    assert_eq!(end(second.epoch), (NONE, second.epoch, 3), "the newest ends at the log's end");
    assert_eq!(end(first.epoch), (NONE, first.epoch, 2), "an older one where the next starts");
    assert_eq!(end(second.epoch + 5), (NONE, -1, -1), "a later one is unknown");
    assert_eq!(end(-1), (NONE, -1, -1));
    let fetched = Fetch::of("epochs", 0, 0).one(&mut wire).records.unwrap();
    let epochs: Vec<(i64, i32, i32)> = crate::support::wire::batches(&fetched);
    assert_eq!(epochs, [(0, first.epoch, 2), (2, second.epoch, 1)], "stamped into the batches");
}

#[test]
fn offsets_are_found_by_end_and_by_record_timestamp() {
    let cluster = Cluster::shared();
    cluster.create_topic("times", 1, 3);
    let epoch = leader(&cluster, "times", 0).epoch;
    let mut wire = kafka::at_leader(&cluster, "times", 0);
    let none = Offset { error: NONE, timestamp: -1, offset: -1, epoch: -1 };
    assert_eq!(list_offset(&mut wire, "times", 0, -1, 5), none, "an empty log has no such record");
    for (timestamp, values) in [(1000, ["a", "b"]), (3000, ["c", "d"]), (2000, ["e", "f"])] {
        let batch = Batch { timestamp, ..Batch::of(&values) };
        assert_eq!(produce(&mut wire, "times", 0, &batch.bytes()).error, NONE);
    }
    let mut at = |time| list_offset(&mut wire, "times", 0, -1, time);
    let found = |timestamp, offset| Offset { error: NONE, timestamp, offset, epoch };
    assert_eq!(at(-2), found(-1, 0), "earliest");
    assert_eq!(at(-1), found(-1, 6), "latest");
    assert_eq!(at(0), found(1000, 0));
    assert_eq!(at(1001), found(3000, 2), "the first record, in offset order, not older");
    assert_eq!(at(3000), found(3000, 2));
    assert_eq!(at(3001), none);
}

#[test]
fn deleted_records_stay_deleted_and_the_log_start_is_told_everywhere() {
    let cluster = Cluster::shared();
    cluster.create_topic("cut", 1, 3);
    let mut wire = kafka::at_leader(&cluster, "cut", 0);
    for value in ["a", "b", "c", "d"] {
        produce(&mut wire, "cut", 0, &Batch::of(&[value, value]).bytes());
    }
    assert_eq!(delete_records(&mut wire, "cut", 0, 3), (3, NONE), "inside a batch");
    assert_eq!(delete_records(&mut wire, "cut", 0, 99), (-1, OFFSET_OUT_OF_RANGE));
    assert_eq!(list_offset(&mut wire, "cut", 0, -1, -2).offset, 3);
    assert_eq!(Fetch::of("cut", 0, 2).one(&mut wire).error, OFFSET_OUT_OF_RANGE);
    let fetched = Fetch::of("cut", 0, 3).one(&mut wire);
    assert_eq!((fetched.error, fetched.log_start), (NONE, 3));
    assert_eq!(produce(&mut wire, "cut", 0, &Batch::of(&["e"]).bytes()).log_start, 3);
    assert_eq!(delete_records(&mut wire, "cut", 0, -1), (9, NONE), "-1 is the high watermark");
    assert_eq!(list_offset(&mut wire, "cut", 0, -1, -2).offset, 9);
    assert_eq!(produce(&mut wire, "cut", 0, &Batch::of(&["f"]).bytes()).base, 9);
}

#[test]
fn answers_come_in_the_order_of_the_requests_even_when_one_has_to_wait() {
    let cluster = Cluster::shared();
    cluster.create_topic("ordered", 1, 3);
    let mut wire = kafka::at_leader(&cluster, "ordered", 0);
    let waiting = Fetch { wait_ms: 1_000, ..Fetch::of("ordered", 0, 0) };
    let mut sent = vec![wire.send(kafka::FETCH, 11, &waiting.body())];
    for value in ["a", "b", "c"] {
        let body = kafka::produce_body("ordered", 0, -1, &Batch::of(&[value]).bytes());
        sent.push(wire.send(kafka::PRODUCE, 7, &body));
    }
    sent.push(wire.send(API_VERSIONS, 2, &Encoder::default()));
    let came: Vec<i32> = sent.iter().map(|_| wire.receive().unwrap().0).collect();
    assert_eq!(came, sent);
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let cluster = Cluster::shared();
    let mut wire = Wire::connect(cluster.broker(3).kafka);
    let header = Encoder::default().i16(API_VERSIONS).i16(2).i32(7).string("slow");
    let mut frame = (header.0.len() as i32).to_be_bytes().to_vec();
    frame.extend(header.0);
    for byte in frame {
        wire.stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(wire.receive().unwrap().0, 7);
}
