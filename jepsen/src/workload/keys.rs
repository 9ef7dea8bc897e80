//! The keys of a history and the partitions they stand for.
//!
//! Key k is partition k mod n of topic k div n. A few keys are active at a time, some written to far more often than
//! others; one that got its share of writes is retired for a new one, so that there are always short logs and long
//! ones, and histories per key stay small enough to be judged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;

use crate::admin::{Admin, wait};
use crate::client::{self, At, Client, Log};
use crate::environment::Env;

/// How long new topics may take to get leaders when nothing is wrong.
const PREPARE: Duration = Duration::from_secs(60);
/// Between two attempts to create the next topic.
const CREATE_PAUSE: Duration = Duration::from_secs(2);

/// How many keys are in use, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub active: usize,
    /// Writes after which a key is retired: drawn from this range, small ones more often.
    pub writes_min: u32,
    pub writes_max: u32,
}

/// See the module.
pub struct Keys {
    prefix: &'static str,
    partitions: u32,
    replication: u32,
    limits: Limits,
    log: Log,
    inner: Mutex<Inner>,
}

struct Inner {
    active: Vec<Active>,
    /// The next key to become active; those below have been.
    next: i64,
    /// Keys below this have their topics.
    created: i64,
    tried: Instant,
    /// Next value, by key.
    values: BTreeMap<i64, i64>,
    /// Highest offset that an `:ok` operation sent to or read from, by key.
    acked: BTreeMap<i64, i64>,
    polled: BTreeMap<i64, i64>,
}

struct Active {
    key: i64,
    left: u32,
}

impl Inner {
    fn new() -> Inner {
        Inner {
            active: Vec::new(),
            next: 0,
            created: 0,
            tried: Instant::now(),
            values: BTreeMap::new(),
            acked: BTreeMap::new(),
            polled: BTreeMap::new(),
        }
    }
}

impl Keys {
    /// Creates the first topics through the HTTP API and waits for their leaders.
    pub fn prepare(env: &Env, prefix: &'static str, limits: Limits) -> anyhow::Result<Keys> {
        Keys::prepare_with(env, prefix, limits, |_| &[])
    }

    /// As [`Keys::prepare`], with configs by the topic's number.
    pub fn prepare_with(
        env: &Env,
        prefix: &'static str,
        limits: Limits,
        configs: fn(usize) -> &'static [(&'static str, &'static str)],
    ) -> anyhow::Result<Keys> {
        let (partitions, replication) = (env.settings.partitions.max(1), env.settings.replication);
        let topics = (2 * limits.active).div_ceil(partitions as usize);
        let admin = Admin::new(env.addresses());
        for number in 0..topics {
            let name = topic(prefix, number);
            admin.create_topic(&name, partitions, replication, configs(number))?;
        }
        for number in 0..topics {
            let led = || {
                let found = admin.topic(&topic(prefix, number)).ok()?;
                found.partitions.iter().all(|partition| partition.leader.is_some()).then_some(())
            };
            wait(PREPARE, led)
                .with_context(|| format!("{} has no leaders", topic(prefix, number)))?;
        }
        let next = i64::try_from(limits.active)?;
        let left = |key: i64| limits.writes_min.max(limits.writes_max >> (key % 8));
        let mut inner = Inner::new();
        inner.active = (0..next).map(|key| Active { key, left: left(key) }).collect();
        inner.next = next;
        inner.created = i64::try_from(topics)? * i64::from(partitions);
        let (log, inner) = (Log::Whole, Mutex::new(inner));
        Ok(Keys { prefix, partitions, replication, limits, log, inner })
    }

    /// The same, of topics that are compacted: their records have names.
    pub fn compacted(self) -> Keys {
        Keys { log: Log::Compacted, ..self }
    }

    /// What becomes of records.
    pub fn log(&self) -> Log {
        self.log
    }

    /// Keys of topics that somebody else creates, with room for so many partitions each. None is ever active.
    pub fn of_others(env: &Env, prefix: &'static str, partitions: u32) -> Keys {
        let limits = Limits { active: 0, writes_min: 0, writes_max: 0 };
        let (replication, inner) = (env.settings.replication, Mutex::new(Inner::new()));
        Keys { prefix, partitions, replication, limits, log: Log::Whole, inner }
    }

    /// How many keys are in use at a time.
    pub fn active(&self) -> i64 {
        i64::try_from(self.limits.active).unwrap_or(i64::MAX)
    }

