//! Spark: a query of structured streaming that begins at a time, adds up and writes back, and goes on from its
//! checkpoint when it was killed within a batch of which a part was written, and when brokers were. Its sink writes at
//! least once, so the rows of such a batch may be there again; nothing else may.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::client_matrix::record::{end, read_all};
use crate::support::asked::Asked;
use crate::support::cluster::{Broker, Cluster, SOON, fresh_dir};
use crate::support::{clients, kafka};

const PARTITIONS: usize = 2;
const SOURCE: &str = "spark-from";
const TARGET: &str = "spark-to";
/// Of each partition, each of them in every portion.
const KEYS: usize = 10;
const PORTION: usize = 20;
/// The first record of each partition that the query is to read.
const BEGINS: [usize; PARTITIONS] = [15, 22];
/// The machine of Spark takes a while to start beside two brokers that take over from a third.
const LIMIT: Duration = Duration::from_secs(150);

/// What happens while a batch is held of which a part is written.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// The query dies.
    Query,
    /// The broker dies that leads a partition which is written to.
    Broker,
    /// The query dies and the broker that leads a partition which it reads, which is back later than the query.
    Both,
}

const SCRIPT: [Step; 4] = [Step::Query, Step::Broker, Step::Both, Step::Query];

fn key(partition: usize, n: usize) -> String {
    format!("key {}", partition + PARTITIONS * (n % KEYS))
}

/// Record `n` of a partition.
fn number(partition: usize, n: usize) -> usize {
    n * n + partition
}

/// Of that record, in milliseconds.
fn time(n: usize) -> i64 {
    1_750_000_000_000 + 1000 * n as i64
}

/// How many numbers of a key there were and their sum, behind each of them, if so many records of each partition are
/// written.
fn expected(written: usize) -> BTreeMap<String, Vec<String>> {
    let mut sums: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut totals: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (partition, begins) in BEGINS.iter().enumerate() {
        for n in *begins..written {
            let key = key(partition, n);
            let (count, sum) = sums.entry(key.clone()).or_default();
            (*count, *sum) = (*count + 1, *sum + number(partition, n));
            totals.entry(key).or_default().push(format!("{count} {sum}"));
        }
    }
    totals
}

struct Spark<'a> {
    cluster: &'a Cluster,
    checkpoints: PathBuf,
    producer: BaseProducer,
    written: usize,
    query: Asked,
}

/// What Spark reaches into by reflection, as its own scripts open it.
const OPENED: [&str; 11] = [
    "java.lang",
    "java.lang.invoke",
    "java.lang.reflect",
    "java.io",
    "java.net",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "sun.nio.ch",
    "sun.util.calendar",
];

