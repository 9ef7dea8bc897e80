//! `removed-unasked`: the log of a partition from which nobody removes anything begins later than at offset 0.
//!
//! Others may have read what is gone, so that nothing else misses it: a broker with a wrong clock that believes all
//! records to be older than they may become.

use super::{list, number};
use crate::checker::Findings;
use crate::checker::analysis::Analysis;

pub fn check(analysis: &Analysis<'_>, found: &mut Findings) {
    for op in &analysis.ops {
        for answer in list(op.extra.get("fetched")) {
            let (Some(key), Some(start)) = (number(answer, "key"), number(answer, "log-start"))
            else {
                continue;
            };
            if start > 0 {
                let broker = number(answer, "broker").unwrap_or(-1);
                let case = || format!("key {key}: by broker {broker} the log begins at {start}");
                found.invalid("removed-unasked", case, [op.index]);
            }
        }
    }
}
