//! One process' idempotent producer, some of whose batches are refused in the middle of others that are under way.
//!
//! A batch that is refused takes no sequence number, so those behind it are out of order and are sent again with lower
//! ones, as Kafka's clients do. That is done only where each copy of them was answered: a late one of which nobody heard
//! could be taken for the next in turn.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use rand::Rng;

use super::answer::Answer;
use super::append::{again_body, body, complete_again, note, records, told};
use super::known::Known;
use crate::checker::streams::Batch;
use crate::client::{self, At, Connection, Failure, Produced, RecordRefused, Write};
use crate::environment::Phase;
use crate::history::{Edn, Pending, int};
use crate::workload::session::{Extra, Session};

/// Longest time that a burst is sent again, and between two tries.
const PERSEVERE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);
/// So many in a row for the first batch, and it is no race any more.
const OUT_OF_ORDER_MAX: u32 = 20;

/// See the module.
#[derive(Default)]
pub struct Producer {
    own: Option<Own>,
}

/// What it has once a broker gave it an id.
struct Own {
    id: i64,
    epoch: i16,
    /// A key that nobody else writes to.
    key: String,
    at: At,
    sequence: i32,
    version: i64,
}

/// A batch and what became of it.
struct Unit {
    batch: Batch,
    /// Of the process that it is one's operation of: a process does one thing at a time.
    pending: Option<Pending>,
    bytes: Bytes,
    sequence: i32,
    /// A copy may still arrive.
    is_open: bool,
    answer: Option<Answer>,
    tries: i64,
}

type Judged = Result<Result<Produced, RecordRefused>, Failure>;

impl Producer {
    /// Sends a few batches at once, one of them with a wrong condition, until all are answered.
    pub fn burst(&mut self, session: &mut Session, known: &Known) -> anyhow::Result<()> {
        let Some(own) = self.own(session, known) else { return Ok(()) };
        let mut units = own.units(session, known)?;
        let deadline = Instant::now() + PERSEVERE;
        let mut out_of_order = 0;
        while units.iter().any(|unit| unit.answer.is_none()) {
            if !own.number(known, &mut units) {
                break;
            }
            let before = units.iter().filter(|unit| unit.answer.is_some()).count();
            let last = own.round(session, &mut units);
            let is_stuck = units.iter().filter(|unit| unit.answer.is_some()).count() == before
                && last.is_some_and(|it| it.is(ResponseError::OutOfOrderSequenceNumber));
            out_of_order = if is_stuck { out_of_order + 1 } else { 0 };
            let is_over = Instant::now() >= deadline || session.env.phase() == Phase::Over;
            if is_over || out_of_order >= OUT_OF_ORDER_MAX {
                break;
            }
            if units.iter().any(|unit| unit.answer.is_none()) {
                std::thread::sleep(PAUSE);
            }
        }
        let last = finish(session, known, units, out_of_order >= OUT_OF_ORDER_MAX)?;
        if session.ended || session.random.random() {
            return Ok(());
        }
        match last {
            Some(unit) => own.again(session, unit),
            None => Ok(()),
        }
    }

    fn own(&mut self, session: &mut Session, known: &Known) -> Option<&mut Own> {
        if self.own.is_none() {
            let (broker, patience) = (session.client.any_broker(), session.client.patience());
            let asked = session.client.to(broker);
            match asked.and_then(|to| client::init_producer_id(to, patience)) {
                Ok((id, epoch)) => {
                    let partition = session.random.random_range(0..known.partitions);
                    let key = known.own_key(&format!("producer-{id}"), partition);
                    let at = session.keys.at(partition.into());
                    self.own = Some(Own { id, epoch, key, at, sequence: 0, version: 0 });
                }
                Err(_) => session.client.disconnect(broker),
            }
        }
        self.own.as_mut()
    }
}

impl Own {
    /// Batches of which some expect the version that there will be, and one another.
    fn units(&self, session: &mut Session, known: &Known) -> anyhow::Result<Vec<Unit>> {
        let count = session.random.random_range(3..=5);
        let wrong = session.random.random_range(1..count);
        let mut version = self.version;
        let mut units = Vec::new();
        for place in 0..count {
            let records = session.random.random_range(1..=3);
            let expected = match place {
                _ if place == wrong => Some(version + 7),
                _ if session.random.random() => Some(if version == 0 { -1 } else { version }),
                _ => None,
            };
            let rows = (0..records)
                .map(|row| known.row(&self.key, expected.filter(|_| row == 0)))
                .collect();
            let mut batch = known.batch(rows);
            "producer".clone_into(&mut batch.via);
            if place != wrong {
                version += batch.count();
            }
            let process = session.env.new_process();
            let pending = session.env.recorder.invoke(process, body(&batch), Extra::new())?;
            units.push(Unit {
                batch,
                pending: Some(pending),
                bytes: Bytes::new(),
                sequence: -1,
                is_open: false,
                answer: None,
                tries: 0,
            });
        }
        Ok(units)
    }

