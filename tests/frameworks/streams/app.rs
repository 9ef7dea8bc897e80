//! An application of Kafka Streams: its instances, what it has read and written, and the deaths it has to bear.

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::client_matrix::record::{Bytes, read_all};
use crate::frameworks::program;
use crate::support::asked::Asked;
use crate::support::clients;
use crate::support::cluster::{Broker, Cluster, SOON};
use crate::support::kafka::{self, NONE};

/// Of every topic, so of every task.
pub const PARTITIONS: u32 = 2;

const SETTINGS: [&str; 6] = [
    "processing.guarantee=exactly_once_v2",
    "num.standby.replicas=1",
    // So that every update is a record.
    "statestore.cache.max.bytes=0",
    "repartition.purge.interval.ms=200",
    // So that the other takes over soon.
    "session.timeout.ms=6000",
    "heartbeat.interval.ms=1000",
];

/// What Streams has its repartition topics be: records stay until it deletes them itself.
pub const REPARTITION: [(&str, &str); 3] =
    [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("segment.bytes", "52428800")];

/// What may stay of the log of a partition of which all is deleted.
const PURGED_BYTES: u64 = 64 << 10;

pub struct App<'a> {
    pub cluster: &'a Cluster,
    pub id: &'static str,
    pub topology: &'static str,
    pub output: &'static str,
}

impl App<'_> {
    /// Starts an instance, which keeps its stores under its name.
    pub fn start(&self, name: &str, more: &[&str]) -> Asked {
        let options = ["-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"];
        let mut command = program("streams", "Streams", &options);
        command.arg(self.topology).arg(format!("application.id={}", self.id));
        command.arg(format!("bootstrap.servers={}", self.cluster.bootstrap()));
        let stores = self.cluster.dir.join(format!("{}-{name}", self.id));
        command.arg(format!("state.dir={}", stores.display()));
        Asked::start("kafka-streams", {
            command.args(SETTINGS).args(more);
            command
        })
    }

    /// Waits until the instances run and share that many active tasks and standbys.
    pub fn share(&self, instances: &mut [&mut Asked], tasks: (u32, u32)) {
        self.cluster.wait(&format!("the instances share {tasks:?} tasks"), || {
            let states = instances.iter_mut().map(|it| running(it));
            let states = states.collect::<Option<Vec<_>>>()?;
            let all = states.iter().fold((0, 0), |all, it| (all.0 + it.0, all.1 + it.1));
            (all == tasks).then_some(())
        });
    }

    /// Writes lines, each to the partition of its number.
    pub fn write<'l>(&self, topic: &str, lines: impl IntoIterator<Item = (i64, &'l str)>) {
        let config = clients::producer(&self.cluster.bootstrap());
        let producer: BaseProducer = config.create().unwrap();
        for (n, (timestamp, line)) in lines.into_iter().enumerate() {
            let record = BaseRecord::<[u8], str>::to(topic).payload(line).timestamp(timestamp);
            let record = record.partition((n % PARTITIONS as usize) as i32);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(SOON).unwrap();
        assert_eq!(producer.in_flight_count(), 0);
    }

    /// How many records it has committed, or a little more: the ends of its transactions count.
    fn committed(&self) -> Option<usize> {
        let ends = (0..PARTITIONS as i32).map(|index| {
            let mut leader = kafka::at_leader(self.cluster, self.output, index);
            let end = kafka::list_offset_to(&mut leader, 1, self.output, index, -1, -1);
            (end.error == NONE).then_some(end.offset as usize)
        });
        ends.sum()
    }

    /// Waits until it has committed about as many records.
    pub fn reaches(&self, records: usize) {
        self.cluster.wait_for(&format!("{} has {records} records", self.output), 2 * SOON, || {
            self.committed().filter(|committed| *committed >= records).map(drop)
        });
    }

    /// Waits until one of its transactions is open, in the middle of so many records; gives the broker that coordinates it.
    pub fn is_amid(&self, records: usize) -> &Broker {
        let broker = self.cluster.wait("a transaction is open", || {
            let list = self.cluster.get("/v1/transactions?state=Ongoing");
            let mut open = list["transactions"].as_array()?.iter();
            let id = |it: &Value| it["transactional_id"].as_str().unwrap().to_owned();
            open.find(|it| id(it).starts_with(self.id))?["coordinator"].as_u64()
        });
        let committed = self.committed().unwrap();
        assert!(committed < records, "{committed} of {records} are written: it is too late");
        self.cluster.broker(broker)
    }

    /// What those who read committed records find in its output: of each partition offset, key and value.
    pub fn written(&self) -> Vec<Vec<(i64, String, Vec<u8>)>> {
        let all = (0..PARTITIONS as i32).map(|index| {
            let records = read_all(&self.cluster.bootstrap(), self.output, index, "read_committed");
            let records = records.into_iter();
            records.map(|(at, it)| (at, text(it.key), it.value.unwrap())).collect()
        });
        all.collect()
    }

    /// Waits until as many were written and no transaction is open, so that there will be no more.
    pub fn finishes(&self, records: usize) -> Vec<Vec<(i64, String, Vec<u8>)>> {
        self.reaches(records);
        let written = self.cluster.wait(&format!("{records} records are committed"), || {
            let written = self.written();
            (written.iter().map(Vec::len).sum::<usize>() >= records).then_some(written)
        });
        self.cluster.wait("no transaction is open", || {
            let list = self.cluster.get("/v1/transactions?state=Ongoing");
            list["transactions"].as_array()?.is_empty().then_some(())
        });
        written
    }

    /// Waits until nothing is left in a repartition topic of the records that went through it.
    pub fn purges(&self, topic: &str, records: usize) {
        let mut begin = 0;
        for index in 0..PARTITIONS as i32 {
            self.cluster.wait(&format!("{topic}-{index} is purged"), || {
                let left = read_all(&self.cluster.bootstrap(), topic, index, "read_uncommitted");
                left.is_empty().then_some(())
            });
            let path = format!("/v1/topics/{topic}/partitions/{index}");
            let partition =
                self.cluster.wait(&format!("the log of {topic}-{index} is short"), || {
                    let partition = self.cluster.get(&path);
                    let bytes = partition["raft"]["log_bytes"].as_u64()?;
                    (bytes < PURGED_BYTES).then_some(partition)
                });
            begin += partition["log_start_offset"].as_u64().unwrap();
        }
        assert!(begin >= records as u64, "{topic}: only {begin} of {records} were there");
    }

    /// Fails unless an internal topic has the configs that Streams gives it.
    pub fn has_configs(&self, topic: &str, configs: &[(&str, &str)]) {
        let all = self.cluster.get(&format!("/v1/topics/{topic}/configs"));
        for (name, value) in configs {
            let rows = all["configs"].as_array().unwrap();
            let row = rows.iter().find(|row| row["name"] == *name).unwrap();
            assert_eq!(row["value"], *value, "{topic}: {row}");
        }
    }
}

/// Its active tasks and standbys while it runs.
fn running(instance: &mut Asked) -> Option<(u32, u32)> {
    let said = state(instance);
    assert!(!said.starts_with("FAILED"), "{said}");
    let mut words = said.strip_prefix("RUNNING ")?.split(' ').map(|it| it.parse().unwrap());
    Some((words.next().unwrap(), words.next().unwrap()))
}

pub fn state(instance: &mut Asked) -> String {
    instance.say("state");
    instance.hear()
}

pub fn text(bytes: Bytes) -> String {
    String::from_utf8(bytes.unwrap()).unwrap()
}
