//! One process of a history: a producer and a consumer that do one operation at a time and record it.
//!
//! When an operation ends indeterminate the process is over ([`Session::ended`]) and its worker goes on as a new one,
//! with new connections and nothing remembered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::content::Content;
use super::keys::Keys;
use crate::client::{self, At, Client, Failure, Isolation, Produced, Record, Write};
use crate::environment::{Env, Worker};
use crate::history::{Body, Edn, Kind, Mop, Pending, Process, Sent, int, text};

mod poll;

/// Further keys of an operation.
pub type Extra = BTreeMap<String, Edn>;

/// Most records are small.
const PADDING: usize = 200;

/// See the module.
pub struct Session {
    pub env: Arc<Env>,
    pub keys: Arc<Keys>,
    pub process: Process,
    /// Of the worker whose process it is.
    pub worker: usize,
    pub client: Client,
    pub ended: bool,
    pub random: StdRng,
    /// What it reads.
    pub isolation: Isolation,
    /// Next offset to read, of the assigned keys.
    pub positions: BTreeMap<i64, i64>,
    /// The highest end of each that a leader told since they were assigned.
    pub ends: BTreeMap<i64, i64>,
    /// Most of the bytes that records get beside what they say; few are larger.
    pub padding: usize,
    producer: Producer,
    counter: i64,
}

/// How a process numbers what it sends.
enum Producer {
    Plain,
    /// Idempotent, without an id yet.
    Fresh,
    Numbered {
        id: i64,
        epoch: i16,
        sequences: BTreeMap<i64, i32>,
    },
}

impl Session {
    /// A new process, idempotent or not.
    pub fn new(worker: &mut Worker, keys: &Arc<Keys>) -> Session {
        let mut random = StdRng::seed_from_u64(worker.random.random());
        let producer = if random.random() { Producer::Plain } else { Producer::Fresh };
        Session {
            client: Client::new(Arc::clone(&worker.env), &mut random),
            env: Arc::clone(&worker.env),
            keys: Arc::clone(keys),
            process: worker.env.new_process(),
            worker: worker.number,
            ended: false,
            random,
            isolation: Isolation::Committed,
            positions: BTreeMap::new(),
            ends: BTreeMap::new(),
            padding: PADDING,
            producer,
            counter: 0,
        }
    }

    pub fn invoke(&self, body: Body, extra: Extra) -> anyhow::Result<Pending> {
        Ok(self.env.recorder.invoke(self.process, body, extra)?)
    }

    /// Records the end of an operation, and whether it is the process' end too.
    pub fn complete(
        &mut self,
        pending: Pending,
        kind: Kind,
        body: Body,
        extra: Extra,
    ) -> anyhow::Result<()> {
        self.ended |= kind == Kind::Info;
        Ok(self.env.recorder.complete(pending, kind, body, extra)?)
    }

    /// Records that an operation failed, as the table of failures has it.
    pub fn failed(
        &mut self,
        pending: Pending,
        failure: &Failure,
        mut extra: Extra,
    ) -> anyhow::Result<()> {
        extra.insert("error".to_owned(), text(failure.to_string()));
        if failure.ends_process() {
            self.ended = true;
            extra.insert("end-process?".to_owned(), Edn::Boolean(true));
        }
        let body = pending.body.clone();
        self.complete(pending, failure.kind(), body, extra)
    }

    /// The next records of this process, with values nobody wrote to the key before.
    pub fn records(&mut self, key: i64, values: &[i64]) -> Vec<Record> {
        let process = match self.process {
            Process::Client(number) => number,
            Process::Nemesis => -1,
        };
        let record = |value: &i64| {
            self.counter += 1;
            let counter = self.counter;
            let content = Content { key, value: *value, process, counter, timestamp: now_ms() };
            content.record(self.keys.log(), self.padding, &mut self.random)
        };
        values.iter().map(record).collect()
    }

    /// Sends so many records to a key as one batch, once. Returns whether it was acknowledged.
    pub fn send(&mut self, key: i64, count: u32, acks: i16) -> anyhow::Result<bool> {
        let values = self.keys.values(key, count, &mut self.random);
        let records = self.records(key, &values);
        let pending =
            self.invoke(Body::Send(sends(key, &values, |_| Sent::Plain)), Extra::new())?;
        let at = self.keys.at(key);
        match self.produce(key, &at, acks, &records) {
            Ok(produced) => {
                let sent = |place: i64| match produced.base_offset {
                    Some(base) => Sent::At(base + place),
                    None => Sent::OffsetUnknown,
                };
                let body = Body::Send(sends(key, &values, sent));
                self.complete(pending, Kind::Ok, body, Extra::new())?;
                if let Some(base) = produced.base_offset {
                    self.keys.acked(key, base + i64::from(count) - 1);
                }
                Ok(true)
            }
            Err(failure) => self.failed(pending, &failure, Extra::new()).map(|()| false),
        }
    }