    pub fn at(&self, key: i64) -> At {
        let partitions = i64::from(self.partitions);
        let number = usize::try_from(key / partitions).unwrap_or(0);
        At::new(&topic(self.prefix, number), i32::try_from(key % partitions).unwrap_or(0))
    }

    /// Every key that was ever active, and its partition.
    pub fn used(&self) -> Vec<(i64, At)> {
        let next = self.inner.lock().next;
        (0..next).map(|key| (key, self.at(key))).collect()
    }

    /// An active key, each half as often as the one before it.
    pub fn pick(&self, random: &mut StdRng) -> i64 {
        let inner = self.inner.lock();
        let place = random.random::<u64>().trailing_zeros() as usize;
        inner.active[place % inner.active.len()].key
    }

    /// So many different active keys, or all.
    pub fn some(&self, count: usize, random: &mut StdRng) -> Vec<i64> {
        let inner = self.inner.lock();
        let all = inner.active.len();
        let mut places = rand::seq::index::sample(random, all, count.min(all)).into_vec();
        places.sort_unstable();
        places.into_iter().map(|place| inner.active[place].key).collect()
    }

    /// Values that nobody wrote to this key before; retires the key if that was its share.
    pub fn values(&self, key: i64, count: u32, random: &mut StdRng) -> Vec<i64> {
        let mut inner = self.inner.lock();
        let next = inner.values.entry(key).or_insert(1);
        let first = *next;
        *next += i64::from(count);
        let fresh = inner.next < inner.created;
        let new = Active { key: inner.next, left: self.share(random) };
        if let Some(active) = inner.active.iter_mut().find(|active| active.key == key) {
            active.left = active.left.saturating_sub(count);
            if active.left == 0 && fresh {
                *active = new;
                inner.next += 1;
            }
        }
        (first..first + i64::from(count)).collect()
    }

    /// As many of each order of magnitude.
    fn share(&self, random: &mut StdRng) -> u32 {
        let (least, most) = (f64::from(self.limits.writes_min), f64::from(self.limits.writes_max));
        (least * (most / least).powf(random.random())) as u32
    }

    /// Creates the next topic if there are few fresh keys left. While the cluster cannot, old keys go on.
    pub fn grow(&self, client: &mut Client) {
        let mut inner = self.inner.lock();
        let fresh = usize::try_from(inner.created - inner.next).unwrap_or(0);
        // With nothing active, topics are made by others.
        if fresh > self.limits.active / 2
            || self.limits.active == 0
            || inner.tried.elapsed() < CREATE_PAUSE
        {
            return;
        }
        inner.tried = Instant::now();
        let old = inner.created;
        drop(inner);
        let name = self.at(old).topic;
        let (patience, broker) = (client.patience(), client.any_broker());
        let (partitions, replication) = (self.partitions, self.replication);
        let created = client
            .to(broker)
            .and_then(|to| client::create_topic(to, &name, partitions, replication, patience));
        match created {
            Ok(_) => {}
            Err(failure) if failure.is(kafka_protocol::ResponseError::TopicAlreadyExists) => {}
            Err(_) => return client.disconnect(broker),
        }
        let mut inner = self.inner.lock();
        inner.created = inner.created.max(old + i64::from(self.partitions));
    }

    /// Takes note of what an `:ok` send or poll knows to be at an offset.
    pub fn acked(&self, key: i64, offset: i64) {
        note(&mut self.inner.lock().acked, key, offset);
    }

    pub fn polled(&self, key: i64, offset: i64) {
        note(&mut self.inner.lock().polled, key, offset);
    }

    /// Keys with acknowledged records above all that were read.
    pub fn unseen(&self) -> Vec<i64> {
        let inner = self.inner.lock();
        let polled = |key: &i64| inner.polled.get(key).copied().unwrap_or(-1);
        let unseen = inner.acked.iter().filter(|(key, acked)| **acked > polled(key));
        unseen.map(|(key, _)| *key).collect()
    }

    /// The highest offset known of each key: what final reads have to reach.
    pub fn targets(&self) -> BTreeMap<i64, i64> {
        let inner = self.inner.lock();
        let mut targets = inner.acked.clone();
        inner.polled.iter().for_each(|(key, offset)| note(&mut targets, *key, *offset));
        targets
    }
}

fn topic(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number}")
}

fn note(of: &mut BTreeMap<i64, i64>, key: i64, offset: i64) {
    let known = of.entry(key).or_insert(offset);
    *known = offset.max(*known);
}
