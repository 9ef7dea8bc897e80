//! Transactions as others see them: consumers, the groups whose offsets are part of them, and operators.

use super::create_on_first;
use crate::support::cluster::Cluster;
use crate::support::kafka::{
    self, FETCH, Fetch, Fetched, INVALID_PRODUCER_EPOCH, NONE, NOT_COORDINATOR, NOT_LEADER,
    UNKNOWN_TOPIC_OR_PARTITION, fetched, list_offset_to,
};
use crate::support::transactions::{
    self, ABORTABLE, Filters, ID_NOT_FOUND, INVALID_PRODUCER_ID, INVALID_STATE, Producer,
    Transaction, UNSTABLE, begin, committed, describe, list, producers,
};
use crate::support::wire::{Batch, Wire, batches};

/// TxnOffsetCommit's errors about the group.
const ILLEGAL_GENERATION: i16 = 22;
const INVALID_REGEX: i16 = 128;
/// Who is no member of a group.
const fn nobody(group: &str) -> (&str, i32, &str) {
    (group, -1, "")
}

fn read(wire: &mut Wire, topic: &str, offset: i64, isolation: i8) -> Fetched {
    Fetch { isolation, ..Fetch::of(topic, 0, offset) }.one(wire)
}

/// The first offset of each batch.
fn bases(found: &Fetched) -> Vec<i64> {
    batches(found.records.as_deref().unwrap()).into_iter().map(|(base, ..)| base).collect()
}

/// Waits until nothing is open in a partition that ends at `end`.
fn settled(cluster: &Cluster, wire: &mut Wire, topic: &str, end: i64) {
    cluster.wait(&format!("all of {topic} is stable"), || {
        let found = read(wire, topic, end, 1);
        ((found.high_watermark, found.stable) == (end, end)).then_some(())
    });
}

#[test]
fn what_is_committed_is_seen_up_to_the_first_open_transaction() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-stable", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-stable", 0);
    let (mut one, first) = begin(&cluster, "tx-stable-1");
    let (mut two, second) = begin(&cluster, "tx-stable-2");
    kafka::produce(&mut leader, "tx-stable", 0, &Batch::of(&["plain"]).bytes());
    assert_eq!(first.write(&cluster, &mut leader, "tx-stable", "a"), 1);
    assert_eq!(second.write(&cluster, &mut leader, "tx-stable", "b"), 2);
    kafka::produce(&mut leader, "tx-stable", 0, &Batch::of(&["plain"]).bytes());
    let all = read(&mut leader, "tx-stable", 0, 0);
    assert_eq!((all.high_watermark, all.stable, all.aborted.clone()), (4, 1, None));
    assert_eq!(bases(&all), [0, 1, 2, 3]);
    let stable = read(&mut leader, "tx-stable", 0, 1);
    assert_eq!((stable.high_watermark, stable.stable), (4, 1));
    assert_eq!((bases(&stable), stable.aborted), (vec![0], Some(vec![])));
    for offset in 1..=4 {
        let nothing = read(&mut leader, "tx-stable", offset, 1);
        assert_eq!((nothing.error, bases(&nothing)), (NONE, vec![]), "from {offset} on");
    }
    // The second ends, and the first still holds back what is behind its beginning.
    assert_eq!(second.end_and_bump(&mut two, true).0, NONE);
    cluster.wait("the second has ended", || {
        (read(&mut leader, "tx-stable", 0, 0).high_watermark == 5).then_some(())
    });
    assert_eq!(read(&mut leader, "tx-stable", 0, 1).stable, 1);
    assert_eq!(first.end_and_bump(&mut one, true).0, NONE);
    settled(&cluster, &mut leader, "tx-stable", 6);
    let all = read(&mut leader, "tx-stable", 0, 1);
    assert_eq!((bases(&all), all.aborted), (vec![0, 1, 2, 3, 4, 5], Some(vec![])));
}

#[test]
fn offsets_that_are_not_stable_are_not_listed_to_who_reads_what_is_committed() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-listed", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-listed", 0);
    let old = Batch { timestamp: 1_000, ..Batch::of(&["old"]) };
    kafka::produce(&mut leader, "tx-listed", 0, &old.bytes());
    let (mut wire, producer) = begin(&cluster, "tx-listed");
    assert_eq!(producer.write(&cluster, &mut leader, "tx-listed", "newer"), 1);
    let mut listed = |isolation, time| {
        let found = list_offset_to(&mut leader, isolation, "tx-listed", 0, -1, time);
        assert_eq!(found.error, NONE);
        found.offset
    };
    for (time, all, stable) in
        [(-1, 2, 1), (-2, 0, 0), (-3, 1, -1), (500, 0, 0), (1_001, 1, -1), (i64::MAX, -1, -1)]
    {
        assert_eq!((listed(0, time), listed(1, time)), (all, stable), "time {time}");
    }
    assert_eq!(producer.end_and_bump(&mut wire, true).0, NONE);
    cluster.wait("it is stable", || (listed(1, -1) == 3).then_some(()));
    assert_eq!(listed(1, 1_001), 1);
}

