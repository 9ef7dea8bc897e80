//! Configs of topics, two of them changed at a time through any broker and either interface, and read of all of them, while
//! records are sent.
//!
//! The two always get the same value, one that nobody else gives, so they are never seen apart. A topic is changed a few times
//! and then left alone while others are, so that what was lost shows before something newer hides it. What brokers say is
//! judged by [`check`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;

use super::keys::{Keys, Limits};
use super::queue;
use super::session::Session;
use super::work::{Step, Work};
use crate::checker::{self, Finding, Findings};
use crate::environment::{Env, Phase, Worker};
use crate::history::Op;

mod ask;
mod check;

/// Topics whose configs change.
const TOPICS: u64 = 16;
const LIMITS: Limits =
    Limits { active: TOPICS as usize, writes_min: u32::MAX, writes_max: u32::MAX };
/// Changes of a topic before it is the next one's turn.
const TURN: u64 = 6;

/// See the module.
#[derive(Default)]
pub struct Configs {
    /// How many changes were begun.
    changes: Arc<AtomicU64>,
}

impl Work for Configs {
    fn name(&self) -> &'static str {
        "configs"
    }

    fn about(&self) -> &'static str {
        "configs of topics are changed two at a time and read, through any broker, while records are sent"
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<Keys> {
        Keys::prepare(env, "configs", LIMITS)
    }

    fn process(&self, _: &mut Session) -> Step {
        let changes = Arc::clone(&self.changes);
        Box::new(move |session| {
            let broker = session.client.any_broker();
            match session.random.random_range(0..10) {
                0 => {
                    let number = changes.fetch_add(1, Ordering::Relaxed);
                    let topic = topic(session, number / TURN % TOPICS);
                    ask::change(session, broker, &topic, number)?;
                    // Whoever made a change sees it, where it was made.
                    if session.ended {
                        return Ok(());
                    }
                    ask::read(session, broker, &topic, false).map(drop)
                }
                1..=4 => {
                    let topic = topic(session, changes.load(Ordering::Relaxed) / TURN % TOPICS);
                    ask::read(session, broker, &topic, false).map(drop)
                }
                5 => {
                    let number = session.random.random_range(0..TOPICS);
                    let topic = topic(session, number);
                    ask::read(session, broker, &topic, false).map(drop)
                }
                _ => queue::operate(session),
            }
        })
    }

    fn finish(
        &self,
        worker: &mut Worker,
        keys: &Arc<Keys>,
        _: &Mutex<Findings>,
    ) -> anyhow::Result<()> {
        if worker.number == 0 { final_reads(worker, keys) } else { Ok(()) }
    }

    fn check(&self, history: &[Op]) -> Vec<Finding> {
        let mut findings = checker::queue(history, &checker::Options::default());
        findings.extend(check::check(history));
        findings
    }
}

/// The name of one of the topics.
fn topic(session: &Session, number: u64) -> String {
    let first = u64::from(session.env.settings.partitions.max(1)) * number;
    session.keys.at(i64::try_from(first).unwrap_or(0)).topic.to_string()
}

/// Asks all brokers about all topics until they agree, or until there is no time left.
fn final_reads(worker: &mut Worker, keys: &Arc<Keys>) -> anyhow::Result<()> {
    let env = Arc::clone(&worker.env);
    let deadline = Instant::now() + env.settings.final_time;
    loop {
        let mut seen = Vec::new();
        for broker in env.addresses() {
            let mut session = Session::new(worker, keys);
            let mut values = Vec::new();
            for number in 0..TOPICS {
                let topic = topic(&session, number);
                values.push(ask::read(&mut session, broker.id, &topic, true)?);
            }
            seen.push(values);
        }
        let is_told = |values: &Vec<Option<Vec<i64>>>| values.iter().all(Option::is_some);
        let agreed = seen.iter().all(|values| is_told(values) && *values == seen[0]);
        if agreed || Instant::now() >= deadline || env.phase() == Phase::Over {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
