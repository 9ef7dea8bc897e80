//! What a broker takes from producers and what it refuses; idempotent producers.

use crate::support::cluster::Cluster;
use crate::support::kafka::{
    self, CORRUPT_MESSAGE, DUPLICATE_SEQUENCE, Fetch, INVALID_PRODUCER_EPOCH, INVALID_RECORD,
    INVALID_REQUIRED_ACKS, INVALID_TIMESTAMP, MESSAGE_TOO_LARGE, NONE, OUT_OF_ORDER_SEQUENCE,
    Produced, UNKNOWN_PRODUCER, UNKNOWN_TOPIC_OR_PARTITION, leader, produce, produce_body,
    produced, producer_id,
};
use crate::support::wire::{self, Batch, Wire};

fn created(name: &str) -> (crate::support::cluster::Shared, Wire) {
    let cluster = Cluster::shared();
    cluster.create_topic(name, 1, 3);
    let wire = kafka::at_leader(&cluster, name, 0);
    (cluster, wire)
}

#[test]
fn a_batch_is_stored_byte_for_byte_but_for_its_base_offset_and_epoch() {
    let (cluster, mut wire) = created("bytes");
    let epoch = leader(&cluster, "bytes", 0).epoch;
    let sent = Batch::of(&["first", "second"]).bytes();
    let answer = produce(&mut wire, "bytes", 0, &sent);
    assert_eq!(answer, Produced { error: NONE, base: 0, append_time: -1, log_start: 0 });
    assert_eq!(produce(&mut wire, "bytes", 0, &sent).base, 2);
    let read = Fetch::of("bytes", 0, 0).one(&mut wire).records.unwrap();
    assert_eq!(read.len(), 2 * sent.len());
    for (n, batch) in read.chunks(sent.len()).enumerate() {
        assert_eq!(wire::batches(batch), [(2 * n as i64, epoch, 2)]);
        // Length at 8, epoch at 12, everything after it is as it was.
        assert_eq!(batch[8..12], sent[8..12]);
        assert_eq!(batch[16..], sent[16..]);
    }
}

#[test]
fn acks_are_all_one_or_none_and_none_is_never_answered() {
    let (_cluster, mut wire) = created("acks");
    let batch = Batch::of(&["x"]).bytes();
    let ask = |wire: &mut Wire, acks| {
        produced(wire.call(kafka::PRODUCE, 7, &produce_body("acks", 0, acks, &batch)))
    };
    assert_eq!(ask(&mut wire, -1).base, 0);
    assert_eq!(ask(&mut wire, 1).base, 1);
    assert_eq!(ask(&mut wire, 2).error, INVALID_REQUIRED_ACKS);
    wire.send(kafka::PRODUCE, 7, &produce_body("acks", 0, 0, &batch));
    // The next answer on the connection is that of the next request.
    assert_eq!(ask(&mut wire, -1).base, 3, "the silent one took offset 2");
    wire.send(kafka::PRODUCE, 7, &produce_body("no-such-topic-acks", 0, 0, &batch));
    assert!(wire.closed(), "an error nobody may answer closes the connection");
}

#[test]
fn broken_batches_are_refused_by_name_and_leave_nothing_behind() {
    let (_cluster, mut wire) = created("broken");
    let good = Batch::of(&["x", "y"]);
    let cases = [
        ("checksum", Batch { crc_error: 1, ..good.clone() }, CORRUPT_MESSAGE),
        ("magic", Batch { magic: 1, ..good.clone() }, INVALID_RECORD),
        ("count", Batch { count_error: 1, ..good.clone() }, INVALID_RECORD),
        ("last offset delta", Batch { delta_error: 1, ..good.clone() }, INVALID_RECORD),
        ("control", Batch { attributes: 0x20, ..good.clone() }, INVALID_RECORD),
        ("no sequence", good.clone().from((7, 0), -1), INVALID_RECORD),
    ];
    for (what, batch, error) in cases {
        let answer = produce(&mut wire, "broken", 0, &batch.bytes());
        assert_eq!((answer.error, answer.base, answer.append_time), (error, -1, -1), "{what}");
    }
    let mut two = good.bytes();
    two.extend(good.bytes());
    assert_eq!(produce(&mut wire, "broken", 0, &two).error, INVALID_RECORD, "two batches");
    let cut = &good.bytes()[..70];
    assert!(produce(&mut wire, "broken", 0, cut).error > 0, "a batch cut short");
    assert_eq!(produce(&mut wire, "broken", 0, &good.bytes()).base, 0, "nothing was appended");
}

