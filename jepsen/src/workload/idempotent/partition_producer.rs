//! One process' idempotent producer.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use rand::Rng;
use rand::seq::IteratorRandom;

use crate::client::{self, At, Connection, Failure, Write, init_producer_id};
use crate::environment::Phase;
use crate::history::{Body, Edn, Kind, Mop, Sent, text};
use crate::workload::session::{Extra, Session, sends};

/// As many batches as a broker has to recognise when they are sent again (KIP-98).
const UNDER_WAY_MAX: usize = 5;
/// Longest time that a burst is sent again.
const PERSEVERE: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// So many refusals of the first batch in a row are no race any more.
const REFUSALS_MAX: usize = 20;
/// One try in so many is broken off by the producer itself while answers are outstanding: what a broker did and could
/// not say has to be the rule here, not the luck of a fault at the right moment.
const BROKEN_OFF: u32 = 12;
/// Marks an operation that ended so.
pub const REFUSED: &str = "sequence-refused";
/// Names the operation that sends an acknowledged batch again: `[key first-offset offset-told-again]`.
pub const REPEAT: &str = "repeat";

/// See the module.
#[derive(Default)]
pub struct PartitionProducer {
    producer: Option<(i64, i16)>,
    sequences: BTreeMap<i64, i32>,
    /// Of each key the last batch that was acknowledged, and its offset.
    last: BTreeMap<i64, (Bytes, i64)>,
}

/// A batch and what became of it.
struct Unit {
    values: Vec<i64>,
    bytes: Bytes,
    /// Once acknowledged, its first offset if that was told.
    done: Option<Option<i64>>,
}

/// How a burst goes.
#[derive(Default)]
struct Course {
    /// Whether anything was ever sent.
    sent: bool,
    tries: u64,
    refusals: usize,
    last: Option<Failure>,
}

impl PartitionProducer {
    /// Sends a burst of batches to a key until all are acknowledged. If that does not come about the process ends.
    pub fn send(&mut self, session: &mut Session, key: i64) -> anyhow::Result<()> {
        let mut units = self.units(session, key)?;
        let Some(units) = units.as_mut() else { return Ok(()) };
        let pending = session.invoke(Body::Send(mops(key, units, false)), Extra::new())?;
        let mut course = Course::default();
        let at = session.keys.at(key);
        let deadline = Instant::now() + PERSEVERE;
        while units.iter().any(|unit| unit.done.is_none()) {
            course.tries += 1;
            if round(session, &at, units, &mut course).is_break() || Instant::now() >= deadline {
                break;
            }
            if units.iter().any(|unit| unit.done.is_none()) {
                std::thread::sleep(PAUSE);
            }
            if session.env.phase() == Phase::Over {
                break;
            }
        }
        let body = Body::Send(mops(key, units, true));
        let mut extra = Extra::new();
        if course.tries > 1 {
            extra.insert("tries".to_owned(), Edn::Integer(i64::try_from(course.tries)?));
        }
        if let Some(failure) = &course.last {
            extra.insert("error".to_owned(), text(failure.to_string()));
        }
        if course.refusals >= REFUSALS_MAX {
            extra.insert(REFUSED.to_owned(), Edn::Boolean(true));
        }
        if units.iter().all(|unit| unit.done.is_some()) {
            if let Some((last, base)) = units.last().and_then(|last| Some((last, last.done??))) {
                self.last.insert(key, (last.bytes.clone(), base));
            }
            let ends = units.iter().filter_map(|unit| Some((unit.done??, unit.values.len())));
            ends.for_each(|(base, count)| session.keys.acked(key, base + count as i64 - 1));
            return session.complete(pending, Kind::Ok, body, extra);
        }
        let kind = if course.sent { Kind::Info } else { Kind::Fail };
        session.complete(pending, kind, body, extra)?;
        session.ended = true;
        Ok(())
    }

    /// Sends the last batch of any key again, once.
    pub fn repeat(&self, session: &mut Session) -> anyhow::Result<()> {
        let Some((key, (batch, base))) = self.last.iter().choose(&mut session.random) else {
            return Ok(());
        };
        let body = |again| {
            let offsets = vec![Edn::Integer(*key), Edn::Integer(*base), again];
            Body::Other(REPEAT.to_owned(), Edn::Vector(offsets))
        };
        let pending = session.invoke(body(Edn::Nil), Extra::new())?;
        let (at, patience) = (session.keys.at(*key), session.client.patience());
        let told = session.client.leader(&at).and_then(|leader| {
            let to = session.client.to(leader.broker);
            let told = to.and_then(|to| client::produce(to, &at, -1, batch.clone(), patience));
            told.inspect_err(|failure| session.client.learn(leader.broker, &at, failure))
        });
        let again = match told {
            Ok(produced) => produced.base_offset.map_or(Edn::Nil, Edn::Integer),
            Err(failure) if failure.is(ResponseError::DuplicateSequenceNumber) => Edn::Nil,
            // Nothing was to happen anyway, so that nothing is left open.
            Err(failure) => {
                let extra = Extra::from([("error".to_owned(), text(failure.to_string()))]);
                return session.complete(pending, Kind::Fail, body(Edn::Nil), extra);
            }
        };
        session.complete(pending, Kind::Ok, body(again), Extra::new())
    }

