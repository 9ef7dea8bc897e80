//! What a run leaves behind for whoever started it.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::checker::Verdict;

/// The verdict of one run, as written into its directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    pub name: String,
    pub seed: u64,
    pub verdict: Verdict,
    pub operations: usize,
    pub faults: usize,
    pub seconds: f64,
    pub anomalies: Vec<String>,
}

impl Summary {
    pub const FILE: &'static str = "summary.json";

    pub fn read(dir: &Path) -> anyhow::Result<Summary> {
        let path = dir.join(Summary::FILE);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }
}
