//! rdkafka (librdkafka in Rust) behind the commands of the matrix (tests/clients/README.md).
#![expect(clippy::unwrap_used, reason = "a program that cannot go on says why and ends")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it speaks through its output")]

mod transactions;

use std::io::Read;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

const LIMIT: Duration = Duration::from_secs(60);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["produce", bootstrap, topic, codec] => produce(bootstrap, topic, codec),
        ["fetch", bootstrap, topic, count, ref more @ ..] => {
            read(bootstrap, topic, Offset::Beginning, count.parse().unwrap(), more);
        }
        ["at", bootstrap, topic, time] => at(bootstrap, topic, time.parse().unwrap()),
        ["consume", bootstrap, topic, group, ref more @ ..] => {
            consume(bootstrap, topic, group, more);
        }
        ["admin", bootstrap, topic, group] => block_on(admin(bootstrap, topic, group)),
        ["transact", bootstrap, id, group] => transactions::transact(bootstrap, id, group),
        ["process", bootstrap, source, target, group, id] => {
            transactions::process(bootstrap, source, target, group, id);
        }
        _ => {
            eprintln!("this client has no command {args:?}");
            exit(3);
        }
    }
}

fn config(bootstrap: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

fn bytes(field: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(&field[at..at + 2], 16).unwrap();
    (field != "-").then(|| (0..field.len()).step_by(2).map(pair).collect())
}

fn text(bytes: Option<&[u8]>) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.map_or("-".to_owned(), hex)
}

fn produce(bootstrap: &str, topic: &str, codec: &str) {
    let settings = [("enable.idempotence", "true"), ("linger.ms", "20")];
    let mut config = config(bootstrap, &settings);
    let producer: BaseProducer = config.set("compression.codec", codec).create().unwrap();
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).unwrap();
    for line in input.lines() {
        let field: Vec<&str> = line.split('\t').collect();
        let mut headers = OwnedHeaders::new();
        for (key, value) in field[3].split(',').filter_map(|pair| pair.split_once(':')) {
            headers = headers.insert(Header { key, value: bytes(value).as_deref() });
        }
        let (key, value) = (bytes(field[1]), bytes(field[2]));
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).headers(headers);
        let mut record = record.timestamp(field[0].parse().unwrap());
        (record.key, record.payload) = (key.as_deref(), value.as_deref());
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

fn show(message: &BorrowedMessage<'_>) {
    let headers = message.headers().into_iter().flat_map(|all| all.iter());
    let headers: Vec<_> = headers.map(|it| format!("{}:{}", it.key, text(it.value))).collect();
    let (timestamp, headers) = (message.timestamp().to_millis().unwrap(), headers.join(","));
    let (key, value) = (text(message.key()), text(message.payload()));
    println!("{}\t{timestamp}\t{key}\t{value}\t{headers}", message.offset());
}

fn one(topic: &str, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, offset).unwrap();
    list
}

const READER: [(&str, &str); 4] = [
    ("enable.auto.commit", "false"),
    ("auto.offset.reset", "earliest"),
    ("fetch.wait.max.ms", "100"),
    ("group.id", "none"),
];

fn read(bootstrap: &str, topic: &str, offset: Offset, count: usize, more: &[&str]) {
    let mut config = config(bootstrap, &READER);
    for (name, value) in more.iter().filter_map(|setting| setting.split_once('=')) {
        config.set(name, value);
    }
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.assign(&one(topic, offset)).unwrap();
    (0..count).for_each(|_| show(&consumer.poll(LIMIT).expect("a record").unwrap()));
}

fn at(bootstrap: &str, topic: &str, time: i64) {
    let consumer: BaseConsumer = config(bootstrap, &READER).create().unwrap();
    let found = consumer.offsets_for_times(one(topic, Offset::Offset(time)), LIMIT).unwrap();
    read(bootstrap, topic, found.elements()[0].offset(), 1, &[]);
}

/// Says what it is given and gives back.
struct Member;

impl ClientContext for Member {}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _: &BaseConsumer<Member>, rebalance: &Rebalance<'_>) {
        let (word, list) = match rebalance {
            Rebalance::Assign(list) => ("assigned", list),
            Rebalance::Revoke(list) => ("revoked", list),
            Rebalance::Error(error) => return println!("error {error}"),
        };
        let list: Vec<_> = list.elements().iter().map(|it| it.partition().to_string()).collect();
        println!("{word} {}", list.join(","));
    }
}

