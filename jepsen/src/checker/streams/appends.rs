//! Whether batches are where and what their senders were told, and whether they were to be accepted.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::batch::{Content, EXISTS};
use super::log::Log;
use super::seen::{Append, Outcome, Seen};
use crate::checker::Findings;

/// The first and the last version that somebody was told, and where.
type Given = (i64, i64, u64);

/// What can be said without the log: no version is given twice, nobody is first twice, refusals have reasons.
pub fn told(seen: &Seen, found: &mut Findings) {
    let mut given: BTreeMap<(i64, &str), Vec<Given>> = BTreeMap::new();
    let mut first: HashMap<String, u64> = HashMap::new();
    let rows = seen.appends.iter().flat_map(|append| &append.batch.rows);
    let ends = rows.filter(|row| row.content != Content::Event);
    let mortal: HashSet<&str> = ends.map(|row| row.key.as_str()).collect();
    for append in &seen.appends {
        if append.is_out_of_order {
            let case = || append.batch.shown();
            found.invalid("sequence-refused", case, [append.began, append.ended]);
        }
        match &append.outcome {
            Outcome::Acked { versions, .. } => {
                for taken in claims(append, &mortal) {
                    if let Some(before) = first.insert(taken.clone(), append.ended) {
                        let case = || format!("two were the first at {taken}");
                        found.invalid("unique-taken-twice", case, [before, append.ended]);
                    }
                }
                if let (Some((from, to)), Some(row)) = (versions, append.batch.rows.first()) {
                    let of_key = given.entry((append.batch.partition, &row.key)).or_default();
                    of_key.push((*from, *to, append.ended));
                }
            }
            // Until streams are there, conditions on them are refused.
            Outcome::Refused(why) if !(seen.is_turned_on && why.starts_with("streams_")) => {
                let case = || format!("{why}: {}", append.batch.shown());
                found.invalid("refused-without-reason", case, [append.ended]);
            }
            _ => {}
        }
    }
    for ((_, key), mut versions) in given {
        versions.sort_unstable();
        for pair in versions.windows(2) {
            let [(from, to, one), (next, _, other)] = pair[..] else { continue };
            if next <= to {
                let case = || format!("{key}: {from} to {to} and {next} were given");
                found.invalid("version-given-twice", case, [one, other]);
            }
        }
    }
}

/// Keys and tags of which a batch is the first, since it was accepted. Who deletes a stream makes room for another first.
fn claims(append: &Append, mortal: &HashSet<&str>) -> Vec<String> {
    let batch = &append.batch;
    let keys = batch.rows.iter().filter(|row| row.expected == Some(-1));
    let keys = keys.filter(|row| !mortal.contains(row.key.as_str()));
    let keys = keys.map(|row| format!("key {}", row.key));
    let own = |tag: &&(String, i64)| {
        tag.1 == -1 && batch.rows.iter().any(|row| row.tags.contains(&tag.0))
    };
    let tags = batch.no_tag_after.iter().filter(own);
    keys.chain(tags.map(|(tag, _)| format!("tag {tag} of partition {}", batch.partition))).collect()
}

/// Batches that were sent again although they had been accepted.
pub fn agains(seen: &Seen, found: &mut Findings) {
    for it in &seen.agains {
        match &it.again {
            None => {
                let case = || format!("accepted at {:?}, then refused", it.told);
                found.invalid("retry-answered-as-conflict", case, [it.ended]);
            }
            Some(again) if *again != it.told => {
                let case = || format!("answered {:?}, then {again:?}", it.told);
                found.invalid("retry-answered-otherwise", case, [it.ended]);
            }
            Some(_) => {}
        }
    }
}

