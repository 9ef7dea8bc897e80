//! `inconsistent-offsets`: an offset of a partition that holds two values. Somebody was told of a write, or read
//! one, that another one replaced.

use super::Cases;
use crate::checker::analysis::Analysis;

pub fn check(analysis: &Analysis<'_>, cases: &mut Cases<'_>) {
    for (key, known) in &analysis.keys {
        for (offset, values) in &known.order.log {
            if values.len() < 2 {
                continue;
            }
            let ops = values.iter().flat_map(|value| {
                let writer = known.writer.get(value).into_iter();
                let reader = known.readers.get(value).and_then(|readers| readers.first());
                writer.chain(reader).map(|position| analysis.index_of(*position))
            });
            let case = || format!("key {key} offset {offset} holds each of {values:?}");
            cases.add("inconsistent-offsets", case, ops);
        }
    }
}
