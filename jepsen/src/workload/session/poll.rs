//! Reading: one fetch to each leader of an assigned partition, and what its answer shows.
//!
//! A poll changes nothing but the positions, and those only if it succeeds; so it fails when no leader answered, and
//! is never indeterminate.
//!
//! What transactions aborted and what ends them is left out, as consumers do. Of one that reads what is not committed the
//! operation has a name of its own, for Jepsen's anomalies are no anomalies then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;

use super::{Content, Extra, Session};
use crate::checker::transactions::UNCOMMITTED;
use crate::client::{
    self, Batch, EARLIEST, Failure, FetchFrom, Fetched, Isolation, Leader, Log, Part, parts,
    read_batches,
};
use crate::history::{Body, Edn, Kind, Mop, int, map, text};

/// Offsets and values, by key.
type Reads = BTreeMap<i64, Vec<(i64, i64)>>;

/// What a poll has found so far.
#[derive(Default)]
struct Found {
    reads: Reads,
    positions: BTreeMap<i64, i64>,
    ends: BTreeMap<i64, i64>,
    /// What the answers claimed, for the checkers of watermarks and epochs.
    fetched: Vec<Edn>,
    corrupt: Vec<Edn>,
    /// Records that were served and left out, as their transaction was aborted.
    aborted: i64,
    errors: Vec<String>,
    answers: usize,
}

/// A fetch to one broker.
type Share = Vec<(i64, FetchFrom)>;

impl Session {
    /// Polls the assigned keys for up to `wait`; how many records were read.
    pub fn poll(&mut self, wait: Duration, max_bytes: i32) -> anyhow::Result<usize> {
        Ok(self.poll_records(wait, max_bytes)?.values().map(Vec::len).sum())
    }

