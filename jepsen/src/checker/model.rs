//! The anomalies of `jepsen.tests.kafka`, with its names and definitions.
//!
//! Every check looks at the whole history and reports each case under the name of its anomaly; [`allowed`] says which
//! names do not make a history invalid. Three things differ: where Jepsen's checker gives up because a value was
//! read that nobody wrote, this is an anomaly of its own, `phantom`; a value is never `unseen` only because the very
//! last operation read it and nothing had been acknowledged in its partition; and the search for cycles has no time
//! limit, so that there is no `cycle-search-timeout`.

mod allowed;
mod cycles;
mod duplicate;
mod g1a;
mod inconsistent_offsets;
mod int_poll;
mod int_send;
mod lost_write;
mod nonmonotonic_send;
mod phantom;
mod poll;
mod precommitted_read;
mod unseen;

use super::analysis::Analysis;
use super::{Findings, Options, Verdict};

/// All checks but that for cycles, which depends on what counts as a dependency.
const CHECKS: &[fn(&Analysis<'_>, &mut Cases<'_>)] = &[
    inconsistent_offsets::check,
    duplicate::check,
    lost_write::check,
    unseen::check,
    g1a::check,
    phantom::check,
    precommitted_read::check,
    int_poll::check,
    poll::check,
    int_send::check,
    nonmonotonic_send::check,
];

/// Where checks report to.
struct Cases<'a> {
    found: &'a mut Findings,
    options: &'a Options,
    /// Whether the order of writes counts as a dependency in this pass.
    write_order: bool,
}

impl Cases<'_> {
    fn add(
        &mut self,
        anomaly: &str,
        case: impl FnOnce() -> String,
        ops: impl IntoIterator<Item = u64>,
    ) {
        let verdict = if allowed::allowed(anomaly, self.options.sub_via, self.write_order) {
            Verdict::Valid
        } else {
            Verdict::Invalid
        };
        self.found.add(anomaly, verdict, case, ops);
    }
}

pub fn check(analysis: &Analysis<'_>, options: &Options, found: &mut Findings) {
    for (op, what) in &analysis.malformed {
        found.add(
            "malformed-history",
            Verdict::Unknown,
            || format!("operation {op}: {what}"),
            [*op],
        );
    }
    let mut cases = Cases { found, options, write_order: false };
    for check in CHECKS {
        check(analysis, &mut cases);
    }
    cycles::check(analysis, options.write_order, &mut cases);
}
