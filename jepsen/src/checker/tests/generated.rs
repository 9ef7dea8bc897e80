//! Histories of a system that does what it should: a few logs, processes that send, poll and ask, requests that fail,
//! are lost, or take effect without an answer, and leaders that change. Everything from a seed.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::history::{Body, Edn, Kind, Mop, Op, Process, Sent, int, map};

pub const KEYS: std::ops::Range<i64> = 1..4;

/// A record: value, producer and its sequence.
type Record = (i64, i64, i64);

#[derive(Default)]
struct Log {
    records: Vec<Record>,
    epoch: i64,
}

/// What a worker is about: its process, where it reads, the completion that is due.
struct Worker {
    process: i64,
    sequences: BTreeMap<i64, i64>,
    positions: BTreeMap<i64, usize>,
    due: Option<(Kind, Body, BTreeMap<String, Edn>)>,
    pending: Option<Body>,
}

pub struct Simulation {
    random: StdRng,
    logs: BTreeMap<i64, Log>,
    values: i64,
    processes: i64,
    pub ops: Vec<Op>,
}

/// `steps` events or effects, then everybody ends what it began and one process reads everything.
pub fn valid(seed: u64, steps: usize) -> Vec<Op> {
    let mut simulation = Simulation {
        random: StdRng::seed_from_u64(seed),
        logs: KEYS.map(|key| (key, Log::default())).collect(),
        values: 0,
        processes: 0,
        ops: Vec::new(),
    };
    let mut workers: Vec<Worker> = (0..4).map(|_| simulation.worker()).collect();
    for _ in 0..steps {
        let worker = simulation.random.random_range(0..workers.len());
        simulation.step(&mut workers[worker]);
    }
    for worker in &mut workers {
        while worker.pending.is_some() {
            simulation.step(worker);
        }
    }
    simulation.finish();
    simulation.ops
}

impl Simulation {
    fn worker(&mut self) -> Worker {
        self.processes += 1;
        let process = self.processes;
        Worker {
            process,
            sequences: BTreeMap::new(),
            positions: KEYS.map(|key| (key, 0)).collect(),
            due: None,
            pending: None,
        }
    }

    fn push(&mut self, process: Process, kind: Kind, body: Body, extra: BTreeMap<String, Edn>) {
        let index = self.ops.len() as u64;
        self.ops.push(Op { index, time: index * 1_000_000, process, kind, body, extra });
    }

    /// Begins something, lets it take effect, or completes it.
    fn step(&mut self, worker: &mut Worker) {
        let process = Process::Client(worker.process);
        if let Some((kind, body, extra)) = worker.due.take() {
            worker.pending = None;
            self.push(process, kind, body, extra);
            if kind == Kind::Info {
                *worker = self.worker();
            }
        } else if let Some(body) = worker.pending.clone() {
            worker.due = Some(self.effect(worker, body));
        } else {
            let body = self.invocation();
            self.push(process, Kind::Invoke, body.clone(), BTreeMap::new());
            worker.pending = Some(body);
        }
        if self.random.random_bool(0.02) {
            let key = self.random.random_range(KEYS);
            self.logs.entry(key).or_default().epoch += 1;
        }
    }

    fn invocation(&mut self) -> Body {
        let key = self.random.random_range(KEYS);
        match self.random.random_range(0..20) {
            0..9 => {
                self.values += 1;
                Body::Send(vec![Mop::Send { key, value: self.values, sent: Sent::Plain }])
            }
            9..17 => Body::Poll(vec![Mop::Poll(None)]),
            17 => Body::Assign(KEYS.filter(|_| self.random.random_bool(0.7)).collect()),
            18 => Body::Crash,
            _ => Body::Other("list-offsets".to_owned(), Edn::Vector(vec![int(key), Edn::Nil])),
        }
    }

    fn effect(&mut self, worker: &mut Worker, body: Body) -> (Kind, Body, BTreeMap<String, Edn>) {
        let kind = *[Kind::Ok, Kind::Ok, Kind::Ok, Kind::Ok, Kind::Fail, Kind::Info]
            .choose(&mut self.random)
            .expect("a kind");
        match body {
            Body::Send(mops) => (kind, Body::Send(self.send(worker, kind, &mops)), BTreeMap::new()),
            Body::Poll(_) => {
                let (mop, extra) = self.poll(worker, kind);
                (kind, Body::Poll(vec![mop]), extra)
            }
            Body::Assign(keys) => {
                if kind != Kind::Fail {
                    worker.positions.retain(|key, _| keys.contains(key));
                    for key in &keys {
                        worker.positions.entry(*key).or_insert(0);
                    }
                }
                (kind, Body::Assign(keys), BTreeMap::new())
            }
            Body::Other(f, Edn::Vector(pair)) if kind == Kind::Ok => {
                let Edn::Integer(key) = pair[0] else { panic!("a key") };
                let end = self.logs[&key].records.len() as i64;
                let answer = Edn::Vector(vec![int(key), int(end)]);
                (kind, Body::Other(f, answer), BTreeMap::new())
            }
            Body::Crash => (Kind::Info, Body::Crash, BTreeMap::new()),
            other => (kind, other, BTreeMap::new()),
        }
    }