    /// The same; the offsets and values by key.
    pub fn poll_records(&mut self, wait: Duration, max_bytes: i32) -> anyhow::Result<Reads> {
        let poll_ms = int(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        let mut extra = Extra::from([("poll-ms".to_owned(), poll_ms)]);
        let pending = self.invoke(self.polled(None), extra.clone())?;
        let mut found = Found::default();
        let shares = self.shares(max_bytes, &mut found);
        self.fetch(shares, wait, &mut found);
        for (name, list) in [("fetched", found.fetched), ("corrupt", found.corrupt)] {
            if !list.is_empty() {
                extra.insert(name.to_owned(), Edn::Vector(list));
            }
        }
        if let Some(error) = found.errors.first() {
            extra.insert("error".to_owned(), text(error));
        }
        if found.aborted > 0 {
            extra.insert("left-out".to_owned(), int(found.aborted));
        }
        if found.answers == 0 && !found.errors.is_empty() {
            let body = pending.body.clone();
            self.complete(pending, Kind::Fail, body, extra)?;
            return Ok(Reads::new());
        }
        self.positions.extend(found.positions);
        for (key, told) in found.ends {
            let end = self.ends.entry(key).or_insert(told);
            *end = told.max(*end);
        }
        if self.isolation == Isolation::Committed {
            for (key, records) in &found.reads {
                records.iter().for_each(|(offset, _)| self.keys.polled(*key, *offset));
            }
        }
        let body = self.polled(Some(found.reads.clone()));
        self.complete(pending, Kind::Ok, body, extra)?;
        Ok(found.reads)
    }

    /// What a poll is called, and what it has read.
    fn polled(&self, reads: Option<Reads>) -> Body {
        if self.isolation == Isolation::Committed {
            return Body::Poll(vec![Mop::Poll(reads)]);
        }
        let pair = |(offset, value): &(i64, i64)| Edn::Vector(vec![int(*offset), int(*value)]);
        let of_key = |(key, records): (i64, Vec<(i64, i64)>)| {
            (int(key), Edn::Vector(records.iter().map(pair).collect()))
        };
        let reads = reads.map(|reads| Edn::Map(reads.into_iter().map(of_key).collect()));
        Body::Other(UNCOMMITTED.to_owned(), reads.unwrap_or(Edn::Nil))
    }

    /// What to ask whom: each assigned key of its believed leader.
    fn shares(&mut self, max_bytes: i32, found: &mut Found) -> BTreeMap<u64, Share> {
        let wanted: Vec<_> = self
            .positions
            .iter()
            .map(|(key, offset)| (*key, *offset, self.keys.at(*key)))
            .collect();
        let unknown = self.client.leaderless(wanted.iter().map(|(_, _, at)| at));
        if !unknown.is_empty()
            && let Err(failure) = self.client.refresh(&unknown)
        {
            found.errors.push(failure.to_string());
        }
        let unknown = self.client.leaderless(wanted.iter().map(|(_, _, at)| at));
        let mut shares: BTreeMap<u64, Share> = BTreeMap::new();
        for (key, offset, at) in wanted {
            if unknown.contains(&at) {
                found.errors.push(format!("no leader of {at} is known"));
                continue;
            }
            match self.client.leader(&at) {
                Ok(Leader { broker, epoch }) => {
                    let from = FetchFrom { at, offset, epoch, max_bytes };
                    shares.entry(broker).or_default().push((key, from));
                }
                Err(failure) => found.errors.push(failure.to_string()),
            }
        }
        shares
    }

    /// Asks all at the same time, then reads the answers.
    fn fetch(&mut self, mut shares: BTreeMap<u64, Share>, wait: Duration, found: &mut Found) {
        let (patience, isolation) = (self.client.patience(), self.isolation);
        let deadline = Instant::now() + wait + patience;
        shares.retain(|broker, share| {
            let from: Vec<FetchFrom> = share.iter().map(|(_, from)| from.clone()).collect();
            let to = self.client.to(*broker);
            let sent = to.and_then(|to| client::send_fetch(to, &from, isolation, wait, patience));
            sent.map_err(|failure| self.fetch_failed(*broker, share, &failure, found)).is_ok()
        });
        for (broker, share) in shares {
            let Some(connection) = self.client.open(broker) else { continue };
            match client::receive_fetched(connection, deadline) {
                Ok(mut answers) => {
                    for (key, from) in &share {
                        match answers.remove(&from.at) {
                            Some(Ok(fetched)) => {
                                found.take(
                                    *key,
                                    self.keys.log(),
                                    isolation,
                                    (broker, from),
                                    fetched,
                                );
                            }
                            Some(Err(failure)) => {
                                self.refused(broker, *key, from, &failure, found);
                            }
                            None => found.errors.push(format!("no answer about {}", from.at)),
                        }
                    }
                }
                Err(failure) => self.fetch_failed(broker, &share, &failure, found),
            }
        }
    }

    fn fetch_failed(&mut self, broker: u64, share: &Share, failure: &Failure, found: &mut Found) {
        share.iter().for_each(|(_, from)| self.client.learn(broker, &from.at, failure));
        self.client.disconnect(broker);
        found.errors.push(format!("broker {broker}: {failure}"));
    }

    /// One partition's error. A position outside the log is reset to its start, as `auto.offset.reset=earliest` has it.
    fn refused(
        &mut self,
        broker: u64,
        key: i64,
        from: &FetchFrom,
        failure: &Failure,
        found: &mut Found,
    ) {
        found.errors.push(format!("{} at {}: {failure}", from.at, from.offset));
        if !failure.is(ResponseError::OffsetOutOfRange) {
            return self.client.learn(broker, &from.at, failure);
        }
        found.answers += 1;
        let patience = self.client.patience();
        let start = self
            .client
            .to(broker)
            .and_then(|to| client::list_offset(to, &from.at, from.epoch, EARLIEST, patience));
        match start {
            Ok(start) => drop(found.positions.insert(key, start)),
            Err(failure) => self.client.learn(broker, &from.at, &failure),
        }
    }
}

impl Found {
    /// The records at and above the position that `isolation` lets be seen.
    fn take(
        &mut self,
        key: i64,
        log: Log,
        isolation: Isolation,
        (broker, from): (u64, &FetchFrom),
        fetched: Fetched,
    ) {
        self.answers += 1;
        let (batches, damage) = read_batches(fetched.records.clone(), log);
        let (mut next, mut end) = (from.offset, 0);
        for (batch, part) in batches.iter().zip(parts(&batches, &fetched.aborted, isolation)) {
            if batch.base_offset < end {
                self.corrupt(key, batch.base_offset, "a batch that begins within the one before");
            }
            end = batch.end;
            match part {
                Part::Shown(batch) => self.read(key, log, batch, &mut next),
                Part::Aborted(batch) => self.aborted += i64::from(batch.count),
                Part::Odd(batch) => {
                    self.corrupt(key, batch.base_offset, "a control batch that ends nothing");
                }
                Part::Marker(_) | Part::Emptied => {}
            }
            next = batch.end.max(next);
        }
        self.ends.insert(key, fetched.high_watermark);
        if let Some(damage) = damage {
            self.corrupt(key, damage.offset, &damage.reason);
        }
        if next > from.offset {
            self.positions.insert(key, next);
        }
        if from.epoch >= 0 {
            self.fetched.push(map([
                ("key", int(key)),
                ("broker", int(i64::try_from(broker).unwrap_or(-1))),
                ("epoch", int(from.epoch)),
                ("high-watermark", int(fetched.high_watermark)),
                ("stable", int(fetched.stable)),
                ("committed", int(i64::from(isolation == Isolation::Committed))),
                ("log-start", int(fetched.log_start)),
                ("next", int(next)),
            ]));
        }
    }

    fn read(&mut self, key: i64, log: Log, batch: &Batch, next: &mut i64) {
        // A batch that holds the position may begin below it.
        let from = *next;
        for (offset, record) in batch.records.iter().filter(|(offset, _)| *offset >= from) {
            match Content::examine(key, log, record) {
                Ok(content) => self.reads.entry(key).or_default().push((*offset, content.value)),
                Err(reason) => self.corrupt(key, *offset, &reason),
            }
        }
        // Also behind what compaction took of it.
        *next = batch.end.max(from);
    }

    fn corrupt(&mut self, key: i64, offset: i64, reason: &str) {
        self.corrupt.push(Edn::Vector(vec![int(key), int(offset), text(reason)]));
    }
}
