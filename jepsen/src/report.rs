//! What a person opens after a run: one page that says whether it was valid, what happened when, what was found and
//! how to do it again. The same for programs is `result.json`.
//!
//! The page needs nothing but itself: styles and pictures are within it. What stands in it was written by brokers and
//! clients under test, so every text is escaped.

mod explain;
mod faults;
mod findings;
mod format;
mod html;
mod lanes;
mod operations;
mod series;
mod timeline;

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use crate::checker::{Finding, Verdict};
use crate::fault::FaultRecord;
use crate::history::Op;
use series::Series;

/// A run to report on.
#[derive(Debug, Serialize)]
pub struct Report {
    pub title: String,
    pub workload: String,
    pub verdict: Verdict,
    pub seed: u64,
    /// The command that does the same again.
    pub replay: String,
    /// Everything that determined the run, for `result.json`.
    pub plan: serde_json::Value,
    pub findings: Vec<Finding>,
    pub faults: Vec<FaultRecord>,
    /// What else the run left, to be linked to.
    pub files: Vec<PathBuf>,
}

/// What `result.json` holds.
#[derive(Serialize)]
struct ForPrograms<'a> {
    #[serde(flatten)]
    report: &'a Report,
    totals: &'a series::Totals,
}

impl Report {
    /// `plan` is whatever determined the run; its fields `name`, `workload`, `seed` and `replay` head the page.
    pub fn new(
        plan: &impl Serialize,
        verdict: Verdict,
        findings: &[Finding],
        faults: &[FaultRecord],
        files: &[PathBuf],
    ) -> Report {
        let plan = serde_json::to_value(plan).unwrap_or_default();
        let text = |field: &str| plan[field].as_str().unwrap_or_default().to_owned();
        Report {
            title: text("name"),
            workload: text("workload"),
            verdict,
            seed: plan["seed"].as_u64().unwrap_or_default(),
            replay: text("replay"),
            findings: findings.to_vec(),
            faults: faults.to_vec(),
            files: files.to_vec(),
            plan,
        }
    }
}

/// Writes `report.html` and `result.json` into a directory.
pub fn write(dir: &Path, report: &Report, history: &[Op]) -> anyhow::Result<()> {
    let series = Series::of(history);
    let put = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let result = ForPrograms { report, totals: &series.totals };
    put("result.json", serde_json::to_string_pretty(&result)?)?;
    put("report.html", html::page(dir, report, history, &series))
}

#[cfg(test)]
mod tests;
