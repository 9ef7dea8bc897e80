//! Accounts that are streams of events, with the commands of `tests/clients/python/bank.py`: an aggregate by Quorate's event
//! store, a view by any Kafka client, here rdkafka. The view is one file that is replaced as a whole.
#![expect(clippy::unwrap_used, reason = "a program that cannot go on says why and ends")]
#![expect(clippy::print_stdout, reason = "it speaks through its output")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate::client::{EventStore, Expected, Loaded, NewEvent, StoreError};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

const ACCOUNTS: u64 = 2;

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(tag = "type", content = "amount", rename_all = "lowercase")]
enum Event {
    Deposited(i64),
    Withdrawn(i64),
}

impl Event {
    fn of(bytes: &[u8]) -> Event {
        serde_json::from_slice(bytes).unwrap()
    }

    fn signed(self) -> i64 {
        match self {
            Event::Deposited(amount) => amount,
            Event::Withdrawn(amount) => -amount,
        }
    }
}

/// What the events of an account come to, and what may follow: nothing where it would be overdrawn.
fn decide(account: &Loaded, wanted: Event) -> Option<NewEvent> {
    let events = account.events.iter().map(|event| Event::of(&event.value().unwrap()));
    let balance: i64 = events.map(Event::signed).sum();
    let allowed = balance + wanted.signed() >= 0;
    allowed.then(|| NewEvent::new(&serde_json::to_vec(&wanted).unwrap()))
}

/// Returns a number that looks random.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 16
}

fn work(brokers: &str, topic: &str, seed: u64, count: usize) {
    let servers = brokers.split(',').map(|broker| broker.parse().unwrap()).collect();
    let store = EventStore::new(servers, topic);
    let (mut state, mut conflicts) = (seed * 0x9E37_79B9 + 1, 0);
    for _ in 0..count {
        let key = format!("account-{}", next(&mut state) % ACCOUNTS);
        let amount = 1 + i64::try_from(next(&mut state) % 99).unwrap();
        let is_deposit = next(&mut state).is_multiple_of(2);
        let wanted = if is_deposit { Event::Deposited(amount) } else { Event::Withdrawn(amount) };
        // `EventStore::update` does the same; this counts the conflicts.
        let word = loop {
            let account = store.load(&key).unwrap();
            let Some(event) = decide(&account, wanted) else { break "refused" };
            match store.append(&key, Expected::Exactly(account.version), &[event]) {
                Ok(_) => break if is_deposit { "deposited" } else { "withdrawn" },
                Err(StoreError::Conflict { .. }) => conflicts += 1,
                Err(other) => panic!("{other}"),
            }
        };
        println!("{word} {key} {amount}");
    }
    println!("conflicts {conflicts}");
}

/// Balances with how many events they are of, and how far each partition was read.
#[derive(Clone, Default, Deserialize, Serialize)]
struct View {
    accounts: BTreeMap<String, (i64, u64)>,
    positions: BTreeMap<i32, i64>,
}

impl View {
    fn open(path: &Path) -> View {
        fs::read(path).map_or_else(|_| View::default(), |it| serde_json::from_slice(&it).unwrap())
    }

    /// A crash leaves the file as it was or as it is to be, and position and balances agree in both.
    fn store(&self, path: &Path) {
        let next = path.with_extension("next");
        let mut file = File::create(&next).unwrap();
        file.write_all(&serde_json::to_vec(self).unwrap()).unwrap();
        file.sync_all().unwrap();
        fs::rename(next, path).unwrap();
    }
}

/// Has partitions read from where the view is; the group only shares them out.
struct Placed(PathBuf);

impl ClientContext for Placed {}

impl ConsumerContext for Placed {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(given) = rebalance else { return };
        let view = View::open(&self.0);
        let mut from = TopicPartitionList::new();
        for it in given.elements() {
            let position = view.positions.get(&it.partition()).copied().unwrap_or(0);
            from.add_partition_offset(it.topic(), it.partition(), Offset::Offset(position))
                .unwrap();
        }
        consumer.assign(&from).unwrap();
    }
}

fn view(bootstrap: &str, topic: &str, group: &str, path: &Path) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", group);
    config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("session.timeout.ms", "6000");
    let consumer: BaseConsumer<Placed> =
        config.create_with_context(Placed(path.to_owned())).unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let hears = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        hears.store(true, Ordering::Relaxed);
    });
    let mut view = View::open(path);
    while !stop.load(Ordering::Relaxed) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else { continue };
        let (partition, position) = (message.partition(), message.offset() + 1);
        let account = String::from_utf8_lossy(message.key().unwrap()).into_owned();
        let (balance, events) = view.accounts.entry(account).or_default();
        *balance += Event::of(message.payload().unwrap()).signed();
        *events += 1;
        view.positions.insert(partition, position);
        view.store(path);
        println!("stored {partition} {position}");
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["work", brokers, topic, seed, count] => {
            work(brokers, topic, seed.parse().unwrap(), count.parse().unwrap());
        }
        ["view", bootstrap, topic, group, path] => view(bootstrap, topic, group, Path::new(path)),
        ["show", path] => {
            for (account, (balance, events)) in View::open(Path::new(path)).accounts {
                println!("{account} {balance} {events}");
            }
        }
        _ => panic!("no command {args:?}"),
    }
}
