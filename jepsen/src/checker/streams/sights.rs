//! Whether for everything that somebody was told there is a moment during the operation at which it was so.
//!
//! The log says which states a partition went through, one batch after the other: state n is that of n records. What is
//! open is when each change took place: not before its batch was sent, nor before the beginning of an operation that was
//! told of an earlier state; not after its batch was acknowledged, nor after the end of one that was told of a later
//! state. Since the order is known there are such moments for all of them exactly if, for each change, the latest of the
//! first is not behind the earliest of the second: each change at the first moment it can be leaves a moment for everybody.

use std::fmt;

use super::batch::EXISTS;
use super::log::{Log, Partition};
use super::seen::{Append, Conflict, Event, Outcome, Seen, State, Why};
use crate::checker::Findings;

/// What an operation says of a partition: that it had at least so many records at its end, and at most so many at its
/// beginning.
struct Sight {
    began: u64,
    ended: u64,
    least: i64,
    most: Option<i64>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Sent,
    Told(String),
    Read(String),
}

/// A limit in time and where it is from.
#[derive(Clone)]
struct Bound {
    at: u64,
    what: What,
}

/// For each record when it can have come, and the batch that it is of.
struct Changes {
    after: Vec<Option<Bound>>,
    before: Vec<Option<Bound>>,
    batches: Vec<(i64, i64)>,
}

pub fn check(seen: &Seen, log: &Log, found: &mut Findings) {
    for (number, partition) in &log.partitions {
        let mut changes = Changes::of(partition);
        let mut sights = Vec::new();
        for append in seen.appends.iter().filter(|it| it.batch.partition == *number) {
            match (&append.outcome, changes.add(append, log)) {
                (Outcome::Conflict(conflict), _) => {
                    sights.extend(told(append, conflict, partition, found));
                }
                (Outcome::Acked { .. }, Some(end)) => sights.push(Sight {
                    began: append.began,
                    ended: append.ended,
                    least: end,
                    most: None,
                    what: What::Sent,
                }),
                _ => {}
            }
        }
        for look in seen.looks.iter().filter(|it| it.partition == *number) {
            let what = || format!("broker {}: {} at {}", look.broker, look.key, look.version);
            let Some((least, most)) = of_version(partition, &look.key, look.version) else {
                found.invalid("stale-read", || format!("{}, never there", what()), [look.ended]);
                continue;
            };
            let most = most.filter(|_| look.is_linearizable);
            let (began, ended) = (look.began, look.ended);
            sights.push(Sight { began, ended, least, most, what: What::Read(what()) });
        }
        for read in seen.consumed.iter().filter(|it| it.partition == *number) {
            let what = What::Read(format!("records up to {}", read.end));
            let last = read.records.last().map_or(0, |record| record.offset + 1);
            let (began, ended) = (read.ended, read.ended);
            sights.push(Sight { began, ended, least: last, most: None, what });
        }
        sights.extend(read_live(seen, *number));
        for sight in &sights {
            changes.see(sight, *number, found);
        }
        changes.judge(*number, found);
    }
}

/// What a conflict says, unless it cannot be true at all.
fn told(
    append: &Append,
    conflict: &Conflict,
    partition: &Partition,
    found: &mut Findings,
) -> Option<Sight> {
    let current = conflict.current;
    let of = |about: &str| format!("{:?} of {about} is {current}", conflict.why);
    let (about, is_conflict, range) = match conflict.why {
        Why::Version => {
            let about = append.about(conflict)?;
            let mut of_key = append.batch.rows.iter().filter(|row| row.key == about);
            let is_met = match of_key.find_map(|row| row.expected)? {
                -1 => !partition.is_visible_at(about, current),
                EXISTS => partition.is_visible_at(about, current),
                expected => current == expected,
            };
            (about.to_owned(), !is_met, of_version(partition, about, current))
        }
        Why::Closed => {
            let about = append.about(conflict)?;
            let is_closed = partition.state_at(about, current) == Some(State::Closed);
            (about.to_owned(), is_closed, of_version(partition, about, current))
        }
        Why::Tag => {
            let mut tags = append.batch.no_tag_after.iter();
            let is_it = |it: &&(String, i64)| match &conflict.about {
                Some(about) => it.0 == *about,
                None => append.batch.no_tag_after.len() == 1,
            };
            let (tag, after) = tags.find(is_it)?;
            (tag.clone(), current > *after, of_tag(partition, tag, current))
        }
        Why::Offset => {
            let is_conflict = append.batch.expected_offset != Some(current);
            let range = (current <= partition.end).then_some((current, Some(current)));
            ("the end".to_owned(), is_conflict, range)
        }
    };
    let (began, ended) = (append.began, append.ended);
    match range.filter(|_| is_conflict) {
        Some((least, most)) => {
            Some(Sight { began, ended, least, most, what: What::Told(of(&about)) })
        }
        None => {
            let why = if is_conflict { "never so" } else { "no conflict" };
            let case = || format!("{}: {}, {why}", append.batch.shown(), of(&about));
            found.invalid("conflict-unjustified", case, [began, ended]);
            None
        }
    }
}

