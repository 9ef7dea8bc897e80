//! Topics created, grown and deleted through any broker and either interface, while records are sent to them.
//!
//! Names are used again after a deletion. A few topics are never deleted; what was sent to those must be there at the
//! end, as in any other workload. What brokers say of topics is judged by [`check`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;

use super::keys::Keys;
use super::session::{Extra, Session};
use super::work::{Step, Work};
use crate::checker::{self, Finding, Findings};
use crate::client::{self, At, Record, Write};
use crate::environment::{Env, Phase, Worker};
use crate::history::{Body, Kind, Op, map, text};

mod change;
mod check;
mod list;

use change::Change;

const PREFIX: &str = "admin";
/// Room for so many partitions in the numbering of keys; topics grow no further.
const PARTITIONS_MAX: u32 = 8;
/// Topics that exist at a time, more or less.
const LIVE_MAX: usize = 20;
/// Every so many topics one is never deleted, up to a number.
const KEPT_EVERY: u64 = 4;
const KEPT_BELOW: u64 = 24;
/// Of one worker, between two changes or lists.
const CHANGE_PAUSE: Duration = Duration::from_millis(400);
const POLL: Duration = Duration::from_millis(20);
const POLL_BYTES: i32 = 64 << 10;

/// See the module.
#[derive(Default)]
pub struct Admin {
    topics: Arc<Mutex<Topics>>,
}

/// What the workers believe to exist, by number.
#[derive(Default)]
pub struct Topics {
    next: u64,
    live: BTreeMap<u64, u32>,
    gone: Vec<u64>,
}

impl Work for Admin {
    fn name(&self) -> &'static str {
        "admin"
    }

    fn about(&self) -> &'static str {
        "topics are created, grown and deleted through any broker while records are sent to them"
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<Keys> {
        Ok(Keys::of_others(env, PREFIX, PARTITIONS_MAX))
    }

    fn process(&self, _: &mut Session) -> Step {
        let (topics, mut change) = (Arc::clone(&self.topics), Instant::now());
        Box::new(move |session| {
            if Instant::now() < change {
                return use_topics(session, &topics);
            }
            change = Instant::now() + CHANGE_PAUSE.mul_f64(session.random.random_range(0.5..1.5));
            if let Some(change) = next_change(session, &topics) {
                return change.make(session, &topics);
            }
            let broker = session.client.any_broker();
            list::list(session, broker, false).map(drop)
        })
    }

    fn finish(
        &self,
        worker: &mut Worker,
        keys: &Arc<Keys>,
        _: &Mutex<Findings>,
    ) -> anyhow::Result<()> {
        if worker.number == 0 { final_lists(worker, keys) } else { Ok(()) }
    }

    fn partitions(&self, keys: &Keys) -> Vec<(i64, At)> {
        let topics = self.topics.lock();
        let kept = topics.live.iter().filter(|(number, _)| kept(**number));
        let keys_of =
            kept.flat_map(|(number, partitions)| (0..*partitions).map(|at| key(*number, at)));
        keys_of.map(|key| (key, keys.at(key))).collect()
    }

    fn check(&self, history: &[Op]) -> Vec<Finding> {
        let mut findings = checker::queue(history, &checker::Options::default());
        findings.extend(check::check(history));
        findings
    }
}

fn kept(number: u64) -> bool {
    number < KEPT_BELOW && number.is_multiple_of(KEPT_EVERY)
}

fn key(number: u64, partition: u32) -> i64 {
    i64::try_from(number).unwrap_or(0) * i64::from(PARTITIONS_MAX) + i64::from(partition)
}

fn name(number: u64) -> String {
    format!("{PREFIX}-{number}")
}

