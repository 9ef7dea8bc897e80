//! What clients saw of transactions, held against what transactions promise.
//!
//! A producer's whole transaction is one operation of the history, as Jepsen has it: it succeeds if its commit was
//! acknowledged, fails if it cannot have been committed, and is indeterminate otherwise. What it did meanwhile, and when, it
//! tells beside (`told`). In the end every log is read from its beginning, once as one sees it who reads what is
//! committed and once as it is, with the markers. Whether records of a transaction are visible together is asked of that last
//! read only: while it ends, one partition has its marker before another.
//!
//! | anomaly | what it says |
//! |---|---|
//! | `aborted-read` | a consumer of what is committed saw a value of a transaction that was not committed (G1a) |
//! | `read-before-commit` | it saw one before anybody had asked to commit it: the last stable offset lay too high |
//! | `torn-transaction` | in the end some values of a transaction are visible and others are not, or its markers disagree |
//! | `transaction-lost` | an acknowledged commit of which nothing is visible in the end |
//! | `write-lost`, `stored-twice`, `value-moved` | an acknowledged write that is not in the log, or twice, or elsewhere |
//! | `value-from-nowhere` | a value that nobody sent |
//! | `marker-missing`, `marker-wrong`, `marker-of-old-epoch` | records of two transactions without an end between them; an end that is not the one that was asked for |
//! | `transaction-hangs` | a transaction without an end, though its time is over |
//! | `fenced-acknowledged`, `fenced-visible`, `fenced-committed` | what an instance wrote after another had taken its id over, or in an epoch that was over, was taken |
//! | `derived-twice`, `not-derived`, `derived-from-nothing`, `derived-beyond-offset` | an input that was not consumed exactly once |
//! | `pending-offset-visible`, `offset-of-nobody` | offsets of a group that no committed transaction had sent |
//! | `group-offset-lost`, `group-offset-went-back` | offsets that were committed and are not there |
//! | `newest-lost` | compaction left out the newest committed value of a name, for one that was aborted perhaps |

mod compacted;
mod exactly_once;
mod fences;
mod group_offsets;
mod markers;
mod seen;
#[cfg(test)]
mod tests;
mod told;
mod values;

use std::collections::BTreeSet;

use super::{Finding, Findings, Verdict};
use crate::history::{Kind, Op};
use seen::Seen;
pub use seen::{final_log, group_offsets_of, init_of};
pub use told::{Answer, Derived, End, Late, Peek, Told, Wrote};

/// Names of the operations beside `:txn` and `:poll`.
pub const INIT: &str = "init-producer";
pub const LOG: &str = "transactional-log";
pub const GROUP_OFFSETS: &str = "fetch-group-offsets";
/// What is polled by those who read what is not committed.
pub const UNCOMMITTED: &str = "poll-uncommitted";

/// What has to have been seen before a history may be called valid.
#[derive(Clone, Copy, Debug, Default)]
pub struct Least {
    /// By either flow.
    pub committed: usize,
    pub aborted: usize,
    /// Writes of instances that were fenced.
    pub fenced: usize,
    /// Ends that were sent again in the middle of the next transaction.
    pub late: usize,
    pub derived: usize,
    /// Looks at a group's offsets while a transaction had others.
    pub peeks: usize,
}

/// Partitions of which compaction leaves the newest of each name.
#[derive(Clone, Debug)]
pub struct Compacted {
    pub keys: BTreeSet<i64>,
    pub name: fn(i64) -> i64,
    pub deletes: fn(i64) -> bool,
}

/// Everything there is to say about a history of transactions.
pub fn transactions(history: &[Op], least: Least, compacted: Option<&Compacted>) -> Vec<Finding> {
    let mut found = Findings::default();
    let seen = Seen::of(history, compacted.map(|it| it.keys.clone()).unwrap_or_default());
    values::read(&seen, &mut found);
    values::torn(&seen, &mut found);
    values::stored(&seen, &mut found);
    markers::check(&seen, &mut found);
    fences::check(&seen, &mut found);
    exactly_once::check(&seen, &mut found);
    group_offsets::check(&seen, &mut found);
    if let Some(compacted) = compacted {
        compacted::check(&seen, compacted, &mut found);
    }
    read_to_the_end(&seen, &mut found);
    enough(&seen, least, &mut found);
    found.finish()
}

/// What was not read in the end shows nothing.
fn read_to_the_end(seen: &Seen, found: &mut Findings) {
    for key in &seen.keys {
        for (committed, what) in [(true, "what is committed"), (false, "what is there")] {
            if seen.log(*key, committed).is_none() {
                let case = || format!("of key {key} {what} was not read in the end");
                found.add("log-unread", Verdict::Unknown, case, []);
            }
        }
    }
}

fn enough(seen: &Seen, least: Least, found: &mut Findings) {
    let of = |kind: Kind, flow: &str| {
        let is = |it: &&seen::Transaction| it.kind == kind && it.told.flow == flow;
        seen.transactions.iter().filter(is).count()
    };
    let count = |count: fn(&Told) -> usize| -> usize {
        seen.transactions.iter().map(|it| count(&it.told)).sum()
    };
    for (what, is, least) in [
        ("classic transactions committed", of(Kind::Ok, "classic"), least.committed),
        ("implicit transactions committed", of(Kind::Ok, "implicit"), least.committed),
        ("classic transactions aborted", of(Kind::Fail, "classic"), least.aborted),
        ("implicit transactions aborted", of(Kind::Fail, "implicit"), least.aborted),
        ("writes of fenced instances", fences::tried(seen), least.fenced),
        ("late ends", count(|told| told.late.len()), least.late),
        ("inputs derived", exactly_once::derived(seen), least.derived),
        ("looks at pending offsets", count(|told| told.peeks.len()), least.peeks),
    ] {
        let verdict = if is < least { Verdict::Unknown } else { Verdict::Valid };
        let case = || format!("{is} {what}, {least} are the least");
        found.add("transactions-coverage", verdict, case, []);
    }
}
