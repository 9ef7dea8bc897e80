//! What the threads of a run share: settings, the history, where the brokers are, and how far the run is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;

use crate::history::{Process, Recorder};

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
