//! A consumer group whose members join, read, commit, leave and die while others write.
//!
//! Every process is a member besides a producer. What it reads it commits; who takes a partition over goes on where the
//! group last committed. What coordinators answer is judged by [`check`], and [`skipped`] finds what nobody has read though
//! it is below what was committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;

use super::home::Home;
use super::keys::{Keys, Limits};
use super::session::Session;
use super::work::{Step, Work};
use crate::checker::{self, Finding, Findings, SubVia};
use crate::client::{self, Connection, Failure};
use crate::environment::{Env, Phase, Worker};
use crate::history::Op;

mod check;
mod consumer;
mod coordinator;
mod membership;
mod skipped;

pub use consumer::ConsumerGroups;
use membership::Membership;

/// Partitions that the group shares, at least: as many as a topic has if that is more.
const KEYS: u32 = 6;
/// The name of the group.
pub const GROUP: &str = "readers";
/// Mean time after which a process is ended, without a word to the group. The more there is to read the longer.
const CRASH: Duration = Duration::from_secs(15);
/// Of a member's operations one in so many is that it leaves, the more there is to read the fewer.
const LEAVE: i64 = 40;
/// How long members that are gone may be taken for alive once everything is healed: several sessions.
const GONE_AFTER: Duration = Duration::from_secs(30);

/// See the module.
pub struct Groups;

impl Work for Groups {
    fn name(&self) -> &'static str {
        "groups"
    }

    fn about(&self) -> &'static str {
        "members of a group share partitions, commit what they read, leave and die"
    }

    fn broker_settings(&self) -> &'static [(&'static str, &'static str)] {
        &[("groups.session_timeout_min_ms", "500"), ("groups.initial_rebalance_delay_ms", "0")]
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<Keys> {
        Keys::prepare(env, "groups", limits(env))
    }

    fn process(&self, session: &mut Session) -> Step {
        live(session, Membership::new(GROUP))
    }

    /// All processes have ended, and none has left: the group is to notice.
    fn finish(
        &self,
        worker: &mut Worker,
        keys: &Arc<Keys>,
        found: &Mutex<Findings>,
    ) -> anyhow::Result<()> {
        wait_until_empty(worker, keys, found, client::describe_group)
    }

    fn check(&self, history: &[Op]) -> Vec<Finding> {
        let mut findings = records(history);
        findings.extend(check::check(history));
        findings
    }
}

/// A process of either protocol as a member of the group, or as somebody who wants to be one.
trait Member {
    /// Says that it is alive, if it is time.
    fn be_heard(&mut self, session: &mut Session) -> anyhow::Result<()>;

    /// One operation.
    fn act(&mut self, session: &mut Session) -> anyhow::Result<()>;
}

/// What a process does until it is ended: it sends, and is a member.
fn live(session: &mut Session, mut member: impl Member + 'static) -> Step {
    let lives = CRASH.mul_f64(session.random.random_range(0.5..1.5) * calm(session));
    let crash = Instant::now() + lives;
    Box::new(move |session| {
        if Instant::now() >= crash {
            return session.crash();
        }
        // Also while it does something else: who is silent is gone.
        member.be_heard(session)?;
        if session.random.random_ratio(2, 5) {
            let keys = session.keys.some(1, &mut session.random);
            return session.send(keys[0], 1, -1).map(drop);
        }
        member.act(session)
    })
}

/// How much rarer members come and go because of what there is to read.
fn calm(session: &Session) -> f64 {
    session.keys.active() as f64 / f64::from(KEYS)
}

/// A number drawn for a member's next operation: 0 to leave, and others up to 40 as often as each other.
fn dice(session: &mut Session) -> i64 {
    let leaves = (LEAVE as f64 * calm(session)) as i64;
    match session.random.random_range(0..leaves) {
        0 => 0,
        other => 1 + other % (LEAVE - 1),
    }
}

fn limits(env: &Env) -> Limits {
    let active = KEYS.max(env.settings.partitions) as usize;
    Limits { active, writes_min: u32::MAX, writes_max: u32::MAX }
}

/// What is wrong with what members read, whoever assigns.
fn records(history: &[Op]) -> Vec<Finding> {
    let options = checker::Options { sub_via: SubVia::Subscribe, ..Default::default() };
    let mut findings = checker::queue(history, &options);
    findings.extend(skipped::check(history));
    findings
}

/// Tells the state of a group and how many members it has.
type Describe = fn(&mut Connection, &str, Duration) -> Result<(String, usize), Failure>;

/// All processes have ended, and none has left: the group is to notice.
fn wait_until_empty(
    worker: &mut Worker,
    keys: &Arc<Keys>,
    found: &Mutex<Findings>,
    describe: Describe,
) -> anyhow::Result<()> {
    if worker.number > 0 {
        return Ok(());
    }
    let (env, mut session) = (Arc::clone(&worker.env), Session::new(worker, keys));
    let deadline = Instant::now() + GONE_AFTER;
    let mut last = "nobody answered".to_owned();
    while Instant::now() < deadline {
        if env.phase() == Phase::Over {
            // There was no time to find out.
            return Ok(());
        }
        // Found anew each time.
        match Home::of_group(GROUP).ask(&mut session, |to, patience| describe(to, GROUP, patience))
        {
            Ok((_, 0)) => return Ok(()),
            Ok((state, members)) => last = format!("it is {state} and has {members} members"),
            Err(failure) => last = failure.to_string(),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let case = || format!("{} s after the last one was heard: {last}", GONE_AFTER.as_secs());
    found.lock().invalid("member-kept", case, []);
    Ok(())
}
