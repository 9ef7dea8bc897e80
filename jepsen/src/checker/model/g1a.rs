//! `G1a`, an aborted read: somebody read a value whose write is known to have failed.

use super::Cases;
use crate::checker::analysis::Analysis;
use crate::history::Kind;

pub fn check(analysis: &Analysis<'_>, cases: &mut Cases<'_>) {
    for (position, reads) in analysis.reads.iter().enumerate() {
        if analysis.ops[position].kind != Kind::Ok {
            continue;
        }
        for (key, values) in reads {
            let Some(known) = analysis.key(*key) else { continue };
            for (_, value) in values.iter().filter(|(_, value)| known.failed.contains(value)) {
                let reader = analysis.index_of(position);
                let writer = known.writer.get(value).map(|writer| analysis.index_of(*writer));
                let case = || format!("key {key} value {value} failed to be sent and was read");
                cases.add("G1a", case, writer.into_iter().chain([reader]));
            }
        }
    }
}