/// What to do next; nothing means to look.
fn next_change(session: &mut Session, topics: &Mutex<Topics>) -> Option<Change> {
    let random = &mut session.random;
    let mut topics = topics.lock();
    let dice = random.random_range(0..10);
    let full = topics.live.len() >= LIVE_MAX;
    let places = topics.live.len();
    let any = (places > 0).then(|| topics.live.iter().nth(random.random_range(0..places)));
    match (dice, any.flatten()) {
        (0..=2, _) if !full => {
            let partitions = random.random_range(1..=2);
            let again = random.random_ratio(1, 3) && !topics.gone.is_empty();
            let number = if again {
                topics.gone[random.random_range(0..topics.gone.len())]
            } else {
                topics.next
            };
            topics.next += u64::from(!again);
            Some(Change::Create { number, partitions })
        }
        // Somebody else may be at it: exactly one may be told that it did it.
        (3, _) if topics.next > 0 && !full => {
            Some(Change::Create { number: topics.next - 1, partitions: 1 })
        }
        (4, Some((number, partitions))) if *partitions < PARTITIONS_MAX => {
            let partitions = random.random_range(partitions + 1..=PARTITIONS_MAX);
            Some(Change::Grow { number: *number, partitions })
        }
        (0..=2 | 5..=6, Some((number, _))) if !kept(*number) => {
            Some(Change::Delete { number: *number })
        }
        _ => None,
    }
}

/// Sends to or reads from what is believed to exist.
fn use_topics(session: &mut Session, topics: &Mutex<Topics>) -> anyhow::Result<()> {
    let live: Vec<(u64, u32)> = topics.lock().live.iter().map(|it| (*it.0, *it.1)).collect();
    if live.is_empty() {
        return Ok(());
    }
    let (number, partitions) = live[session.random.random_range(0..live.len())];
    let partition = session.random.random_range(0..partitions);
    if !kept(number) {
        return send_doomed(session, number, partition);
    }
    let key = key(number, partition);
    if session.random.random_ratio(1, 16) || session.positions.is_empty() {
        return session.assign(&[key], false);
    }
    if session.random.random_ratio(1, 3) {
        return session.poll(POLL, POLL_BYTES).map(drop);
    }
    session.send(key, 1, -1).map(drop)
}

/// Sends to a topic that may be deleted at any time: nothing is promised of the record, but that the cluster bears it.
fn send_doomed(session: &mut Session, number: u64, partition: u32) -> anyhow::Result<()> {
    let at = At::new(&name(number), i32::try_from(partition)?);
    let body = Body::Other("send-doomed".to_owned(), map([("to", text(at.to_string()))]));
    let pending = session.invoke(body.clone(), Extra::new())?;
    let timestamp = super::session::now_ms();
    let record =
        Record { timestamp, key: None, value: Some(vec![0; 100].into()), headers: Vec::new() };
    let patience = session.client.patience();
    let leader = match session.client.leader(&at) {
        Ok(leader) => leader,
        Err(failure) => return session.failed(pending, &failure, Extra::new()),
    };
    let to = session.client.to(leader.broker);
    match to.and_then(|to| client::produce(to, &at, -1, Write::PLAIN.batch(&[record]), patience)) {
        Ok(_) => session.complete(pending, Kind::Ok, body, Extra::new()),
        Err(failure) => {
            session.client.learn(leader.broker, &at, &failure);
            session.failed(pending, &failure, Extra::new())
        }
    }
}

/// Asks all brokers until they agree, or until there is no time left.
fn final_lists(worker: &mut Worker, keys: &Arc<Keys>) -> anyhow::Result<()> {
    let env = Arc::clone(&worker.env);
    let deadline = Instant::now() + env.settings.final_time;
    loop {
        let mut seen = Vec::new();
        for broker in env.addresses() {
            let mut session = Session::new(worker, keys);
            seen.push(list::list(&mut session, broker.id, true)?);
        }
        let agreed = seen.iter().all(|list| list.is_some() && *list == seen[0]);
        if agreed || Instant::now() >= deadline || env.phase() == Phase::Over {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