#[test]
fn limits_of_size_and_time_hold() {
    let cluster = Cluster::shared();
    let body = r#"{"name": "bounds", "partitions": 1, "replication_factor": 3,
        "configs": {"message.timestamp.after.max.ms": "3600000"}}"#;
    cluster.request("POST", "/v1/topics", Some(body)).ok();
    let mut wire = kafka::at_leader(&cluster, "bounds", 0);
    let large = "x".repeat(1_048_588);
    let answer = produce(&mut wire, "bounds", 0, &Batch::of(&[&large]).bytes());
    assert_eq!(answer.error, MESSAGE_TOO_LARGE);
    let far = Batch { timestamp: 32_503_680_000_000, ..Batch::of(&["x"]) };
    assert_eq!(produce(&mut wire, "bounds", 0, &far.bytes()).error, INVALID_TIMESTAMP);
    let answer = produce(&mut wire, "bounds-unknown", 0, &Batch::of(&["x"]).bytes());
    assert_eq!(answer.error, UNKNOWN_TOPIC_OR_PARTITION);
    let answer = produce(&mut wire, "bounds", 7, &Batch::of(&["x"]).bytes());
    assert_eq!(answer.error, UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn the_brokers_time_is_stamped_where_the_topic_asks_for_it() {
    let cluster = Cluster::shared();
    let body = r#"{"name": "stamped", "partitions": 1, "replication_factor": 3,
        "configs": {"message.timestamp.type": "LogAppendTime"}}"#;
    cluster.request("POST", "/v1/topics", Some(body)).ok();
    let mut wire = kafka::at_leader(&cluster, "stamped", 0);
    let answer = produce(&mut wire, "stamped", 0, &Batch::of(&["x"]).bytes());
    assert!(answer.append_time > 1_700_000_000_000, "{answer:?}");
    let read = Fetch::of("stamped", 0, 0).one(&mut wire).records.unwrap();
    assert_eq!(read[22] & 8, 8, "the bit that says whose time it is");
    let newest = i64::from_be_bytes(read[35..43].try_into().unwrap());
    assert_eq!(newest, answer.append_time);
}

#[test]
fn producer_ids_are_unique_over_all_brokers() {
    let cluster = Cluster::shared();
    let mut ids = Vec::new();
    for broker in cluster.brokers() {
        let mut wire = Wire::connect(broker.kafka);
        ids.extend((0..20).map(|_| producer_id(&mut wire)));
    }
    assert!(ids.iter().all(|id| id.1 == 0));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 60);
}

#[test]
fn a_repeated_batch_gets_its_first_offset_and_a_gap_is_refused() {
    let (_cluster, mut wire) = created("sequences");
    let id = producer_id(&mut wire);
    let mut send = |sequence| {
        let batch = Batch::of(&["x", "y"]).from(id, sequence);
        let answer = produce(&mut wire, "sequences", 0, &batch.bytes());
        (answer.error, answer.base)
    };
    for n in 0..6 {
        assert_eq!(send(2 * n), (NONE, 2 * i64::from(n)));
    }
    for n in 1..6 {
        assert_eq!(send(2 * n), (NONE, 2 * i64::from(n)), "one of the last five");
    }
    assert_eq!(send(0), (DUPLICATE_SEQUENCE, -1), "there, but where is no longer known");
    assert_eq!(send(14), (OUT_OF_ORDER_SEQUENCE, -1), "12 is missing");
    assert_eq!(send(12), (NONE, 12), "the log goes on where it was");
}