/// What readers of records saw of a partition, live or as a page.
fn read_live(seen: &Seen, number: i64) -> Vec<Sight> {
    let end = |events: &[Event]| {
        let of_this = events.iter().filter(|event| event.partition == number);
        of_this.filter_map(|event| event.offset).max().map_or(0, |last| last + 1)
    };
    let heard = seen.heard.iter().map(|heard| {
        let (at, least) = (heard.ended, end(&heard.events));
        let what = What::Read(format!("listener {} up to {least}", heard.listener));
        Sight { began: at, ended: at, least, most: None, what }
    });
    let pages = seen.pages.iter().filter(|page| page.partition == number).map(|page| {
        let (began, ended, least) = (page.began, page.ended, end(&page.events));
        // All that was there when it was asked for, and then there was no more.
        let most = (page.is_linearizable && page.is_whole).then_some(least.max(page.from));
        let what = What::Read(format!("records from {} to {least}", page.from));
        Sight { began, ended, least, most, what }
    });
    heard.chain(pages).collect()
}

/// How many records there are at least and at most while a key has that version.
fn of_version(partition: &Partition, key: &str, version: i64) -> Option<(i64, Option<i64>)> {
    let of_key = partition.of_key(key);
    let version = usize::try_from(version).ok()?;
    let least = match version.checked_sub(1) {
        None => 0,
        Some(last) => of_key.get(last)? + 1,
    };
    Some((least, of_key.get(version).copied()))
}

/// The same while a tag's last record is there.
fn of_tag(partition: &Partition, tag: &str, last: i64) -> Option<(i64, Option<i64>)> {
    let of_tag = partition.of_tag(tag);
    let place = of_tag.binary_search(&last).ok()?;
    Some((last + 1, of_tag.get(place + 1).copied()))
}

fn place(offset: i64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Changes {
    fn of(partition: &Partition) -> Changes {
        let length = place(partition.end);
        let batches = (0..partition.end).map(|offset| (offset, offset + 1)).collect();
        Changes { after: vec![None; length], before: vec![None; length], batches }
    }

    /// A batch that is in the log; up to where.
    fn add(&mut self, append: &Append, log: &Log) -> Option<i64> {
        let (number, base) = log.place(append.batch.rows.first()?.id)?;
        let end = base + append.batch.count();
        if number != append.batch.partition || place(end) > self.batches.len() {
            return None;
        }
        for offset in place(base)..place(end) {
            self.batches[offset] = (base, end);
            later(&mut self.after[offset], append.began, &What::Sent);
        }
        Some(end)
    }

    /// Nobody sees half of a batch.
    fn see(&mut self, sight: &Sight, number: i64, found: &mut Findings) {
        let whole = |state: i64| self.batches.get(place(state)).map_or(state, |batch| batch.0);
        let least = match self.batches.get(place(sight.least)) {
            Some((base, end)) if *base < sight.least => *end,
            _ => sight.least,
        };
        let most = sight.most.map(whole);
        if most.is_some_and(|most| most < least) {
            let case = || format!("partition {number}: {} is within a batch", sight.what);
            return found.invalid("batch-torn", case, [sight.began, sight.ended]);
        }
        if let Some(before) = least.checked_sub(1).and_then(|last| self.before.get_mut(place(last)))
        {
            earlier(before, sight.ended, &sight.what);
        }
        if let Some(after) = most.and_then(|most| self.after.get_mut(place(most))) {
            later(after, sight.began, &sight.what);
        }
    }

    fn judge(mut self, number: i64, found: &mut Findings) {
        let length = self.after.len();
        for offset in 1..length {
            if let Some(bound) = self.after[offset - 1].clone() {
                later(&mut self.after[offset], bound.at, &bound.what);
            }
        }
        for offset in (1..length).rev() {
            if let Some(bound) = self.before[offset].clone() {
                earlier(&mut self.before[offset - 1], bound.at, &bound.what);
            }
        }
        let mut told = None;
        for (offset, pair) in self.after.iter().zip(&self.before).enumerate() {
            let (Some(after), Some(before)) = pair else { continue };
            if after.at <= before.at || told == Some(after.at) {
                continue;
            }
            // Of one that is too early or too late all further records say the same.
            told = Some(after.at);
            let name = match (&after.what, &before.what) {
                (What::Sent, _) => "seen-before-sent",
                (What::Told(_), _) => "conflict-unjustified",
                (What::Read(_), _) => "stale-read",
            };
            let case = || {
                format!(
                    "partition {number}: record {offset} was there by {} ({}), and not yet at {} ({})",
                    before.at, before.what, after.at, after.what
                )
            };
            found.invalid(name, case, [before.at, after.at]);
        }
    }
}

fn later(bound: &mut Option<Bound>, at: u64, what: &What) {
    if bound.as_ref().is_none_or(|it| it.at < at) {
        *bound = Some(Bound { at, what: what.clone() });
    }
}

fn earlier(bound: &mut Option<Bound>, at: u64, what: &What) {
    if bound.as_ref().is_none_or(|it| it.at > at) {
        *bound = Some(Bound { at, what: what.clone() });
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Sent => f.write_str("its sender"),
            What::Told(what) => write!(f, "refused: {what}"),
            What::Read(what) => write!(f, "read: {what}"),
        }
    }
}
