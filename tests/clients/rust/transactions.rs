//! Transactions of rdkafka (tests/clients/README.md).

use std::collections::BTreeMap;
use std::io::{BufRead, stdin};
use std::process::exit;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::{LIMIT, READER, bytes, config};

fn producer(bootstrap: &str, id: &str) -> BaseProducer {
    let settings = [("transactional.id", id), ("linger.ms", "5")];
    let producer: BaseProducer = config(bootstrap, &settings).create().unwrap();
    until_done(|| producer.init_transactions(LIMIT)).unwrap();
    producer
}

fn consumer(bootstrap: &str, group: &str) -> BaseConsumer {
    let mut config = config(bootstrap, &READER);
    config.set("isolation.level", "read_committed").set("group.id", group).create().unwrap()
}

fn send(producer: &BaseProducer, field: &[&str]) -> Result<(), KafkaError> {
    let mut headers = OwnedHeaders::new();
    for (key, value) in field[4].split(',').filter_map(|pair| pair.split_once(':')) {
        headers = headers.insert(Header { key, value: bytes(value).as_deref() });
    }
    let (key, value) = (bytes(field[2]), bytes(field[3]));
    let record = BaseRecord::<[u8], [u8]>::to(field[0]).partition(0).headers(headers);
    let mut record = record.timestamp(field[1].parse().unwrap());
    (record.key, record.payload) = (key.as_deref(), value.as_deref());
    producer.send(record).map_err(|(error, _)| error)
}

fn place(list: &mut TopicPartitionList, topic: &str, partition: i32, offset: i64) {
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
}

/// Does what standard input says about transactions, and answers every line.
pub fn transact(bootstrap: &str, id: &str, group: &str) {
    let (producer, member_of_none) = (producer(bootstrap, id), consumer(bootstrap, group));
    let metadata = member_of_none.group_metadata().unwrap();
    println!("ready");
    for line in stdin().lock().lines() {
        let line = line.unwrap();
        let field: Vec<&str> = line.split('\t').collect();
        let done = match field[0] {
            "begin" => producer.begin_transaction(),
            "send" => send(&producer, &field[1..]),
            "flush" => producer.flush(LIMIT),
            "offset" => {
                let mut offsets = TopicPartitionList::new();
                place(&mut offsets, field[1], 0, field[2].parse().unwrap());
                producer.send_offsets_to_transaction(&offsets, &metadata, LIMIT)
            }
            "commit" => producer.commit_transaction(LIMIT),
            "abort" => producer.abort_transaction(LIMIT),
            _ => panic!("{line}"),
        };
        match done {
            Ok(()) => println!("ok"),
            Err(error) if fenced(&error) => println!("fenced"),
            Err(error) => println!("error {error}"),
        }
    }
}

fn fenced(error: &KafkaError) -> bool {
    let codes = [
        RDKafkaErrorCode::Fenced,
        RDKafkaErrorCode::ProducerFenced,
        RDKafkaErrorCode::InvalidProducerEpoch,
    ];
    error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
}

/// What may be tried again is, as librdkafka's documentation says.
fn until_done(mut call: impl FnMut() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    loop {
        match call() {
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                println!("again {error}");
            }
            done => return done,
        }
    }
}

/// The lines of standard input; who hears them is told when to go on, and by their end to stop.
fn lines() -> Receiver<()> {
    let (tell, told) = channel();
    thread::spawn(move || stdin().lock().lines().try_for_each(|_| tell.send(())));
    told
}

/// Back to where the group is, for what was aborted to be read again.
fn rewind(consumer: &BaseConsumer) {
    let committed = loop {
        match consumer.committed(Duration::from_secs(10)) {
            Ok(committed) => break committed,
            Err(error) => println!("again {error}"),
        }
    };
    for it in committed.elements() {
        let offset = match it.offset() {
            Offset::Offset(offset) => Offset::Offset(offset),
            _ => Offset::Beginning,
        };
        consumer.seek(it.topic(), it.partition(), offset, Duration::from_secs(10)).unwrap();
    }
}

/// Forty records, or as many as there are.
fn poll(consumer: &BaseConsumer) -> Vec<BorrowedMessage<'_>> {
    let (mut records, until) = (Vec::new(), Instant::now() + Duration::from_millis(100));
    while records.len() < 40 {
        match consumer.poll(until.saturating_duration_since(Instant::now())) {
            Some(Ok(record)) => records.push(record),
            Some(Err(error)) => println!("again {error}"),
            None => break,
        }
    }
    records
}

/// Reads, writes and commits both at once, until standard input ends.
pub fn process(bootstrap: &str, source: &str, target: &str, group: &str, id: &str) {
    let (consumer, producer) = (consumer(bootstrap, group), producer(bootstrap, id));
    consumer.subscribe(&[source]).unwrap();
    let (told, mut done) = (lines(), 0);
    loop {
        let records = poll(&consumer);
        if records.is_empty() {
            if told.try_recv() == Err(TryRecvError::Disconnected) {
                return;
            }
            continue;
        }
        let mut go_on = true;
        match once(&producer, &consumer, &records, target, &mut || {
            println!("open {}", records.len());
            go_on = told.recv().is_ok();
        }) {
            Ok(()) => {
                done += records.len();
                println!("committed {done}");
            }
            Err(KafkaError::Transaction(error)) if error.is_fatal() => {
                eprintln!("cannot go on: {error}");
                exit(1);
            }
            Err(error) => {
                println!("aborted {error}");
                until_done(|| producer.abort_transaction(LIMIT)).unwrap();
                rewind(&consumer);
            }
        }
        if !go_on {
            return;
        }
    }
}

fn once(
    producer: &BaseProducer,
    consumer: &BaseConsumer,
    records: &[BorrowedMessage<'_>],
    target: &str,
    opened: &mut dyn FnMut(),
) -> Result<(), KafkaError> {
    producer.begin_transaction()?;
    let mut read = BTreeMap::new();
    for it in records {
        let mut record = BaseRecord::<[u8], [u8]>::to(target).partition(it.partition());
        record = record.timestamp(it.timestamp().to_millis().unwrap());
        (record.key, record.payload) = (it.key(), it.payload());
        producer.send(record).map_err(|(error, _)| error)?;
        read.insert(it.partition(), it.offset() + 1);
    }
    producer.flush(LIMIT)?;
    opened();
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in read {
        place(&mut offsets, records[0].topic(), partition, offset);
    }
    let metadata = consumer.group_metadata().unwrap();
    until_done(|| producer.send_offsets_to_transaction(&offsets, &metadata, LIMIT))?;
    until_done(|| producer.commit_transaction(LIMIT))
}
