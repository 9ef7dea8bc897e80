//! Who makes histories: what clients do while things go wrong, and what must hold of what they saw.
//!
//! A workload is one file and one row of [`all`]. The runner sets its topics up, lets `workers` threads run it, each
//! in the network of its client group, heals the cluster, lets every thread read to the end, and then asks it to check.
//! A thread is one process after the other: whoever sent what may or may not have happened ends and another begins.

mod admin;
mod content;
mod dump;
mod finish;
mod idempotent;
mod keys;
mod list_offsets;
mod pace;
mod queue;
pub mod replicas;
mod retention;
mod session;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use rand::rngs::StdRng;

use crate::checker::{self, Finding, Findings};
use crate::client::At;
use crate::history::{Op, Process, Recorder};
use finish::final_reads;
use keys::Keys;
use pace::Pace;
use session::Session;

/// One broker as clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub id: u64,
    pub kafka: SocketAddr,
    pub http: SocketAddr,
}

/// Where a run is. Workers look at it between any two operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Operations at the configured rate, faults meanwhile.
    Main = 0,
    /// Everything is healed; every worker reads to the end, within [`Settings::final_time`].
    Final = 1,
    Over = 2,
}

/// What all workloads are told.
#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    pub workers: usize,
    /// Operations a second, all workers together.
    pub rate: f64,
    pub replication: u32,
    pub partitions: u32,
    /// A request without an answer for this long is indeterminate.
    pub request_timeout: Duration,
    /// How long final reads may take.
    pub final_time: Duration,
}

/// What the threads of one run share.
pub struct Env {
    pub settings: Settings,
    pub recorder: Recorder,
    /// Brokers a client may start from. Membership faults add and remove some.
    pub brokers: parking_lot::RwLock<Vec<Address>>,
    phase: AtomicU8,
    processes: AtomicI64,
}

impl Env {
    pub fn new(settings: Settings, recorder: Recorder, brokers: Vec<Address>) -> Arc<Env> {
        Arc::new(Env {
            settings,
            recorder,
            brokers: parking_lot::RwLock::new(brokers),
            phase: AtomicU8::new(Phase::Main as u8),
            processes: AtomicI64::new(0),
        })
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Main,
            1 => Phase::Final,
            _ => Phase::Over,
        }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// A process number nobody had.
    pub fn new_process(&self) -> Process {
        Process::Client(self.processes.fetch_add(1, Ordering::Relaxed))
    }

    pub fn addresses(&self) -> Vec<Address> {
        self.brokers.read().clone()
    }
}

/// A thread of a workload.
pub struct Worker {
    pub env: Arc<Env>,
    /// 0 to `workers - 1`.
    pub number: usize,
    /// Client group, that is, the network this thread lives in.
    pub group: usize,
    /// Seeded from the run's seed and `number`.
    pub random: StdRng,
    pub started: Instant,
}

/// What one workload does that others do not; [`Workload`] is the rest.
trait Work: Send + Sync {
    fn name(&self) -> &'static str;

    /// One sentence for `--help` and the report.
    fn about(&self) -> &'static str;

    /// Settings of brokers that it needs, such as `topics.retention_check_ms`.
    fn broker_settings(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Creates what the workers need.
    fn prepare(&self, env: &Env) -> anyhow::Result<Keys>;

    /// What a process does whenever it is its turn, for as long as it lives.
    fn process(&self, session: &mut Session) -> Step;

    /// What a worker has to find out once it has read everything.
    fn finish(&self, _: &mut Worker, _: &Arc<Keys>, _: &Mutex<Findings>) -> anyhow::Result<()> {
        Ok(())
    }

    /// The keys that are to be whole at the end, and their partitions.
    fn partitions(&self, keys: &Keys) -> Vec<(i64, At)> {
        keys.used()
    }

    fn check(&self, history: &[Op]) -> Vec<Finding> {
        checker::queue(history, &checker::Options::default())
    }
}

type Step = Box<dyn FnMut(&mut Session) -> anyhow::Result<()>>;

/// See the module.
pub struct Workload {
    work: Box<dyn Work>,
    keys: OnceLock<Arc<Keys>>,
    /// What workers found out by themselves.
    found: Mutex<Findings>,
}

impl Workload {
    fn new(work: impl Work + 'static) -> Workload {
        Workload { work: Box::new(work), keys: OnceLock::new(), found: Mutex::default() }
    }

    pub fn name(&self) -> &'static str {
        self.work.name()
    }

    pub fn about(&self) -> &'static str {
        self.work.about()
    }

    /// Settings of brokers that it needs.
    pub fn broker_settings(&self) -> &'static [(&'static str, &'static str)] {
        self.work.broker_settings()
    }

    fn keys(&self) -> anyhow::Result<&Arc<Keys>> {
        self.keys.get().context("the workload is not prepared")
    }

    /// Creates what the workers need. Runs once, in the first client network, in a whole cluster.
    pub fn prepare(&self, env: &Env) -> anyhow::Result<()> {
        let keys = Arc::new(self.work.prepare(env)?);
        self.keys.set(keys).ok().context("prepared twice")
    }

    /// A worker's whole life: operations at the rate until the phase is `Final`, then final reads until they are
    /// complete or the phase is `Over`. An error is one of the tester, not of the broker, and makes the verdict
    /// unknown.
    pub fn work(&self, worker: &mut Worker) -> anyhow::Result<()> {
        let keys = self.keys()?;
        let mut pace = Pace::new(&worker.env);
        let mut session = Session::new(worker, keys);
        let mut step = self.work.process(&mut session);
        while pace.wait(worker) {
            if session.ended {
                session = Session::new(worker, keys);
                step = self.work.process(&mut session);
            }
            keys.grow(&mut session.client);
            step(&mut session)?;
        }
        for (key, offset) in final_reads(worker, keys)? {
            let case = || format!("key {key} was not read up to offset {offset}");
            self.found.lock().invalid("final-reads-incomplete", case, []);
        }
        self.work.finish(worker, keys, &self.found)
    }

    /// Every partition it used, by the key that stands for it in the history.
    pub fn partitions(&self) -> Vec<(i64, At)> {
        self.keys.get().map(|keys| self.work.partitions(keys)).unwrap_or_default()
    }

    /// Everything that is wrong with the history, and what is missing to call it valid. For the end: what workers found
    /// out is told once.
    pub fn check(&self, history: &[Op]) -> Vec<Finding> {
        let mut findings = self.work.check(history);
        findings.extend(std::mem::take(&mut *self.found.lock()).finish());
        findings
    }
}

/// The workloads there are, each fresh for one run.
pub fn all() -> Vec<Workload> {
    vec![
        Workload::new(queue::Queue),
        Workload::new(idempotent::Idempotent),
        Workload::new(list_offsets::ListOffsets),
        Workload::new(admin::Admin::default()),
        Workload::new(retention::Retention),
    ]
}

/// The workload of a name.
pub fn find(name: &str) -> Option<Workload> {
    all().into_iter().find(|workload| workload.name() == name)
}
