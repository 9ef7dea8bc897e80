//! `int-send-skip` and `int-nonmonotonic-send`: within one operation, consecutive sends to a key land apart, or
//! in the wrong order.

use super::Cases;
use crate::checker::analysis::Analysis;
use crate::checker::few;

pub fn check(analysis: &Analysis<'_>, cases: &mut Cases<'_>) {
    for (position, writes) in analysis.writes.iter().enumerate() {
        for (key, values) in writes {
            let Some(order) = analysis.order(*key) else { continue };
            for pair in values.windows(2) {
                let (first, second) = (pair[0].1, pair[1].1);
                let delta = order.delta(Some(first), Some(second));
                let op = analysis.index_of(position);
                if delta > 1 {
                    let case = || {
                        let skipped = few(order.between(first, second));
                        format!("key {key}: between {first} and {second} there are {skipped}")
                    };
                    cases.add("int-send-skip", case, [op]);
                } else if delta < 1 {
                    let case =
                        || format!("key {key}: {first} was sent before {second} and is behind it");
                    cases.add("int-nonmonotonic-send", case, [op]);
                }
            }
        }
    }
}
