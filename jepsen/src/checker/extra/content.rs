//! `corrupt`: a record came back with other bytes than it was sent with, or damaged. Consumers compare each record
//! with what they can derive of it and note what differs under `:corrupt`, as `[key offset reason]`.

use super::list;
use crate::checker::Findings;
use crate::checker::analysis::Analysis;

pub fn check(analysis: &Analysis<'_>, found: &mut Findings) {
    for op in &analysis.ops {
        for corrupt in list(op.extra.get("corrupt")) {
            found.invalid("corrupt", || format!("[key offset reason] {corrupt}"), [op.index]);
        }
    }
}
