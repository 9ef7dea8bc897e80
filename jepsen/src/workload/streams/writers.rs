//! What writers do: most contend on one key, others use many keys and conditions of every kind.

use rand::Rng;

use super::answer::Answer;
use super::append::{Sent, Via, again, append, token};
use super::consume;
use super::known::{HOT, Known};
use super::listen::{Which, listen};
use super::look::{How, newest, version};
use super::pages::records;
use super::producer::Producer;
use crate::checker::streams::{Batch, Row};
use crate::workload::session::Session;

/// Records of a batch before there are streams, so that there is something to build them from.
const BULK: u32 = 40;
/// One condition in so many is wrong on purpose.
const WRONG: u32 = 16;

/// What a process has of its own.
#[derive(Default)]
pub struct Writer {
    sent: Option<Sent>,
    producer: Producer,
    /// The version of the hot key as it was told last.
    hot: Option<i64>,
}

fn is_persistent(session: &Session) -> bool {
    let crate::history::Process::Client(number) = session.process else { return false };
    number % 2 == 0
}

impl Writer {
    /// An append whose answer is kept, to be asked for again.
    pub fn append(
        &mut self,
        session: &mut Session,
        known: &Known,
        via: Via,
        mut batch: Batch,
    ) -> anyhow::Result<Answer> {
        if via != Via::Kafka && is_persistent(session) {
            batch.token = batch.rows.first().map(token);
        }
        let (answer, sent) = append(session, known, via, batch)?;
        self.sent = sent.or(self.sent.take());
        Ok(answer)
    }

    fn again(&mut self, session: &mut Session, known: &Known) -> anyhow::Result<()> {
        match self.sent.take() {
            Some(sent) => again(session, known, &sent),
            None => Ok(()),
        }
    }

    /// Contends on the hot key with whoever else does.
    pub fn contend(&mut self, session: &mut Session, known: &Known) -> anyhow::Result<()> {
        if !known.is_on() {
            return self.early(session, known, HOT);
        }
        let Some(current) = self.hot.filter(|_| session.random.random_ratio(9, 10)) else {
            let told = version(session, known, HOT)?;
            self.hot = told.or_else(|| Some(known.version(HOT)));
            return Ok(());
        };
        match session.random.random_range(0..20) {
            0 => newest(session, known, HOT, How::default()),
            1 => newest(session, known, HOT, How { committed: true, min_offset: None }),
            2 => self.again(session, known),
            3..=5 => self.mortal(session, known),
            6 => aside(session, known),
            _ => {
                let via = any_way(session);
                let is_wrong = session.random.random_ratio(1, WRONG);
                let expected = if is_wrong { current - 1 } else { current };
                let more = session.random.random_ratio(1, 8);
                let rows = rows(known, HOT, exactly(expected), if more { 3 } else { 1 });
                let count = i64::try_from(rows.len())?;
                self.hot = match self.append(session, known, via, known.batch(rows))? {
                    Answer::Acked { versions: Some((_, last)), .. } => Some(last),
                    Answer::Acked { versions: None, .. } => Some(expected.max(0) + count),
                    Answer::Conflict { current, .. } => Some(current),
                    _ => None,
                };
                Ok(())
            }
        }
    }

    /// Anything but the hot key.
    pub fn mix(&mut self, session: &mut Session, known: &Known) -> anyhow::Result<()> {
        let key = known.other(&mut session.random);
        if !known.is_on() {
            return self.early(session, known, key);
        }
        match session.random.random_range(0..20) {
            0..=4 => self.one_key(session, known, key),
            5..=7 => self.claim(session, known),
            8..=10 => self.many_conditions(session, known),
            11..=13 => self.producer.burst(session, known),
            14 => self.again(session, known),
            16 | 17 => self.mortal(session, known),
            18 => aside(session, known),
            15 => {
                let partition = session.random.random_range(0..known.partitions);
                consume::consume(session, known, partition, false).map(drop)
            }
            _ => look(session, known),
        }
    }

    /// Before there are streams: records without conditions, and conditions that are refused.
    fn early(&mut self, session: &mut Session, known: &Known, key: &str) -> anyhow::Result<()> {
        let via = if session.random.random() { Via::Kafka } else { Via::Records };
        let (expected, count) = if session.random.random_ratio(1, 4) {
            (Some(-1), 1)
        } else {
            (None, session.random.random_range(1..=BULK))
        };
        let rows = rows(known, key, expected, count);
        self.append(session, known, via, known.batch(rows)).map(drop)
    }