    /// Gives those that are not answered the sequences that follow; false if one has another of which a copy may still
    /// arrive.
    fn number(&self, known: &Known, units: &mut [Unit]) -> bool {
        let mut next = self.sequence;
        for unit in units.iter_mut().filter(|unit| unit.answer.is_none()) {
            if unit.sequence != next {
                if unit.is_open {
                    return false;
                }
                let (producer_id, producer_epoch) = (self.id, self.epoch);
                let write = Write { producer_id, producer_epoch, sequence: next };
                unit.bytes = write.batch(&records(known, &unit.batch));
                unit.sequence = next;
            }
            next += i32::try_from(unit.batch.rows.len()).unwrap_or(0);
        }
        true
    }

    /// Sends all that are not answered on one connection and takes the answers; the last failure.
    fn round(&mut self, session: &mut Session, units: &mut [Unit]) -> Option<Failure> {
        let at = self.at.clone();
        let leader = match session.client.leader(&at) {
            Ok(leader) => leader.broker,
            Err(failure) => return Some(failure),
        };
        let patience = session.client.patience();
        let mut open: Vec<&mut Unit> =
            units.iter_mut().filter(|unit| unit.answer.is_none()).collect();
        let to = session.client.to(leader);
        let failed = to.and_then(|to| self.exchange(to, &mut open, patience));
        let failed = failed.unwrap_or_else(Some);
        if let Some(failure) = &failed {
            session.client.learn(leader, &at, failure);
        }
        failed
    }

    fn exchange(
        &mut self,
        to: &mut Connection,
        open: &mut [&mut Unit],
        patience: Duration,
    ) -> Result<Option<Failure>, Failure> {
        let mut was_open = Vec::new();
        for unit in open.iter_mut() {
            was_open.push(unit.is_open);
            (unit.is_open, unit.tries) = (true, unit.tries + 1);
            client::send_produce(to, &self.at, -1, unit.bytes.clone(), patience)?;
        }
        let (deadline, mut last) = (Instant::now() + patience, None);
        for (unit, was_open) in open.iter_mut().zip(was_open) {
            let judged = client::receive_judged(to, deadline);
            match &judged {
                Err(Failure::Unsent(_) | Failure::Unanswered(_)) => {
                    return Err(judged.err().unwrap_or(Failure::Code(0)));
                }
                // This copy did nothing.
                Err(failure) if failure.is(ResponseError::OutOfOrderSequenceNumber) => {
                    unit.is_open = was_open;
                    last = last.or(judged.err());
                }
                _ => last = self.take(unit, judged).or(last),
            }
        }
        Ok(last)
    }

    /// Takes an answer that says something; what it failed with if it does not say enough.
    fn take(&mut self, unit: &mut Unit, judged: Judged) -> Option<Failure> {
        let failure = judged.clone().err();
        match Answer::of_kafka(judged, &unit.batch) {
            Answer::Unknown(_) | Answer::Failed(_) => return failure,
            answer @ Answer::Acked { .. } => {
                self.sequence = unit.sequence + i32::try_from(unit.batch.rows.len()).unwrap_or(0);
                self.version += unit.batch.count();
                unit.answer = Some(answer);
            }
            answer => unit.answer = Some(answer),
        }
        unit.is_open = false;
        None
    }

    /// Sends what was accepted last again, with the same sequence.
    fn again(&self, session: &mut Session, unit: Unit) -> anyhow::Result<()> {
        let Some(place) = unit.answer.as_ref().and_then(told) else { return Ok(()) };
        let pending = session.invoke(again_body(&unit.batch, &place), Extra::new())?;
        let patience = session.client.patience();
        let leader = match session.client.leader(&self.at) {
            Ok(leader) => leader.broker,
            Err(failure) => return session.failed(pending, &failure, Extra::new()),
        };
        let judged = session.client.to(leader).and_then(|to| {
            client::send_produce(to, &self.at, -1, unit.bytes.clone(), patience)?;
            client::receive_judged(to, Instant::now() + patience)
        });
        if let Err(failure) = &judged {
            session.client.learn(leader, &self.at, failure);
        }
        let answer = Answer::of_kafka(judged, &unit.batch);
        complete_again(session, pending, &unit.batch, &place, &answer)
    }
}

/// Records what became of each; the last one that was accepted. A producer with open ends is over.
fn finish(
    session: &mut Session,
    known: &Known,
    units: Vec<Unit>,
    is_out_of_order: bool,
) -> anyhow::Result<Option<Unit>> {
    let mut last = None;
    for mut unit in units {
        let answer = unit.answer.clone().unwrap_or_else(|| {
            if unit.is_open {
                Answer::Unknown("not answered".to_owned())
            } else {
                Answer::Failed("not sent, or out of order".to_owned())
            }
        });
        session.ended |= unit.answer.is_none();
        let mut extra = answer.extra();
        extra.insert("tries".to_owned(), int(unit.tries));
        if is_out_of_order && unit.answer.is_none() {
            extra.insert("sequence-refused".to_owned(), Edn::Boolean(true));
        }
        if let Some(pending) = unit.pending.take() {
            let said = body(&unit.batch);
            session.env.recorder.complete(pending, answer.kind(), said, extra)?;
        }
        note(known, &unit.batch, &answer);
        if matches!(answer, Answer::Acked { .. }) {
            last = Some(unit);
        }
    }
    Ok(last)
}