fn start(cluster: &Cluster, checkpoints: &Path) -> Asked {
    let opened = OPENED.map(|package| format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
    let options: Vec<&str> =
        ["-Xmx512m"].into_iter().chain(opened.iter().map(String::as_str)).collect();
    let mut command = super::program("spark", "Totals", &options);
    // Exactly when the first one was written, and a moment after the last that is not to be read.
    let begins = format!("{{\"0\":{},\"1\":{}}}", time(BEGINS[0]), time(BEGINS[1] - 1) + 1);
    command.args([&cluster.bootstrap(), SOURCE, TARGET]).arg(checkpoints).arg(begins);
    Asked::start("spark", command)
}

fn fill(producer: &BaseProducer, written: usize) -> usize {
    for n in written..written + PORTION {
        for partition in 0..PARTITIONS {
            let (key, value) = (key(partition, n), number(partition, n).to_string());
            let record = BaseRecord::<str, str>::to(SOURCE).key(&key).payload(&value);
            let record = record.partition(partition as i32).timestamp(time(n));
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(SOON).unwrap();
    written + PORTION
}

impl Spark<'_> {
    fn fill(&mut self) {
        self.written = fill(&self.producer, self.written);
    }

    /// The brokers that run: a client that tries a dead one first says that all are dead.
    fn bootstrap(&self) -> String {
        let all: Vec<String> = self.cluster.running().map(Broker::kafka_address).collect();
        all.join(",")
    }

    fn ends(&self) -> i64 {
        let end = |index| end(&self.bootstrap(), TARGET, index, "read_uncommitted");
        (0..PARTITIONS as i32).map(end).sum()
    }

    /// The values of each key in the order in which they were written.
    fn read(&self) -> BTreeMap<String, Vec<String>> {
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for partition in 0..PARTITIONS as i32 {
            let read = read_all(&self.bootstrap(), TARGET, partition, "read_committed");
            for (_, record) in read {
                values.entry(text(record.key)).or_default().push(text(record.value));
            }
        }
        values
    }

    /// Waits until the last value of each key is its total.
    fn wait_totals(&self) {
        let totals = expected(self.written);
        for partition in 0..PARTITIONS as i32 {
            kafka::leader(self.cluster, TARGET, partition);
        }
        let last = |(key, values): (&String, &Vec<String>)| (key.clone(), values.last().cloned());
        let totals: Vec<_> = totals.iter().map(last).collect();
        self.cluster.wait_for("every total is written", LIMIT, || {
            (self.read().iter().map(last).eq(totals.iter().cloned())).then_some(())
        });
    }

    fn leader(&self, topic: &str) -> u64 {
        kafka::leader(self.cluster, topic, 0).leader as u64
    }

    fn take(&mut self, step: Step) {
        let before = self.ends();
        self.query.say("hold");
        self.fill();
        assert_eq!(self.query.hear(), "held");
        self.cluster
            .wait("a part of the batch is written", || (self.ends() > before).then_some(()));
        let dead = match step {
            Step::Query => None,
            Step::Broker => Some(self.leader(TARGET)),
            Step::Both => Some(self.leader(SOURCE)),
        };
        if step != Step::Broker {
            self.query.kill9();
        }
        dead.iter().for_each(|dead| self.cluster.broker(*dead).kill9());
        match step {
            Step::Broker => self.query.say("go"),
            _ => self.query = start(self.cluster, &self.checkpoints),
        }
        self.wait_totals();
        if let Some(dead) = dead {
            self.cluster.broker(dead).start();
            self.cluster.wait_whole();
        }
    }

    /// Each value is one that the key had, none comes after a later one, and one is there again only once for each time
    /// that the query died.
    fn judge(&self) {
        let deaths = SCRIPT.iter().filter(|step| **step != Step::Broker).count();
        let (totals, mut again) = (expected(self.written), 0);
        let written = self.read();
        assert!(written.keys().eq(totals.keys()), "{:?}", written.keys());
        for (key, values) in &written {
            let place = |value| totals[key].iter().position(|total| total == value);
            let places: Option<Vec<usize>> = values.iter().map(place).collect();
            let places = places.unwrap_or_else(|| panic!("{key} never was so: {values:?}"));
            assert!(places.is_sorted(), "{key} goes back: {values:?}");
            let repeated = places.windows(2).filter(|pair| pair[0] == pair[1]).count();
            assert!(repeated <= deaths, "{key}: {repeated} rows again after {deaths} deaths");
            assert_eq!(values.last(), totals[key].last(), "{key}");
            again += repeated;
        }
        assert!(again > 0, "the query never died within a batch of which a part was written");
    }
}

#[test]
fn totals_since_a_time_are_exact_when_a_query_goes_on_from_its_checkpoint() {
    let cluster = Cluster::start("spark", 3);
    cluster.create_topic(SOURCE, PARTITIONS as u32, 3);
    cluster.create_topic(TARGET, PARTITIONS as u32, 3);
    let checkpoints = fresh_dir("spark-checkpoints");
    let producer = clients::producer(&cluster.bootstrap()).create().unwrap();
    // What is before the beginning is there when the query starts.
    let written = (0..3).fold(0, |written, _| fill(&producer, written));
    let query = start(&cluster, &checkpoints);
    let mut spark = Spark { cluster: &cluster, checkpoints, producer, written, query };
    spark.wait_totals();
    SCRIPT.iter().for_each(|step| spark.take(*step));
    spark.judge();
    spark.query.stop();
}
