//! The clients: kcat (an old librdkafka), confluent-kafka (Python), the Java client, and rdkafka in
//! this process. Each writes a file of records to partition 0 and reads it back into a file.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::{java, process};

const LIMIT: Duration = Duration::from_secs(180);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Client {
    Kcat,
    Python,
    Java,
    Rust,
}

impl Client {
    pub const ALL: [Client; 4] = [Client::Kcat, Client::Python, Client::Java, Client::Rust];

    /// Writes each line `key TAB value` as a record to partition 0 and waits for every answer.
    pub fn write(self, bootstrap: &str, topic: &str, codec: &str, file: &Path) {
        let path = file.display().to_string();
        let mut command = match self {
            Client::Kcat => {
                let mut command = process::command("kcat");
                command.args(["-P", "-b", bootstrap, "-t", topic, "-p", "0", "-z", codec]);
                command.args(["-X", "acks=all", "-K", "\t", "-l", &path]);
                command
            }
            Client::Python => python(&["write", bootstrap, topic, codec, &path]),
            Client::Java => java(&["write", bootstrap, topic, codec, &path]),
            Client::Rust => return rust_write(bootstrap, topic, codec, file),
        };
        command.env("LC_ALL", "C.UTF-8");
        process::run(command, LIMIT).ok(&format!("{self:?} writing {topic}"));
    }

    /// Reads `count` records of partition 0 from its start into lines `offset TAB key TAB value`.
    pub fn read(self, bootstrap: &str, topic: &str, count: usize, file: &Path) {
        let (path, count) = (file.display().to_string(), count.to_string());
        match self {
            Client::Kcat => {
                let mut command = process::command("kcat");
                command.args(["-C", "-q", "-b", bootstrap, "-t", topic, "-p", "0"]);
                command.args(["-o", "beginning", "-c", &count, "-f", "%o\t%k\t%s\n"]);
                let text = process::run(command, LIMIT).ok(&format!("kcat reading {topic}"));
                fs::write(file, text).unwrap();
            }
            Client::Python => {
                let command = python(&["read", bootstrap, topic, &count, &path]);
                process::run(command, LIMIT).ok(&format!("Python reading {topic}"));
            }
            Client::Java => {
                let command = java(&["read", bootstrap, topic, &count, &path]);
                process::run(command, LIMIT).ok(&format!("Java reading {topic}"));
            }
            Client::Rust => rust_read(bootstrap, topic, count.parse().unwrap(), file),
        }
    }
}

/// Where `make clients` puts the clients that are not Debian packages.
pub fn installed(what: &str) -> PathBuf {
    let home = || format!("{}/.cache/quorate/clients", std::env::var("HOME").unwrap());
    let path = PathBuf::from(std::env::var("TEST_CLIENTS").unwrap_or_else(|_| home()));
    let path = path.join(what);
    assert!(path.exists(), "{} is missing: run `make clients more-clients` once", path.display());
    path
}

/// `tests/clients/client.py` with these arguments.
pub fn python(args: &[&str]) -> Command {
    let mut command = process::command(installed("python/bin/python"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/client.py");
    command.arg(script).args(args);
    command
}

/// `tests/clients/java/Client.java` with these arguments.
pub fn java(args: &[&str]) -> Command {
    java_program("java", "Client", args)
}

/// A class of `tests/clients/java` with these arguments and the installed jars of that name.
pub fn java_program(jars: &str, class: &str, args: &[&str]) -> Command {
    let mut command = java::program(&installed(jars), "tests/clients/java", class, &["-Xmx512m"]);
    command.args(args);
    command
}

/// Schemathesis over the description at `url`, as `tests/clients/schemathesis.toml` says.
pub fn schemathesis(url: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut command = process::command(installed("python/bin/st"));
    // It keeps what it found in the directory it runs in.
    command.current_dir(super::cluster::fresh_dir("schemathesis")).env("NO_COLOR", "1");
    command.env("SCHEMATHESIS_HOOKS", "schemathesis_hooks").env("PYTHONPATH", &folder);
    command.arg("--config-file").arg(folder.join("schemathesis.toml")).args(["run", url]);
    command
}

/// A producer of this process: idempotent, so acks=all.
pub fn producer(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true");
    config.set("linger.ms", "5").set("message.timeout.ms", "120000");
    config
}

/// A producer of this process that has taken a transactional id. Its transactions time out after the longest time there is.
pub fn transactional(bootstrap: &str, id: &str) -> BaseProducer {
    let mut config = producer(bootstrap);
    config.set("transactional.id", id).set("transaction.timeout.ms", "900000");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(Duration::from_secs(60)).unwrap();
    producer
}

/// A consumer of this process, without a group.
pub fn consumer(bootstrap: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "none");
    config.set("enable.auto.commit", "false").set("auto.offset.reset", "error");
    config.set("fetch.wait.max.ms", "100").create().unwrap()
}

/// A consumer of one partition from `offset` on.
pub fn consumer_at(bootstrap: &str, topic: &str, partition: i32, offset: i64) -> BaseConsumer {
    let consumer = consumer(bootstrap);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    consumer.assign(&list).unwrap();
    consumer
}

/// Commits an offset of partition 0 of `topic` for `group`, without being a member.
pub fn commit(bootstrap: &str, topic: &str, group: &str, offset: i64) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", group);
    let consumer: BaseConsumer = config.set("enable.auto.commit", "false").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

fn rust_write(bootstrap: &str, topic: &str, codec: &str, file: &Path) {
    let producer: BaseProducer =
        producer(bootstrap).set("compression.codec", codec).create().unwrap();
    for line in fs::read_to_string(file).unwrap().lines() {
        let (key, value) = line.split_once('\t').unwrap();
        let mut record = BaseRecord::to(topic).partition(0).key(key).payload(value);
        while let Err((error, back)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, full);
            producer.poll(Duration::from_millis(100));
            record = back;
        }
    }
    producer.flush(LIMIT).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
}

fn rust_read(bootstrap: &str, topic: &str, count: usize, file: &Path) {
    let consumer = consumer_at(bootstrap, topic, 0, 0);
    let mut text = String::new();
    for n in 0..count {
        let message = consumer.poll(LIMIT);
        let message = message.unwrap_or_else(|| panic!("{topic}: nothing after record {n}"));
        let message = message.unwrap_or_else(|error| panic!("{topic}: {error} after record {n}"));
        let key = String::from_utf8_lossy(message.key().unwrap_or_default());
        let value = String::from_utf8_lossy(message.payload().unwrap_or_default());
        writeln!(text, "{}\t{key}\t{value}", message.offset()).unwrap();
    }
    fs::write(file, text).unwrap();
}
