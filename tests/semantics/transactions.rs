//! Transactions as producers see them: who a transactional id belongs to, what becomes part of a transaction, and how it
//! ends, in the flow of KIP-98 and in that of KIP-890.

use super::create_on_first;
use crate::support::cluster::Cluster;
use crate::support::kafka::{
    self, API_VERSIONS, FIND_COORDINATOR, INIT_PRODUCER_ID, INVALID_PRODUCER_EPOCH, INVALID_RECORD,
    INVALID_REQUEST, NONE, NOT_COORDINATOR, UNKNOWN_TOPIC_OR_PARTITION, UNSUPPORTED_VERSION,
};
use crate::support::transactions::{
    self, ABORTABLE, ADD_OFFSETS, ADD_PARTITIONS, CONCURRENT, END, FENCED, INVALID_PRODUCER_ID,
    INVALID_STATE, INVALID_TIMEOUT, NOT_ALLOWED, NOT_ATTEMPTED, Producer, begin, init, produce,
};
use crate::support::wire::{Batch, Decoder, Encoder, Wire};

/// InitProducerId version 6: (error, producer id, epoch, and those of a transaction that is prepared).
fn init_in_two_phases(wire: &mut Wire, id: &str, two: bool, keep: bool) -> (i16, i64, i16) {
    let body = Encoder::default().text(id).i32(60_000).i64(-1).i16(-1);
    let body = body.i8(two.into()).i8(keep.into());
    let mut decoder = wire.call_flexible(INIT_PRODUCER_ID, 6, body);
    decoder.i32();
    let told = (decoder.i16(), decoder.i64(), decoder.i16());
    assert_eq!((decoder.i64(), decoder.i16()), (-1, -1), "no transaction is prepared");
    decoder.tags();
    decoder.end();
    told
}

/// The error of an answer that has none but that behind the throttle time.
fn error(mut decoder: Decoder) -> i16 {
    decoder.i32();
    decoder.i16()
}

#[test]
fn who_takes_a_transactional_id_next_fences_off_who_had_it() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-fenced", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-fenced", 0);
    let (mut wire, old) = begin(&cluster, "tx-fenced");
    let (_, new) = begin(&cluster, "tx-fenced");
    assert!(new.producer == old.producer && new.epoch > old.epoch, "{old:?} {new:?}");
    assert_eq!(old.add(&mut wire, "tx-fenced", &[0]), [FENCED]);
    assert_eq!(old.add_offsets(&mut wire, "tx-fenced"), FENCED);
    assert_eq!(old.end(&mut wire, true), FENCED);
    assert_eq!(init(&mut wire, &old.id, 60_000, (old.producer, old.epoch)).0, FENCED);
    // Clients of before KIP-588 know no such error.
    let claim = || Encoder::default().string(&old.id).i64(old.producer).i16(old.epoch);
    assert_eq!(error(wire.call(END, 1, &claim().i8(1))), INVALID_PRODUCER_EPOCH);
    let offsets = wire.call(ADD_OFFSETS, 1, &claim().string("tx-fenced"));
    assert_eq!(error(offsets), INVALID_PRODUCER_EPOCH);
    let body = claim().i32(1).string("tx-fenced").i32(1).i32(0);
    let mut decoder = wire.call(ADD_PARTITIONS, 1, &body);
    decoder.i32();
    let rows = decoder
        .list(|decoder| (decoder.string(), decoder.list(|decoder| (decoder.i32(), decoder.i16()))));
    assert_eq!(rows[0].1, [(0, INVALID_PRODUCER_EPOCH)]);
    // And to whom records are sent there never was another.
    for version in [7, 11, 12] {
        let sent = old.produce(&mut leader, version, "tx-fenced", 0, "x");
        assert_eq!(sent, (INVALID_PRODUCER_EPOCH, -1), "version {version}");
    }
}

