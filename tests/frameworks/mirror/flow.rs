//! A topic that is mirrored one way: what is written at its source, the settings and the group that go with it, and how
//! all of it is found at the target.

use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::client_matrix::record::{Record, read_all};
use crate::frameworks::connect::topic_setting;
use crate::support::clients;
use crate::support::cluster::SOON;
use crate::support::wait;

/// The settings that go along; nothing is compacted in the time of a test.
const SETTINGS: [(&str, &str); 3] = [
    ("cleanup.policy", "compact"),
    ("min.compaction.lag.ms", "3600000"),
    ("max.message.bytes", "2000000"),
];
/// Which one is changed, and to what.
const CHANGED: (&str, &str) = ("max.message.bytes", "1500000");

pub const GROUP: &str = "readers";

pub struct Flow {
    from: String,
    to: String,
    topic: &'static str,
    /// The topic's name at the target.
    pub mirrored: String,
    /// What was written to each partition.
    records: Vec<Vec<Record>>,
    written: usize,
}

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    clients::producer(bootstrap).create().unwrap()
}

fn record(n: usize) -> Record {
    let bytes = |text: String| Some(text.into_bytes());
    Record {
        timestamp: 1_700_000_000_000 + n as i64,
        key: bytes(format!("key {n}")),
        value: if n % 10 == 3 { None } else { bytes(format!("value {n}")) },
        headers: vec![("number".into(), bytes(n.to_string())), ("number".into(), None)],
    }
}

impl Flow {
    /// Makes the topic at its source, with two partitions.
    pub fn new(
        (alias, from): (&str, String),
        to: String,
        topic: &'static str,
        replicas: i32,
    ) -> Flow {
        let mut wanted = NewTopic::new(topic, 2, TopicReplication::Fixed(replicas));
        for (name, value) in SETTINGS {
            wanted = wanted.set(name, value);
        }
        let made = block_on(admin(&from).create_topics([&wanted], &AdminOptions::new())).unwrap();
        assert_eq!(made, [Ok(topic.to_owned())]);
        let mirrored = format!("{alias}.{topic}");
        Flow { from, to, topic, mirrored, records: vec![Vec::new(); 2], written: 0 }
    }

    pub fn write(&mut self, count: usize) {
        let producer: BaseProducer = clients::producer(&self.from).create().unwrap();
        for n in self.written..self.written + count {
            let (partition, record) = (n % self.records.len(), record(n));
            let mut next = BaseRecord::<[u8], [u8]>::to(self.topic).partition(partition as i32);
            next = next.timestamp(record.timestamp).headers(record.rdkafka_headers());
            next.key = record.key.as_deref();
            next.payload = record.value.as_deref();
            producer.send(next).map_err(|(error, _)| error).unwrap();
            self.records[partition].push(record);
        }
        producer.flush(SOON).unwrap();
        self.written += count;
    }

    /// Adds a partition and changes a setting at the source.
    pub fn change(&mut self) {
        let (admin, options) = (admin(&self.from), AdminOptions::new());
        let wanted = NewPartitions::new(self.topic, 3);
        let grown = block_on(admin.create_partitions(&[wanted], &options)).unwrap();
        assert_eq!(grown, [Ok(self.topic.to_owned())]);
        self.records.push(Vec::new());
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(self.topic));
        for (name, value) in SETTINGS {
            change = change.set(name, if name == CHANGED.0 { CHANGED.1 } else { value });
        }
        let altered = block_on(admin.alter_configs([&change], &options)).unwrap();
        assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    }

    /// Whether the target has the topic with its partitions.
    pub fn is_made(&self) -> bool {
        let consumer = clients::consumer(&self.to);
        let Ok(told) = consumer.fetch_metadata(Some(&self.mirrored), SOON) else { return false };
        let topic = told.topics().first();
        topic.is_some_and(|it| it.error().is_none() && it.partitions().len() == self.records.len())
    }

    pub fn has_settings(&self, changed: bool) -> bool {
        SETTINGS.iter().all(|(name, value)| {
            let value = if changed && *name == CHANGED.0 { CHANGED.1 } else { value };
            topic_setting(&self.to, &self.mirrored, name).as_deref() == Some(value)
        })
    }

    fn read(&self, partition: usize) -> Vec<(i64, Record)> {
        read_all(&self.to, &self.mirrored, partition as i32, "read_committed")
    }

    /// Whether as many records are at the target as at the source.
    pub fn has_arrived(&self) -> bool {
        self.records.iter().enumerate().all(|(n, all)| self.read(n).len() >= all.len())
    }

    /// The target has each record once, in its partition and its order, with its key, value, headers and time.
    pub fn judge(&self) {
        for (partition, all) in self.records.iter().enumerate() {
            let what = format!("{}-{partition}", self.mirrored);
            let read = self.read(partition);
            for (n, (is, should)) in read.iter().map(|(_, it)| it).zip(all).enumerate() {
                assert_eq!(is, should, "record {n} of {what}");
            }
            assert_eq!(read.len(), all.len(), "{what}");
        }
    }

    /// The group has read that many records of each partition at the source.
    pub fn commit(&self, read: impl Fn(usize) -> usize) {
        let mut list = TopicPartitionList::new();
        for (partition, all) in self.records.iter().enumerate() {
            let offset = Offset::Offset(read(all.len()) as i64);
            list.add_partition_offset(self.topic, partition as i32, offset).unwrap();
        }
        group(&self.from).commit(&list, CommitMode::Sync).unwrap();
    }

    /// How many records the group has still to read of each partition at the target; `None` where it has no offset.
    pub fn left(&self) -> Option<Vec<usize>> {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.mirrored, 0, self.records.len() as i32 - 1);
        let committed = group(&self.to).committed_offsets(list, SOON).ok()?;
        let left = committed.elements().into_iter().map(|it| {
            let Offset::Offset(offset) = it.offset() else { return None };
            let read = self.read(it.partition() as usize);
            Some(read.iter().filter(|(at, _)| *at >= offset).count())
        });
        left.collect()
    }

    /// Goes on as the group at the target, and fails unless it is given the last records of each partition, from the
    /// numbers that it has read at the source.
    pub fn goes_on(&self, read: &[usize]) {
        let consumer = group(&self.to);
        consumer.subscribe(&[&self.mirrored]).unwrap();
        let mut next = read.to_vec();
        let should: usize = self.records.iter().zip(read).map(|(all, read)| all.len() - read).sum();
        for n in 0..should {
            // A poll in which the group rebalances gives nothing.
            let what = format!("record {n} of {should} for the group");
            let message = wait::until(&what, SOON, || consumer.poll(Duration::from_secs(1)));
            let message = message.unwrap();
            let partition = message.partition() as usize;
            let record = &self.records[partition][next[partition]];
            assert_eq!(message.key(), record.key.as_deref(), "{}-{partition}", self.mirrored);
            assert_eq!(message.payload(), record.value.as_deref());
            next[partition] += 1;
        }
        consumer.commit_consumer_state(CommitMode::Sync).unwrap();
        assert_eq!(self.left().unwrap(), vec![0; read.len()]);
    }

    /// How many records each partition has.
    pub fn counts(&self) -> Vec<usize> {
        self.records.iter().map(Vec::len).collect()
    }
}

fn group(bootstrap: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", GROUP);
    config.set("enable.auto.commit", "false").set("auto.offset.reset", "error");
    config.set("isolation.level", "read_committed").create().unwrap()
}