    fn produce(
        &mut self,
        key: i64,
        at: &At,
        acks: i16,
        records: &[Record],
    ) -> Result<Produced, Failure> {
        let leader = self.client.leader(at)?;
        let write = self.number(key)?;
        let patience = self.client.patience();
        let to = self.client.to(leader.broker);
        let produced =
            to.and_then(|to| client::produce(to, at, acks, write.batch(records), patience));
        match &produced {
            Err(failure) => self.client.learn(leader.broker, at, failure),
            Ok(_) => {
                if let Producer::Numbered { sequences, .. } = &mut self.producer {
                    *sequences.entry(key).or_default() += i32::try_from(records.len()).unwrap_or(0);
                }
            }
        }
        produced
    }

    /// Producer id and sequence of the next batch for a key. That there is no id yet for an idempotent producer means
    /// that the batch was not sent, however the request for an id ended.
    fn number(&mut self, key: i64) -> Result<Write, Failure> {
        if matches!(self.producer, Producer::Fresh) {
            let (broker, patience) = (self.client.any_broker(), self.client.patience());
            let asked = self.client.to(broker);
            let given = asked.and_then(|to| client::init_producer_id(to, patience));
            let (id, epoch) = given.map_err(|failure| {
                self.client.disconnect(broker);
                Failure::Unsent(format!("no producer id: {failure}"))
            })?;
            self.producer = Producer::Numbered { id, epoch, sequences: BTreeMap::new() };
        }
        Ok(match &self.producer {
            Producer::Numbered { id, epoch, sequences } => Write {
                producer_id: *id,
                producer_epoch: *epoch,
                sequence: sequences.get(&key).copied().unwrap_or(0),
            },
            Producer::Plain | Producer::Fresh => Write::PLAIN,
        })
    }

    /// Reads these keys from now on and no others. Positions of those kept stay; others begin at the beginning.
    pub fn assign(&mut self, keys: &[i64], seek_to_beginning: bool) -> anyhow::Result<()> {
        let mut extra = Extra::new();
        if seek_to_beginning {
            extra.insert("seek-to-beginning?".to_owned(), Edn::Boolean(true));
        }
        let body = Body::Assign(keys.to_vec());
        let pending = self.invoke(body.clone(), extra.clone())?;
        let old = std::mem::take(&mut self.positions);
        let position = |key: &i64| match old.get(key) {
            Some(position) if !seek_to_beginning => *position,
            _ => 0,
        };
        self.positions = keys.iter().map(|key| (*key, position(key))).collect();
        self.ends.clear();
        self.complete(pending, Kind::Ok, body, extra)
    }

    /// Whether it has read all that there was when leaders told it last.
    pub fn is_at_end(&self) -> bool {
        let is_read = |(key, at): (&i64, &i64)| self.ends.get(key).is_some_and(|end| at >= end);
        self.positions.iter().all(is_read)
    }

    /// Ends the process on purpose.
    pub fn crash(&mut self) -> anyhow::Result<()> {
        let pending = self.invoke(Body::Crash, Extra::new())?;
        self.complete(pending, Kind::Info, Body::Crash, Extra::new())
    }

    /// What a broker says of these keys' partitions; only for those who read the history.
    pub fn debug(&mut self, keys: &[i64]) -> anyhow::Result<()> {
        let body = Body::DebugTopicPartitions(keys.to_vec());
        let pending = self.invoke(body.clone(), Extra::new())?;
        let at: Vec<At> = keys.iter().map(|key| self.keys.at(*key)).collect();
        let mut topics: Vec<&str> = at.iter().map(|at| &*at.topic).collect();
        topics.dedup();
        let seen = match self.client.metadata(Some(&topics)) {
            Ok(seen) => seen,
            Err(failure) => return self.failed(pending, &failure, Extra::new()),
        };
        let row = |(key, at): (&i64, &At)| {
            let partition = seen.topics.get(&*at.topic)?.partitions.get(&at.partition)?;
            let leader = partition.leader.and_then(|leader| i64::try_from(leader).ok());
            Some(Edn::Vector(vec![
                int(*key),
                leader.map_or(Edn::Nil, Edn::Integer),
                int(partition.epoch),
            ]))
        };
        let rows: Vec<Edn> = keys.iter().zip(&at).filter_map(row).collect();
        let extra = Extra::from([("leaders".to_owned(), Edn::Vector(rows))]);
        self.complete(pending, Kind::Ok, body, extra)
    }
}

/// One micro-operation a value; `sent` is given its place.
pub fn sends(key: i64, values: &[i64], sent: impl Fn(i64) -> Sent) -> Vec<Mop> {
    let values = (0..).zip(values);
    values.map(|(place, value)| Mop::Send { key, value: *value, sent: sent(place) }).collect()
}

/// Milliseconds since 1970, by this machine's clock, which no fault moves.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