    /// Several events of one key, upon its version, as its first ones, or whatever there is.
    fn one_key(&mut self, session: &mut Session, known: &Known, key: &str) -> anyhow::Result<()> {
        let (via, count) = (any_way(session), session.random.random_range(1..=4));
        let expected = match session.random.random_range(0..4) {
            0 => Some(-1),
            1 => None,
            _ => exactly(known.version(key)),
        };
        let rows = rows(known, key, expected, count);
        self.append(session, known, via, known.batch(rows)).map(drop)
    }

    /// Wants an address that others want as well: as the first of its key, or as the first with its tag.
    fn claim(&mut self, session: &mut Session, known: &Known) -> anyhow::Result<()> {
        let number = known.claim();
        let address = format!("email:{number}@example.com");
        if number.is_multiple_of(2) || known.padding > 0 {
            let rows = rows(known, &address, Some(-1), 1);
            let via = any_way(session);
            return self.append(session, known, via, known.batch(rows)).map(drop);
        }
        let partition = u32::try_from(number / 2)? % known.partitions;
        // Each has a key of its own, and only the tag is the same.
        let own = known.own_key(&format!("user-{}", session.random.random::<u32>()), partition);
        let row = Row { tags: vec![address.clone()], ..known.row(&own, None) };
        let mut batch = known.batch(vec![row]);
        batch.no_tag_after.push((address, -1));
        let via = any_way(session);
        self.append(session, known, via, batch).map(drop)
    }

    /// Several keys of a partition, each with what is expected of it, a tag and the end of the log.
    fn many_conditions(&mut self, session: &mut Session, known: &Known) -> anyhow::Result<()> {
        let partition = session.random.random_range(0..known.partitions);
        let keys = known.others(partition, 3, &mut session.random);
        let mut rows = Vec::new();
        for key in keys {
            let expected =
                exactly(known.version(key)).filter(|_| session.random.random_ratio(3, 4));
            rows.push(known.row(key, expected));
        }
        let Some(first) = rows.first_mut() else { return Ok(()) };
        let tag = format!("tag-{partition}");
        first.tags.push(tag.clone());
        let mut batch = known.batch(rows);
        if session.random.random() && known.padding == 0 {
            let after = known.tag(partition, &tag);
            batch.no_tag_after.push((tag, after));
        }
        if session.random.random_ratio(1, 4) {
            batch.expected_offset = Some(known.end(partition));
        }
        let via = if session.random.random() { Via::Kafka } else { Via::Records };
        self.append(session, known, via, batch).map(drop)
    }
}

/// A read of any key: linearizable, committed, or committed and not behind what somebody was told.
fn look(session: &mut Session, known: &Known) -> anyhow::Result<()> {
    let Some(key) = known.any_key(&mut session.random) else { return Ok(()) };
    match session.random.random_range(0..4) {
        0 => version(session, known, &key).map(drop),
        1 => newest(session, known, &key, How::default()),
        2 => newest(session, known, &key, How { committed: true, min_offset: None }),
        _ => {
            let min_offset = Some(known.end(known.partition(&key)));
            newest(session, known, &key, How { committed: true, min_offset })
        }
    }
}

/// What is beside appends and reads of streams: somebody listens, or reads records.
fn aside(session: &mut Session, known: &Known) -> anyhow::Result<()> {
    match session.random.random_range(0..4) {
        0 => listen(session, known, Which::Hot),
        1 => listen(session, known, Which::Mortal),
        2 => listen(session, known, Which::Records),
        _ => records(session, known),
    }
}

pub fn any_way(session: &mut Session) -> Via {
    match session.random.random_range(0..8) {
        0..=3 => Via::Stream,
        4 => Via::Records,
        _ => Via::Kafka,
    }
}

/// A key that has none is expected to have none.
pub fn exactly(version: i64) -> Option<i64> {
    Some(if version <= 0 { -1 } else { version })
}

/// So many records of a key, of which the first expects something.
fn rows(known: &Known, key: &str, expected: Option<i64>, count: u32) -> Vec<Row> {
    (0..count).map(|place| known.row(key, expected.filter(|_| place == 0))).collect()
}