#[test]
fn a_new_producer_epoch_starts_at_zero_and_fences_the_old_one() {
    let (_cluster, mut wire) = created("producer-epochs");
    let (id, epoch) = producer_id(&mut wire);
    let mut send = |epoch, sequence| {
        let batch = Batch::of(&["x"]).from((id, epoch), sequence);
        produce(&mut wire, "producer-epochs", 0, &batch.bytes()).error
    };
    assert_eq!(send(epoch, 0), NONE);
    assert_eq!(send(epoch + 1, 5), OUT_OF_ORDER_SEQUENCE);
    assert_eq!(send(epoch + 1, 0), NONE);
    assert_eq!(send(epoch, 1), INVALID_PRODUCER_EPOCH);
}

#[test]
fn repeated_batches_are_known_to_the_next_leader_too() {
    let (cluster, mut wire) = created("moved-sequences");
    let id = producer_id(&mut wire);
    let batch = Batch::of(&["x"]).from(id, 0).bytes();
    assert_eq!(produce(&mut wire, "moved-sequences", 0, &batch).base, 0);
    let first = leader(&cluster, "moved-sequences", 0);
    let other = first.replicas.iter().find(|id| **id != first.leader).unwrap();
    let body = format!("{{\"broker\": {other}}}");
    cluster.request("PUT", "/v1/topics/moved-sequences/partitions/0/leader", Some(&body)).ok();
    cluster.wait("the leader has moved", || {
        (leader(&cluster, "moved-sequences", 0).leader == *other).then_some(())
    });
    let mut wire = kafka::at_leader(&cluster, "moved-sequences", 0);
    let again = produce(&mut wire, "moved-sequences", 0, &batch);
    assert_eq!((again.error, again.base), (NONE, 0));
    assert_eq!(kafka::list_offset(&mut wire, "moved-sequences", 0, -1, -1).offset, 1);
}

#[test]
fn producer_ids_that_were_never_given_out_are_refused_and_new_ones_known_everywhere() {
    let (cluster, mut wire) = created("made-up");
    for id in [1 << 40, i64::MAX] {
        let batch = Batch::of(&["x"]).from((id, 0), 0);
        let refused = produce(&mut wire, "made-up", 0, &batch.bytes());
        assert_eq!((refused.error, refused.base), (UNKNOWN_PRODUCER, -1), "{id}");
    }
    // Blocks of a thousand: the leader of the partition often has not heard yet that one was given out.
    let mut brokers: Vec<Wire> =
        cluster.brokers().iter().map(|broker| Wire::connect(broker.kafka)).collect();
    for n in 0..3_300 {
        let id = producer_id(&mut brokers[n % 3]);
        if n % 400 < 3 {
            let batch = Batch::of(&["x"]).from(id, 0);
            assert_eq!(produce(&mut wire, "made-up", 0, &batch.bytes()).error, NONE, "{id:?}");
        }
    }
}

#[test]
fn a_record_from_the_future_is_refused_and_named() {
    let (_cluster, mut wire) = created("future");
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let hour = 3_600_000;
    for (timestamp, refused) in
        [(now * 1_000, true), (now + 2 * hour, true), (now + hour / 2, false)]
    {
        let batch = Batch { timestamp, ..Batch::of(&["x", "y", "z"]) };
        let (error, records, message) = kafka::judged(&mut wire, "future", 0, &batch.bytes());
        if refused {
            assert_eq!((error, message), (INVALID_TIMESTAMP, true), "{timestamp}");
            assert_eq!(records, [(0, true), (1, true), (2, true)]);
        } else {
            assert_eq!((error, records, message), (NONE, Vec::new(), false));
        }
    }
}
