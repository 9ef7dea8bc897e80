//! A broker that was away while a gigabyte was written catches up, and serves it.

use std::time::Duration;

use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::clients;
use crate::support::cluster::{Cluster, SOON};
use crate::support::kafka::leader;

const RECORD: usize = 64 << 10;

/// Bytes written while the broker is away; `TEST_CATCH_UP_BYTES` makes it another number.
fn amount() -> usize {
    let given = std::env::var("TEST_CATCH_UP_BYTES").ok();
    given.map_or(1 << 30, |bytes| bytes.parse().unwrap())
}

#[test]
fn a_broker_that_was_away_while_a_gigabyte_was_written_catches_up() {
    let cluster = Cluster::start("catch-up", 3);
    cluster.create_topic("much", 4, 3);
    let away = cluster.broker(3);
    away.kill9();

    let bytes = amount();
    let producer: BaseProducer = clients::producer(&cluster.bootstrap())
        .set("batch.size", "900000")
        .set("queue.buffering.max.kbytes", "65536")
        .create()
        .unwrap();
    // Bytes that do not compress, different in every record.
    let mut payload: Vec<u8> = (0..RECORD as u64).map(|n| (n * n % 251) as u8).collect();
    for n in 0..(bytes / RECORD) as u64 {
        payload[..8].copy_from_slice(&n.to_be_bytes());
        let record = || BaseRecord::<(), [u8]>::to("much").partition((n % 4) as i32);
        while let Err((error, _)) = producer.send(record().payload(&payload)) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, full);
            producer.poll(Duration::from_millis(50));
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(2 * SOON).unwrap();

    away.start();
    cluster.wait_whole();
    cluster.wait_for("broker 3 has every entry of every partition", 3 * SOON, || {
        let answer = away.get("/v1/raft/groups")?.json();
        let groups = answer["groups"].as_array()?;
        let behind = groups.iter().filter(|group| group["partition"].is_string()).filter(|group| {
            let committed = cluster.broker(group["leader"].as_u64().unwrap_or(3));
            let path = format!("/v1/raft/groups/{}", group["group"]);
            let there = committed.get(&path).map(|answer| answer.json());
            let there = there.and_then(|group| group["committed_index"].as_u64());
            there.is_none() || group["applied_index"].as_u64() < there
        });
        (groups.len() >= 5 && behind.count() == 0).then_some(())
    });

    // It leads what it was sent, and a client reads it all from it.
    let mut total = 0;
    for index in 0..4 {
        let path = format!("/v1/topics/much/partitions/{index}/leader");
        cluster.request("PUT", &path, Some("{\"broker\": 3}")).ok();
        cluster
            .wait("broker 3 leads", || (leader(&cluster, "much", index).leader == 3).then_some(()));
        let consumer = clients::consumer_at(&cluster.bootstrap(), "much", index, 0);
        let (_, end) = consumer.fetch_watermarks("much", index, SOON).unwrap();
        for offset in 0..end {
            let message = consumer.poll(SOON).unwrap().unwrap();
            let number = (offset * 4 + i64::from(index)) as u64;
            assert_eq!(message.offset(), offset);
            assert_eq!(message.payload().unwrap()[..8], number.to_be_bytes());
            assert_eq!(message.payload().unwrap()[8..], payload[8..]);
            total += message.payload_len();
        }
    }
    assert_eq!(total, bytes / RECORD * RECORD);
}
