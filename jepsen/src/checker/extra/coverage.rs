//! `coverage` and `indeterminate`: whether enough was seen to call a history valid.
//!
//! A run in which hardly anything succeeded shows nothing, and one in which most operations ended indeterminate hides
//! what it should show. Both make the verdict unknown.

use super::liveness::Faults;
use crate::checker::{Findings, Verdict};
use crate::history::{Body, Kind, Op, Process};

/// The least number of operations that have to have succeeded. A fault is under way from its `:start-...` to its
/// `:stop-...`.
#[derive(Clone, Debug)]
pub struct Coverage {
    pub ok_sends: u64,
    pub ok_sends_during_faults: u64,
    /// After the last fault has ended.
    pub ok_sends_afterwards: u64,
    pub ok_polls: u64,
}

impl Default for Coverage {
    /// A history in which nothing was sent shows nothing.
    fn default() -> Coverage {
        Coverage { ok_sends: 1, ok_sends_during_faults: 0, ok_sends_afterwards: 0, ok_polls: 0 }
    }
}

/// Of sends that ended, the share that may be indeterminate.
const MOST_INDETERMINATE: f64 = 0.5;

pub fn check(history: &[Op], required: &Coverage, found: &mut Findings) {
    let mut seen = Coverage { ok_sends: 0, ..Coverage::default() };
    let (mut failed, mut indeterminate) = (0u64, 0u64);
    let mut faults = Faults::default();
    for op in history {
        if op.process == Process::Nemesis {
            let active = faults.active();
            faults.see(op);
            if active && !faults.active() {
                seen.ok_sends_afterwards = 0;
            }
            continue;
        }
        match (&op.body, op.kind) {
            (Body::Send(_) | Body::Txn(_), Kind::Ok) => {
                seen.ok_sends += 1;
                if faults.active() {
                    seen.ok_sends_during_faults += 1;
                } else {
                    seen.ok_sends_afterwards += 1;
                }
            }
            (Body::Send(_) | Body::Txn(_), Kind::Fail) => failed += 1,
            (Body::Send(_) | Body::Txn(_), Kind::Info) => indeterminate += 1,
            (Body::Poll(_), Kind::Ok) => seen.ok_polls += 1,
            _ => {}
        }
    }
    for (what, seen, required) in [
        ("sends", seen.ok_sends, required.ok_sends),
        ("sends during faults", seen.ok_sends_during_faults, required.ok_sends_during_faults),
        ("sends after the last fault", seen.ok_sends_afterwards, required.ok_sends_afterwards),
        ("polls", seen.ok_polls, required.ok_polls),
    ] {
        if seen < required {
            let case = || format!("{seen} {what} succeeded, {required} are required");
            found.add("coverage", Verdict::Unknown, case, []);
        }
    }
    let ended = seen.ok_sends + failed + indeterminate;
    if ended > 0 {
        let share = indeterminate as f64 / ended as f64;
        let verdict = if share > MOST_INDETERMINATE { Verdict::Unknown } else { Verdict::Valid };
        let case = || {
            format!(
                "of {ended} sends {} succeeded, {failed} failed, {indeterminate} ({:.1} %) may or may \
                 not have happened",
                seen.ok_sends,
                share * 100.0
            )
        };
        found.add("indeterminate", verdict, case, []);
    }
}