#[test]
fn aborted_transactions_are_told_where_their_records_are_returned() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-aborted", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-aborted", 0);
    let (mut wire, first) = begin(&cluster, "tx-aborted");
    // Aborted: 0, its marker 1. Committed: 2, its marker 3. Aborted: 4, its marker 5.
    let mut producer = first.clone();
    for (base, commit) in [(0, false), (2, true), (4, false)] {
        assert_eq!(producer.write(&cluster, &mut leader, "tx-aborted", "x"), base);
        let (error, next) = producer.end_and_bump(&mut wire, commit);
        assert_eq!(error, NONE);
        producer = next;
        settled(&cluster, &mut leader, "tx-aborted", base + 2);
    }
    let aborted = |offset: i64| (first.producer, offset);
    for (offset, expected) in [
        (0, vec![aborted(0), aborted(4)]),
        (1, vec![aborted(4)]),
        (2, vec![aborted(4)]),
        (5, vec![]),
        (6, vec![]),
    ] {
        let found = read(&mut leader, "tx-aborted", offset, 1);
        assert_eq!((found.error, found.aborted), (NONE, Some(expected)), "from {offset} on");
        let all = read(&mut leader, "tx-aborted", offset, 0);
        assert_eq!((all.error, all.aborted), (NONE, None), "from {offset} on");
    }
    let first_only =
        Fetch { isolation: 1, partition_max_bytes: 1, ..Fetch::of("tx-aborted", 0, 0) };
    assert_eq!(first_only.one(&mut leader).aborted, Some(vec![aborted(0)]));
}

#[test]
fn a_fetch_of_what_is_committed_waits_for_the_end_of_a_transaction() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-waited", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-waited", 0);
    let (mut wire, producer) = begin(&cluster, "tx-waited");
    assert_eq!(producer.write(&cluster, &mut leader, "tx-waited", "a"), 0);
    let patient = Fetch { isolation: 1, wait_ms: 300_000, ..Fetch::of("tx-waited", 0, 0) };
    let mut reader = Wire::connect(cluster.broker(1).kafka);
    reader.send(FETCH, 11, &patient.body());
    // What is written beside the transaction is no reason to answer.
    for _ in 0..3 {
        kafka::produce(&mut leader, "tx-waited", 0, &Batch::of(&["plain"]).bytes());
    }
    assert_eq!(producer.end_and_bump(&mut wire, true).0, NONE);
    let found = fetched(reader.receive().unwrap().1).partitions.remove(0);
    assert_eq!((found.error, found.stable, bases(&found)), (NONE, 5, vec![0, 1, 2, 3, 4]));
}

#[test]
fn offsets_of_a_transaction_are_seen_when_it_commits() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-offsets", 1);
    let group = "tx-offsets";
    let mut groups = kafka::at_coordinator(&cluster, group);
    let (mut wire, producer) = begin(&cluster, "tx-offsets");
    let mut commit = |producer: &Producer, version, offset| {
        producer.commit(&mut groups, version, nobody(group), "tx-offsets", offset)
    };
    assert_eq!(commit(&producer, 3, 7), INVALID_STATE, "the group was not added");
    assert_eq!(commit(&producer, 4, 7), ABORTABLE);
    assert_eq!(producer.add_offsets(&mut wire, group), NONE);
    assert_eq!(commit(&producer, 3, 7), NONE);
    let mut groups = kafka::at_coordinator(&cluster, group);
    assert_eq!(committed(&mut groups, group, "tx-offsets", false), (NONE, -1));
    assert_eq!(committed(&mut groups, group, "tx-offsets", true), (UNSTABLE, -1));
    assert_eq!(producer.end(&mut wire, true), NONE);
    let told = |groups: &mut Wire| {
        cluster.wait("the transaction has ended", || {
            let (error, offset) = committed(groups, group, "tx-offsets", true);
            (error != UNSTABLE).then_some((error, offset))
        })
    };
    assert_eq!(told(&mut groups), (NONE, 7));
    // The same without adding the group, aborted, and then with a plain commit in between, which came later.
    let mut producer = producer;
    for (offset, plain, ends, expected) in
        [(8, None, true, 8), (9, None, false, 8), (10, Some(5), true, 5), (11, Some(6), false, 6)]
    {
        let error = cluster.wait("the transaction before has ended", || {
            let error = producer.commit(&mut groups, 5, nobody(group), "tx-offsets", offset);
            (error != kafka::COORDINATOR_LOADING).then_some(error)
        });
        assert_eq!(error, NONE);
        if let Some(plain) = plain {
            assert_eq!(commit_plainly(&mut groups, group, "tx-offsets", plain), NONE);
        }
        let (error, next) = producer.end_and_bump(&mut wire, ends);
        assert_eq!(error, NONE);
        producer = next;
        assert_eq!(told(&mut groups), (NONE, expected), "{offset}");
    }
}

