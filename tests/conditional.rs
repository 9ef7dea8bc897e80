//! Conditions that stock producers state in record headers: which settings make a command one batch, what a conflict does
//! to others, and that a retry of what was accepted is a success, also when the leader is killed.

mod refusals;

use std::collections::BTreeSet;

use rdkafka::Message;
use rdkafka::consumer::Consumer;
use serde_json::{Value, json};

use crate::support::appender::{Answer, Appender, Sent, Stock};
use crate::support::clients;
use crate::support::cluster::{Cluster, SOON};
use crate::support::kafka::{Fetch, INVALID_RECORD, at_leader, leader};
use crate::support::wire;

const EXPECTED: &str = "quorate-expected-version";
/// What the Java client says of a record whose batch was refused for another one.
const NOT_AT_FAULT: i16 = -1;

fn create(cluster: &Cluster, topic: &str, partitions: i32, configs: &Value) {
    let body = json!({ "name": topic, "partitions": partitions, "replication_factor": 3, "configs": configs });
    cluster.request("POST", "/v1/topics", Some(&body.to_string())).ok();
    (0..partitions).for_each(|partition| drop(at_leader(cluster, topic, partition)));
}

fn create_streams(cluster: &Cluster, topic: &str, partitions: i32) {
    create(cluster, topic, partitions, &json!({ "quorate.streams": "true" }));
}

/// Keys and values of a partition, at offsets from 0 on.
fn read(cluster: &Cluster, topic: &str, partition: i32) -> Vec<(String, String)> {
    let consumer = clients::consumer_at(&cluster.bootstrap(), topic, partition, 0);
    // To librdkafka a partition without a leader, as after a kill, is one that is not known.
    let ends = || consumer.fetch_watermarks(topic, partition, SOON).ok();
    let (_, end) = cluster.wait("the partition has a leader for a client", ends);
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().into()).unwrap();
    let next = |offset| {
        let message = consumer.poll(SOON).expect("a record within time").unwrap();
        assert_eq!(message.offset(), offset, "{topic}-{partition}");
        (text(message.key()), text(message.payload()))
    };
    (0..end).map(next).collect()
}

/// The values of one key.
fn values(records: &[(String, String)], key: &str) -> Vec<String> {
    let of_key = records.iter().filter(|(it, _)| it == key);
    of_key.map(|(_, value)| value.clone()).collect()
}

/// A record of `key` whose version is expected to be `expected` before it.
fn expecting<'a>(
    topic: &'a str,
    (key, value): (&'a str, &'a str),
    expected: &'a [(&'a str, &'a str); 1],
) -> Sent<'a> {
    Sent { topic, key, value: Some(value), headers: expected, ..Sent::default() }
}

/// Fails unless this is a conflict; the Java client is the one that says what the version is.
fn assert_conflict(client: Stock, answer: &Answer, current: i64) {
    let (code, message) = answer.error();
    assert_eq!(code, INVALID_RECORD, "{client:?}: {message}");
    if client == Stock::Java {
        assert_eq!(message, format!("the key has another version (current={current})"));
    } else {
        assert!(!message.contains("current="), "{client:?} shows it by now: {message}");
    }
}

#[test]
fn a_version_is_expected_by_every_client_and_a_conflict_ends_nothing() {
    let cluster = Cluster::shared();
    for client in Stock::ALL {
        let topic = format!("expected-{client:?}");
        create_streams(&cluster, &topic, 3);
        let mut producer = Appender::start(&cluster, client, client.one_record_a_batch());
        let mut append = |key, value, expected: &str| {
            producer.append_one(&cluster, expecting(&topic, (key, value), &[(EXPECTED, expected)]))
        };
        assert_conflict(client, &append("account", "early", "1"), 0);
        let (partition, offset) = append("account", "opened", "0").ok();
        assert_eq!(offset, 0, "what was refused took no offset");
        assert_conflict(client, &append("account", "opened again", "-1"), 1);
        assert_conflict(client, &append("account", "late", "0"), 1);
        assert_eq!(append("account", "first", "1").ok(), (partition, 1));
        assert_eq!(append("account", "whatever", "-2").ok(), (partition, 2));
        assert_eq!(append("account", "known", "-3").ok(), (partition, 3));
        assert!(append("other", "opened", "-1").is_ok());
        assert_conflict(client, &append("third", "unknown", "-3"), 0);
        let records = read(&cluster, &topic, partition);
        assert_eq!(values(&records, "account"), ["opened", "first", "whatever", "known"]);
    }
}

