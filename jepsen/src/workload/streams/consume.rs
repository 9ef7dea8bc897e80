//! The logs of partitions as consumers read them, by Kafka's protocol, and what is removed of them once it was read.

use std::time::{Duration, Instant};

use super::answer::id_of;
use super::append::{CLOSE, ID, error};
use super::known::Known;
use crate::checker::streams::{CONSUME, Content};
use crate::client::{self, Batch, EARLIEST, Failure, FetchFrom, Log, Record};
use crate::history::{Body, Edn, Kind, int, map, text};
use crate::workload::dump::rows;
use crate::workload::session::{Extra, Session};

const FETCH_BYTES: i32 = 4 << 20;
/// Of the records that were read, so many of the newest are left.
const LEFT: i64 = 20;

/// Part of a log.
pub struct Part {
    start: i64,
    pub end: i64,
    records: Vec<Edn>,
    /// `[base-offset producer-id epoch first-sequence count]` each.
    batches: Vec<[i64; 5]>,
}

/// Reads a partition on from where somebody was before, or all that is there, up to the high watermark; the end.
pub fn consume(
    session: &mut Session,
    known: &Known,
    partition: u32,
    is_final: bool,
) -> anyhow::Result<Option<i64>> {
    let from = if is_final { 0 } else { known.consumed(partition) };
    let value = map([
        ("partition", int(partition)),
        ("from", int(from)),
        ("final", Edn::Boolean(is_final)),
    ]);
    let body = Body::Other(CONSUME.to_owned(), value);
    let pending = session.invoke(body.clone(), Extra::new())?;
    let part = match read(session, partition, from) {
        Ok(part) => part,
        Err(failure) => {
            session.complete(pending, Kind::Fail, body, error(failure.to_string()))?;
            return Ok(None);
        }
    };
    let extra = Extra::from([
        ("start".to_owned(), int(part.start)),
        ("end".to_owned(), int(part.end)),
        ("records".to_owned(), Edn::Vector(part.records)),
    ]);
    session.complete(pending, Kind::Ok, body, extra)?;
    if is_final {
        let value = map([("key", int(partition)), ("batches", rows(&part.batches))]);
        session.env.recorder.nemesis("batches", value)?;
    }
    known.note_consumed(partition, part.end);
    known.note_end(partition, part.end);
    Ok(Some(part.end))
}

/// Reads on and removes what was read, but for the newest.
pub fn consume_and_delete(
    session: &mut Session,
    known: &Known,
    partition: u32,
) -> anyhow::Result<()> {
    let Some(end) = consume(session, known, partition, false)? else { return Ok(()) };
    let before = end - LEFT;
    if before <= 0 {
        return Ok(());
    }
    let body = |low: i64| {
        let value = Edn::Vector(vec![int(partition), int(low)]);
        Body::Other("delete-records".to_owned(), value)
    };
    let pending = session.invoke(body(before), Extra::new())?;
    let (at, patience) = (session.keys.at(partition.into()), session.client.patience());
    let leader = match session.client.leader(&at) {
        Ok(leader) => leader.broker,
        Err(failure) => return session.failed(pending, &failure, Extra::new()),
    };
    let deleted = session
        .client
        .to(leader)
        .and_then(|to| client::delete_records(to, &at, before, patience))
        .inspect_err(|failure| session.client.learn(leader, &at, failure));
    match deleted {
        Ok(low) => session.complete(pending, Kind::Ok, body(low), Extra::new()),
        Err(failure) => session.failed(pending, &failure, Extra::new()),
    }
}

fn read(session: &mut Session, partition: u32, from: i64) -> Result<Part, Failure> {
    let at = session.keys.at(partition.into());
    let leader = session.client.leader(&at)?.broker;
    let part = read_from(session, leader, partition, from);
    part.inspect_err(|failure| session.client.learn(leader, &at, failure))
}

fn read_from(
    session: &mut Session,
    leader: u64,
    partition: u32,
    from: i64,
) -> Result<Part, Failure> {
    let (at, patience) = (session.keys.at(partition.into()), session.client.patience());
    let to = session.client.to(leader)?;
    let start = client::list_offset(to, &at, -1, EARLIEST, patience)?;
    let deadline = Instant::now() + patience * 10;
    let mut next = from.max(start);
    let mut part = Part { start, end: i64::MAX, records: Vec::new(), batches: Vec::new() };
    while next < part.end {
        let wanted = FetchFrom { at: at.clone(), offset: next, epoch: -1, max_bytes: FETCH_BYTES };
        let fetched = client::fetch(to, wanted, Duration::ZERO, patience)?;
        part.end = part.end.min(fetched.high_watermark);
        let (batches, damage) = client::read_batches(fetched.records, Log::Whole);
        if let Some(damage) = damage {
            return Err(Failure::Unanswered(format!(
                "{at} at {}: {}",
                damage.offset, damage.reason
            )));
        }
        let before = next;
        for batch in &batches {
            part.take(batch, next)?;
            next = next.max(batch.end);
        }
        if next < part.end && (next == before || Instant::now() >= deadline) {
            return Err(Failure::Unanswered(format!("{at} ends at {next}, not {}", part.end)));
        }
    }
    // Batches may reach beyond the end that was told first.
    part.end = part.end.max(next);
    Ok(part)
}

impl Part {
    /// Takes the records of a batch from an offset on.
    fn take(&mut self, batch: &Batch, from: i64) -> Result<(), Failure> {
        let write = batch.write;
        let (epoch, sequence) = (i64::from(write.producer_epoch), i64::from(write.sequence));
        let row = [batch.base_offset, write.producer_id, epoch, sequence, batch.count.into()];
        self.batches.push(row);
        for (offset, record) in batch.records.iter().filter(|(offset, _)| *offset >= from) {
            let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let (id, content) = what(record);
            if id.is_none() && content == Content::Event {
                return Err(Failure::Unanswered(format!("no number at {offset}")));
            }
            let id = id.map_or(Edn::Nil, Edn::Integer);
            let tags = record.headers.iter().filter(|(name, _)| **name == *b"quorate-tag");
            let tags = tags
                .map(|(_, tag)| text(String::from_utf8_lossy(tag.as_deref().unwrap_or_default())));
            let tags = Edn::Vector(tags.collect());
            let row = vec![int(*offset), text(key), id, tags, text(content.name())];
            self.records.push(Edn::Vector(row));
        }
        Ok(())
    }
}

/// The number of a record, which a tombstone may have in a header, and what it is.
fn what(record: &Record) -> (Option<i64>, Content) {
    let header =
        |wanted: &str| record.headers.iter().find(|(name, _)| **name == *wanted.as_bytes());
    if let Some(value) = record.value.as_deref() {
        let value = serde_json::from_slice(value).ok();
        return (value.and_then(|value| id_of(&value)), Content::Event);
    }
    let id = header(ID).and_then(|(_, value)| value.as_deref());
    let id = id.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
    (id, if header(CLOSE).is_some() { Content::Close } else { Content::Tombstone })
}
