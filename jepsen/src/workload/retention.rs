//! Records that are removed while they are written and read: by DeleteRecords, by age and by size.
//!
//! The log start only moves forward; what is below it may be gone, and nothing else.

use std::time::Duration;

use rand::Rng;

use super::keys::{Keys, Limits};
use super::session::{Extra, Session};
use super::work::{Step, Work};
use crate::checker::{self, Finding};
use crate::client::delete_records;
use crate::environment::Env;
use crate::history::{Body, Edn, Kind, Op, int};

mod check;
mod skips;

const LIMITS: Limits = Limits { active: 6, writes_min: u32::MAX, writes_max: u32::MAX };
const POLL: Duration = Duration::from_millis(20);
/// Bytes of a record, up to so many: brokers keep a point to which they can forget after every megabyte of a partition,
/// and a replica that is away for some seconds is to miss one.
const PADDING: usize = 50_000;
/// DeleteRecords leaves so many of the newest records known.
const LEFT: i64 = 20;
/// Found while a history with deletions is judged as one without, and no anomaly here: what was removed is missing, and
/// readers that were overtaken go on behind it. [`check`] says in their stead what was lost and left out wrongly.
const EXPECTED: [&str; 3] = ["lost-write", "unseen", "poll-skip"];

/// See the module.
pub struct Retention;

/// By the topic's number.
fn configs(number: usize) -> &'static [(&'static str, &'static str)] {
    match number {
        0 => &[("retention.ms", "3000")],
        1 => &[("retention.bytes", "300000")],
        _ => &[],
    }
}

impl Work for Retention {
    fn name(&self) -> &'static str {
        "retention"
    }

    fn about(&self) -> &'static str {
        "old records are removed by request, age and size while others are written and read"
    }

    fn broker_settings(&self) -> &'static [(&'static str, &'static str)] {
        &[("topics.retention_check_ms", "500"), ("storage.generation_bytes", "8388608")]
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<Keys> {
        Keys::prepare_with(env, "retention", LIMITS, configs)
    }

    fn process(&self, session: &mut Session) -> Step {
        session.padding = PADDING;
        Box::new(operate)
    }

    fn check(&self, history: &[Op]) -> Vec<Finding> {
        let options = checker::Options { dense: false, ..checker::Options::default() };
        let mut findings = checker::queue(history, &options);
        findings.retain(|finding| !EXPECTED.contains(&finding.anomaly.as_str()));
        findings.extend(check::check(history));
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
