//! What is wrong with a history, and what it amounts to.
//!
//! `model` holds the anomalies of `jepsen.tests.kafka` under its names and with its definitions, so that Jepsen's own
//! checker can be asked about the same file; `extra` holds what a replicated log promises beyond them. Both work on
//! the index that `analysis` makes of a history. Nothing here knows how the history came about.

mod analysis;
mod extra;
mod graph;
mod model;
mod order;
pub mod streams;
#[cfg(test)]
mod tests;
pub mod transactions;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::history::Op;
use analysis::Analysis;

pub use extra::Coverage;

/// The outcome of a run. Whatever is not proven valid fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Valid,
    /// Nothing is known to be wrong, and too little was seen to say that all is well.
    Unknown,
    Invalid,
}

impl Verdict {
    /// The exit code of the command that reached it.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Valid => 0,
            Verdict::Invalid => 1,
            Verdict::Unknown => 2,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Valid => "valid",
            Verdict::Unknown => "unknown",
            Verdict::Invalid => "invalid",
        })
    }
}

/// Something a checker has to say about a history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Jepsen's name of the anomaly, such as `lost-write`, or ours, such as `replicas-differ`.
    pub anomaly: String,
    /// What it does to the verdict; `Valid` is only information.
    pub verdict: Verdict,
    /// How often it was seen.
    pub count: u64,
    /// The first few cases in words: keys, offsets, values.
    pub cases: Vec<String>,
    /// Indexes of the operations that show it, a few.
    pub ops: Vec<u64>,
}

impl Finding {
    /// Cases in words, of which the first few are kept.
    pub fn new(anomaly: &str, verdict: Verdict, mut cases: Vec<String>) -> Finding {
        let (anomaly, count) = (anomaly.to_owned(), cases.len() as u64);
        cases.truncate(SHOWN);
        Finding { anomaly, verdict, count, cases, ops: Vec::new() }
    }

    /// A line for a person, and one for each case that is kept.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}: {} ({})", self.verdict, self.anomaly, self.count);
        for case in &self.cases {
            text += &format!("\n    {case}");
        }
        if !self.ops.is_empty() {
            text += &format!("\n    operations {:?}", self.ops);
        }
        text
    }
}

/// How consumers of a history got their partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SubVia {
    Assign,
    /// In a group: a rebalance may move a consumer forward or back between two polls.
    Subscribe,
}

/// Whether the order of writes in a partition counts as a dependency between their operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WriteOrder {
    /// It does not, and then no cycle of information flow is forgiven.
    Off,
    /// It does, and then cycles are what a log without isolated writes looks like.
    On,
    /// The history is judged both ways and has to pass both.
    Both,
}

/// What a history is held to.
#[derive(Clone, Debug)]
pub struct Options {
    pub sub_via: SubVia,
    pub write_order: WriteOrder,
    /// Whether to look for more than Jepsen's anomalies.
    pub extras: bool,
    /// Whether a partition's offsets begin at 0 and have no holes: true unless records are deleted, compacted or
    /// transactional.
    pub dense: bool,
    /// Within this time after the last fault ended, a send has to be acknowledged.
    pub resume_within: Duration,
    /// What has to have been seen before a history may be called valid.
    pub coverage: Coverage,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            sub_via: SubVia::Assign,
            write_order: WriteOrder::Both,
            extras: true,
            dense: true,
            resume_within: Duration::from_secs(20),
            coverage: Coverage::default(),
        }
    }
}

/// Everything there is to say about a history of sends and polls. It is valid if [`verdict`] says so.
pub fn queue(history: &[Op], options: &Options) -> Vec<Finding> {
    let completed;
    let history = if options.extras {
        completed = analysis::with_completions(history);
        &completed[..]
    } else {
        history
    };
    let analysis = Analysis::of(history);
    let mut found = Findings::default();
    model::check(&analysis, options, &mut found);
    if options.extras {
        extra::check(history, &analysis, options, &mut found);
    }
    found.finish()
}

/// Only the anomalies that Jepsen's checker knows, those it allows included as `Valid`.
pub fn model_only(history: &[Op], sub_via: SubVia, write_order: WriteOrder) -> Vec<Finding> {
    queue(history, &Options { sub_via, write_order, extras: false, ..Options::default() })
}

/// Whether answers about the end of a partition (`:list-offsets`) and the sends of the same history are
/// linearizable, partition by partition. A search that takes longer than `limit` for one of them is `Unknown`.
pub fn list_offsets(history: &[Op], limit: Duration) -> Vec<Finding> {
    let history = analysis::with_completions(history);
    let mut found = Findings::default();
    extra::list_offsets(&history, limit, &mut found);
    found.finish()
}

/// What findings amount to: the worst of them.
pub fn verdict(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Valid)
}

/// Cases kept of an anomaly, different ones among the first so many.
const SHOWN: usize = 8;
const LOOKED_AT: u64 = 64;

/// The first few of a list, for a case in words.
fn few(list: &[i64]) -> String {
    if list.len() > 2 * SHOWN {
        format!("{:?} and {} more", &list[..SHOWN], list.len() - SHOWN)
    } else {
        format!("{list:?}")
    }
}

/// Collects cases by anomaly and verdict.
#[derive(Default)]
pub struct Findings(BTreeMap<(String, Verdict), Finding>);

impl Findings {
    /// One case of an anomaly, with the indexes of the operations that show it.
    pub fn add(
        &mut self,
        anomaly: &str,
        verdict: Verdict,
        case: impl FnOnce() -> String,
        ops: impl IntoIterator<Item = u64>,
    ) {
        let finding = self.0.entry((anomaly.to_owned(), verdict));
        let finding = finding.or_insert_with(|| Finding::new(anomaly, verdict, Vec::new()));
        finding.count += 1;
        if finding.cases.len() < SHOWN && finding.count <= LOOKED_AT {
            let case = case();
            if !finding.cases.contains(&case) {
                finding.cases.push(case);
            }
            for op in ops {
                if !finding.ops.contains(&op) {
                    finding.ops.push(op);
                }
            }
        }
    }

    pub fn invalid(
        &mut self,
        anomaly: &str,
        case: impl FnOnce() -> String,
        ops: impl IntoIterator<Item = u64>,
    ) {
        self.add(anomaly, Verdict::Invalid, case, ops);
    }

    /// The worst first.
    pub fn finish(self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.0.into_values().collect();
        findings.sort_by(|a, b| b.verdict.cmp(&a.verdict).then(a.anomaly.cmp(&b.anomaly)));
        findings
    }
}
