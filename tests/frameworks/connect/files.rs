//! A file into a topic, each line exactly once, and the topic into a file, while a worker dies in the middle of a
//! transaction, and after it the broker that coordinates the transactions, and the one that leads the topic.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::json;

use super::topic_setting;
use super::workers::{LONG, Workers};
use crate::client_matrix::record::{end, read_all};
use crate::support::cluster::{Cluster, fresh_dir};
use crate::support::wire::Wire;
use crate::support::{kafka, transactions};

const TOPIC: &str = "lines";
const LINES: usize = 4000;
/// As Connect names the transactions of a source's first task.
const TRANSACTIONS: &str = "connect-source-0";

fn line(n: usize) -> String {
    format!("line {n}")
}

/// The file that the source follows.
struct Feed {
    path: PathBuf,
    file: File,
    written: usize,
}

impl Feed {
    fn new(path: PathBuf) -> Feed {
        let file = File::create_new(&path).unwrap();
        Feed { path, file, written: 0 }
    }

    fn write(&mut self, count: usize) {
        let lines = self.written..self.written + count;
        let text: String = lines.map(|n| line(n) + "\n").collect();
        self.file.write_all(text.as_bytes()).unwrap();
        self.written += count;
    }
}

/// The broker that coordinates the source's transactions.
fn coordinator(cluster: &Cluster) -> Option<u64> {
    let (error, broker) = transactions::coordinator(cluster, TRANSACTIONS);
    u64::try_from(broker).ok().filter(|_| error == kafka::NONE)
}

/// Whether the source has a transaction open that has records.
fn open(cluster: &Cluster) -> bool {
    let bootstrap = cluster.bootstrap();
    let held = |isolation: &str| end(&bootstrap, TOPIC, 0, isolation);
    let Some(coordinator) = coordinator(cluster) else { return false };
    held("read_committed") < held("read_uncommitted") && {
        let mut wire = Wire::connect(cluster.broker(coordinator).kafka);
        transactions::describe(&mut wire, TRANSACTIONS).state == "Ongoing"
    }
}

fn values(cluster: &Cluster, isolation: &str) -> Vec<String> {
    let read = read_all(&cluster.bootstrap(), TOPIC, 0, isolation).into_iter();
    read.map(|(_, it)| String::from_utf8(it.value.unwrap()).unwrap()).collect()
}

/// Waits until all that is in the file is committed. Connect ends a transaction when there are more lines after it.
fn arrived(workers: &Workers, cluster: &Cluster, feed: &mut Feed) {
    let lines = feed.written;
    workers.wait(&format!("{lines} lines are committed"), |_| {
        feed.write(10);
        (values(cluster, "read_committed").len() >= lines).then_some(())
    });
}

/// Stops the source when it has written the last line, with which it commits.
fn stop(workers: &Workers, cluster: &Cluster, feed: &Feed) {
    let last = line(feed.written - 1);
    workers.wait("the last line is written", |_| {
        (values(cluster, "read_uncommitted").last() == Some(&last)).then_some(())
    });
    workers.stop("source");
    workers.wait("the last line is committed", |_| {
        (values(cluster, "read_committed").last() == Some(&last)).then_some(())
    });
}

fn start(cluster: &Cluster, workers: &Workers, from: &Path, to: &Path) {
    workers.connector(
        "source",
        &json!({
            "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
            "tasks.max": "1", "file": from, "topic": TOPIC, "exactly.once.support": "required",
            "transaction.boundary": "interval", "transaction.boundary.interval.ms": "3000" }),
    );
    workers.connector(
        "sink",
        &json!({
            "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
            "tasks.max": "1", "file": to, "topics": TOPIC }),
    );
    for topic in ["connect-configs", "connect-offsets", "connect-status"] {
        let policy = topic_setting(&cluster.bootstrap(), topic, "cleanup.policy");
        assert_eq!(policy.as_deref(), Some("compact"), "{topic}");
    }
}

/// Kills the worker that has the source's task while it has a transaction open; gives its number.
fn worker_dies(cluster: &Cluster, workers: &mut Workers, feed: &mut Feed) -> usize {
    let victim = workers.running("source", 1)[0];
    workers.wait("the worker stands still in a transaction", |workers| {
        feed.write(20);
        if !open(cluster) {
            return None;
        }
        workers.process(victim).pause();
        let still = open(cluster);
        if !still {
            workers.process(victim).signal(Signal::CONT);
        }
        still.then_some(())
    });
    workers.kill9(victim);
    victim
}

/// Kills a broker while a transaction is open. All goes on without it, and then with it.
fn broker_dies(cluster: &Cluster, workers: &Workers, feed: &mut Feed, id: u64) {
    workers.wait("a transaction is open", |_| {
        feed.write(20);
        open(cluster).then_some(())
    });
    let broker = cluster.broker(id);
    broker.kill9();
    feed.write(100);
    arrived(workers, cluster, feed);
    broker.start();
    cluster.wait_whole();
}

/// The sink repeats lines where it was begun again, but leaves none out: each line is at most one above the line before.
fn judge_sink(workers: &Workers, path: &Path, lines: usize) {
    let last = line(lines - 1) + "\n";
    let text = workers.wait("the sink has the last line", |_| {
        fs::read_to_string(path).ok().filter(|text| text.ends_with(&last))
    });
    let numbers = text.lines().map(|it| it.strip_prefix("line ").unwrap().parse::<usize>());
    let mut next = 0;
    for (at, number) in numbers.map(Result::unwrap).enumerate() {
        assert!(number <= next, "line {} of the sink's file: {number} instead of {next}", at + 1);
        next = number + 1;
    }
    eprintln!("the sink has {} lines for {lines}", text.lines().count());
    assert_eq!(next, lines);
}

#[test]
fn a_file_goes_through_a_topic_exactly_once_though_a_worker_and_brokers_die() {
    let cluster = Cluster::start("connect-files", 3);
    cluster.create_topic(TOPIC, 1, 3);
    let mut workers = Workers::start("connect", &cluster, None);
    let dir = fresh_dir("connect-files");
    let (mut feed, to) = (Feed::new(dir.join("from")), dir.join("to"));
    feed.write(500);
    start(&cluster, &workers, &feed.path, &to);
    arrived(&workers, &cluster, &mut feed);

    let died = worker_dies(&cluster, &mut workers, &mut feed);
    feed.write(200);
    let other = 1 - died;
    assert_eq!(workers.running("source", 1), [other]);
    assert_eq!(workers.running("sink", 1), [other]);
    arrived(&workers, &cluster, &mut feed);

    let coordinating =
        workers.wait("the transactions have a coordinator", |_| coordinator(&cluster));
    broker_dies(&cluster, &workers, &mut feed, coordinating);
    let leader = kafka::leader(&cluster, TOPIC, 0).leader as u64;
    broker_dies(&cluster, &workers, &mut feed, leader);

    workers.run(died);
    cluster.wait_for("the tasks lie on both workers", LONG, || {
        let [source, sink] = ["source", "sink"].map(|it| workers.running(it, 1)[0]);
        (source != sink).then_some(())
    });
    feed.write(LINES.saturating_sub(feed.written).max(100));
    stop(&workers, &cluster, &feed);

    let committed = values(&cluster, "read_committed");
    let wrong = committed.iter().enumerate().find(|(n, is)| **is != line(*n));
    assert_eq!((wrong, committed.len()), (None, feed.written));
    // What the worker had in hand when it died was written, and aborted.
    assert!(values(&cluster, "read_uncommitted").len() > feed.written);
    judge_sink(&workers, &to, feed.written);
}