/// OffsetCommit version 2 of partition 0 by nobody.
fn commit_plainly(wire: &mut Wire, group: &str, topic: &str, offset: i64) -> i16 {
    let body = crate::support::wire::Encoder::default().string(group).i32(-1).string("");
    let body = body.i64(-1).i32(1).string(topic).i32(1).i32(0).i64(offset).string("");
    let mut decoder = wire.call(8, 2, &body);
    let topics = decoder
        .list(|decoder| (decoder.string(), decoder.list(|decoder| (decoder.i32(), decoder.i16()))));
    topics[0].1[0].1
}

#[test]
fn offsets_of_a_transaction_are_judged_by_their_member_their_producer_and_their_topic() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-judged", 1);
    let group = "tx-judged";
    let mut groups = kafka::at_coordinator(&cluster, group);
    let (_, old) = begin(&cluster, "tx-judged");
    let (mut wire, producer) = begin(&cluster, "tx-judged");
    let (_, other) = begin(&cluster, "tx-judged-other");
    let wrong = Producer { producer: other.producer, ..producer.clone() };
    for (producer, topic, who, error) in [
        (&old, "tx-judged", nobody(group), INVALID_PRODUCER_EPOCH),
        (&wrong, "tx-judged", nobody(group), INVALID_PRODUCER_ID),
        (&producer, "tx-nowhere", nobody(group), UNKNOWN_TOPIC_OR_PARTITION),
        (&producer, "tx-judged", (group, 3, "nobody"), ILLEGAL_GENERATION),
        (&producer, "tx-judged", nobody(group), NONE),
    ] {
        let told = producer.commit(&mut groups, 5, who, topic, 1);
        assert_eq!(told, error, "{producer:?} {topic} {who:?}");
    }
    let home = kafka::coordinator(cluster.broker(1), group).1;
    for broker in cluster.brokers().iter().filter(|broker| broker.id != home as u64) {
        let mut elsewhere = Wire::connect(broker.kafka);
        let told = producer.commit(&mut elsewhere, 5, nobody(group), "tx-judged", 1);
        assert_eq!(told, NOT_COORDINATOR);
    }
    assert_eq!(producer.end(&mut wire, false), NONE);
}

#[test]
fn transactions_are_described_and_listed_by_state_producer_time_and_name() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-seen", 2);
    let (mut wire, producer) = begin(&cluster, "tx-seen-1");
    let seen = |state: &str, begun: bool, topics: Vec<(String, Vec<i32>)>| Transaction {
        error: NONE,
        state: state.to_owned(),
        timeout_ms: 60_000,
        has_begun: begun,
        producer: (producer.producer, producer.epoch),
        topics,
    };
    assert_eq!(describe(&mut wire, "tx-seen-1"), seen("Empty", false, vec![]));
    assert_eq!(
        describe(&mut wire, "tx-seen-none").error,
        match home_of(&cluster, "tx-seen-none") {
            home if home == home_of(&cluster, "tx-seen-1") => ID_NOT_FOUND,
            _ => NOT_COORDINATOR,
        }
    );
    assert_eq!(producer.add(&mut wire, "tx-seen", &[1, 0]), [NONE, NONE]);
    let topics = vec![("tx-seen".to_owned(), vec![0, 1])];
    assert_eq!(describe(&mut wire, "tx-seen-1"), seen("Ongoing", true, topics));
    let row = ("tx-seen-1".to_owned(), producer.producer, "Ongoing".to_owned());
    let of = |filters: Filters<'_>| {
        let (error, unknown, rows) =
            list(&mut Wire::connect(port_of(&cluster, &producer)), &filters);
        assert_eq!(error, NONE);
        (unknown, rows.contains(&row), rows.len())
    };
    let all = Filters::default();
    assert!(of(all.clone()).1);
    let ids = [producer.producer];
    let own = Filters { producers: &ids, ..all.clone() };
    assert_eq!(of(own.clone()), (vec![], true, 1));
    assert_eq!(of(Filters { states: &["Ongoing", "Empty"], ..own.clone() }), (vec![], true, 1));
    assert_eq!(of(Filters { states: &["CompleteCommit"], ..own.clone() }), (vec![], false, 0));
    let lost = Filters { states: &["Lost", "Ongoing"], ..own.clone() };
    assert_eq!(of(lost), (vec!["Lost".to_owned()], true, 1), "what is not known is told");
    assert!(!of(Filters { states: &["Lost"], ..own.clone() }).1);
    assert!(!of(Filters { open_for: Some(3_600_000), ..own.clone() }).1);
    assert!(of(Filters { pattern: Some("tx-seen-."), ..all.clone() }).1);
    assert!(!of(Filters { pattern: Some("tx-seen"), ..all.clone() }).1, "the whole id");
    let broken = list(&mut wire, &Filters { pattern: Some("("), ..all });
    assert_eq!(broken.0, INVALID_REGEX);
    assert_eq!(producer.end(&mut wire, true), NONE);
    cluster.wait("it is complete", || {
        (describe(&mut wire, "tx-seen-1") == seen("CompleteCommit", false, vec![])).then_some(())
    });
}

