//! An idempotent producer that keeps writing while a test breaks things, and the judgement of what
//! it left behind: nothing acknowledged is missing, nothing is there twice, order is kept.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, Message};

use super::clients::{self, Client};
use super::cluster::{Cluster, SOON};
use super::process::Process;
use super::wait;

/// What the producer was told.
#[derive(Default)]
pub struct Acknowledgements {
    /// (partition, offset) → number of the record
    pub acknowledged: BTreeMap<(i32, i64), u64>,
    pub failed: Vec<String>,
}

#[derive(Clone, Default)]
struct Answers {
    told: Arc<Mutex<Acknowledgements>>,
    count: Arc<AtomicUsize>,
}

impl Answers {
    fn acknowledged(&self, partition: i32, offset: i64, number: u64) {
        let before = self.told.lock().unwrap().acknowledged.insert((partition, offset), number);
        assert_eq!(before, None, "offset {offset} of partition {partition} acknowledged twice");
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self, reason: String) {
        self.told.lock().unwrap().failed.push(reason);
    }
}

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(done) => {
                let number = std::str::from_utf8(done.payload().unwrap()).unwrap();
                let number = number.split(' ').next().unwrap().parse().unwrap();
                self.acknowledged(done.partition(), done.offset(), number);
            }
            Err((error, _)) => self.failed(error.to_string()),
        }
    }
}

/// A running producer. Record `n` goes to partition `n % partitions`.
pub struct Load {
    topic: String,
    partitions: i32,
    answers: Answers,
    stop: Arc<AtomicBool>,
    process: Option<Process>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// `client` is the one that writes; kcat cannot, it does not tell offsets.
    pub fn start(cluster: &Cluster, client: Client, topic: &str, partitions: i32) -> Load {
        let answers = Answers::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (bootstrap, name) = (cluster.bootstrap(), topic.to_owned());
        let mut process = None;
        let thread = if client == Client::Rust {
            let (answers, stop) = (answers.clone(), Arc::clone(&stop));
            thread::spawn(move || write(&bootstrap, &name, partitions, &answers, &stop))
        } else {
            let count = partitions.to_string();
            let args = ["load", &bootstrap, &name, &count];
            let mut command =
                if client == Client::Java { clients::java(&args) } else { clients::python(&args) };
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let child = process.insert(Process::spawn(command));
            let lines = BufReader::new(child.stdout().unwrap());
            let answers = answers.clone();
            thread::spawn(move || lines.lines().for_each(|line| parse(&line.unwrap(), &answers)))
        };
        Load { topic: topic.into(), partitions, answers, stop, process, thread: Some(thread) }
    }

    pub fn count(&self) -> usize {
        self.answers.count.load(Ordering::Relaxed)
    }

    /// Waits until `more` further records are acknowledged: the partitions take writes.
    pub fn progress(&self, cluster: &Cluster, more: usize) {
        let enough = self.count() + more;
        cluster.wait("the producer is acknowledged", || {
            let failed = self.answers.told.lock().unwrap().failed.clone();
            assert_eq!(failed, Vec::<String>::new(), "the producer was told to fail");
            (self.count() >= enough).then_some(())
        });
    }

    /// Stops writing and waits for the last answers.
    pub fn finish(mut self) -> Acknowledgements {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().unwrap();
        if let Some(process) = &mut self.process {
            drop(process.stdin());
            let status = process.wait_exit("the producer has ended", 3 * SOON);
            assert!(status.success(), "the producer: {status}");
        }
        wait::until("the producer's last answers", 3 * SOON, || thread.is_finished().then_some(()));
        thread.join().unwrap();
        std::mem::take(&mut self.answers.told.lock().unwrap())
    }

