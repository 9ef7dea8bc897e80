//! Event sourcing as applications do it: the examples in Python, Java and Rust write to the same accounts at once while a
//! leader dies, their views are killed and started again, and the money adds up; and what the README shows is so.

mod readme;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rdkafka::Message;
use rdkafka::consumer::Consumer;
use serde_json::{Value, json};

use crate::support::clients::{self, installed, java_program};
use crate::support::cluster::{BINARY, Cluster, SOON};
use crate::support::kafka::leader;
use crate::support::process::{self, Process};

const TOPIC: &str = "bank";
const PARTITIONS: i32 = 2;
/// Deposits and withdrawals of a worker.
const COMMANDS: usize = 40;

/// The example in one language.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bank {
    Python,
    Java,
    Rust,
}

/// A running one, and what it has said.
struct Running {
    lines: Arc<Mutex<Vec<String>>>,
    process: Process,
    // Views end with it.
    _stdin: ChildStdin,
}

/// Balance of each account, and how many events it had.
type Balances = BTreeMap<String, (i64, u64)>;

impl Bank {
    const ALL: [Bank; 3] = [Bank::Python, Bank::Java, Bank::Rust];

    fn command(self, args: &[&str]) -> Command {
        match self {
            Bank::Python => {
                let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python");
                let mut command = process::command(installed("python/bin/python"));
                command.arg(sources.join("bank.py")).args(args);
                command
            }
            Bank::Java => java_program("java", "Bank", args),
            Bank::Rust => {
                let built = Path::new(BINARY).with_file_name("examples").join("bank");
                assert!(built.exists(), "missing: cargo build --release --example bank");
                let mut command = process::command(built);
                command.args(args);
                command
            }
        }
    }

    fn start(self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        let said = BufReader::new(process.stdout().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&lines);
        thread::spawn(move || {
            // A line that a kill cut short says nothing.
            said.lines().map_while(Result::ok).for_each(|line| hears.lock().unwrap().push(line));
        });
        let stdin = process.stdin().unwrap();
        Running { lines, process, _stdin: stdin }
    }

    /// What its view has stored.
    fn shown(self, file: &Path) -> Balances {
        let shown = self.command(&["show", &file.display().to_string()]);
        let text = process::run(shown, SOON).ok("show");
        let row = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[0].to_owned(), (words[1].parse().unwrap(), words[2].parse().unwrap()))
        };
        text.lines().map(row).collect()
    }
}

impl Running {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

/// What the events in the partitions come to. No account is ever overdrawn, in the order in which they were appended.
fn stored(cluster: &Cluster) -> Balances {
    let mut balances = Balances::new();
    for partition in 0..PARTITIONS {
        let consumer = clients::consumer_at(&cluster.bootstrap(), TOPIC, partition, 0);
        let (_, end) = consumer.fetch_watermarks(TOPIC, partition, SOON).unwrap();
        for _ in 0..end {
            let message = consumer.poll(SOON).expect("an event within time").unwrap();
            let account = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            let event: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
            let amount = event["amount"].as_i64().unwrap();
            let row = balances.entry(account).or_default();
            row.0 += if event["type"] == "deposited" { amount } else { -amount };
            row.1 += 1;
            assert!(row.0 >= 0, "overdrawn at offset {}", message.offset());
        }
    }
    balances
}

/// What the workers were told.
fn told(workers: &[Running]) -> (Balances, usize) {
    let (mut balances, mut conflicts) = (Balances::new(), 0);
    for line in workers.iter().flat_map(Running::lines) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["deposited" | "withdrawn", account, amount] => {
                let amount: i64 = amount.parse().unwrap();
                let row = balances.entry(account.to_owned()).or_default();
                row.0 += if words[0] == "deposited" { amount } else { -amount };
                row.1 += 1;
            }
            ["refused", ..] => {}
            ["conflicts", number] => conflicts += number.parse::<usize>().unwrap(),
            _ => panic!("{line}"),
        }
    }
    (balances, conflicts)
}

#[test]
fn the_money_adds_up_with_many_writers_a_dead_leader_and_views_that_are_killed() {
    let cluster = Cluster::start("bank", 3);
    let body = json!({ "name": TOPIC, "partitions": PARTITIONS, "replication_factor": 3,
        "configs": { "quorate.streams": "true" } });
    cluster.request("POST", "/v1/topics", Some(&body.to_string())).ok();
    let brokers: Vec<String> =
        cluster.brokers().iter().map(|broker| format!("127.0.0.1:{}", broker.http)).collect();
    let (brokers, bootstrap) = (brokers.join(","), cluster.bootstrap());
    let file = |bank: Bank| cluster.dir.join(format!("view-{bank:?}"));
    let view = |bank: Bank| {
        let (group, file) = (format!("view-{bank:?}"), file(bank).display().to_string());
        bank.start(&["view", &bootstrap, TOPIC, &group, &file])
    };
    let mut views: Vec<Running> = Bank::ALL.map(view).into();
    let second = view(Bank::Python);
    let count = COMMANDS.to_string();
    let mut workers: Vec<Running> = (0..2)
        .flat_map(|n| Bank::ALL.map(|bank| (bank, n)))
        .map(|(bank, n)| bank.start(&["work", &brokers, TOPIC, &n.to_string(), &count]))
        .collect();
    let done = |workers: &[Running]| workers.iter().map(|it| it.lines().len()).sum::<usize>();
    cluster.wait("a part of the work is done", || (done(&workers) > COMMANDS).then_some(()));
    let killed = u64::try_from(leader(&cluster, TOPIC, 0).leader).unwrap();
    cluster.broker(killed).kill9();
    cluster.wait_for("every view has stored something", 2 * SOON, || {
        views.iter().all(|view| !view.lines().is_empty()).then_some(())
    });
    // As they are: in the middle of whatever they do.
    views.iter_mut().for_each(|view| view.process.kill9());
    let mut views: Vec<Running> = Bank::ALL.map(view).into();
    cluster.broker(killed).start();
    for worker in &mut workers {
        let status = worker.process.wait_exit("a worker is done", 3 * SOON);
        assert!(status.success(), "{status}");
    }
    cluster.wait_whole();
    cluster.wait("the workers' last lines", || {
        let last = |worker: &Running| worker.lines().len() == COMMANDS + 1;
        workers.iter().all(last).then_some(())
    });
    let (expected, conflicts) = told(&workers);
    assert!(conflicts > 0, "nobody was in anybody's way");
    assert_eq!(stored(&cluster), expected, "what was told is what is there, each once");
    for (account, (_, events)) in &expected {
        let stream = cluster.get(&format!("/v1/topics/{TOPIC}/streams/{account}?limit=1"));
        assert_eq!(stream["version"], *events, "versions have no gaps");
    }
    for bank in Bank::ALL {
        cluster.wait_for(&format!("{bank:?}'s view has it all"), 2 * SOON, || {
            let shown = bank.shown(&file(bank));
            let events = |it: &Balances| it.values().map(|(_, events)| *events).sum::<u64>();
            assert!(events(&shown) <= events(&expected), "{bank:?} counted twice: {shown:?}");
            (events(&shown) == events(&expected)).then(|| assert_eq!(shown, expected, "{bank:?}"))
        });
    }
    views.push(second);
    views.iter_mut().for_each(|view| assert_eq!(view.process.ended(), None, "a view ended"));
}
