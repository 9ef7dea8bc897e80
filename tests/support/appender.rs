//! Stock producers that append with record headers: processes that are told line by line what to send and when to wait,
//! and what they say became of it (tests/clients/python/append.py).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use super::clients::{installed, java_program};
use super::cluster::{Cluster, SOON};
use super::process::{self, Process};

/// A stock client; the first is confluent-kafka.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stock {
    Librdkafka,
    Java,
    FranzGo,
}

/// What a producer was told of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Ok { partition: i32, offset: i64 },
    Error { code: i16, message: String },
}

/// A record to be sent; the client chooses its partition unless it is named.
#[derive(Clone, Copy, Default)]
pub struct Sent<'a> {
    pub topic: &'a str,
    pub partition: Option<i32>,
    pub key: &'a str,
    pub value: Option<&'a str>,
    pub headers: &'a [(&'a str, &'a str)],
}

#[derive(Default)]
struct Said {
    answers: BTreeMap<usize, Answer>,
    flushes: usize,
    other: Vec<String>,
}

/// A running producer.
pub struct Appender {
    said: Arc<Mutex<Said>>,
    process: Process,
    stdin: ChildStdin,
    sent: usize,
    flushes: usize,
}

impl Stock {
    pub const ALL: [Stock; 3] = [Stock::Librdkafka, Stock::Java, Stock::FranzGo];

    /// Settings with which no two records that state a condition share a batch, however many are under way.
    pub fn one_record_a_batch(self) -> &'static [&'static str] {
        match self {
            Stock::Librdkafka => &["partitioner=murmur2_random", "batch.num.messages=1"],
            // The first record fills a batch. What it leaves free, as its size is estimated, is less than a header takes.
            Stock::Java => &["batch.size=1"],
            // It has no such setting; with room for one record only one is under way.
            Stock::FranzGo => &["batch.records=1"],
        }
    }

    /// Settings with which what is sent until a flush is one batch of each partition.
    pub fn one_flush_a_batch(self) -> &'static [&'static str] {
        match self {
            Stock::Librdkafka => &["partitioner=murmur2_random", "linger.ms=60000"],
            Stock::Java => &["linger.ms=60000"],
            Stock::FranzGo => &["linger.ms=60000"],
        }
    }
}

impl Appender {
    /// Starts a client with settings `name=value`, besides those it has by itself.
    pub fn start(cluster: &Cluster, client: Stock, settings: &[&str]) -> Appender {
        let bootstrap = cluster.bootstrap();
        let args = [&[bootstrap.as_str()], settings].concat();
        let mut command = match client {
            Stock::Librdkafka => {
                let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python");
                let mut command = process::command(installed("python/bin/python"));
                command.arg(sources.join("append.py")).args(&args);
                command
            }
            Stock::Java => java_program("java", "Append", &args),
            Stock::FranzGo => {
                let mut command = process::command(installed("go/franz-go"));
                command.arg("append").args(&args);
                command
            }
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        let lines = BufReader::new(process.stdout().unwrap());
        let said = Arc::new(Mutex::new(Said::default()));
        let hears = Arc::clone(&said);
        thread::spawn(move || {
            lines.lines().for_each(|line| hears.lock().unwrap().hear(&line.unwrap()));
        });
        let stdin = process.stdin().unwrap();
        Appender { said, process, stdin, sent: 0, flushes: 0 }
    }

    /// Hands it a record; returns its number.
    pub fn send(&mut self, record: Sent<'_>) -> usize {
        let partition = record.partition.map_or("-".to_owned(), |partition| partition.to_string());
        let (key, value) = (record.key, record.value.unwrap_or("-"));
        let mut line = format!("{}\t{partition}\t{key}\t{value}", record.topic);
        for (name, value) in record.headers {
            line += &format!("\t{name}={value}");
        }
        writeln!(self.stdin, "{line}").unwrap();
        self.sent += 1;
        self.sent - 1
    }

    /// Returns how many were answered.
    pub fn answered(&self) -> usize {
        self.said.lock().unwrap().answers.len()
    }

    /// Waits for the answers to all that was sent.
    pub fn flush(&mut self, cluster: &Cluster) -> BTreeMap<usize, Answer> {
        writeln!(self.stdin, "flush").unwrap();
        self.flushes += 1;
        cluster.wait_for("the producer has all answers", 2 * SOON, || {
            let said = self.said.lock().unwrap();
            assert_eq!(said.other, Vec::<String>::new());
            (said.flushes == self.flushes).then_some(())
        });
        let answers = self.said.lock().unwrap().answers.clone();
        assert_eq!(answers.len(), self.sent, "each record is answered once");
        answers
    }

    /// Sends a command, which is one or several records, and waits for the answers.
    pub fn append(&mut self, cluster: &Cluster, records: &[Sent<'_>]) -> Vec<Answer> {
        let first = self.sent;
        for record in records {
            self.send(*record);
        }
        self.flush(cluster).split_off(&first).into_values().collect()
    }

    /// The same of one record.
    pub fn append_one(&mut self, cluster: &Cluster, record: Sent<'_>) -> Answer {
        self.append(cluster, &[record]).remove(0)
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.process.kill9();
    }
}

impl Said {
    fn hear(&mut self, line: &str) {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["flushed"] => self.flushes += 1,
            [number, "ok", partition, offset] => {
                let (partition, offset) = (partition.parse().unwrap(), offset.parse().unwrap());
                self.answer(number, Answer::Ok { partition, offset });
            }
            [number, "error", code, message] => {
                let (code, message) = (code.parse().unwrap(), message.to_owned());
                self.answer(number, Answer::Error { code, message });
            }
            _ => self.other.push(line.to_owned()),
        }
    }

    fn answer(&mut self, number: &str, answer: Answer) {
        let before = self.answers.insert(number.parse().unwrap(), answer);
        assert_eq!(before, None, "record {number} is answered twice");
    }
}

impl Answer {
    /// The partition and the offset of a success.
    pub fn ok(&self) -> (i32, i64) {
        match self {
            Answer::Ok { partition, offset } => (*partition, *offset),
            Answer::Error { .. } => panic!("{self:?}"),
        }
    }

    pub fn is_ok(&self) -> bool {
        matches!(self, Answer::Ok { .. })
    }

    /// The code and the message of a failure.
    pub fn error(&self) -> (i16, &str) {
        match self {
            Answer::Ok { .. } => panic!("{self:?}"),
            Answer::Error { code, message } => (*code, message),
        }
    }
}
