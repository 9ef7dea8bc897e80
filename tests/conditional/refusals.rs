//! What topics with streams refuse, by name: records in the wrong partition, headers that are not understood, more
//! partitions; and streams that are deleted or closed.

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use serde_json::json;

use super::{EXPECTED, assert_conflict, create, create_streams, expecting, read};
use crate::support::appender::{Appender, Sent, Stock};
use crate::support::clients;
use crate::support::cluster::{Cluster, SOON};
use crate::support::kafka::{self, INVALID_RECORD, at_leader};
use crate::support::wire::Batch;

/// Keys of a test, of all partitions.
const KEYS: [&str; 12] =
    ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "koi", "lynx"];

#[test]
fn a_record_in_another_partition_than_its_keys_is_refused_and_told_which_is_right() {
    let cluster = Cluster::shared();
    create_streams(&cluster, "places", 3);
    let mut java = Appender::start(&cluster, Stock::Java, &[]);
    let mut go = Appender::start(&cluster, Stock::FranzGo, &[]);
    let settings = Stock::Librdkafka.one_record_a_batch();
    let mut murmur2 = Appender::start(&cluster, Stock::Librdkafka, settings);
    let mut crc32 = Appender::start(&cluster, Stock::Librdkafka, &["batch.num.messages=1"]);
    let mut misplaced = 0;
    for key in KEYS {
        let record = Sent { topic: "places", key, value: Some("v"), ..Sent::default() };
        let (right, _) = java.append_one(&cluster, record).ok();
        assert_eq!(go.append_one(&cluster, record).ok().0, right, "{key}: franz-go's default");
        assert_eq!(murmur2.append_one(&cluster, record).ok().0, right, "{key}: murmur2_random");
        let wrong = Sent { partition: Some((right + 1) % 3), ..record };
        let refused = java.append_one(&cluster, wrong);
        let belongs = format!("record 0: its key belongs to partition {right}, by murmur2");
        assert!(refused.error().1.starts_with(&belongs), "{refused:?}");
        assert_eq!(refused.error().0, INVALID_RECORD);
        assert_eq!(go.append_one(&cluster, wrong).error().0, INVALID_RECORD);
        // librdkafka's own default is another function of the key.
        let answer = crc32.append_one(&cluster, record);
        if !answer.is_ok() {
            assert_eq!(answer.error().0, INVALID_RECORD);
            misplaced += 1;
        }
    }
    assert!((1..KEYS.len()).contains(&misplaced), "{misplaced} of {} keys", KEYS.len());
    let found: Vec<_> = (0..3).flat_map(|partition| read(&cluster, "places", partition)).collect();
    assert_eq!(found.len(), 4 * KEYS.len() - misplaced);
}

#[test]
fn records_at_fault_are_named_on_the_wire_and_the_batch_is_refused_whole() {
    let cluster = Cluster::shared();
    create_streams(&cluster, "faults", 1);
    let mut wire = at_leader(&cluster, "faults", 0);
    let batch = Batch::of(&["a", "b", "c"]).keyed(&[Some("k"), Some("k"), None]).bytes();
    let refused = kafka::judged(&mut wire, "faults", 0, &batch);
    assert_eq!(refused, (INVALID_RECORD, vec![(2, true)], true));
    let batch = Batch::of(&["a"]).keyed(&[Some("k")]).bytes();
    let answer = kafka::produce(&mut wire, "faults", 0, &batch);
    assert_eq!((answer.error, answer.base), (kafka::NONE, 0), "nothing was appended before");
}

