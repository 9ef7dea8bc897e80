//! `offset-gap`: a consumer went from one record to the next, and an offset between them held nothing.
//!
//! Offsets are dense wherever there are no transactions, no compaction and no deletion. That nothing *known* was
//! left out is `int-poll-skip` and `poll-skip`; this is about what nobody knows of.

use std::collections::BTreeMap;

use crate::checker::Findings;
use crate::checker::analysis::Analysis;
use crate::history::{Body, Kind, Mop, Process};

pub fn check(analysis: &Analysis<'_>, found: &mut Findings) {
    // Per process and key, the last offset read and the operation that read it.
    let mut last: BTreeMap<Process, BTreeMap<i64, (i64, u64)>> = BTreeMap::new();
    for op in &analysis.ops {
        if let Body::Assign(_) | Body::Subscribe(_) = &op.body {
            last.remove(&op.process);
        }
        for mop in op.mops() {
            let Mop::Poll(Some(read)) = mop else { continue };
            for (key, records) in read {
                let mut before = last.get(&op.process).and_then(|keys| keys.get(key)).copied();
                for (offset, _) in records {
                    if let Some((previous, index)) = before
                        && *offset > previous + 1
                    {
                        let case =
                            || format!("key {key}: offset {offset} was read after {previous}");
                        found.invalid("offset-gap", case, [index, op.index]);
                    }
                    before = Some((*offset, op.index));
                }
                if let (Kind::Ok, Some(before)) = (op.kind, before) {
                    last.entry(op.process).or_default().insert(*key, before);
                }
            }
        }
    }
}