#[test]
fn who_takes_an_id_over_waits_until_the_open_transaction_is_aborted() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-pending", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-pending", 0);
    let (mut wire, old) = begin(&cluster, "tx-pending");
    assert_eq!(old.add(&mut wire, "tx-pending", &[0]), [NONE]);
    assert_eq!(old.produce(&mut leader, 7, "tx-pending", 0, "left open"), (NONE, 0));
    // CONCURRENT_TRANSACTIONS until it is, unless that takes a moment only.
    let (error, ..) = init(&mut wire, "tx-pending", 60_000, (-1, -1));
    assert!([NONE, CONCURRENT].contains(&error), "{error}");
    let (_, new) = begin(&cluster, "tx-pending");
    assert_eq!(new.producer, old.producer);
    assert!(new.epoch > old.epoch, "{new:?}");
    let found = kafka::Fetch { isolation: 1, ..kafka::Fetch::of("tx-pending", 0, 0) };
    let found = found.one(&mut leader);
    assert_eq!((found.high_watermark, found.stable), (2, 2), "the marker is there");
    assert_eq!(found.aborted, Some(vec![(old.producer, 0)]));
    assert_eq!(old.end(&mut wire, true), FENCED);
}

#[test]
fn what_is_not_the_producer_of_the_id_is_refused() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-mapping", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-mapping", 0);
    let (mut wire, known) = begin(&cluster, "tx-mapping");
    let (_, other) = begin(&cluster, "tx-mapping-other");
    let wrong = Producer { producer: other.producer, ..known.clone() };
    assert_eq!(wrong.add(&mut wire, "tx-mapping", &[0]), [INVALID_PRODUCER_ID]);
    assert_eq!(wrong.add_offsets(&mut wire, "tx-mapping"), INVALID_PRODUCER_ID);
    assert_eq!(wrong.end(&mut wire, true), INVALID_PRODUCER_ID);
    assert_eq!(wrong.produce(&mut leader, 12, "tx-mapping", 0, "x").0, INVALID_PRODUCER_ID);
    let future = Producer { epoch: known.epoch + 1, ..known.clone() };
    assert_eq!(future.add(&mut wire, "tx-mapping", &[0]), [FENCED]);
    assert_eq!(init(&mut wire, "tx-mapping", 60_000, (wrong.producer, wrong.epoch)).0, FENCED);
    // Who goes on as who it is takes the next epoch.
    let next = init(&mut wire, "tx-mapping", 60_000, (known.producer, known.epoch));
    assert_eq!(next, (NONE, known.producer, known.epoch + 1));
}

#[test]
fn timeouts_and_ids_that_cannot_be_are_refused() {
    let cluster = Cluster::shared();
    let (mut wire, known) = begin(&cluster, "tx-bounds");
    for timeout_ms in [0, -1, 900_001, i32::MAX] {
        let refused = init(&mut wire, "tx-bounds", timeout_ms, (-1, -1));
        assert_eq!(refused, (INVALID_TIMEOUT, -1, -1), "{timeout_ms}");
    }
    let long = "x".repeat(1001);
    for id in ["", &long] {
        assert_eq!(init(&mut wire, id, 60_000, (-1, -1)), (INVALID_REQUEST, -1, -1));
    }
    // A producer is its id and its epoch.
    for half in [(known.producer, -1), (-1, known.epoch)] {
        assert_eq!(init(&mut wire, "tx-bounds", 60_000, half).0, INVALID_REQUEST);
    }
    assert_eq!(init(&mut wire, "tx-bounds", 900_000, (-1, -1)).0, NONE);
}

#[test]
fn transactions_in_two_phases_are_refused() {
    let cluster = Cluster::shared();
    let (mut wire, known) = begin(&cluster, "tx-two");
    assert_eq!(init_in_two_phases(&mut wire, "tx-two", true, false), (NOT_ALLOWED, -1, -1));
    assert_eq!(init_in_two_phases(&mut wire, "tx-two", true, true), (NOT_ALLOWED, -1, -1));
    assert_eq!(init_in_two_phases(&mut wire, "tx-two", false, true), (UNSUPPORTED_VERSION, -1, -1));
    let one = init_in_two_phases(&mut wire, "tx-two", false, false);
    assert_eq!(one, (NONE, known.producer, known.epoch + 1), "in one they are not");
}

#[test]
fn an_id_has_one_coordinator_and_others_say_that_they_are_not() {
    let cluster = Cluster::shared();
    begin(&cluster, "tx-home");
    let (error, home) = transactions::coordinator(&cluster, "tx-home");
    assert_eq!(error, NONE);
    for broker in cluster.brokers() {
        let mut wire = Wire::connect(broker.kafka);
        let body = Encoder::default().i8(1).count(1).text("tx-home");
        let mut decoder = wire.call_flexible(FIND_COORDINATOR, 6, body);
        decoder.i32();
        let rows = decoder.rows(|decoder| {
            let (key, id) = (decoder.text().unwrap(), decoder.i32());
            decoder.text();
            decoder.i32();
            let error = decoder.i16();
            decoder.text();
            (key, id, error)
        });
        assert_eq!(rows.unwrap(), [("tx-home".to_owned(), home, NONE)]);
        if broker.id != home as u64 {
            assert_eq!(init(&mut wire, "tx-home", 60_000, (-1, -1)).0, NOT_COORDINATOR);
        }
    }
}

