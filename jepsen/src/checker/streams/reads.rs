//! Whether streams read as the log has them: each version is that record, nothing is left out, and who waits for an
//! offset gets what is before it.

use super::log::{Log, Partition};
use super::seen::{Look, Seen};
use crate::checker::Findings;

pub fn check(seen: &Seen, log: &Log, found: &mut Findings) {
    for look in &seen.looks {
        let Some(partition) = log.partitions.get(&look.partition) else { continue };
        let of_key = partition.of_key(&look.key);
        events(look, partition, of_key, found);
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
        last = Some(*version);
    }
    if !look.is_final {
        return;
    }
    let kept = of_key.iter().filter(|offset| **offset >= partition.start).count();
    let shown = events.iter().filter(|[_, offset, _]| *offset >= partition.start).count();
    if shown < kept {
        let case = || format!("broker {}: {shown} of {kept} of {}", look.broker, look.key);
        found.invalid("stream-incomplete", case, [look.ended]);
    }
}
