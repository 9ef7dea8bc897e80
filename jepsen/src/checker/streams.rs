//! Whether what clients saw of streams by key and of conditional appends can be true.
//!
//! Who wants to know what was accepted asks the log: every record has a number that is given once, and all of them are
//! read in the end (`log`). A partition is then an object that goes through known states, one batch after the other. What
//! was accepted must be there once, whole, where and as the version that was told, and its conditions must have held
//! there; what was refused must not (`appends`). Everything that somebody was told, a version, the offset of a tag, the end
//! of the log, says between which two states the partition was at some moment of that operation, and whether there is
//! such a moment for each is found in one pass (`sights`). The same is asked a second time without the log and by
//! somebody else: versions of each key are searched for a linearization (`search`). What reads of streams show must
//! be what the log has (`reads`), and who listens must hear of all of it, in order and once (`listeners`). Tombstones are
//! records like others: versions count them, and the last one of a key says whether it is deleted or closed.
//!
//! | anomaly | what it says |
//! |---|---|
//! | `append-lost`, `append-doubled`, `batch-torn` | an accepted batch is not there once and whole |
//! | `append-from-nowhere`, `misplaced` | a record nobody sent, or not in the partition of its key |
//! | `refused-appended` | a batch that was refused is in the log |
//! | `offset-told-wrongly`, `version-told-wrongly`, `version-given-twice` | an answer that the log contradicts |
//! | `condition-ignored` | an accepted batch whose condition did not hold where it is |
//! | `unique-taken-twice` | two were told that they were the first |
//! | `conflict-unjustified` | a refusal that names what was not so at any moment meanwhile |
//! | `refused-without-reason` | a refusal that names nothing |
//! | `sequence-refused` | batches of a producer that stay out of order behind one that was refused |
//! | `stale-read`, `seen-before-sent` | no moment at which that could be read |
//! | `versions-not-linearizable` | no order of the operations of a key explains them |
//! | `retry-answered-as-conflict`, `retry-answered-otherwise` | sent again, it was not answered as at first |
//! | `stream-differs`, `stream-incomplete`, `read-behind-min-offset` | a read that shows something else than the log, or too little |
//! | `deletion-misjudged`, `deleted-shown` | a stream that is said to be there, deleted or closed, and is not; events from before a tombstone |
//! | `appended-after-close` | a record behind the last one of a closed stream |
//! | `records-differ` | records read by offset that the log does not have there |
//! | `listener-differs`, `listener-repeats`, `listener-gap`, `listener-incomplete` | a listener that heard of something else than the log, twice, or not of all |
//! | `log-differs`, `log-gap` | consumers that saw different records, or a hole |

mod appends;
mod batch;
mod listeners;
mod log;
mod nameless;
mod reads;
mod search;
mod seen;
mod sights;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{Finding, Findings, Verdict};
use crate::history::Op;
pub use batch::{Batch, Content, DELETE, EXISTS, Row};
use log::Log;
pub use seen::{Event, State};
use seen::{Outcome, Seen, Why};

/// Names of the operations.
pub const APPEND: &str = "stream-append";
pub const AGAIN: &str = "stream-again";
pub const VERSION: &str = "stream-version";
pub const READ: &str = "stream-read";
pub const CONSUME: &str = "stream-consume";
/// A listener comes back and hears what has come since.
pub const LISTEN: &str = "stream-listen";
/// Records of a partition by offset, over HTTP.
pub const RECORDS: &str = "stream-records";
/// All partitions say that they have streams, in a topic that began without.
pub const ON: &str = "streams-on";

/// For one key's versions.
const SEARCH: Duration = Duration::from_secs(10);

/// What has to have been seen before a history may be called valid.
#[derive(Clone, Copy, Debug, Default)]
pub struct Least {
    pub acked: usize,
    /// Refusals of versions.
    pub conflicts: usize,
    /// Accepted batches that were sent again and answered.
    pub agains: usize,
    pub reads: usize,
    /// Streams deleted or closed.
    pub ends: usize,
    /// Refusals because a stream is closed.
    pub closed: usize,
    /// What listeners heard.
    pub heard: usize,
    /// Records read by offset.
    pub records: usize,
}

/// Everything there is to say about a history of streams.
pub fn streams(history: &[Op], least: Least) -> Vec<Finding> {
    let mut found = Findings::default();
    let seen = Seen::of(history);
    let log = Log::of(&seen, &mut found);
    appends::told(&seen, &mut found);
    appends::agains(&seen, &mut found);
    if log.is_read() {
        appends::placed(&seen, &log, &mut found);
        reads::check(&seen, &log, &mut found);
        reads::pages(&seen, &log, &mut found);
        listeners::check(&seen, &log, &mut found);
        sights::check(&seen, &log, &mut found);
        search::check(&seen, &log, SEARCH, &mut found);
    } else {
        let case = || "the log was not read to its end".to_owned();
        found.add("log-unread", Verdict::Unknown, case, []);
    }
    enough(&seen, least, &mut found);
    found.finish()
}

fn enough(seen: &Seen, least: Least, found: &mut Findings) {
    let of = |wanted: fn(&Outcome) -> bool| {
        seen.appends.iter().filter(|append| wanted(&append.outcome)).count()
    };
    let is_version = |it: &Outcome| matches!(it, Outcome::Conflict(it) if it.why == Why::Version);
    let is_closed = |it: &Outcome| matches!(it, Outcome::Conflict(it) if it.why == Why::Closed);
    let ended = seen.appends.iter().filter(|append| {
        let ends = append.batch.rows.iter().any(|row| row.content != Content::Event);
        ends && matches!(append.outcome, Outcome::Acked { .. })
    });
    for (what, is, least) in [
        ("appends accepted", of(|it| matches!(it, Outcome::Acked { .. })), least.acked),
        ("conflicts of versions", of(is_version), least.conflicts),
        ("appends repeated", seen.agains.len(), least.agains),
        (
            "reads of versions",
            seen.looks.iter().filter(|it| it.is_linearizable).count(),
            least.reads,
        ),
        ("streams deleted or closed", ended.count(), least.ends),
        ("appends refused for closed streams", of(is_closed), least.closed),
        ("events heard", seen.heard.iter().map(|it| it.events.len()).sum(), least.heard),
        ("records read", seen.pages.iter().map(|it| it.events.len()).sum(), least.records),
    ] {
        let verdict = if is < least { Verdict::Unknown } else { Verdict::Valid };
        found.add(
            "streams-coverage",
            verdict,
            || format!("{is} {what}, {least} are the least"),
            [],
        );
    }
}
