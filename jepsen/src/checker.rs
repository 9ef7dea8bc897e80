//! What is wrong with a history, and what it amounts to.
//!
//! `model` holds the anomalies of `jepsen.tests.kafka` under its names and with its definitions, so that Jepsen's own
//! checker can be asked about the same file. It works on the index that `analysis` makes of a history. Nothing here knows how the history came about.

mod analysis;
mod graph;
mod model;
mod order;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::history::Op;
use analysis::Analysis;

/// The outcome of a run. Whatever is not proven valid fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
    /// Whether an operation without a completion counts as indeterminate; Jepsen's checker takes what it
    /// wrote for written by nobody.
    pub extras: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            sub_via: SubVia::Assign,
            write_order: WriteOrder::Both,
            extras: true,
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
    found.finish()
}

/// Only the anomalies that Jepsen's checker knows, those it allows included as `Valid`.
pub fn model_only(history: &[Op], sub_via: SubVia, write_order: WriteOrder) -> Vec<Finding> {
    queue(history, &Options { sub_via, write_order, extras: false, ..Options::default() })
}

/// What findings amount to: the worst of them.
pub fn verdict(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Valid)
}

/// Cases and operations kept of an anomaly.
const SHOWN: usize = 8;

/// Collects cases by anomaly and verdict.
#[derive(Default)]
struct Findings(BTreeMap<(String, Verdict), Finding>);

impl Findings {
    /// One case of an anomaly, with the indexes of the operations that show it.
    fn add(
        &mut self,
        anomaly: &str,
        verdict: Verdict,
        case: impl FnOnce() -> String,
        ops: impl IntoIterator<Item = u64>,
    ) {
        let finding = self.0.entry((anomaly.to_owned(), verdict)).or_insert_with(|| Finding {
            anomaly: anomaly.to_owned(),
            verdict,
            count: 0,
            cases: Vec::new(),
            ops: Vec::new(),
        });
        finding.count += 1;
        if finding.cases.len() < SHOWN {
            finding.cases.push(case());
            for op in ops {
                if !finding.ops.contains(&op) {
                    finding.ops.push(op);
                }
            }
        }
    }

    /// The worst first.
    fn finish(self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.0.into_values().collect();
        findings.sort_by(|a, b| b.verdict.cmp(&a.verdict).then(a.anomaly.cmp(&b.anomaly)));
        findings
    }
}