    fn send(&mut self, worker: &mut Worker, kind: Kind, mops: &[Mop]) -> Vec<Mop> {
        let Mop::Send { key, value, .. } = mops[0] else { panic!("a send") };
        let happens = kind == Kind::Ok || (kind == Kind::Info && self.random.random_bool(0.5));
        let mut sent = Sent::Plain;
        if happens {
            let sequence = worker.sequences.entry(key).or_default();
            let log = self.logs.entry(key).or_default();
            log.records.push((value, worker.process, *sequence));
            *sequence += 1;
            let offset = log.records.len() as i64 - 1;
            sent = match kind {
                Kind::Ok => Sent::At(offset),
                _ => Sent::OffsetUnknown,
            };
        }
        vec![Mop::Send { key, value, sent }]
    }

    /// Reads up to three records of each key. Only a poll that succeeds moves the position.
    fn poll(&mut self, worker: &mut Worker, kind: Kind) -> (Mop, BTreeMap<String, Edn>) {
        let mut read = BTreeMap::new();
        let mut fetched = Vec::new();
        for (key, position) in &mut worker.positions {
            let log = &self.logs[key];
            let end = log.records.len().min(*position + self.random.random_range(0..4));
            let records = *position..end;
            if !records.is_empty() {
                let records = records.map(|offset| (offset as i64, log.records[offset].0));
                read.insert(*key, records.collect());
            }
            fetched.push(answer(*key, log, end));
            if kind == Kind::Ok {
                *position = end;
            }
        }
        (Mop::Poll(Some(read)), [("fetched".to_owned(), Edn::Vector(fetched))].into())
    }

    /// One process reads everything, and then every replica.
    fn finish(&mut self) {
        let process = Process::Client(self.processes + 1);
        self.push(process, Kind::Invoke, Body::Poll(vec![Mop::Poll(None)]), BTreeMap::new());
        let mut read = BTreeMap::new();
        let mut fetched = Vec::new();
        for (key, log) in &self.logs {
            let records = log.records.iter().enumerate();
            read.insert(*key, records.map(|(offset, record)| (offset as i64, record.0)).collect());
            fetched.push(answer(*key, log, log.records.len()));
        }
        let body = Body::Poll(vec![Mop::Poll(Some(read))]);
        let extra = [("fetched".to_owned(), Edn::Vector(fetched))].into();
        self.push(process, Kind::Ok, body, extra);
        for key in KEYS {
            let records = self.logs[&key].records.clone();
            let hashes = records.iter().enumerate().map(|(offset, (value, ..))| {
                Edn::Vector([offset as i64, 1, *value].into_iter().map(Edn::Integer).collect())
            });
            let hashes = Edn::Vector(hashes.collect());
            for broker in 1..4 {
                let value = map([
                    ("key", int(key)),
                    ("broker", int(broker)),
                    ("log-start", int(0)),
                    ("end", int(records.len() as i64)),
                    ("batches", hashes.clone()),
                ]);
                let body = Body::Other("replica".to_owned(), value);
                self.push(Process::Nemesis, Kind::Info, body, BTreeMap::new());
            }
            let batches = records.iter().enumerate().map(|(offset, (_, producer, sequence))| {
                let row = [offset as i64, *producer, 0, *sequence, 1];
                Edn::Vector(row.into_iter().map(Edn::Integer).collect())
            });
            let value = map([("key", int(key)), ("batches", Edn::Vector(batches.collect()))]);
            let body = Body::Other("batches".to_owned(), value);
            self.push(Process::Nemesis, Kind::Info, body, BTreeMap::new());
        }
    }
}

fn answer(key: i64, log: &Log, next: usize) -> Edn {
    map([
        ("key", int(key)),
        ("broker", int(log.epoch % 3 + 1)),
        ("epoch", int(log.epoch)),
        ("high-watermark", int(log.records.len() as i64)),
        ("log-start", int(0)),
        ("next", int(next as i64)),
    ])
}
