//! Records with names, of which the newest stays: topics are compacted while they are written and read from the beginning
//! to the end, again and again.
//!
//! Whatever is gone when a reader gets there, it has to end up with the newest value of each name. Names and tombstones
//! follow from values (`content.rs`), so histories are those of any other workload; what they have to show is said in
//! [`check`]. In one topic tombstones may go after some seconds, in the other not within a run.
//!
//! A replica compacts in its own time, so those of a partition are not compared byte for byte. Instead each broker is made
//! leader at the end and read as a whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use rand::Rng;

use super::keys::{Keys, Limits};
use super::session::Session;
use super::work::{Step, Work};
use crate::admin::{Admin, wait};
use crate::checker::{self, Finding, Findings, Verdict};
use crate::client::At;
use crate::environment::{Env, Phase, Worker};
use crate::history::{Edn, Op, int};

mod check;

const LIMITS: Limits = Limits { active: 4, writes_min: u32::MAX, writes_max: u32::MAX };
const POLL: Duration = Duration::from_millis(20);
/// Mean time after which a process is ended deliberately.
const CRASH: Duration = Duration::from_secs(30);
/// A reader rests up to so long, now and then in the middle of a log.
const REST: Duration = Duration::from_millis(2_500);
const RESTS: u32 = 60;
/// Bytes of a record, up to so many: brokers write a point to which they can forget after every megabyte of a partition, and
/// a replica that is away for some seconds is to miss one.
const PADDING: usize = 6_000;
/// Records of a batch, at most: some have the same name.
const BATCH: u32 = 6;
/// Until a broker leads a partition and all of it is read, once nothing is wrong any more.
const LAST: Duration = Duration::from_secs(15);
/// Found while the history is judged as one of logs from which nothing goes, and no anomaly here. [`check`] says in their
/// stead what is gone wrongly.
const EXPECTED: [&str; 4] = ["lost-write", "unseen", "poll-skip", "int-poll-skip"];
/// Tells in a history how long tombstones stay: `[[key milliseconds] ...]`.
const KEPT: &str = "tombstones-kept";

/// See the module.
pub struct Compaction;

/// As Kafka has it, but for how soon something is compacted and how long a tombstone stays, in milliseconds.
macro_rules! compacted {
    ($tombstones_kept:literal) => {
        &[
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("segment.ms", "200"),
            ("segment.bytes", "262144"),
            (DELETE_RETENTION, $tombstones_kept),
        ]
    };
}

const DELETE_RETENTION: &str = "delete.retention.ms";

/// By the topic's number.
fn configs(number: usize) -> &'static [(&'static str, &'static str)] {
    if number.is_multiple_of(2) { compacted!("3600000") } else { compacted!("4000") }
}

/// How long a topic's tombstones stay.
fn kept_ms(number: usize) -> anyhow::Result<i64> {
    let value = configs(number).iter().find(|(name, _)| *name == DELETE_RETENTION);
    Ok(value.context("no such config")?.1.parse()?)
}

impl Work for Compaction {
    fn name(&self) -> &'static str {
        "compaction"
    }

    fn about(&self) -> &'static str {
        "compacted topics are written, with tombstones, and read from the beginning to the end again and again"
    }

    fn broker_settings(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("compaction.check_ms", "300"),
            // So that who is away for some seconds is given what the others have left.
            ("compaction.log_kept_ms", "0"),
            ("storage.generation_bytes", "8388608"),
        ]
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<Keys> {
        let keys = Keys::prepare_with(env, "compacted", LIMITS, configs)?.compacted();
        let row = |key: i64| {
            let number = usize::try_from(key / i64::from(env.settings.partitions.max(1)))?;
            anyhow::Ok(Edn::Vector(vec![int(key), int(kept_ms(number)?)]))
        };
        let rows: Vec<Edn> = (0..keys.active()).map(row).collect::<anyhow::Result<_>>()?;
        env.recorder.nemesis(KEPT, Edn::Vector(rows))?;
        Ok(keys)
    }

    fn process(&self, session: &mut Session) -> Step {
        let crash = Instant::now() + CRASH.mul_f64(session.random.random_range(0.5..1.5));
        let mut rests_until = None;
        session.padding = PADDING;
        Box::new(move |session| {
            if Instant::now() >= crash {
                return session.crash();
            }
            if session.random.random() { send(session) } else { read(session, &mut rests_until) }
        })
    }

    fn finish(
        &self,
        worker: &mut Worker,
        keys: &Arc<Keys>,
        found: &Mutex<Findings>,
    ) -> anyhow::Result<()> {
        if worker.number == 0 { read_every_replica(worker, keys, found) } else { Ok(()) }
    }

    fn partitions(&self, _: &Keys) -> Vec<(i64, At)> {
        Vec::new()
    }

    fn check(&self, history: &[Op]) -> Vec<Finding> {
        let options = checker::Options { dense: false, ..checker::Options::default() };
        let mut findings = checker::queue(history, &options);
        findings.retain(|finding| !EXPECTED.contains(&finding.anomaly.as_str()));
        findings.extend(check::check(history));
        findings
    }
}