fn consume(bootstrap: &str, topic: &str, group: &str, more: &[&str]) {
    let mut config = config(bootstrap, &READER);
    // Where the coordinator assigns it also says how often it is to be told.
    if !more.contains(&"group.protocol=consumer") {
        config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "300");
    }
    for (name, value) in more.iter().filter_map(|setting| setting.split_once('=')) {
        config.set(name, value);
    }
    let consumer: BaseConsumer<Member> =
        config.set("group.id", group).create_with_context(Member).unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::SeqCst);
    });
    let mut uncommitted = false;
    while uncommitted || !stop.load(Ordering::SeqCst) {
        let wait = if uncommitted { Duration::ZERO } else { Duration::from_millis(100) };
        match consumer.poll(wait) {
            Some(Ok(message)) => {
                let value = String::from_utf8_lossy(message.payload().unwrap_or_default());
                println!("record {} {} {value}", message.partition(), message.offset());
                uncommitted = true;
            }
            Some(Err(error)) => println!("error {error}"),
            None if uncommitted => {
                if let Err(error) = consumer.commit_consumer_state(CommitMode::Sync) {
                    println!("error {error}");
                }
                uncommitted = false;
            }
            None => {}
        }
    }
}

/// Kafka's number of the error of the only result, 0 for none.
fn code<T>(results: &[Result<T, (T, RDKafkaErrorCode)>]) -> i32 {
    results[0].as_ref().map_or_else(|(_, error)| *error as i32, |_| 0)
}

async fn retention(client: &AdminClient<DefaultClientContext>, topic: &str) -> String {
    let (topic, how) = (ResourceSpecifier::Topic(topic), AdminOptions::new());
    let shown = client.describe_configs([&topic], &how).await.unwrap().remove(0).unwrap();
    shown.get("retention.ms").unwrap().value.clone().unwrap()
}

async fn admin(bootstrap: &str, topic: &str, group: &str) {
    let client: AdminClient<_> = config(bootstrap, &[]).create().unwrap();
    let (how, wanted) = (AdminOptions::new(), NewTopic::new(topic, 2, TopicReplication::Fixed(3)));
    let wanted = wanted.set("retention.ms", "5000");
    println!("create {}", code(&client.create_topics([&wanted], &how).await.unwrap()));
    println!("create again {}", code(&client.create_topics([&wanted], &how).await.unwrap()));
    // Any broker may answer, and one that has not heard of the change yet answers as before it.
    let all = || client.inner().fetch_metadata(None, LIMIT).unwrap();
    while !all().topics().iter().any(|it| it.name() == topic) {}
    println!("listed true");
    let grown = client.create_partitions([&NewPartitions::new(topic, 3)], &how).await.unwrap();
    println!("grow {}", code(&grown));
    let this = || client.inner().fetch_metadata(Some(topic), LIMIT).unwrap();
    while this().topics()[0].partitions().len() != 3 {}
    println!("partitions 3");
    println!("config {}", retention(&client, topic).await);
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("retention.ms", "7000");
    let altered = client.alter_configs([&change], &how).await.unwrap();
    println!("alter {}", code(&altered));
    while retention(&client, topic).await != "7000" {}
    println!("altered 7000");
    println!("delete {}", code(&client.delete_topics(&[topic], &how).await.unwrap()));
    println!("delete again {}", code(&client.delete_topics(&[topic], &how).await.unwrap()));
    let groups = client.inner().fetch_group_list(None, LIMIT).unwrap();
    let found = groups.groups().iter().find(|it| it.name() == group);
    println!("groups {}", found.is_some());
    println!("group {}", found.map_or("none", |it| it.state()));
    let consumer: BaseConsumer = config(bootstrap, &[("group.id", group)]).create().unwrap();
    let offsets = consumer.committed_offsets(one(group, Offset::Invalid), LIMIT).unwrap();
    println!("offset {}", offsets.elements()[0].offset().to_raw().unwrap());
    println!("delete group {}", code(&client.delete_groups(&[group], &how).await.unwrap()));
    println!("delete group again {}", code(&client.delete_groups(&[group], &how).await.unwrap()));
}