fn home_of(cluster: &Cluster, id: &str) -> i32 {
    cluster.wait("the id has a coordinator", || {
        let (error, home) = transactions::coordinator(cluster, id);
        (error == NONE).then_some(home)
    })
}

fn port_of(cluster: &Cluster, producer: &Producer) -> u16 {
    cluster.broker(home_of(cluster, &producer.id) as u64).kafka
}

#[test]
fn a_partition_tells_of_its_producers_and_where_their_transactions_begin() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-producers", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-producers", 0);
    assert_eq!(producers(&mut leader, "tx-producers", 0), (NONE, vec![]));
    let plain = kafka::producer_id(&mut leader);
    let batch = Batch::of(&["a", "b"]).from(plain, 0).bytes();
    assert_eq!(kafka::produce(&mut leader, "tx-producers", 0, &batch).error, NONE);
    let (mut wire, producer) = begin(&cluster, "tx-producers");
    assert_eq!(producer.add(&mut wire, "tx-producers", &[0]), [NONE]);
    assert_eq!(producer.produce(&mut leader, 7, "tx-producers", 0, "x"), (NONE, 2));
    let (error, rows) = producers(&mut leader, "tx-producers", 0);
    let mut expected = vec![
        (plain.0, i32::from(plain.1), 1, -1, -1),
        (producer.producer, i32::from(producer.epoch), 0, -1, 2),
    ];
    expected.sort_unstable();
    assert_eq!((error, rows), (NONE, expected));
    assert_eq!(producer.end(&mut wire, true), NONE);
    cluster.wait("none is open any more", || {
        let (_, rows) = producers(&mut leader, "tx-producers", 0);
        let own = rows.into_iter().find(|row| row.0 == producer.producer)?;
        (own.4 == -1 && own.3 >= 0).then_some(())
    });
    let unknown = producers(&mut leader, "tx-producers", 9);
    assert_eq!(unknown, (UNKNOWN_TOPIC_OR_PARTITION, vec![]));
    let mut follower = Wire::connect(cluster.broker(2).kafka);
    assert_eq!(producers(&mut follower, "tx-producers", 0), (NOT_LEADER, vec![]));
}

#[test]
fn an_operator_ends_a_transaction_that_hangs() {
    let cluster = Cluster::shared();
    create_on_first(&cluster, "tx-hangs", 1);
    let mut leader = kafka::at_leader(&cluster, "tx-hangs", 0);
    let (mut wire, producer) = begin(&cluster, "tx-hangs");
    assert_eq!(producer.add(&mut wire, "tx-hangs", &[0]), [NONE]);
    assert_eq!(producer.produce(&mut leader, 7, "tx-hangs", 0, "x"), (NONE, 0));
    let wrong = Producer { epoch: producer.epoch + 1, ..producer.clone() };
    assert_ne!(wrong.mark(&mut leader, "tx-hangs", false), NONE, "of another epoch");
    assert_eq!(read(&mut leader, "tx-hangs", 0, 1).stable, 0);
    assert_eq!(producer.mark(&mut leader, "tx-nowhere", false), UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(producer.mark(&mut leader, "tx-hangs", false), NONE);
    let found = read(&mut leader, "tx-hangs", 0, 1);
    assert_eq!((found.high_watermark, found.stable), (2, 2));
    assert_eq!(found.aborted, Some(vec![(producer.producer, 0)]));
    assert_ne!(producer.mark(&mut leader, "tx-hangs", false), NONE, "none is open any more");
    // Its coordinator finds it ended there; what it would write twice takes no offset.
    assert_eq!(producer.end(&mut wire, false), NONE);
    producer.join(&cluster, &mut wire, "tx-hangs");
    assert_eq!(read(&mut leader, "tx-hangs", 0, 1).high_watermark, 2);
    assert_eq!(producer.end(&mut wire, false), NONE);
}
