//! Who makes histories: what clients do while things go wrong, and what must hold of what they saw.
//!
//! A workload is one file and one row of [`all`]. The runner sets its topics up, lets `workers` threads run it, each
//! in the network of its client group, heals the cluster, lets every thread read to the end, and then asks it to check.

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

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;

use crate::checker::{Finding, Verdict};
use crate::client::At;
use crate::history::{Op, Process, Recorder};

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

/// See the module.
pub trait Workload: Send + Sync {
    fn name(&self) -> &'static str;

    /// One sentence for `--help` and the report.
    fn about(&self) -> &'static str;

    /// Settings of brokers that it needs, such as `topics.retention_check_ms`.
    fn broker_settings(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Creates what the workers need. Runs once, in the first client network, in a whole cluster.
    fn prepare(&self, env: &Env) -> anyhow::Result<()>;

    /// A worker's whole life: operations at the rate until the phase is `Final`, then final reads until they are
    /// complete or the phase is `Over`. An error is one of the tester, not of the broker, and makes the verdict
    /// unknown.
    fn work(&self, worker: &mut Worker) -> anyhow::Result<()>;

    /// Every partition it used, by the key that stands for it in the history.
    fn partitions(&self) -> Vec<(i64, At)>;

    /// Everything that is wrong with the history, and what is missing to call it valid.
    fn check(&self, env: &Env, history: &[Op]) -> Vec<Finding>;
}

/// The workloads there are, each fresh for one run.
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(queue::Queue::default()),
        Box::new(idempotent::Idempotent::default()),
        Box::new(list_offsets::ListOffsets::default()),
        Box::new(admin::Admin::default()),
        Box::new(retention::Retention::default()),
    ]
}

/// The workload of a name.
pub fn find(name: &str) -> Option<Box<dyn Workload>> {
    all().into_iter().find(|workload| workload.name() == name)
}

/// What final reads did not reach: keys and the offsets that were to be read.
fn unread(missing: &BTreeMap<i64, i64>) -> Vec<Finding> {
    if missing.is_empty() {
        return Vec::new();
    }
    let case =
        |(key, offset): (&i64, &i64)| format!("key {key} was not read up to offset {offset}");
    vec![Finding {
        anomaly: "final-reads-incomplete".to_owned(),
        verdict: Verdict::Invalid,
        count: missing.len() as u64,
        cases: missing.iter().take(10).map(case).collect(),
        ops: Vec::new(),
    }]
}
