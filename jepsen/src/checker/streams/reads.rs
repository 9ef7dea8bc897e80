//! Whether streams read as the log has them: each version is that record, nothing is left out, what was deleted is not
//! shown, and who waits for an offset gets what is before it. The same of records that are read by offset.

use super::log::{Log, Partition};
use super::seen::{Look, Seen};
use crate::checker::Findings;

pub fn check(seen: &Seen, log: &Log, found: &mut Findings) {
    for look in &seen.looks {
        let Some(partition) = log.partitions.get(&look.partition) else { continue };
        let of_key = partition.of_key(&look.key);
        events(look, partition, of_key, found);
        let is = partition.state_at(&look.key, look.version);
        if look.state.zip(is).is_some_and(|(told, is)| told != is) {
            let case = || {
                let (broker, key, version) = (look.broker, &look.key, look.version);
                format!(
                    "broker {broker}: {key} at {version} is told as {:?}, it is {is:?}",
                    look.state
                )
            };
            found.invalid("deletion-misjudged", case, [look.began, look.ended]);
        }
        let behind = look.min_offset.map(|offset| partition.version_before(&look.key, offset));
        if let Some(least) = behind.filter(|least| look.version < *least) {
            let case = || {
                format!(
                    "broker {}: {} at {} with offset {:?} asked for, {least} is before it",
                    look.broker, look.key, look.version, look.min_offset
                )
            };
            found.invalid("read-behind-min-offset", case, [look.began, look.ended]);
        }
        let all = i64::try_from(of_key.len()).unwrap_or(i64::MAX);
        if look.is_final && look.version != all {
            let case = || {
                let (broker, key, version) = (look.broker, &look.key, look.version);
                format!("broker {broker}: {key} is at {version} in the end, the log has {all}")
            };
            found.invalid("stream-incomplete", case, [look.ended]);
        }
    }
}

fn events(look: &Look, partition: &Partition, of_key: &[i64], found: &mut Findings) {
    let Some(events) = &look.events else { return };
    let hidden = partition.hidden_at(&look.key, look.version);
    let mut last: Option<i64> = None;
    for [version, offset, id] in events {
        let place = usize::try_from(version - 1).ok().and_then(|place| of_key.get(place));
        let record = place.and_then(|place| partition.records.get(place));
        let is_it = record.is_some_and(|it| (it.offset, it.id) == (*offset, *id));
        let is_next = last.is_none_or(|last| last + 1 == *version);
        if !is_it || !is_next {
            let case = || {
                let (broker, key) = (look.broker, &look.key);
                format!(
                    "broker {broker}: version {version} of {key} behind {last:?} is {id} at {offset}, \
                     the log has {record:?}"
                )
            };
            found.invalid("stream-differs", case, [look.began, look.ended]);
        }
        if *version <= hidden {
            let case = || {
                let (broker, key) = (look.broker, &look.key);
                format!("broker {broker}: version {version} of {key}, deleted with {hidden}")
            };
            found.invalid("deleted-shown", case, [look.began, look.ended]);
        }
        last = Some(*version);
    }
    if !look.is_final {
        return;
    }
    let shown_of = of_key.iter().skip(usize::try_from(hidden).unwrap_or(0));
    let kept = shown_of.filter(|offset| **offset >= partition.start).count();
    let shown = events.iter().filter(|[_, offset, _]| *offset >= partition.start).count();
    if shown < kept {
        let case = || format!("broker {}: {shown} of {kept} of {}", look.broker, look.key);
        found.invalid("stream-incomplete", case, [look.ended]);
    }
}

/// Records by offset: from where they were asked for, one after the other, as the log has them.
pub fn pages(seen: &Seen, log: &Log, found: &mut Findings) {
    for page in &seen.pages {
        let Some(partition) = log.partitions.get(&page.partition) else { continue };
        for (event, at) in page.events.iter().zip(page.from..) {
            if event.offset == Some(at) && partition.has(event) {
                continue;
            }
            let is = partition.records.get(&at);
            let case = || format!("partition {}: {event:?} at {at} is {is:?}", page.partition);
            found.invalid("records-differ", case, [page.began, page.ended]);
        }
    }
}