    /// A burst, or none while no producer id can be had.
    fn units(&mut self, session: &mut Session, key: i64) -> anyhow::Result<Option<Vec<Unit>>> {
        if self.producer.is_none() {
            let (broker, patience) = (session.client.any_broker(), session.client.patience());
            let asked = session.client.to(broker);
            match asked.and_then(|to| init_producer_id(to, patience)) {
                Ok(producer) => self.producer = Some(producer),
                Err(_) => session.client.disconnect(broker),
            }
        }
        let Some((producer_id, producer_epoch)) = self.producer else { return Ok(None) };
        let next = self.sequences.entry(key).or_default();
        let mut units = Vec::new();
        for _ in 0..session.random.random_range(1..=UNDER_WAY_MAX) {
            let count = session.random.random_range(1..=3);
            let values = session.keys.values(key, count, &mut session.random);
            let records = session.records(key, &values);
            let write = Write { producer_id, producer_epoch, sequence: *next };
            *next += i32::try_from(count)?;
            units.push(Unit { values, bytes: write.batch(&records), done: None });
        }
        Ok(Some(units))
    }
}

fn mops(key: i64, units: &[Unit], done: bool) -> Vec<Mop> {
    let sent = |unit: &Unit, place: i64| match unit.done {
        Some(Some(base)) if done => Sent::At(base + place),
        Some(None) if done => Sent::OffsetUnknown,
        _ => Sent::Plain,
    };
    units.iter().flat_map(|unit| sends(key, &unit.values, |place| sent(unit, place))).collect()
}

/// Sends everything that is not acknowledged, in order, on one connection, and takes all answers.
fn round(
    session: &mut Session,
    at: &At,
    units: &mut [Unit],
    course: &mut Course,
) -> ControlFlow<()> {
    let leader = match session.client.leader(at) {
        Ok(leader) => leader,
        Err(failure) => {
            course.last = Some(failure);
            return ControlFlow::Continue(());
        }
    };
    let patience = session.client.patience();
    let mut open: Vec<&mut Unit> = units.iter_mut().filter(|unit| unit.done.is_none()).collect();
    let answers = if session.random.random_ratio(1, BROKEN_OFF) {
        session.random.random_range(0..open.len())
    } else {
        open.len()
    };
    let taken = session.client.to(leader.broker).and_then(|to| {
        course.sent = true;
        exchange(to, at, &mut open, answers, patience, course)
    });
    let first_failed = course.last.clone();
    match taken {
        Err(failure) => {
            session.client.learn(leader.broker, at, &failure);
            course.last = Some(failure);
        }
        Ok(()) => {
            if let Some(failure) = first_failed.filter(|_| open.iter().any(|it| it.done.is_none()))
            {
                session.client.learn(leader.broker, at, &failure);
            }
        }
    }
    let fenced = [ResponseError::InvalidProducerEpoch, ResponseError::ProducerFenced];
    let fatal = course.last.as_ref().is_some_and(|last| fenced.iter().any(|code| last.is(*code)));
    if fatal || course.refusals >= REFUSALS_MAX {
        return ControlFlow::Break(());
    }
    ControlFlow::Continue(())
}

/// An error means that the connection is of no use any more; those of single batches are in `course`. After so many
/// `answers` it is broken off.
fn exchange(
    to: &mut Connection,
    at: &At,
    open: &mut [&mut Unit],
    answers: usize,
    patience: Duration,
    course: &mut Course,
) -> Result<(), Failure> {
    for unit in open.iter() {
        client::send_produce(to, at, -1, unit.bytes.clone(), patience)?;
    }
    let deadline = Instant::now() + patience;
    for (place, unit) in open.iter_mut().enumerate() {
        if place == answers {
            return Err(Failure::Unanswered("broken off on purpose".to_owned()));
        }
        match client::receive_produced(to, deadline) {
            Ok(produced) => unit.done = Some(produced.base_offset),
            // It is in the log, too long ago for the broker to know where.
            Err(failure) if failure.is(ResponseError::DuplicateSequenceNumber) => {
                unit.done = Some(None);
            }
            Err(failure @ Failure::Code(_)) => {
                let refused = failure.is(ResponseError::OutOfOrderSequenceNumber);
                if place == 0 {
                    course.refusals = if refused { course.refusals + 1 } else { 0 };
                }
                course.last = Some(failure);
            }
            Err(failure) => return Err(failure),
        }
        if place == 0 && unit.done.is_some() {
            course.refusals = 0;
        }
    }
    Ok(())
}
