//! A table of many small records in partition 0 of a topic: what was written to it, what compaction may leave of that at
//! any time, and what it has to.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::clients;
use crate::support::cluster::{Cluster, SOON};

/// A record as it was written.
#[derive(Clone, Copy)]
struct Written {
    key: u32,
    tombstone: bool,
}

/// See the file's header.
pub struct Table {
    pub topic: &'static str,
    /// Bytes of a value, about.
    value: usize,
    /// By offset.
    written: Vec<Written>,
}

impl Table {
    pub fn new(topic: &'static str, value: usize) -> Table {
        Table { topic, value, written: Vec::new() }
    }

    /// The offset behind all that was written.
    pub fn end(&self) -> i64 {
        self.written.len() as i64
    }

    /// Writes a record of each key, of a time in milliseconds; a tombstone for each that is in `dead`.
    pub fn write(
        &mut self,
        cluster: &Cluster,
        time_ms: i64,
        keys: impl Iterator<Item = u32>,
        dead: impl Fn(u32) -> bool,
    ) {
        let mut config = clients::producer(&cluster.bootstrap());
        // Small batches, so that chunks have many.
        let producer: BaseProducer = config.set("batch.num.messages", "300").create().unwrap();
        for key in keys {
            let (written, offset) = (Written { key, tombstone: dead(key) }, self.end());
            let (name, value) = (name(key), (!written.tombstone).then(|| self.value(key, offset)));
            let record = || {
                let record = BaseRecord::to(self.topic).partition(0).key(&name).timestamp(time_ms);
                if let Some(value) = &value { record.payload(value) } else { record }
            };
            while producer.send(record()).is_err() {
                producer.poll(Duration::from_millis(50));
            }
            self.written.push(written);
        }
        producer.flush(SOON).unwrap();
        assert_eq!(producer.in_flight_count(), 0);
    }

    /// Tells every write to a key, and so every offset, from every other, and does not compress to nothing.
    fn value(&self, key: u32, offset: i64) -> String {
        let mut value = format!("{key} at {offset} ");
        let mut noise = u64::from(key) << 32 | offset as u64;
        while value.len() < self.value {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
            value += &format!("{:016x}", noise ^ noise >> 29);
        }
        value
    }

    /// The newest record of each key before an offset.
    fn newest(&self, upto: i64) -> BTreeMap<u32, i64> {
        let written = self.written[..upto as usize].iter();
        written.zip(0..).map(|(written, offset)| (written.key, offset)).collect()
    }

    /// The offsets of all that a reader sees who begins at `start`, each with what was written there. The last record has
    /// to be the newest of its key and no tombstone.
    pub fn read(&self, cluster: &Cluster, start: i64) -> Vec<i64> {
        let consumer = clients::consumer_at(&cluster.bootstrap(), self.topic, 0, start);
        let bounds = consumer.fetch_watermarks(self.topic, 0, SOON).unwrap();
        assert_eq!(bounds, (start, self.end()), "where {} begins and ends", self.topic);
        let mut seen: Vec<i64> = Vec::new();
        while seen.last().is_none_or(|last| *last < self.end() - 1) {
            let message = consumer.poll(SOON).expect("a record within time").unwrap();
            let offset = message.offset();
            assert!(seen.last().is_none_or(|last| *last < offset), "{offset} after {seen:?}");
            let Written { key, tombstone } = self.written[offset as usize];
            let expected = (!tombstone).then(|| self.value(key, offset).into_bytes());
            assert!(message.key() == Some(name(key).as_bytes()), "the key at {offset}");
            assert!(message.payload().map(<[u8]>::to_vec) == expected, "the value at {offset}");
            seen.push(offset);
        }
        seen
    }

    /// Fails unless all is there that has to be, whatever was compacted, and nothing below `mark` that a later record
    /// below it supersedes. Gives how many records there are.
    pub fn assert_kept(&self, cluster: &Cluster, start: i64, mark: i64) -> usize {
        let seen = self.read(cluster, start);
        let newest = self.newest(self.end());
        let lost = newest.values().find(|at| **at >= start && seen.binary_search(at).is_err());
        assert_eq!(lost, None, "the newest record of a key");
        let newest = self.newest(mark);
        let stays = |at: &i64| newest[&self.written[*at as usize].key] == *at;
        let old = seen.iter().take_while(|at| **at < mark).find(|at| !stays(at));
        assert_eq!(old, None, "superseded, and compacted up to {mark}");
        seen.len()
    }

    /// Fails unless exactly the newest record of each key is there, as far as it is not before `start`.
    pub fn assert_compacted(&self, cluster: &Cluster, start: i64) {
        let mut newest: Vec<i64> = self.newest(self.end()).into_values().collect();
        newest.retain(|at| *at >= start);
        newest.sort_unstable();
        let seen = self.read(cluster, start);
        let other = seen.iter().zip(&newest).find(|(seen, newest)| seen != newest);
        assert_eq!((other, seen.len()), (None, newest.len()));
    }
}

pub fn now_ms() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

fn name(key: u32) -> String {
    format!("key-{key}")
}
