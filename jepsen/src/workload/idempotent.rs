//! Idempotent producers that never give up: several batches under way on one connection, and whatever is not
//! acknowledged is sent again with the same sequence numbers, to whoever leads then.
//!
//! Now and then one sends again what was acknowledged long ago, as one does that never heard so.
//!
//! Nothing may be lost, doubled or reordered by that, whatever happened to connections and leaders. At the end the
//! batches of every partition are noted, to see that each producer's sequences are there without a gap.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;

use super::dump::{Dump, rows};
use super::keys::{Keys, Limits};
use super::session::{Extra, Session};
use super::work::{Step, Work};
use crate::admin::wait;
use crate::checker::{self, Finding, Findings, Verdict};
use crate::environment::{Env, Phase, Worker};
use crate::history::{Body, Edn, Kind, Op, int, map};

mod partition_producer;

use partition_producer::PartitionProducer;

const LIMITS: Limits = Limits { active: 6, writes_min: 100, writes_max: 4_000 };
const POLL: Duration = Duration::from_millis(20);
const POLL_BYTES: i32 = 64 << 10;
/// One burst in so many is an old batch that is sent again.
const REPEATS: u32 = 8;

/// See the module.
pub struct Idempotent;

impl Work for Idempotent {
    fn name(&self) -> &'static str {
        "idempotent"
    }

    fn about(&self) -> &'static str {
        "idempotent producers with up to five batches under way send again until they are acknowledged"
    }

    fn prepare(&self, env: &Env) -> anyhow::Result<Keys> {
        Keys::prepare(env, "idempotent", LIMITS)
    }

    fn process(&self, _: &mut Session) -> Step {
        let mut partition_producer = PartitionProducer::default();
        Box::new(move |session| operate(session, &mut partition_producer))
    }

    fn finish(
        &self,
        worker: &mut Worker,
        keys: &Arc<Keys>,
        found: &Mutex<Findings>,
    ) -> anyhow::Result<()> {
        dump(worker, keys, found)
    }

    fn check(&self, history: &[Op]) -> Vec<Finding> {
        let mut findings = checker::queue(history, &checker::Options::default());
        findings.extend(refused(history));
        findings.extend(repeated(history));
        findings
    }
}

fn operate(
    session: &mut Session,
    partition_producer: &mut PartitionProducer,
) -> anyhow::Result<()> {
    if session.positions.is_empty() || session.random.random_ratio(1, 64) {
        let keys = session.keys.some(2, &mut session.random);
        return session.assign(&keys, false);
    }
    if session.random.random_ratio(1, 3) {
        return session.poll(POLL, POLL_BYTES).map(drop);
    }
    if session.random.random_ratio(1, REPEATS) {
        return partition_producer.repeat(session);
    }
    let key = session.keys.pick(&mut session.random);
    partition_producer.send(session, key)
}

/// Notes the batches of this worker's share of the keys.
fn dump(worker: &mut Worker, keys: &Arc<Keys>, found: &Mutex<Findings>) -> anyhow::Result<()> {
    let env = Arc::clone(&worker.env);
    let workers = i64::try_from(env.settings.workers)?.max(1);
    let number = i64::try_from(worker.number)?;
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
        let (kind, batches) = match wait(env.settings.final_time, read) {
            Some(dump) => (Kind::Ok, rows(&dump.batches)),
            None => (Kind::Fail, Edn::Vector(Vec::new())),
        };
        if kind == Kind::Fail {
            let case = || format!("the batches of key {key} could not be read at the end");
            found.lock().add("batches-unread", Verdict::Unknown, case, []);
        }
        session.complete(pending, kind, body(batches), Extra::new())?;
    }
    Ok(())
}

/// A producer whose earlier batches are all acknowledged, and whose next is refused as out of order for good.
fn refused(history: &[Op]) -> Vec<Finding> {
    let mut found = Findings::default();
    for op in history.iter().filter(|op| op.extra.contains_key(partition_producer::REFUSED)) {
        let case =
            || "the next batch of a producer was refused as out of order, again and again".into();
        found.invalid("sequence-refused", case, [op.index]);
    }
    found.finish()
}

/// A batch that was sent again after it had been acknowledged, and was acknowledged at another offset. One whose offset
/// nobody remembers is refused as a duplicate, which is as good.
fn repeated(history: &[Op]) -> Vec<Finding> {
    let mut found = Findings::default();
    for op in history.iter().filter(|op| op.kind == Kind::Ok) {
        let Body::Other(f, Edn::Vector(offsets)) = &op.body else { continue };
        let (partition_producer::REPEAT, [key, Edn::Integer(first), Edn::Integer(again)]) =
            (&f[..], &offsets[..])
        else {
            continue;
        };
        if first != again {
            let case = || format!("key {key}: the batch at {first} is at {again} as well");
            found.invalid("repeat-stored-again", case, [op.index]);
        }
    }
    found.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Process;

    #[test]
    fn a_batch_that_is_sent_again_has_one_place() {
        let told = |again: Edn| {
            let body = Body::Other(
                partition_producer::REPEAT.to_owned(),
                Edn::Vector(vec![int(1), int(7), again]),
            );
            let (process, kind, extra) = (Process::Client(0), Kind::Ok, Extra::new());
            repeated(&[Op { index: 0, time: 0, process, kind, body, extra }]).len()
        };
        assert_eq!([told(int(7)), told(Edn::Nil), told(int(8))], [0, 0, 1]);
    }
}
