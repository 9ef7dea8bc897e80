//! Records that are removed while they are written and read: by DeleteRecords, by age and by size.
//!
//! The log start only moves forward; what is below it may be gone, and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;

use super::finish::final_reads;
use super::keys::{Keys, Limits};
use super::pace::Pace;
use super::session::{Extra, Session};
use super::{Env, Worker, Workload, unread};
use crate::checker::{self, Finding};
use crate::client::{At, delete_records};
use crate::history::{Body, Edn, Kind, Op, int};

mod check;

const LIMITS: Limits = Limits { active: 6, writes_min: u32::MAX, writes_max: u32::MAX };
const POLL: Duration = Duration::from_millis(20);
/// DeleteRecords leaves so many of the newest records known.
const LEFT: i64 = 20;
/// Found while a history with deletions is judged as one without, and no anomaly here: what was removed is missing, and
/// readers that were overtaken go on behind it.
const EXPECTED: [&str; 3] = ["lost-write", "unseen", "poll-skip"];

/// See the module.
#[derive(Default)]
pub struct Retention {
    keys: OnceLock<Arc<Keys>>,
    unread: Mutex<BTreeMap<i64, i64>>,
}

/// By the topic's number.
fn configs(number: usize) -> &'static [(&'static str, &'static str)] {
    match number {
        0 => &[("retention.ms", "3000")],
        1 => &[("retention.bytes", "300000")],
        _ => &[],
    }
}

impl Workload for Retention {
    fn name(&self) -> &'static str {
        "retention"
    }

    fn about(&self) -> &'static str {
        "old records are removed by request, age and size while others are written and read"
    }

    fn broker_settings(&self) -> &'static [(&'static str, &'static str)] {
        &[("topics.retention_check_ms", "500"), ("storage.generation_bytes", "8388608")]
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<()> {
        let keys = Keys::prepare_with(env, "retention", LIMITS, configs)?;
        anyhow::ensure!(self.keys.set(Arc::new(keys)).is_ok(), "prepared twice");
        Ok(())
    }

    fn work(&self, worker: &mut Worker) -> anyhow::Result<()> {
        let Some(keys) = self.keys.get() else { anyhow::bail!("not prepared") };
        let mut pace = Pace::new(&worker.env);
        let mut session = Session::new(worker, keys);
        while pace.wait(worker) {
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
        let options = checker::Options { dense: false, ..checker::Options::default() };
        let mut findings = checker::queue(history, &options);
        findings.retain(|finding| !EXPECTED.contains(&finding.anomaly.as_str()));
        findings.extend(check::check(history));
        findings.extend(unread(&self.unread.lock()));
        findings
    }
}

fn operate(session: &mut Session) -> anyhow::Result<()> {
    if session.positions.is_empty() || session.random.random_ratio(1, 32) {
        let keys = session.keys.some(3, &mut session.random);
        return session.assign(&keys, false);
    }
    match session.random.random_range(0..20) {
        0 => delete(session),
        1..=8 => {
            let max_bytes = [1 << 10, 16 << 10][session.random.random_range(0..2)];
            session.poll(POLL, max_bytes).map(drop)
        }
        _ => {
            let keys = session.keys.some(1, &mut session.random);
            session.send(keys[0], 1, -1).map(drop)
        }
    }
}

/// Asks for the removal of most of what is known of a key.
fn delete(session: &mut Session) -> anyhow::Result<()> {
    let targets = session.keys.targets();
    let known: Vec<(i64, i64)> = targets.into_iter().filter(|(_, last)| *last > LEFT).collect();
    if known.is_empty() {
        return Ok(());
    }
    let (key, last) = known[session.random.random_range(0..known.len())];
    let before = session.random.random_range(0..=last - LEFT);
    let body =
        |low: i64| Body::Other("delete-records".to_owned(), Edn::Vector(vec![int(key), int(low)]));
    let pending = session.invoke(body(before), Extra::new())?;
    let at = session.keys.at(key);
    let patience = session.client.patience();
    let leader = match session.client.leader(&at) {
        Ok(leader) => leader,
        Err(failure) => return session.failed(pending, &failure, Extra::new()),
    };
    let to = session.client.to(leader.broker);
    match to.and_then(|to| delete_records(to, &at, before, patience)) {
        Ok(low) => session.complete(pending, Kind::Ok, body(low), Extra::new()),
        Err(failure) => {
            if !failure.is(kafka_protocol::ResponseError::OffsetOutOfRange) {
                session.client.learn(leader.broker, &at, &failure);
            }
            session.failed(pending, &failure, Extra::new())
        }
    }
}
