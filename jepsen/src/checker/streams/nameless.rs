//! Whose tombstones those are that came without a number.
//!
//! Who deletes a stream cannot give its tombstone one. That of an answer is where the answer says. Any other has to be
//! of somebody without an answer; of each key there is at most one such, since nobody deletes it that way again.

use std::collections::BTreeMap;

use super::log::Partition;
use super::seen::{Append, NAMELESS, Outcome, Record, Seen};

/// Gives tombstones the numbers of the batches that they are of; those of nobody keep none.
pub fn name(seen: &Seen, partitions: &mut BTreeMap<i64, Partition>) {
    let mut others: Vec<&Append> = Vec::new();
    for append in seen.appends.iter().filter(|it| it.batch.is_nameless()) {
        let Some(row) = append.batch.rows.first() else { continue };
        let told = match append.outcome {
            Outcome::Acked { offset, .. } => offset,
            _ => None,
        };
        let of_it = partitions.get_mut(&append.batch.partition);
        let record = of_it.zip(told).and_then(|(it, offset)| it.records.get_mut(&offset));
        match record.filter(|record| may_be(append, record)) {
            Some(record) => record.id = row.id,
            None => others.push(append),
        }
    }
    // Of those that were refused it is only if it can be of nobody else.
    others.sort_by_key(|append| !matches!(append.outcome, Outcome::Unknown));
    for (number, partition) in partitions {
        for record in partition.records.values_mut() {
            let is_it = |it: &&Append| it.batch.partition == *number && may_be(it, record);
            if let Some(place) = others.iter().position(is_it)
                && let Some(row) = others.remove(place).batch.rows.first()
            {
                record.id = row.id;
            }
        }
    }
}

fn may_be(append: &Append, record: &Record) -> bool {
    let row = append.batch.rows.first();
    record.id == NAMELESS
        && row.is_some_and(|row| (&row.key, row.content) == (&record.key, record.content))
}