/// How many records each batch of a partition has, and the epoch of its producer.
fn batches(cluster: &Cluster, topic: &str, partition: i32) -> Vec<(i32, i16)> {
    let mut wire = at_leader(cluster, topic, partition);
    let mut found = Vec::new();
    let mut end = 0;
    loop {
        let fetched = Fetch::of(topic, partition, end).one(&mut wire);
        let mut bytes = fetched.records.as_deref().unwrap_or_default();
        for (base, _, count) in wire::batches(bytes) {
            let length = 12 + u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
            found.push((count, i16::from_be_bytes(bytes[51..53].try_into().unwrap())));
            (bytes, end) = (&bytes[length..], base + i64::from(count));
        }
        if end == fetched.high_watermark {
            return found;
        }
    }
}

/// One producer that waits for nothing, and three keys, of which one's commands are all in conflict: in one partition, and in
/// three, where some are in another than those in conflict.
#[test]
fn with_a_record_a_batch_conflicts_on_one_key_cost_others_nothing() {
    let cluster = Cluster::shared();
    for (client, partitions) in Stock::ALL.into_iter().flat_map(|it| [(it, 1), (it, 3)]) {
        let topic = format!("beside-{client:?}-{partitions}");
        create_streams(&cluster, &topic, partitions);
        let mut producer = Appender::start(&cluster, client, client.one_record_a_batch());
        let rounds = 100;
        for n in 0..rounds {
            let number = n.to_string();
            producer.send(expecting(&topic, ("stale", &number), &[(EXPECTED, "77")]));
            producer.send(expecting(&topic, ("any", &number), &[(EXPECTED, "-2")]));
            producer.send(expecting(&topic, ("sound", &number), &[(EXPECTED, &number)]));
        }
        let answers = producer.flush(&cluster);
        let records: Vec<_> = (0..partitions).map(|it| read(&cluster, &topic, it)).collect();
        for (number, answer) in &answers {
            if number % 3 == 0 {
                assert_conflict(client, answer, 0);
                continue;
            }
            let key = if number % 3 == 1 { "any" } else { "sound" };
            let (partition, offset) = answer.ok();
            let found = &records[partition as usize][offset as usize];
            assert_eq!(*found, (key.to_owned(), (number / 3).to_string()), "{client:?}");
        }
        // Each once, in the order in which they were sent.
        let all: Vec<String> = (0..rounds).map(|n| n.to_string()).collect();
        let records = records.concat();
        assert_eq!(values(&records, "any"), all, "{client:?}");
        assert_eq!(values(&records, "sound"), all, "{client:?}");
        assert_eq!(records.len(), 2 * rounds, "{client:?}");
        let batches = (0..partitions).flat_map(|it| batches(&cluster, &topic, it));
        let (counts, epochs): (Vec<i32>, BTreeSet<i16>) = batches.unzip();
        assert!(counts.iter().all(|count| *count == 1), "{client:?}: {counts:?}");
        // Each of these clients takes a new epoch for all it sends after an error, which costs it a request.
        assert!(epochs.len() > rounds / 10, "{client:?}: {epochs:?}");
    }
}