fn send(session: &mut Session) -> anyhow::Result<()> {
    let keys = session.keys.some(1, &mut session.random);
    let count = session.random.random_range(1..=BATCH);
    let acks = if session.random.random_ratio(1, 8) { 1 } else { -1 };
    session.send(keys[0], count, acks).map(drop)
}

/// The next piece of a log, or the beginning of another one.
fn read(session: &mut Session, rests_until: &mut Option<Instant>) -> anyhow::Result<()> {
    if session.is_at_end() {
        let keys = session.random.random_range(1..=2);
        let keys = session.keys.some(keys, &mut session.random);
        return begin(session, &keys);
    }
    let now = Instant::now();
    if rests_until.is_some_and(|until| now < until) {
        return send(session);
    }
    let rest = REST.mul_f64(session.random.random());
    *rests_until = session.random.random_ratio(1, RESTS).then(|| now + rest);
    let max_bytes = [8 << 10, 32 << 10, 128 << 10][session.random.random_range(0..3)];
    session.poll(POLL, max_bytes).map(drop)
}

/// Begins to read these from the beginning, whatever was read of them before.
fn begin(session: &mut Session, keys: &[i64]) -> anyhow::Result<()> {
    session.assign(&[], false)?;
    session.assign(keys, true)
}

/// Makes each broker leader of every partition and reads all of it.
fn read_every_replica(
    worker: &mut Worker,
    keys: &Arc<Keys>,
    found: &Mutex<Findings>,
) -> anyhow::Result<()> {
    let env = Arc::clone(&worker.env);
    let admin = Admin::with_patience(env.addresses(), env.settings.request_timeout);
    let mut unread = Vec::new();
    for (key, at) in keys.used() {
        let replicas = wait(LAST, || admin.partition(&at.topic, at.partition).ok());
        for broker in replicas.map(|it| it.replicas).unwrap_or_default() {
            if !read_from(worker, keys, &admin, broker, key)? {
                unread.push(format!("broker {broker}: key {key}"));
            }
        }
    }
    for case in unread {
        found.lock().add("replicas-unread", Verdict::Unknown, || case, []);
    }
    Ok(())
}

/// Reads a partition to its end from a broker; false if that could not be done in time.
fn read_from(
    worker: &mut Worker,
    keys: &Arc<Keys>,
    admin: &Admin,
    broker: u64,
    key: i64,
) -> anyhow::Result<bool> {
    let (env, at) = (Arc::clone(&worker.env), keys.at(key));
    let deadline = Instant::now() + LAST;
    let is_over = || env.phase() == Phase::Over || Instant::now() >= deadline;
    while admin.leader(&at.topic, at.partition) != Some(broker) {
        if is_over() {
            return Ok(false);
        }
        // Refused while another change is under way.
        let _ = admin.set_leader(&at.topic, at.partition, broker);
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut session = Session::new(worker, keys);
    begin(&mut session, &[key])?;
    while !session.is_at_end() {
        if is_over() || session.ended {
            return Ok(false);
        }
        session.poll(POLL, 1 << 20)?;
    }
    Ok(true)
}
