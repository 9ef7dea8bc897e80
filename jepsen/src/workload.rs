//! Who makes histories: what clients do while things go wrong, and what must hold of what they saw.
//!
//! A workload is one file and one row of [`all`]. The runner sets its topics up, lets `workers` threads run it, each
//! in the network of its client group, heals the cluster, lets every thread read to the end, and then asks it to check.
//! A thread is one process after the other: whoever sent what may or may not have happened ends and another begins.

mod admin;
mod answers;
mod compaction;
mod configs;
mod content;
mod dump;
mod finish;
mod groups;
mod home;
mod idempotent;
mod keys;
mod list_offsets;
mod pace;
mod queue;
pub mod replicas;
mod retention;
mod session;
mod streams;
mod transactions;
mod work;

use std::sync::{Arc, OnceLock};

use anyhow::Context;
use parking_lot::Mutex;

use crate::checker::{Finding, Findings};
use crate::client::At;
use crate::environment::{Env, Worker};
use crate::history::Op;
use finish::final_reads;
pub use groups::GROUP;
use keys::Keys;
use pace::Pace;
use session::Session;
use streams::{Streams, Variant};
use transactions::Transactions;
pub use transactions::writer_id;
use work::Work;

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
        Workload::new(configs::Configs::default()),
        Workload::new(retention::Retention),
        Workload::new(compaction::Compaction),
        Workload::new(groups::Groups),
        Workload::new(groups::ConsumerGroups),
        Workload::new(Streams::new(Variant::Plain)),
        Workload::new(Streams::new(Variant::Trimmed)),
        Workload::new(Streams::new(Variant::TurnedOn)),
        Workload::new(Transactions::new(transactions::Variant::Plain)),
        Workload::new(Transactions::new(transactions::Variant::Compacted)),
    ]
}

/// The workload of a name.
pub fn find(name: &str) -> Option<Workload> {
    all().into_iter().find(|workload| workload.name() == name)
}
