//! Idempotent producers that never give up: several batches under way on one connection, and whatever is not
//! acknowledged is sent again with the same sequence numbers, to whoever leads then.
//!
//! Nothing may be lost, doubled or reordered by that, whatever happened to connections and leaders. At the end the
//! batches of every partition are noted, to see that each producer's sequences are there without a gap.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;

use super::dump::Dump;
use super::finish::final_reads;
use super::keys::{Keys, Limits};
use super::pace::Pace;
use super::session::{Extra, Session};
use super::{Env, Phase, Worker, Workload, unread};
use crate::admin::wait;
use crate::checker::{self, Finding, Verdict};
use crate::client::At;
use crate::history::{Body, Edn, Kind, Op, int, map};

mod lane;

use lane::Lane;

const LIMITS: Limits = Limits { active: 6, writes_min: 100, writes_max: 4_000 };
const POLL: Duration = Duration::from_millis(20);
const POLL_BYTES: i32 = 64 << 10;

/// See the module.
#[derive(Default)]
pub struct Idempotent {
    keys: OnceLock<Arc<Keys>>,
    unread: Mutex<BTreeMap<i64, i64>>,
    /// Keys whose batches could not be read in time.
    undumped: Mutex<Vec<i64>>,
}

impl Workload for Idempotent {
    fn name(&self) -> &'static str {
        "idempotent"
    }

    fn about(&self) -> &'static str {
        "idempotent producers with up to five batches under way send again until they are acknowledged"
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<()> {
        let keys = Keys::prepare(env, "idempotent", LIMITS)?;
        anyhow::ensure!(self.keys.set(Arc::new(keys)).is_ok(), "prepared twice");
        Ok(())
    }

    fn work(&self, worker: &mut Worker) -> anyhow::Result<()> {
        let Some(keys) = self.keys.get() else { anyhow::bail!("not prepared") };
        let mut pace = Pace::new(&worker.env);
        let mut session = Session::new(worker, keys);
        let mut lane = Lane::default();
        while pace.wait(worker) {
            keys.grow(&mut session.client);
            if session.ended {
                session = Session::new(worker, keys);
                lane = Lane::default();
            }
            operate(&mut session, &mut lane)?;
        }
        let missing = final_reads(worker, keys)?;
        self.unread.lock().extend(missing);
        let undumped = dump(worker, keys)?;
        self.undumped.lock().extend(undumped);
        Ok(())
    }

    fn partitions(&self) -> Vec<(i64, At)> {
        self.keys.get().map(|keys| keys.used()).unwrap_or_default()
    }

    fn check(&self, _env: &Env, history: &[Op]) -> Vec<Finding> {
        let mut findings = checker::queue(history, &checker::Options::default());
        findings.extend(unread(&self.unread.lock()));
        findings.extend(refused(history));
        findings.extend(undumped(&self.undumped.lock()));
        findings
    }
}

fn operate(session: &mut Session, lane: &mut Lane) -> anyhow::Result<()> {
    if session.positions.is_empty() || session.random.random_ratio(1, 64) {
        let keys = session.keys.some(2, &mut session.random);
        return session.assign(&keys, false);
    }
    if session.random.random_ratio(1, 3) {
        return session.poll(POLL, POLL_BYTES).map(drop);
    }
    let key = session.keys.pick(&mut session.random);
    lane.send(session, key)
}

/// Notes the batches of this worker's share of the keys; returns those that could not be read in time.
fn dump(worker: &mut Worker, keys: &Arc<Keys>) -> anyhow::Result<Vec<i64>> {
    let env = Arc::clone(&worker.env);
    let workers = i64::try_from(env.settings.workers)?.max(1);
    let number = i64::try_from(worker.number)?;
    let mut missing = Vec::new();
    for (key, at) in keys.used().into_iter().filter(|(key, _)| key % workers == number) {
        let mut session = Session::new(worker, keys);
        let value = |rows: Edn| map([("key", int(key)), ("batches", rows)]);
        let body = |rows: Edn| Body::Other("batches".to_owned(), value(rows));
        let pending = session.invoke(body(Edn::Vector(Vec::new())), Extra::new())?;
        let patience = session.client.patience();
        let read = || {
            if env.phase() == Phase::Over {
                return None;
            }
            let leader = session.client.leader(&at).ok()?;
            let read =
                session.client.to(leader.broker).and_then(|to| Dump::read(to, &at, patience));
            read.inspect_err(|failure| session.client.learn(leader.broker, &at, failure)).ok()
        };
        let (kind, rows) = match wait(env.settings.final_time, read) {
            Some(dump) => (Kind::Ok, dump.rows()),
            None => (Kind::Fail, Edn::Vector(Vec::new())),
        };
        if kind == Kind::Fail {
            missing.push(key);
        }
        session.complete(pending, kind, body(rows), Extra::new())?;
    }
    Ok(missing)
}

/// A producer whose earlier batches are all acknowledged, and whose next is refused as out of order for good.
fn refused(history: &[Op]) -> Vec<Finding> {
    let shown = history.iter().filter(|op| op.extra.contains_key(lane::REFUSED));
    let ops: Vec<u64> = shown.map(|op| op.index).collect();
    if ops.is_empty() {
        return Vec::new();
    }
    vec![Finding {
        anomaly: "sequence-refused".to_owned(),
        verdict: Verdict::Invalid,
        count: ops.len() as u64,
        cases: vec![
            "the next batch of a producer was refused as out of order, again and again".into(),
        ],
        ops: ops.into_iter().take(10).collect(),
    }]
}

fn undumped(keys: &[i64]) -> Vec<Finding> {
    if keys.is_empty() {
        return Vec::new();
    }
    vec![Finding {
        anomaly: "batches-unread".to_owned(),
        verdict: Verdict::Unknown,
        count: keys.len() as u64,
        cases: vec![format!("the batches of keys {keys:?} could not be read at the end")],
        ops: Vec::new(),
    }]
}
