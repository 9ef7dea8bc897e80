//! Flink: a job that counts and writes exactly once, by both of its connector's ways to name transactions. It is killed
//! between what it prepared and what it committed, and behind that; brokers die under it, and while it is dead.

mod output;

use std::collections::BTreeSet;
use std::path::PathBuf;

use output::Output;

use crate::support::asked::Asked;
use crate::support::cluster::{Broker, Cluster, fresh_dir};
use crate::support::{clients, kafka, transactions};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const PARTITIONS: u32 = 2;
/// Of each partition, and so many are written at once.
const KEYS: usize = 10;
const PORTION: usize = 20;
/// How many there are in the end. The script takes one for each checkpoint, and a job that begins anew may take one
/// more.
const PORTIONS: usize = 40;
const RECORDS: usize = PORTION * PORTIONS;

/// What happens while a checkpoint is complete and subtask 0 waits: what it prepared is not committed, and its next
/// transaction is open.
#[derive(Clone, Copy)]
enum Step {
    Nothing,
    /// The job dies.
    Job,
    /// It dies as well, when the transaction is committed and before a later checkpoint says so.
    JobLater,
    /// The broker dies that leads a partition which is written to.
    Leader,
    /// The broker dies that coordinates an open transaction.
    Coordinator,
    /// That one and the job, which goes on before the broker is back.
    Both,
}

/// A job that has just begun has maybe nothing to prepare in its first checkpoint.
const SCRIPT: [Step; 15] = [
    Step::Nothing,
    Step::Nothing,
    Step::Job,
    Step::Nothing,
    Step::Job,
    Step::Nothing,
    Step::Leader,
    Step::JobLater,
    Step::Nothing,
    Step::Both,
    Step::Nothing,
    Step::Coordinator,
    Step::Job,
    Step::Nothing,
    Step::JobLater,
];

fn key(partition: usize, n: usize) -> String {
    format!("key {}", partition + PARTITIONS as usize * (n % KEYS))
}

/// Record `n` of a partition.
fn number(partition: usize, n: usize) -> usize {
    n * n + partition
}

struct Flink<'a> {
    cluster: &'a Cluster,
    strategy: &'static str,
    source: String,
    output: Output<'a>,
    checkpoints: PathBuf,
    producer: BaseProducer,
    portions: usize,
    job: Asked,
}

/// Starts the job, from its newest checkpoint if there is one.
fn start(
    cluster: &Cluster,
    strategy: &str,
    topics: [&str; 2],
    checkpoints: &PathBuf,
    newest: Option<u64>,
) -> Asked {
    let options = ["-Xmx384m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"];
    let mut command = super::program("flink", "Counts", &options);
    command.args([&cluster.bootstrap(), topics[0], topics[1], strategy]).arg(checkpoints);
    if let Some(newest) = newest {
        // Each job has a folder of its own, and of them all this checkpoint is in one.
        let jobs = checkpoints.read_dir().unwrap().map(|job| job.unwrap().path());
        let mut found = jobs.map(|job| job.join(format!("chk-{newest}")));
        command.arg(found.find(|path| path.join("_metadata").exists()).unwrap());
    }
    Asked::start("flink", command)
}

impl Flink<'_> {
    /// Writes the next portion of both partitions.
    fn fill(&mut self) {
        assert!(self.portions < PORTIONS, "it took a portion more often than a job can begin");
        for n in self.portions * PORTION..(self.portions + 1) * PORTION {
            for partition in 0..PARTITIONS as usize {
                let (key, value) = (key(partition, n), number(partition, n).to_string());
                let record = BaseRecord::<str, str>::to(&self.source).key(&key).payload(&value);
                let sent = self.producer.send(record.partition(partition as i32));
                sent.map_err(|(error, _)| error).unwrap();
            }
        }
        self.producer.flush(crate::support::cluster::SOON).unwrap();
        self.portions += 1;
    }

    /// Waits until a checkpoint is complete and subtask 0 waits behind it; says which.
    fn checkpoint(&mut self) -> u64 {
        loop {
            let said = self.job.hear();
            match said.split_once(' ').unwrap_or_default() {
                ("prepared", _) => self.fill(),
                ("complete", number) => return number.parse().unwrap(),
                ("open" | "held", _) => {}
                _ => panic!("{}: {said}", self.strategy),
            }
        }
    }

    fn restart(&mut self, newest: u64) {
        let topics = [self.source.as_str(), self.output.topic];
        self.job = start(self.cluster, self.strategy, topics, &self.checkpoints, Some(newest));
    }

    fn leader(&self) -> &Broker {
        self.cluster.broker(kafka::leader(self.cluster, self.output.topic, 0).leader as u64)
    }

    fn coordinator(&self, id: &str) -> &Broker {
        let broker = self.cluster.wait("the transaction has a coordinator", || {
            let (error, broker) = transactions::coordinator(self.cluster, id);
            u64::try_from(broker).ok().filter(|_| error == kafka::NONE)
        });
        self.cluster.broker(broker)
    }

    /// Takes a step and has the job go on; the broker that is dead, if one is.
    fn take(&mut self, step: Step) -> Option<u64> {
        let newest = self.checkpoint();
        let open = match step {
            Step::Nothing | Step::Leader => BTreeSet::new(),
            _ => self.output.wait_prepared(),
        };
        let dead = match step {
            Step::Leader => Some(self.leader().id),
            Step::Coordinator | Step::Both => Some(self.coordinator(open.first().unwrap()).id),
            _ => None,
        };
        if matches!(step, Step::JobLater) {
            self.job.say("go");
            self.output.wait_committed(&open);
        }
        if matches!(step, Step::Job | Step::JobLater | Step::Both) {
            self.job.kill9();
        }
        if let Some(dead) = dead {
            self.cluster.broker(dead).kill9();
        }
        match step {
            Step::Job | Step::JobLater | Step::Both => self.restart(newest),
            _ => self.job.say("go"),
        }
        dead
    }

    fn run(mut self) {
        let mut dead: Option<u64> = None;
        for step in SCRIPT {
            let died = self.take(step);
            // A whole step was taken without it.
            if let Some(broker) = dead.take() {
                self.cluster.broker(broker).start();
                self.cluster.wait_whole();
            }
            dead = died;
        }
        assert_eq!(dead, None, "the last step leaves all alive");
        self.job.say("free");
        while self.portions < PORTIONS {
            self.fill();
        }
        self.output.wait_read(&self.source);
        self.job.say("stop");
        self.job.stop();
        self.output.judge();
    }
}

fn exactly_once(strategy: &'static str) {
    let name = format!("flink-{}", strategy.to_lowercase());
    let (source, target) = (format!("{name}-from"), format!("{name}-to"));
    let cluster = Cluster::start(&name, 3);
    cluster.create_topic(&source, PARTITIONS, 3);
    cluster.create_topic(&target, PARTITIONS, 3);
    let checkpoints = fresh_dir(&format!("{name}-checkpoints"));
    let producer = clients::producer(&cluster.bootstrap()).create().unwrap();
    let job = start(&cluster, strategy, [&source, &target], &checkpoints, None);
    let output = Output { cluster: &cluster, topic: &target };
    let cluster = &cluster;
    Flink { cluster, strategy, source, output, checkpoints, producer, portions: 0, job }.run();
}

/// Each checkpoint has a transactional id of its own.
#[test]
fn exactly_once_with_a_transactional_id_for_each_checkpoint() {
    exactly_once("INCREMENTING");
}

/// Ids are used again, and the cluster is asked which transactions are open.
#[test]
fn exactly_once_with_transactional_ids_that_are_used_again() {
    exactly_once("POOLING");
}
