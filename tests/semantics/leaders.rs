//! Who leads, as brokers tell that do not: beside their errors (KIP-951), in Metadata, and to a fetch that waits.

use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::kafka::{
    self, FENCED_LEADER_EPOCH, FETCH, Fetch, METADATA, NONE, NOT_LEADER, PRODUCE, PartitionState,
    UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, fetched, leader, metadata, produce, topic_id,
};
use crate::support::wire::{Batch, Decoder, Encoder, Wire};

const LEADER_NOT_AVAILABLE: i16 = 5;

/// What an answer for one partition says: its error, its leader with the epoch, and where that is.
#[derive(Debug, PartialEq)]
struct Told {
    error: i16,
    leader: Option<(i32, i32)>,
    endpoints: Vec<(i32, String, i32)>,
}

/// The one partition of an answer, whose tagged fields have a leader behind `tag`.
fn told(mut decoder: Decoder, tag: usize, row: impl Fn(&mut Decoder) -> i16) -> Told {
    let mut rows = decoder.rows(|topic| {
        topic.id();
        let rows = topic.structures(|partition| {
            let error = row(partition);
            let leader = partition.tagged().remove(&tag);
            (error, leader.map(|mut leader| (leader.i32(), leader.i32())))
        });
        rows.unwrap().remove(0)
    });
    let (error, leader) = rows.as_mut().unwrap().remove(0);
    if tag == PRODUCE_LEADER {
        decoder.i32();
    }
    let endpoints = decoder.tagged().remove(&0).map(|mut nodes| {
        nodes.rows(|node| {
            let endpoint = (node.i32(), node.text().unwrap(), node.i32());
            node.text();
            endpoint
        })
    });
    decoder.end();
    Told { error, leader, endpoints: endpoints.flatten().unwrap_or_default() }
}

/// The tags of the leader in a partition of Produce and of Fetch.
const PRODUCE_LEADER: usize = 0;
const FETCH_LEADER: usize = 1;

/// Produce version 13.
fn produce_told(wire: &mut Wire, topic: [u8; 16], records: &[u8]) -> Told {
    let body = Encoder::default().zero().i16(-1).i32(30_000).count(1).id(topic).count(1);
    let decoder = wire.call_flexible(PRODUCE, 13, body.i32(0).blob(records).zero().zero());
    told(decoder, PRODUCE_LEADER, |row| {
        row.i32();
        let error = row.i16();
        (0..3).for_each(|_| _ = row.i64());
        row.rows(|record| (record.i32(), record.text()));
        row.text();
        error
    })
}

/// Fetch version 16, from the beginning.
fn fetch_told(wire: &mut Wire, topic: [u8; 16], epoch: i32) -> Told {
    let body = Encoder::default().i32(0).i32(1).i32(1 << 20).i8(0).i32(0).i32(-1).count(1);
    let body = body.id(topic).count(1).i32(0).i32(epoch).i64(0).i32(-1).i64(-1).i32(1 << 20);
    let mut decoder = wire.call_flexible(FETCH, 16, body.zero().zero().count(0).text(""));
    decoder.i32();
    assert_eq!((decoder.i16(), decoder.i32()), (NONE, 0));
    told(decoder, FETCH_LEADER, |row| {
        row.i32();
        let error = row.i16();
        (0..3).for_each(|_| _ = row.i64());
        row.rows(|aborted| (aborted.i64(), aborted.i64()));
        row.i32();
        assert!(row.blob().is_some(), "records are never null");
        error
    })
}