#[test]
fn a_command_of_several_records_is_one_batch_between_two_flushes() {
    let cluster = Cluster::shared();
    for client in Stock::ALL {
        let topic = format!("several-{client:?}");
        create_streams(&cluster, &topic, 1);
        let mut producer = Appender::start(&cluster, client, client.one_flush_a_batch());
        let plain = |value| Sent { topic: &topic, key: "a", value: Some(value), ..Sent::default() };
        let (none, three) = ([(EXPECTED, "0")], [(EXPECTED, "3")]);
        let opened = [expecting(&topic, ("a", "1"), &none), plain("2"), plain("3")];
        let answers = producer.append(&cluster, &opened);
        assert_eq!(answers.iter().map(|it| it.ok().1).collect::<Vec<_>>(), [0, 1, 2], "{client:?}");
        // The condition is on the second; none of them is there.
        let stale = [plain("4"), expecting(&topic, ("a", "5"), &none), plain("6")];
        let answers = producer.append(&cluster, &stale);
        let codes: Vec<i16> = answers.iter().map(|it| it.error().0).collect();
        // A contradiction: behind the first record of its batch no key has version 0.
        let others = if client == Stock::Java { NOT_AT_FAULT } else { INVALID_RECORD };
        assert_eq!(codes, [others, INVALID_RECORD, others], "{client:?}: {answers:?}");
        let wrong = [expecting(&topic, ("b", "1"), &none), expecting(&topic, ("a", "7"), &none)];
        let answers = producer.append(&cluster, &wrong);
        assert_eq!(answers[0].error().0, others, "{client:?}: shares the fate of its batch");
        assert_conflict(client, &answers[1], 3);
        let right = [expecting(&topic, ("b", "1"), &none), expecting(&topic, ("a", "4"), &three)];
        let answers = producer.append(&cluster, &right);
        assert_eq!(answers.iter().map(|it| it.ok().1).collect::<Vec<_>>(), [3, 4], "{client:?}");
        let records = read(&cluster, &topic, 0);
        assert_eq!(values(&records, "a"), ["1", "2", "3", "4"], "{client:?}");
        assert_eq!(values(&records, "b"), ["1"], "{client:?}");
    }
}

/// The leader is killed with appends under way. Each states the version before it, so one that is written twice, or out of
/// turn, would be refused, and so would one whose retry is not known for what it is.
#[test]
fn a_retry_of_what_was_accepted_is_a_success_also_with_the_next_leader() {
    let cluster = Cluster::start("conditional-killed", 3);
    let mut topics = Vec::new();
    let mut producers = Vec::new();
    for client in Stock::ALL {
        let topic = format!("killed-{client:?}");
        create_streams(&cluster, &topic, 1);
        let producer = Appender::start(&cluster, client, client.one_record_a_batch());
        topics.push(topic);
        producers.push((client, producer, 0_usize));
    }
    let send = |producers: &mut Vec<(Stock, Appender, usize)>, more: usize| {
        for _ in 0..more {
            for ((_, producer, count), topic) in producers.iter_mut().zip(&topics) {
                let number = count.to_string();
                producer.send(expecting(topic, ("key", &number), &[(EXPECTED, &number)]));
                *count += 1;
            }
        }
    };
    for (round, topic) in topics.iter().enumerate() {
        send(&mut producers, 200);
        cluster.wait("all are acknowledged something", || {
            let enough =
                |(_, producer, _): &(Stock, Appender, usize)| producer.answered() > 250 * round;
            producers.iter().all(enough).then_some(())
        });
        let killed = u64::try_from(leader(&cluster, topic, 0).leader).unwrap();
        cluster.broker(killed).kill9();
        send(&mut producers, 50);
        cluster.broker(killed).start();
        cluster.wait_whole();
    }
    for ((client, producer, count), topic) in producers.iter_mut().zip(&topics) {
        let answers = producer.flush(&cluster);
        for (number, answer) in &answers {
            assert_eq!(answer.ok(), (0, i64::try_from(*number).unwrap()), "{client:?}: {number}");
        }
        let all: Vec<String> = (0..*count).map(|n| n.to_string()).collect();
        assert_eq!(values(&read(&cluster, topic, 0), "key"), all, "{client:?}");
        // Versions have no gaps: the next one is known to be their number.
        let end = count.to_string();
        let expected = [(EXPECTED, end.as_str())];
        let next = expecting(topic, ("key", "end"), &expected);
        assert!(producer.append_one(&cluster, next).is_ok(), "{client:?}");
    }
}
