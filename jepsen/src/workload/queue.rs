//! Sends and polls of assigned partitions: the model of `jepsen.tests.kafka`, with more checked of every record.

use std::time::{Duration, Instant};

use rand::Rng;

use super::keys::{Keys, Limits};
use super::session::Session;
use super::work::{Step, Work};
use crate::environment::Env;

const LIMITS: Limits = Limits { active: 10, writes_min: 16, writes_max: 1_024 };
const POLL: Duration = Duration::from_millis(20);
/// Mean time after which a process is ended deliberately.
const CRASH: Duration = Duration::from_secs(30);

/// See the module.
pub struct Queue;

impl Work for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn about(&self) -> &'static str {
        "producers send unique values, consumers poll assigned partitions, everything is read at the end"
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<Keys> {
        Keys::prepare(env, "queue", LIMITS)
    }

    fn process(&self, session: &mut Session) -> Step {
        let crash = Instant::now() + CRASH.mul_f64(session.random.random_range(0.5..1.5));
        Box::new(
            move |session| if Instant::now() < crash { operate(session) } else { session.crash() },
        )
    }
}

/// One operation. A process without an assignment gets one first; one in 64 changes it.
pub(super) fn operate(session: &mut Session) -> anyhow::Result<()> {
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
