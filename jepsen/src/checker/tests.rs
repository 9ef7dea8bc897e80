//! Every checker rejects what it is for and accepts what looks much like it.

mod corpus;
mod damage;
mod extras;
mod generated;
mod jepsen;
mod notation;

use super::{Finding, Options, SubVia, Verdict, WriteOrder, model_only, queue, verdict};
use notation::history;

/// Names of the anomalies Jepsen's checker would name, with the order of writes as a dependency or not.
fn named(text: &str, sub_via: SubVia, write_order: WriteOrder) -> Vec<String> {
    let findings = model_only(&history(text), sub_via, write_order);
    let mut names: Vec<String> = findings.into_iter().map(|finding| finding.anomaly).collect();
    names.sort();
    names
}

/// These, with assigned partitions and without the order of writes: the strictest reading.
fn anomalies(text: &str) -> Vec<String> {
    named(text, SubVia::Assign, WriteOrder::Off)
}

fn finding<'a>(findings: &'a [Finding], anomaly: &str) -> Option<&'a Finding> {
    findings.iter().find(|finding| finding.anomaly == anomaly)
}
