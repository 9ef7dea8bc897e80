//! A file into a topic, each line exactly once, and the topic into a file, while a worker dies in the middle of a
//! transaction, after it the broker that coordinates the transactions and the one that leads the topic, and at last the
//! worker of the sink.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::source::{BOUNDARY, Feed, Source};
use super::topic_setting;
use super::workers::{LONG, Workers};
use crate::support::cluster::{Cluster, fresh_dir};

const TOPIC: &str = "lines";
const LINES: usize = 4000;

fn line(n: usize) -> String {
    format!("line {n}")
}

/// The file that the source follows.
struct Lines {
    path: PathBuf,
    file: File,
    written: usize,
}

impl Lines {
    fn new(path: PathBuf) -> Lines {
        let file = File::create_new(&path).unwrap();
        Lines { path, file, written: 0 }
    }

    fn write(&mut self, count: usize) {
        let lines = self.written..self.written + count;
        let text: String = lines.map(|n| line(n) + "\n").collect();
        self.file.write_all(text.as_bytes()).unwrap();
        self.written += count;
    }
}

impl Feed for Lines {
    fn grow(&mut self) {
        self.write(20);
    }

    fn records(&self) -> usize {
        self.written
    }
}

fn start(cluster: &Cluster, workers: &Workers, from: &Path, to: &Path) {
    let mut source = json!({
        "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
        "tasks.max": "1", "file": from, "topic": TOPIC });
    BOUNDARY.iter().for_each(|(name, value)| source[*name] = json!(value));
    workers.connector("source", &source);
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
    let (mut lines, to) = (Lines::new(dir.join("from")), dir.join("to"));
    lines.write(500);
    start(&cluster, &workers, &lines.path, &to);
    let source = Source { cluster: &cluster, connector: "source", topic: TOPIC };
    source.arrived(&workers, &mut lines);

    let died = source.kill_worker(&mut workers, &mut lines);
    assert_eq!(workers.running("sink", 1), [1 - died]);
    source.kill_brokers(&workers, &mut lines);
    workers.run(died);
    cluster.wait_for("the tasks lie on both workers", LONG, || {
        let [source, sink] = ["source", "sink"].map(|it| workers.running(it, 1)[0]);
        (source != sink).then_some(())
    });
    let at = workers.running("sink", 1)[0];
    workers.kill9(at);
    lines.write(200);
    assert_eq!(workers.running("sink", 1), [1 - at]);
    workers.run(at);
    lines.write(LINES.saturating_sub(lines.written).max(100));
    let last = Some(line(lines.written - 1).into_bytes());
    source.stop(&workers, |record| record.value == last);

    let committed = source.read("read_committed").into_iter().map(|it| it.value.unwrap());
    let committed: Vec<String> = committed.map(|it| String::from_utf8(it).unwrap()).collect();
    let wrong = committed.iter().enumerate().find(|(n, is)| **is != line(*n));
    assert_eq!((wrong, committed.len()), (None, lines.written));
    assert!(source.has_aborted());
    judge_sink(&workers, &to, lines.written);
}
