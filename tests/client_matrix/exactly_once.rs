//! Read, written and committed at once, while brokers die: everything once, and nothing twice.

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::Client;
use super::record::{end, read_all};
use crate::support::clients;
use crate::support::cluster::{Broker, Cluster, SOON};
use crate::support::{kafka, transactions};

const PARTITIONS: u32 = 2;
const RECORDS: usize = 400;
/// The transactions in the middle of which a broker dies: the first one's coordinates them, the second one's leads a
/// partition that is written to.
const DEADLY: [usize; 2] = [3, 6];

fn value(n: usize) -> Vec<u8> {
    format!("number {n}").into_bytes()
}

/// Record `n` goes to partition `n % 2`.
fn fill(cluster: &Cluster, topic: &str) {
    let producer: BaseProducer = clients::producer(&cluster.bootstrap()).create().unwrap();
    for n in 0..RECORDS {
        let (key, value) = (n.to_string(), value(n));
        let record = BaseRecord::<str, [u8]>::to(topic).key(&key).payload(&value);
        let record = record.partition((n % PARTITIONS as usize) as i32);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

/// Each record once, in its partition and in its order.
fn judge(cluster: &Cluster, topic: &str) {
    for partition in 0..PARTITIONS {
        let (bootstrap, index) = (cluster.bootstrap(), partition as i32);
        cluster.wait("no transaction is open", || {
            let ends =
                ["read_committed", "read_uncommitted"].map(|it| end(&bootstrap, topic, index, it));
            (ends[0] == ends[1]).then_some(())
        });
        let read = read_all(&bootstrap, topic, index, "read_committed");
        let read: Vec<Vec<u8>> = read.into_iter().map(|(_, it)| it.value.unwrap()).collect();
        let all: Vec<Vec<u8>> =
            (partition as usize..RECORDS).step_by(PARTITIONS as usize).map(value).collect();
        assert_eq!(read.len(), all.len(), "{topic}-{partition}");
        let wrong = read.iter().zip(&all).position(|(is, should)| is != should);
        assert_eq!(wrong, None, "{topic}-{partition}");
    }
}

/// The broker that dies next.
fn victim<'a>(cluster: &'a Cluster, deaths: usize, id: &str, topic: &str) -> &'a Broker {
    if deaths > 0 {
        return cluster.broker(kafka::leader(cluster, topic, 1).leader as u64);
    }
    let broker = cluster.wait("the transactions have a coordinator", || {
        let (error, broker) = transactions::coordinator(cluster, id);
        u64::try_from(broker).ok().filter(|_| error == kafka::NONE)
    });
    cluster.broker(broker)
}

pub fn exactly_once(client: &Client) {
    let [source, target] = ["once-from", "once-to"].map(|it| client.topic(it));
    if client.lacks("exactly once") {
        let shared = Cluster::shared();
        let args = ["process", &shared.bootstrap(), &source, &target, &source, &source];
        assert!(client.refuses("exactly once", &args));
        return;
    }
    let cluster = Cluster::start(&client.topic("once"), 3);
    cluster.create_topic(&source, PARTITIONS, 3);
    cluster.create_topic(&target, PARTITIONS, 3);
    fill(&cluster, &source);
    let args = ["process", &cluster.bootstrap(), &source, &target, &source, &source];
    let mut program = client.asked(&args);
    let (mut opened, mut deaths, mut dead) = (0, 0, None);
    loop {
        let said = program.hear();
        let (word, rest) = said.split_once(' ').unwrap_or((&said, ""));
        match word {
            "open" => {
                opened += 1;
                let due = DEADLY.get(deaths).is_some_and(|at| opened >= *at);
                if due && dead.is_none() {
                    let broker = victim(&cluster, deaths, &source, &target);
                    broker.kill9();
                    (dead, deaths) = (Some(broker), deaths + 1);
                }
                program.say("go");
            }
            "committed" => {
                // It went on without the broker.
                if let Some(broker) = dead.take() {
                    broker.start();
                    cluster.wait_whole();
                }
                if rest == RECORDS.to_string() {
                    break;
                }
            }
            "aborted" | "again" => eprintln!("{}: {said}", client.name),
            _ => panic!("{}: {said}", client.name),
        }
    }
    assert_eq!(deaths, DEADLY.len());
    program.stop();
    judge(&cluster, &target);
    super::groups::committed(&cluster, &source, RECORDS as i64);
}