/// What the log says of every batch.
pub fn placed(seen: &Seen, log: &Log, found: &mut Findings) {
    let mut sent = HashSet::new();
    for append in &seen.appends {
        sent.extend(append.batch.rows.iter().map(|row| row.id));
        let base = place(append, log, found);
        match (&append.outcome, base) {
            (Outcome::Acked { .. }, None) => {
                let case = || append.batch.shown();
                found.invalid("append-lost", case, [append.began, append.ended]);
            }
            (Outcome::Acked { offset, versions }, Some(base)) => {
                as_told(append, (*offset, *versions), base, log, found);
                conditions(append, base, log, found);
            }
            (Outcome::Unknown, Some(base)) => conditions(append, base, log, found),
            (Outcome::Unknown, None) | (_, None) => {}
            (outcome, Some(base)) => {
                let is_retry = append.tries > 1 && matches!(outcome, Outcome::Conflict(_));
                let name = if is_retry { "retry-answered-as-conflict" } else { "refused-appended" };
                let case = || format!("{} is at {base}", append.batch.shown());
                found.invalid(name, case, [append.began, append.ended]);
            }
        }
    }
    for (number, partition) in &log.partitions {
        for (offset, record) in &partition.records {
            if !sent.contains(&record.id) {
                let case = || format!("partition {number} offset {offset}: {record:?}");
                found.invalid("append-from-nowhere", case, []);
            }
        }
    }
}

/// The first offset of a batch, if any of it is there; it must be all of it then, in one piece and as it was sent.
fn place(append: &Append, log: &Log, found: &mut Findings) -> Option<i64> {
    let batch = &append.batch;
    let base = batch.rows.iter().zip(0..).find_map(|(row, at)| Some(log.place(row.id)?.1 - at))?;
    for (row, at) in batch.rows.iter().zip(base..) {
        let record = log.partitions.get(&batch.partition).and_then(|it| it.records.get(&at));
        let is_same = record.is_some_and(|it| {
            (it.id, &it.key, &it.tags, it.content) == (row.id, &row.key, &row.tags, row.content)
        });
        if !is_same {
            let elsewhere = log.place(row.id);
            let (name, case) = match elsewhere {
                Some((partition, _)) if partition != batch.partition => {
                    ("misplaced", format!("{} is in partition {partition}", batch.shown()))
                }
                _ => ("batch-torn", format!("{}: {record:?} is at {at}", batch.shown())),
            };
            found.invalid(name, || case, [append.began, append.ended]);
            break;
        }
    }
    Some(base)
}

fn as_told(
    append: &Append,
    (offset, versions): (Option<i64>, Option<(i64, i64)>),
    base: i64,
    log: &Log,
    found: &mut Findings,
) {
    if let Some(offset) = offset.filter(|offset| *offset != base) {
        let case = || format!("{} is at {base}, not at {offset}", append.batch.shown());
        found.invalid("offset-told-wrongly", case, [append.ended]);
    }
    let rows = &append.batch.rows;
    let (Some(told), Some(first), Some(last)) = (versions, rows.first(), rows.last()) else {
        return;
    };
    let is = log.version(first.id).zip(log.version(last.id));
    if is.is_some_and(|is| is != told) {
        let case = || format!("{}: told {told:?}, it is {is:?}", append.batch.shown());
        found.invalid("version-told-wrongly", case, [append.ended]);
    }
}

/// Whether what a batch asked for held where it is.
fn conditions(append: &Append, base: i64, log: &Log, found: &mut Findings) {
    let batch = &append.batch;
    let Some(partition) = log.partitions.get(&batch.partition) else { return };
    let mut broken = Vec::new();
    for (row, at) in batch.rows.iter().zip(base..) {
        let version = partition.version_before(&row.key, at);
        let is_visible = partition.is_visible_at(&row.key, version);
        let holds = match row.expected {
            Some(-1) => !is_visible,
            Some(EXISTS) => is_visible,
            Some(expected) if expected >= 0 => version == expected,
            _ => true,
        };
        if !holds {
            broken.push(format!("{} was at version {version}", row.key));
        }
    }
    if batch.expected_offset.is_some_and(|expected| expected != base) {
        broken.push(format!("expected at {:?}", batch.expected_offset));
    }
    for (tag, after) in &batch.no_tag_after {
        if partition.has_tag_between(tag, *after, base) {
            broken.push(format!("{tag} was there behind {after}"));
        }
    }
    for what in broken {
        let case = || format!("{} is at {base}: {what}", batch.shown());
        found.invalid("condition-ignored", case, [append.began, append.ended]);
    }
}