#[test]
fn who_does_not_lead_names_the_leader_its_epoch_and_its_address_and_the_leader_names_nobody() {
    let cluster = Cluster::shared();
    let body = serde_json::json!({ "name": "hints", "replicas": [[1, 2]] }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    let mut at_leader = kafka::at_leader(&cluster, "hints", 0);
    let PartitionState { leader, epoch, .. } = leader(&cluster, "hints", 0);
    let id = topic_id(&mut at_leader, "hints").unwrap();
    let batch = Batch::of(&["x"]).bytes();
    let port = i32::from(cluster.broker(leader as u64).kafka);
    let hint = || Told {
        error: NOT_LEADER,
        leader: Some((leader, epoch)),
        endpoints: vec![(leader, "127.0.0.1".to_owned(), port)],
    };
    let nobody = |error| Told { error, leader: None, endpoints: vec![] };
    // The follower, and a broker that has no replica.
    for broker in cluster.brokers().iter().filter(|broker| broker.id != leader as u64) {
        let mut wire = Wire::connect(broker.kafka);
        assert_eq!(produce_told(&mut wire, id, &batch), hint(), "broker {}", broker.id);
        for claimed in [-1, epoch, epoch - 1] {
            assert_eq!(fetch_told(&mut wire, id, claimed), hint(), "broker {}", broker.id);
        }
        let unknown = produce_told(&mut wire, [0xab; 16], &batch);
        assert_eq!(unknown, nobody(UNKNOWN_TOPIC_ID));
    }
    assert_eq!(produce_told(&mut at_leader, id, &batch), nobody(NONE));
    assert_eq!(fetch_told(&mut at_leader, id, epoch), nobody(NONE));
    assert_eq!(fetch_told(&mut at_leader, id, epoch - 1), nobody(FENCED_LEADER_EPOCH));
}

#[test]
fn a_fetch_that_waits_is_woken_when_its_leader_goes_and_one_of_nothing_does_not_wait() {
    let cluster = Cluster::shared();
    cluster.create_topic("leaves", 1, 3);
    let mut wire = kafka::at_leader(&cluster, "leaves", 0);
    let before = leader(&cluster, "leaves", 0);
    let other = before.replicas.iter().find(|id| **id != before.leader).unwrap();
    // Longer than the connection is willing to wait.
    wire.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let patient = Fetch { wait_ms: 300_000, ..Fetch::of("leaves", 0, 0) };
    let nothing = Fetch { named: false, ..patient.clone() }.send(&mut wire);
    assert_eq!((nothing.error, nothing.partitions.len()), (NONE, 0));
    wire.send(FETCH, 11, &patient.body());
    let body = format!("{{\"broker\": {other}}}");
    cluster.request("PUT", "/v1/topics/leaves/partitions/0/leader", Some(&body)).ok();
    let found = fetched(wire.receive().unwrap().1);
    assert_eq!(found.partitions[0].error, NOT_LEADER, "{found:?}");
}

#[test]
fn a_partition_without_a_leader_is_told_with_an_error_and_no_epoch_and_is_not_left_out() {
    let cluster = Cluster::start("leaderless", 3);
    let body = serde_json::json!({ "name": "t", "replicas": [[1], [3]] }).to_string();
    cluster.request("POST", "/v1/topics", Some(&body)).ok();
    let led = [0, 1].map(|index| leader(&cluster, "t", index));
    let id = topic_id(&mut Wire::connect(cluster.broker(1).kafka), "t").unwrap();
    cluster.broker(3).kill9();
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    let topic = cluster.wait("the partition has no leader", || {
        let topic = metadata(&mut wire, Some(&["t"]), false).topics.remove(0);
        (topic.partitions[1].leader == -1).then_some(topic)
    });
    assert_eq!((topic.error, topic.partitions.len()), (NONE, 2), "the topic is all right");
    assert_eq!(topic.partitions[0], led[0]);
    let gone = &topic.partitions[1];
    assert_eq!((gone.error, gone.index, gone.epoch), (LEADER_NOT_AVAILABLE, 1, -1));
    assert_eq!((&gone.replicas[..], &gone.in_sync[..]), (&[3][..], &[][..]));
    // Nor is a client sent to the one that led it last.
    let body = Encoder::default().zero().i16(-1).i32(30_000).count(1).id(id).count(1).i32(1);
    let records = Batch::of(&["x"]).bytes();
    let mut decoder = wire.call_flexible(PRODUCE, 13, body.blob(&records).zero().zero());
    let tags = decoder.rows(|topic| {
        topic.id();
        let partition = topic.structures(|row| {
            assert_eq!((row.i32(), row.i16()), (1, NOT_LEADER));
            (0..3).for_each(|_| _ = row.i64());
            row.rows(|record| (record.i32(), record.text()));
            row.text();
            row.tagged().len()
        });
        partition.unwrap()
    });
    decoder.i32();
    assert_eq!((tags.unwrap().concat(), decoder.tagged().len()), (vec![0], 0));
}

#[test]
fn a_topic_that_another_broker_made_a_moment_ago_is_at_worst_unknown_and_is_never_made_by_writing()
{
    let cluster = Cluster::shared();
    let mut wires: Vec<Wire> =
        cluster.brokers().iter().map(|broker| Wire::connect(broker.kafka)).collect();
    let batch = Batch::of(&["x"]).bytes();
    let retriable = [NONE, UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER];
    for n in 0..6 {
        let name = format!("made-elsewhere-{n}");
        assert_eq!(kafka::create_topic(&mut wires[n % 3], &name, 1, 3, false), NONE);
        let id = topic_id(&mut wires[n % 3], &name).expect("known where it was made");
        cluster.wait("its leader takes records", || {
            let mut took = false;
            for wire in &mut wires {
                let error = Fetch::of(&name, 0, 0).one(wire).error;
                assert!(retriable.contains(&error), "fetch: {error}");
                let error = fetch_told(wire, id, -1).error;
                assert!([NONE, UNKNOWN_TOPIC_ID, NOT_LEADER].contains(&error), "by id: {error}");
                let error = produce(wire, &name, 0, &batch).error;
                assert!(retriable.contains(&error), "produce: {error}");
                took |= error == NONE;
            }
            took.then_some(())
        });
    }
    for wire in &mut wires {
        let answer = produce(wire, "made-never", 0, &batch);
        assert_eq!((answer.error, answer.base), (UNKNOWN_TOPIC_OR_PARTITION, -1));
    }
    let seen = metadata(&mut wires[0], Some(&["made-never"]), false);
    assert_eq!(seen.topics[0].error, UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn where_the_operator_does_not_want_it_no_topic_is_made_by_asking_for_it() {
    let settings = [("QUORATE_TOPICS_AUTO_CREATE", "false")];
    let cluster = Cluster::start_with("no-auto-create", 1, &settings);
    let mut wire = Wire::connect(cluster.broker(1).kafka);
    let asked = |wire: &mut Wire| metadata(wire, Some(&["wanted"]), true).topics[0].error;
    assert_eq!(asked(&mut wire), UNKNOWN_TOPIC_OR_PARTITION);
    // Before version 4 nobody could say that it does not want it.
    let mut decoder = wire.call(METADATA, 1, &Encoder::default().i32(1).string("wanted"));
    decoder.list(|row| (row.i32(), row.string(), row.i32(), row.string()));
    decoder.i32();
    let errors = decoder.list(|row| {
        let error = row.i16();
        assert_eq!((row.string().as_deref(), row.i8(), row.i32()), (Some("wanted"), 0, 0));
        error
    });
    assert_eq!(errors, [UNKNOWN_TOPIC_OR_PARTITION]);
    let body = r#"{"configs": {"auto.create.topics.enable": "true"}}"#;
    cluster.request("PATCH", "/v1/cluster/configs", Some(body)).ok();
    cluster.wait("it is made now", || (asked(&mut wire) == NONE).then_some(()));
}
