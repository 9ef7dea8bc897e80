//! Records as the programs of the clients write and read them: a line each, bytes in hexadecimal.

use std::fmt::Write as _;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::support::clients::{self, consumer_at};
use crate::support::cluster::SOON;

pub type Bytes = Option<Vec<u8>>;

#[derive(Clone, PartialEq)]
pub struct Record {
    pub timestamp: i64,
    pub key: Bytes,
    pub value: Bytes,
    pub headers: Vec<(String, Bytes)>,
}

fn text(bytes: &Bytes) -> String {
    let Some(bytes) = bytes else { return "-".into() };
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// So that a record of 900 KiB that is not as it was does not fill the screen.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = self.line();
        write!(f, "{:.200} ({} characters)", line, line.len())
    }
}

impl Record {
    /// `TIMESTAMP TAB KEY TAB VALUE TAB NAME:VALUE,…`
    pub fn line(&self) -> String {
        let pairs = self.headers.iter().map(|(name, value)| format!("{name}:{}", text(value)));
        let headers = pairs.collect::<Vec<_>>().join(",");
        format!("{}\t{}\t{}\t{headers}", self.timestamp, text(&self.key), text(&self.value))
    }

    /// Its headers as the client of this process is given them.
    pub fn rdkafka_headers(&self) -> OwnedHeaders {
        self.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        })
    }

    fn of(message: &BorrowedMessage<'_>) -> Record {
        let headers = message.headers().into_iter().flat_map(|all| all.iter());
        let headers = headers.map(|it| (it.key.to_owned(), it.value.map(<[u8]>::to_vec)));
        Record {
            timestamp: message.timestamp().to_millis().unwrap(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    }
}

/// What a program is given to write.
pub fn lines(records: &[Record]) -> String {
    records.iter().map(|record| record.line() + "\n").collect()
}

/// Fails unless the program's lines are these records, from `offset` on.
pub fn assert_lines(said: &str, records: &[Record], offset: usize, what: &str) {
    let placed = records.iter().enumerate();
    let placed = placed.map(|(n, record)| ((offset + n) as i64, record.clone()));
    stored_lines(said, &placed.collect::<Vec<_>>(), what);
}

/// Fails unless the program's lines are these records at these offsets.
pub fn stored_lines(said: &str, records: &[(i64, Record)], what: &str) {
    let expected = records.iter().map(|(offset, record)| format!("{offset}\t{}", record.line()));
    let (mut said, mut expected) = (said.lines(), expected);
    loop {
        let (is, should) = (said.next(), expected.next());
        let same = is == should.as_deref();
        assert!(
            same,
            "{what}\n  is {:.300}\nnot {:.300}",
            is.unwrap_or("nothing"),
            should.unwrap_or_default()
        );
        if is.is_none() {
            return;
        }
    }
}

/// Writes records to partition 0 with the client of this process.
pub fn write(bootstrap: &str, topic: &str, codec: &str, records: &[Record]) {
    let mut config = clients::producer(bootstrap);
    let producer: BaseProducer = config.set("compression.codec", codec).create().unwrap();
    for record in records {
        let mut next = BaseRecord::<[u8], [u8]>::to(topic).partition(0).timestamp(record.timestamp);
        next = next.headers(record.rdkafka_headers());
        next.key = record.key.as_deref();
        next.payload = record.value.as_deref();
        producer.send(next).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

/// Reads as many of partition 0 with the client of this process.
pub fn read(bootstrap: &str, topic: &str, count: usize) -> Vec<Record> {
    let consumer = consumer_at(bootstrap, topic, 0, 0);
    let records = (0..count).map(|n| {
        let message = consumer.poll(SOON).unwrap_or_else(|| panic!("{topic}: {n} records"));
        let message = message.unwrap();
        assert_eq!(usize::try_from(message.offset()).unwrap(), n);
        Record::of(&message)
    });
    let records = records.collect();
    assert!(consumer.poll(Duration::ZERO).is_none(), "{topic}: more than {count} records");
    consumer.unassign().unwrap();
    records
}

/// A reader of a partition that sees what an isolation level has it see.
fn isolated(bootstrap: &str, isolation: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "none");
    config.set("enable.auto.commit", "false").set("isolation.level", isolation);
    config.set("fetch.wait.max.ms", "100").set("enable.partition.eof", "true").create().unwrap()
}

/// Where a reader of that isolation level finds the end of a partition.
pub fn end(bootstrap: &str, topic: &str, partition: i32, isolation: &str) -> i64 {
    let consumer = isolated(bootstrap, isolation);
    consumer.fetch_watermarks(topic, partition, SOON).unwrap().1
}

/// Reads a partition to where a reader of that isolation level finds its end: the offset of each record, and the record.
pub fn read_all(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    isolation: &str,
) -> Vec<(i64, Record)> {
    let consumer = isolated(bootstrap, isolation);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let mut records = Vec::new();
    loop {
        match consumer.poll(SOON) {
            Some(Ok(message)) => records.push((message.offset(), Record::of(&message))),
            Some(Err(KafkaError::PartitionEOF(_))) => return records,
            // One of the brokers it was told of is dead; it goes on with the others.
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve,
            ))) => {}
            other => panic!("{topic}-{partition}: {other:?} after {} records", records.len()),
        }
    }
}