#[test]
fn the_end_may_be_asked_for_again_and_the_other_end_may_not() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-twice", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-twice", 0);
    let (mut wire, producer) = begin(&cluster, "tx-twice");
    for commit in [true, false] {
        assert_eq!(producer.end(&mut wire, commit), INVALID_STATE, "nothing has begun");
    }
    for (sequence, commit) in [(0, true), (1, false)] {
        producer.join(&cluster, &mut wire, "tx-twice");
        assert_eq!(producer.produce(&mut leader, 7, "tx-twice", sequence, "x").0, NONE);
        assert_eq!(producer.end(&mut wire, commit), NONE);
        cluster.wait("the same again is a success", || {
            let error = producer.end(&mut wire, commit);
            assert!([NONE, CONCURRENT].contains(&error), "{error}");
            (error == NONE).then_some(())
        });
        assert_eq!(producer.end(&mut wire, !commit), INVALID_STATE);
    }
}

#[test]
fn every_transaction_has_its_own_epoch_where_the_end_says_so() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-bumped", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-bumped", 0);
    let (mut wire, first) = begin(&cluster, "tx-bumped");
    assert_eq!(first.write(&cluster, &mut leader, "tx-bumped", "a"), 0, "nothing was added before");
    let (error, second) = first.end_and_bump(&mut wire, true);
    assert_eq!((error, second.producer, second.epoch), (NONE, first.producer, first.epoch + 1));
    // The answer may have been lost.
    let again = cluster.wait("the same again has the same answer", || {
        let (error, again) = first.end_and_bump(&mut wire, true);
        (error != CONCURRENT).then_some((error, again))
    });
    assert_eq!(again, (NONE, second.clone()));
    assert_eq!(first.end_and_bump(&mut wire, false).0, INVALID_STATE, "it is committed");
    let late = first.produce(&mut leader, 12, "tx-bumped", 1, "late");
    assert_eq!(late.0, INVALID_PRODUCER_EPOCH, "it joins no later transaction");
    assert_eq!(second.write(&cluster, &mut leader, "tx-bumped", "b"), 2, "behind the marker");
    let (error, third) = second.end_and_bump(&mut wire, false);
    assert_eq!((error, third.epoch), (NONE, second.epoch + 1));
    assert_eq!(first.end_and_bump(&mut wire, true).0, FENCED, "that is too long ago");
    // A producer that does not know what it wrote aborts to be sure.
    let fourth = cluster.wait("what was never begun is aborted", || {
        let (error, fourth) = third.end_and_bump(&mut wire, false);
        (error != CONCURRENT).then_some((error, fourth.epoch))
    });
    assert_eq!(fourth, (NONE, third.epoch + 1));
}

#[test]
fn what_was_not_added_is_not_written_unless_writing_adds_it() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-added", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-added", 0);
    let (mut wire, producer) = begin(&cluster, "tx-added");
    for (version, error) in [(7, INVALID_STATE), (10, INVALID_STATE), (11, ABORTABLE)] {
        let refused = producer.produce(&mut leader, version, "tx-added", 0, "x");
        assert_eq!(refused, (error, -1), "version {version}");
    }
    assert_eq!(producer.produce(&mut leader, 12, "tx-added", 0, "x"), (NONE, 0));
    assert_eq!(producer.produce(&mut leader, 7, "tx-added", 1, "y"), (NONE, 1), "it is now");
    assert_eq!(producer.produce(&mut leader, 12, "tx-added", 1, "y"), (NONE, 1), "a retry");
    assert_eq!(producer.end(&mut wire, true), NONE);
}