#[test]
fn headers_that_are_misspelt_or_mean_nothing_in_a_topic_are_refused_by_every_client() {
    let cluster = Cluster::shared();
    create_streams(&cluster, "headers", 1);
    create(&cluster, "no-streams", 1, &json!({}));
    for client in Stock::ALL {
        let mut producer = Appender::start(&cluster, client, client.one_record_a_batch());
        let mut refused = |topic, header, says: &str| {
            let headers = [header];
            let answer = producer.append_one(&cluster, expecting(topic, ("key", "v"), &headers));
            let (code, message) = answer.error();
            assert_eq!(code, INVALID_RECORD, "{client:?}: {header:?}");
            assert!(client != Stock::Java || message.contains(says), "{header:?}: {message}");
        };
        refused("headers", ("quorate-expected-versions", "0"), "is not known");
        refused("headers", (EXPECTED, "seven"), "is not a number");
        refused("headers", ("quorate-no-tag-after", "7"), "and a tag");
        refused("headers", ("quorate-close", ""), "only a tombstone closes");
        refused("no-streams", (EXPECTED, "0"), "keys have no versions");
        refused("no-streams", ("quorate-no-tag-after", "-1 x"), "tags are not known");
        refused("no-streams", ("quorate-expected-offset", "7"), "(current=0)");
        let header = [("quorate-expected-offset", "0")];
        if client == Stock::Librdkafka {
            let offset = expecting("headers", ("key", "v"), &header);
            assert_eq!(producer.append_one(&cluster, offset).ok().1, 0);
        }
    }
    assert_eq!(read(&cluster, "headers", 0).len(), 1);
    assert_eq!(read(&cluster, "no-streams", 0).len(), 0);
}

#[test]
fn a_topic_with_streams_never_gets_more_partitions() {
    let cluster = Cluster::shared();
    create_streams(&cluster, "fixed", 2);
    let mut config = clients::producer(&cluster.bootstrap());
    let admin: AdminClient<DefaultClientContext> =
        config.set("client.id", "admin").create().unwrap();
    let wanted = [NewPartitions::new("fixed", 3)];
    let options = AdminOptions::new().request_timeout(Some(SOON));
    let grown = futures::executor::block_on(admin.create_partitions(&wanted, &options)).unwrap();
    assert_eq!(grown, [Err(("fixed".to_owned(), RDKafkaErrorCode::InvalidPartitions))]);
    assert_eq!(cluster.get("/v1/topics/fixed")["partitions"].as_array().unwrap().len(), 2);
}

#[test]
fn tags_tombstones_and_closed_streams_are_conditions_of_stock_clients_too() {
    let cluster = Cluster::shared();
    for client in Stock::ALL {
        let topic = format!("tags-{client:?}");
        create_streams(&cluster, &topic, 1);
        let mut producer = Appender::start(&cluster, client, client.one_record_a_batch());
        let mut append = |key, value, headers: &[(&str, &str)]| {
            let record = Sent { topic: &topic, key, value, headers, ..Sent::default() };
            producer.append_one(&cluster, record)
        };
        // An address is taken once, whatever the key.
        let unique = [("quorate-tag", "mail:a"), ("quorate-no-tag-after", "-1 mail:a")];
        assert_eq!(append("ann", Some("registered"), &unique).ok().1, 0);
        assert_eq!(append("amy", Some("registered"), &unique).error().0, INVALID_RECORD);
        let later = [("quorate-no-tag-after", "0 mail:a")];
        assert_eq!(append("amy", Some("looked"), &later).ok().1, 1);

        // A tombstone deletes what there was, and the versions go on.
        assert!(append("ann", None, &[(EXPECTED, "1")]).is_ok());
        assert_conflict(client, &append("ann", Some("again"), &[(EXPECTED, "0")]), 2);
        assert!(append("ann", Some("again"), &[(EXPECTED, "-1")]).is_ok());
        assert!(append("ann", None, &[(EXPECTED, "3"), ("quorate-close", "")]).is_ok());
        for expected in ["4", "-1", "-2"] {
            let refused = append("ann", Some("too late"), &[(EXPECTED, expected)]);
            let (code, message) = refused.error();
            assert_eq!(code, INVALID_RECORD);
            assert!(client != Stock::Java || message == "the stream is closed (current=4)");
        }
        assert_eq!(append("ann", Some("too late"), &[]).error().0, INVALID_RECORD);
        assert!(append("amy", Some("goes on"), &[]).is_ok());
    }
}