    /// Stops, reads everything back and judges it. Gives the number of records.
    pub fn finish_and_verify(self, cluster: &Cluster) -> usize {
        let (topic, partitions) = (self.topic.clone(), self.partitions);
        let told = self.finish();
        assert_eq!(told.failed, Vec::<String>::new(), "a producer that may retry was told to fail");
        verify(cluster, &topic, partitions, &told)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn parse(line: &str, answers: &Answers) {
    let parts: Vec<&str> = line.split(' ').collect();
    match parts[..] {
        [partition, offset, number] if partition != "failed" => answers.acknowledged(
            partition.parse().unwrap(),
            offset.parse().unwrap(),
            number.parse().unwrap(),
        ),
        _ => answers.failed(line.to_owned()),
    }
}

fn write(bootstrap: &str, topic: &str, partitions: i32, answers: &Answers, stop: &AtomicBool) {
    let producer: BaseProducer<Answers> =
        clients::producer(bootstrap).create_with_context(answers.clone()).unwrap();
    let filler = "x".repeat(100);
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let value = format!("{number} {filler}");
        let partition = (number % partitions as u64) as i32;
        match producer
            .send(BaseRecord::<(), str, ()>::to(topic).partition(partition).payload(&value))
        {
            Ok(()) => number += 1,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(100));
            }
            Err((error, _)) => return answers.failed(format!("send: {error}")),
        }
        // About 10,000 records a second, so that a long test stays small.
        let pause =
            if number.is_multiple_of(10) { Duration::from_millis(1) } else { Duration::ZERO };
        producer.poll(pause);
    }
    if let Err(error) = producer.flush(2 * SOON) {
        answers.failed(format!("flush: {error}"));
    }
}

/// Reads the partitions and compares them with what the producer was told.
pub fn verify(cluster: &Cluster, topic: &str, partitions: i32, told: &Acknowledgements) -> usize {
    let mut total = 0;
    for partition in 0..partitions {
        let found = read_numbers(&cluster.bootstrap(), topic, partition);
        if let Some(wrong) = judge(partition, partitions, &found, told) {
            panic!("{topic}-{partition}: {wrong}");
        }
        total += found.len();
    }
    total
}

/// What is wrong with a partition that holds the numbers `found`, at offsets from 0 on.
fn judge(
    partition: i32,
    partitions: i32,
    found: &[u64],
    told: &Acknowledgements,
) -> Option<String> {
    for (offset, number) in found.iter().enumerate() {
        // Every number once, rising: no duplicate, no reordering, and no hole, because a producer
        // that gave up on a record would have been told.
        let expected = offset as u64 * partitions as u64 + partition as u64;
        if *number != expected {
            return Some(format!("record {number} at offset {offset} instead of {expected}"));
        }
    }
    let acknowledged = told.acknowledged.range((partition, 0)..(partition + 1, 0));
    for ((_, offset), number) in acknowledged {
        let at = found.get(*offset as usize);
        if at != Some(number) {
            return Some(format!("{number} was acknowledged at offset {offset}, there is {at:?}"));
        }
    }
    None
}

#[test]
fn the_judge_sees_loss_doubling_reordering_and_a_wrong_acknowledgement() {
    let told = |acknowledged: &[(i64, u64)]| Acknowledgements {
        acknowledged: acknowledged.iter().map(|(at, number)| ((1, *at), *number)).collect(),
        failed: Vec::new(),
    };
    let says = |found: &[u64], acknowledged: &[(i64, u64)]| judge(1, 3, found, &told(acknowledged));
    assert_eq!(says(&[1, 4, 7], &[(0, 1), (2, 7)]), None);
    assert_eq!(says(&[1, 4, 7, 10], &[(0, 1)]), None, "unacknowledged records may be there");
    assert!(says(&[1, 4], &[(2, 7)]).is_some(), "a lost tail");
    assert!(says(&[1, 7], &[]).is_some(), "a hole");
    assert!(says(&[1, 4, 4, 7], &[]).is_some(), "a double");
    assert!(says(&[4, 1], &[]).is_some(), "a swap");
    assert!(says(&[1, 4], &[(0, 4)]).is_some(), "another offset than was told");
}

/// The numbers of all records of a partition; offsets must be dense from 0.
fn read_numbers(bootstrap: &str, topic: &str, partition: i32) -> Vec<u64> {
    let consumer = clients::consumer_at(bootstrap, topic, partition, 0);
    let (_, end) = wait::until("the partition tells its end", SOON, || {
        consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)).ok()
    });
    let mut numbers = Vec::new();
    while (numbers.len() as i64) < end {
        let message = consumer.poll(SOON);
        let message = message.unwrap_or_else(|| panic!("{topic}-{partition} ends before {end}"));
        let Ok(message) = message else { continue }; // a connection lost to a broker that is down
        assert_eq!(message.offset(), numbers.len() as i64, "{topic}-{partition}");
        let value = std::str::from_utf8(message.payload().unwrap()).unwrap();
        numbers.push(value.split(' ').next().unwrap().parse().unwrap());
    }
    numbers
}
