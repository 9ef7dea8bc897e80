//! `unseen`: values acknowledged and, to the end of the history, never read by anybody: a lost tail, or a consumer
//! that never catches up. A history has to end with reads of everything.

use super::Cases;
use crate::checker::analysis::Analysis;

pub fn check(analysis: &Analysis<'_>, cases: &mut Cases<'_>) {
    for (key, known) in &analysis.keys {
        for (value, writer) in &known.acknowledged {
            if known.read.contains(value) {
                continue;
            }
            let place = known.order.offset(*value);
            let case = || match place {
                Some(offset) => format!("key {key} value {value}, acknowledged at offset {offset}"),
                None => format!("key {key} value {value}, acknowledged without an offset"),
            };
            cases.add("unseen", case, [analysis.index_of(*writer)]);
        }
    }
}