#[test]
fn partitions_are_added_all_or_none() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-all", 2);
    let mut leader = kafka::at_leader(&cluster, "tx-all", 0);
    let (mut wire, producer) = begin(&cluster, "tx-all");
    let errors = producer.add(&mut wire, "tx-all", &[0, 7, 1]);
    assert_eq!(errors, [NOT_ATTEMPTED, UNKNOWN_TOPIC_OR_PARTITION, NOT_ATTEMPTED]);
    assert_eq!(producer.produce(&mut leader, 7, "tx-all", 0, "x").0, INVALID_STATE);
    assert_eq!(producer.add(&mut wire, "tx-all", &[0, 1, 0]), [NONE; 3]);
    // The form of Kafka's brokers, which asks whether they are added.
    let ask = |wire: &mut Wire, version, verify: bool, partition: i32| {
        let body = Encoder::default().count(1).text("tx-all").i64(producer.producer);
        let body = body.i16(producer.epoch).i8(verify.into()).count(1).text("tx-all");
        let body = body.count(1).i32(partition).zero().zero();
        let mut decoder = wire.call_flexible(ADD_PARTITIONS, version, body);
        assert_eq!((decoder.i32(), decoder.i16()), (0, NONE));
        let transactions = decoder.rows(|decoder| {
            assert_eq!(decoder.text().as_deref(), Some("tx-all"));
            let topics = decoder.rows(|decoder| {
                decoder.text();
                decoder.rows(|decoder| (decoder.i32(), decoder.i16())).unwrap()
            });
            topics.unwrap().remove(0)
        });
        transactions.unwrap().remove(0)
    };
    assert_eq!(ask(&mut wire, 5, true, 1), [(1, NONE)]);
    assert_eq!(ask(&mut wire, 5, false, 0), [(0, NONE)]);
    create_on_first(&cluster, "tx-all-more", 1);
    assert_eq!(producer.produce(&mut leader, 11, "tx-all-more", 0, "x").0, ABORTABLE);
    assert_eq!(producer.end(&mut wire, false), NONE);
}

#[test]
fn a_batch_is_of_a_transaction_if_and_only_if_its_request_is() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-batch", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-batch", 0);
    let (mut wire, producer) = begin(&cluster, "tx-batch");
    assert_eq!(producer.add(&mut wire, "tx-batch", &[0]), [NONE]);
    let id = Some(producer.id.as_str());
    let own = (producer.producer, producer.epoch);
    let plain = Batch::of(&["x"]).from(own, 0);
    let nobodys = Batch { attributes: 0x10, ..Batch::of(&["x"]) };
    let control = Batch { attributes: 0x30, ..Batch::of(&["x"]) }.from(own, 0);
    for (id, batch, error) in [
        (None, producer.batch(0, &["x"]), INVALID_STATE),
        (id, plain.bytes(), INVALID_STATE),
        (id, nobodys.bytes(), INVALID_RECORD),
        (None, nobodys.bytes(), INVALID_RECORD),
        // Markers are written by brokers.
        (id, control.bytes(), INVALID_RECORD),
        (None, Batch { attributes: 0x20, ..Batch::of(&["x"]) }.bytes(), INVALID_RECORD),
    ] {
        assert_eq!(produce(&mut leader, 7, id, "tx-batch", &batch), (error, -1));
    }
    assert_eq!(producer.produce(&mut leader, 7, "tx-batch", 0, "x"), (NONE, 0));
    assert_eq!(producer.end(&mut wire, true), NONE);
}

#[test]
fn producers_are_told_that_every_transaction_has_its_own_epoch() {
    let cluster = Cluster::shared();
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    for (version, lowest) in [(3, 1), (4, 0)] {
        let mut body = Encoder::default().zero();
        body = body.text("wire").text("1").zero();
        let mut decoder = wire.call(API_VERSIONS, version, &body);
        assert_eq!(decoder.i16(), NONE);
        decoder.rows(|decoder| (decoder.i16(), decoder.i16(), decoder.i16()));
        decoder.i32();
        let mut tagged = decoder.tagged();
        let levels = |decoder: &mut Decoder| {
            let of =
                |decoder: &mut Decoder| (decoder.text().unwrap(), decoder.i16(), decoder.i16());
            let mut rows = decoder.rows(of).unwrap();
            rows.retain(|row| row.0 == "transaction.version");
            rows.into_iter().map(|(_, one, other)| (one, other)).collect::<Vec<_>>()
        };
        assert_eq!(levels(tagged.get_mut(&0).unwrap()), [(lowest, 2)], "supported");
        assert!(tagged.get_mut(&1).unwrap().i64() >= 0, "the epoch that makes it count");
        assert_eq!(levels(tagged.get_mut(&2).unwrap()), [(2, 2)], "finalized");
    }
}
