//! Sends and polls of assigned partitions: the model of `jepsen.tests.kafka`, with more checked of every record.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;

use super::finish::final_reads;
use super::keys::{Keys, Limits};
use super::pace::Pace;
use super::session::Session;
use super::{Env, Worker, Workload, unread};
use crate::checker::{self, Finding};
use crate::client::At;
use crate::history::Op;

const LIMITS: Limits = Limits { active: 10, writes_min: 16, writes_max: 1_024 };
const POLL: Duration = Duration::from_millis(20);
/// Mean time between two deliberate ends of a worker's process.
const CRASH: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Default)]
pub struct Queue {
    keys: OnceLock<Arc<Keys>>,
    unread: Mutex<BTreeMap<i64, i64>>,
}

impl Workload for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn about(&self) -> &'static str {
        "producers send unique values, consumers poll assigned partitions, everything is read at the end"
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<()> {
        let keys = Keys::prepare(env, "queue", LIMITS)?;
        anyhow::ensure!(self.keys.set(Arc::new(keys)).is_ok(), "prepared twice");
        Ok(())
    }

    fn work(&self, worker: &mut Worker) -> anyhow::Result<()> {
        let Some(keys) = self.keys.get() else { anyhow::bail!("not prepared") };
        let mut pace = Pace::new(&worker.env);
        let mut session = Session::new(worker, keys);
        let mut crash = next_crash(worker);
        while pace.wait(worker) {
            keys.grow(&mut session.client);
            if Instant::now() >= crash {
                session.crash()?;
                crash = next_crash(worker);
            }
            if session.ended {
                session = Session::new(worker, keys);
            }
            operate(&mut session)?;
        }
        let missing = final_reads(worker, keys)?;
        self.unread.lock().extend(missing);
        Ok(())
    }

    fn partitions(&self) -> Vec<(i64, At)> {
        self.keys.get().map(|keys| keys.used()).unwrap_or_default()
    }

    fn check(&self, _env: &Env, history: &[Op]) -> Vec<Finding> {
        let mut findings = checker::queue(history, &checker::Options::default());
        findings.extend(unread(&self.unread.lock()));
        findings
    }
}

fn next_crash(worker: &mut Worker) -> Instant {
    Instant::now() + CRASH.mul_f64(worker.random.random_range(0.5..1.5))
}

/// One operation. A process without an assignment gets one first; one in 64 changes it.
fn operate(session: &mut Session) -> anyhow::Result<()> {
    if session.positions.is_empty() || session.random.random_ratio(1, 64) {
        let count = session.random.random_range(1..=4);
        let mut keys = session.keys.some(count, &mut session.random);
        if session.random.random_ratio(1, 3) {
            keys.extend(session.keys.unseen());
            keys.sort_unstable();
            keys.dedup();
        }
        return session.assign(&keys, false);
    }
    if session.random.random() {
        let max_bytes = [1 << 10, 16 << 10, 256 << 10][session.random.random_range(0..3)];
        return session.poll(POLL, max_bytes).map(drop);
    }
    let key = session.keys.pick(&mut session.random);
    let count =
        if session.random.random_ratio(1, 4) { session.random.random_range(2..=5) } else { 1 };
    let acks = if session.random.random_ratio(1, 8) { 1 } else { -1 };
    session.send(key, count, acks).map(drop)
}
