//! Whether listeners, who come back where they were, hear of every record once and in order.
//!
//! Of a key its versions come one after the other; the end of a stream is told as such, and hides what was before it. Of
//! all records the offsets of each partition come one after the other. Only what was removed may be missing.

use std::collections::BTreeMap;

use super::batch::Content;
use super::log::{Log, Partition};
use super::seen::{Event, Heard, Seen};
use crate::checker::Findings;

/// How far a listener is, by partition; of a key by version.
#[derive(Default)]
struct Listener {
    last: BTreeMap<i64, i64>,
    is_closed: bool,
    is_final: bool,
}

pub fn check(seen: &Seen, log: &Log, found: &mut Findings) {
    let mut listeners: BTreeMap<i64, (Listener, Vec<&Heard>)> = BTreeMap::new();
    for heard in &seen.heard {
        listeners.entry(heard.listener).or_default().1.push(heard);
    }
    for (number, (mut listener, mut all)) in listeners {
        all.sort_by_key(|heard| heard.began);
        for heard in &all {
            listener.is_final |= heard.is_final;
            for event in &heard.events {
                let Some(wrong) = listener.hear(heard, event, log) else { continue };
                let case = || format!("listener {number} of {:?}: {event:?}", heard.key);
                found.invalid(wrong, case, [heard.began, heard.ended]);
            }
        }
        let missing = all.first().and_then(|heard| listener.missing(heard, log));
        if let Some(missing) = missing.filter(|_| listener.is_final) {
            let case = || format!("listener {number} did not hear of {missing}");
            found.invalid("listener-incomplete", case, []);
        }
    }
}

impl Listener {
    /// What is wrong with an event behind those it had.
    fn hear(&mut self, heard: &Heard, event: &Event, log: &Log) -> Option<&'static str> {
        let Some(partition) = log.partitions.get(&event.partition) else {
            return Some("listener-differs");
        };
        let is_after_end = std::mem::replace(
            &mut self.is_closed,
            heard.key.is_some() && event.content == Content::Close,
        );
        let (at, is_it) = match &heard.key {
            Some(key) => {
                let at = event.version?;
                let record = partition.of_version(key, at);
                let is_it = record.is_some_and(|it| match event.offset {
                    Some(offset) => it.offset == offset && partition.has(event),
                    None => it.content == event.content,
                });
                (at, is_it)
            }
            None => (event.offset?, partition.has(event)),
        };
        let last = self.last.insert(event.partition, at);
        // Versions begin with 1, offsets with 0.
        let next = last.map_or(i64::from(heard.key.is_some()), |last| last + 1);
        // The end of a stream stands for all that was before.
        let hides = heard.key.is_some() && event.content != Content::Event;
        let mut skipped = (next..at).filter_map(|it| offset(partition, heard, it));
        if !is_it || is_after_end {
            Some("listener-differs")
        } else if at < next {
            Some("listener-repeats")
        } else if !hides && skipped.any(|offset| offset >= partition.start) {
            Some("listener-gap")
        } else {
            None
        }
    }

    /// The first that it should have heard of as well.
    fn missing(&self, heard: &Heard, log: &Log) -> Option<String> {
        let of_listener = log.partitions.iter();
        let mut all =
            of_listener.filter(|(number, _)| heard.key.is_none() || **number == heard.partition);
        all.find_map(|(number, partition)| {
            let first = i64::from(heard.key.is_some());
            let next = self.last.get(number).map_or(first, |last| last + 1);
            let end = match &heard.key {
                Some(key) => i64::try_from(partition.of_key(key).len()).unwrap_or(i64::MAX),
                None => partition.end - 1,
            };
            let mut left = (next..=end).filter_map(|it| offset(partition, heard, it));
            let missed = left.find(|offset| *offset >= partition.start)?;
            Some(format!("offset {missed} of partition {number}"))
        })
    }
}

/// Where a record is that a listener counts as this.
fn offset(partition: &Partition, heard: &Heard, at: i64) -> Option<i64> {
    match &heard.key {
        Some(key) => partition.of_version(key, at).map(|record| record.offset),
        None => Some(at),
    }
}
