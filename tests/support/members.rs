//! Consumers that subscribe: processes of stock clients, and what they say they were given, read and committed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use super::clients::{self, Client};
use super::cluster::{Cluster, SOON};
use super::process::Process;

/// What a consumer has said so far.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// What it was given and has not given back.
    pub partitions: BTreeSet<i32>,
    /// How often it gave partitions back.
    pub revoked: usize,
    /// Value by partition and offset, with how often it read that.
    pub records: BTreeMap<(i32, i64), (String, usize)>,
    /// The offset committed last.
    pub committed: BTreeMap<i32, i64>,
    pub errors: Vec<String>,
}

/// A running consumer.
pub struct Member {
    said: Arc<Mutex<Said>>,
    process: Process,
}

impl Member {
    /// Subscribes; `settings` are `name=value`, as the client calls them.
    pub fn start(
        cluster: &Cluster,
        client: Client,
        (topic, group): (&str, &str),
        settings: &[&str],
    ) -> Member {
        let bootstrap = cluster.bootstrap();
        let args = [&["consume", &bootstrap, topic, group], settings].concat();
        Member::run(match client {
            Client::Java => clients::java(&args),
            _ => clients::python(&args),
        })
    }

    /// The same of a command that says what these say.
    pub fn run(mut command: Command) -> Member {
        // Their own, all three: whoever makes a pipe non-blocking does so for everybody who has it.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(command);
        let lines = BufReader::new(process.stdout().unwrap());
        let complaints = BufReader::new(process.stderr().unwrap());
        thread::spawn(move || complaints.lines().for_each(|line| eprintln!("{}", line.unwrap())));
        let said = Arc::new(Mutex::new(Said::default()));
        let hears = Arc::clone(&said);
        thread::spawn(move || {
            lines.lines().for_each(|line| hears.lock().unwrap().hear(&line.unwrap()));
        });
        Member { said, process }
    }

    pub fn said(&self) -> Said {
        self.said.lock().unwrap().clone()
    }

    /// Waits until what it said is so.
    pub fn wait(&self, cluster: &Cluster, what: &str, holds: impl Fn(&Said) -> bool) -> Said {
        cluster.wait(what, || Some(self.said()).filter(|said| holds(said)))
    }

    /// Has it leave; gives all it said.
    pub fn stop(mut self) -> Said {
        drop(self.process.stdin());
        let status = self.process.wait_exit("the consumer has ended", SOON);
        assert!(status.success(), "the consumer: {status}");
        self.said()
    }

    /// `kill -9`: it does not leave.
    pub fn kill9(mut self) -> Said {
        self.process.kill9();
        self.said()
    }
}

impl Said {
    fn hear(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let numbers = || rest.split(',').filter_map(|number| number.trim().parse::<i32>().ok());
        let mut words = rest.split(' ');
        let mut next = || words.next().unwrap_or_default().to_owned();
        match word {
            "assigned" => self.partitions.extend(numbers()),
            "revoked" | "lost" => {
                let gone: BTreeSet<i32> = numbers().collect();
                self.revoked += usize::from(!gone.is_empty());
                self.partitions.retain(|partition| !gone.contains(partition));
            }
            "record" => {
                let place = (next().parse().unwrap(), next().parse().unwrap());
                self.records.entry(place).or_insert_with(|| (next(), 0)).1 += 1;
            }
            "committed" => {
                let (partition, offset) = (next().parse().unwrap(), next().parse().unwrap());
                self.committed.insert(partition, offset);
            }
            _ => self.errors.push(line.to_owned()),
        }
    }
}
