//! `check`: the verdict on a history that lies in a file, ours or anybody's.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::checker::{self, Finding, Options, SubVia, Verdict, WriteOrder};
use crate::history;

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Model {
    /// Only the anomalies of `jepsen.tests.kafka`.
    Jepsen,
    /// These, and what a replicated log promises beyond them.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The history: one map of EDN per operation, or one vector of them.
    pub file: PathBuf,
    /// How its consumers got their partitions.
    #[arg(long, value_enum, default_value = "assign")]
    pub sub_via: SubVia,
    /// Whether the order of writes in a partition counts as a dependency (Jepsen's `ww-deps`).
    #[arg(long, value_enum, default_value = "both")]
    pub ww_deps: WriteOrder,
    #[arg(long, value_enum, default_value = "all")]
    pub model: Model,
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

#[derive(Serialize)]
struct Judgement<'a> {
    verdict: Verdict,
    findings: &'a [Finding],
}

/// Prints the findings, the verdict last.
#[expect(clippy::print_stdout, reason = "a command's answer")]
pub fn run(args: &CheckArgs) -> anyhow::Result<Verdict> {
    let history = history::read_file(&args.file)?;
    let options = Options {
        sub_via: args.sub_via,
        write_order: args.ww_deps,
        extras: args.model == Model::All,
        ..Options::default()
    };
    let findings = checker::queue(&history, &options);
    let verdict = checker::verdict(&findings);
    match args.format {
        Format::Json => {
            let judgement = Judgement { verdict, findings: &findings };
            println!("{}", serde_json::to_string(&judgement)?);
        }
        Format::Text => {
            for finding in &findings {
                println!("{}", finding.to_text());
            }
            println!("{verdict}");
        }
    }
    Ok(verdict)
}
