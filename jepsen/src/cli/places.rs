//! What the subcommands that run brokers have in common: where things are, and a run inside a sandbox.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;

use crate::checker::Verdict;
use crate::run::{self, Plan, Tools, say};
use crate::sandbox::{self, Shim};

/// Where things are.
#[derive(Args, Clone, Debug)]
pub struct Places {
    /// The broker to test [default: `quorate` beside this program]
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// The library that stands between a broker and its kernel [default: beside this program]
    #[arg(long, value_name = "FILE")]
    pub shim: Option<PathBuf>,
    /// Where runs leave their directories
    #[arg(long, value_name = "DIR", default_value = "/tmp/quorate-jepsen")]
    pub out: PathBuf,
}

impl Places {
    pub fn tools(&self) -> anyhow::Result<Tools> {
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => beside("quorate")?,
        };
        ensure!(binary.is_file(), "no broker at {}; name one with --binary", binary.display());
        let shim = Shim::find(self.shim.as_deref())?;
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot create {}", self.out.display()))?;
        let absolute = |path: &Path| {
            path.canonicalize().with_context(|| format!("cannot find {}", path.display()))
        };
        Ok(Tools { binary: absolute(&binary)?, shim: absolute(&shim)?, out: absolute(&self.out)? })
    }

    /// As arguments of a child that is to use the same.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--out".to_owned(), self.out.display().to_string()];
        let mut add = |flag: &str, path: &Option<PathBuf>| {
            if let Some(path) = path {
                arguments.extend([flag.to_owned(), path.display().to_string()]);
            }
        };
        add("--binary", &self.binary);
        add("--shim", &self.shim);
        arguments
    }
}

/// A program that was installed with this one.
pub fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    Ok(own.with_file_name(name))
}

/// Carries a plan out in a sandbox of its own and prints what came of it, the verdict on the last line.
#[expect(clippy::print_stdout, reason = "a command's answer")]
pub fn execute(plan: &Plan, places: &Places) -> anyhow::Result<Verdict> {
    let tools = places.tools()?;
    sandbox::enter()?;
    let done = run::run(plan, &tools)?;
    for finding in done.findings.iter().filter(|finding| finding.verdict != Verdict::Valid) {
        println!("{}", finding.to_text());
    }
    println!(
        "{} operations, {} faults that bit, {:.0} s; see {}",
        done.operations,
        done.faults,
        done.took.as_secs_f64(),
        done.dir.join("report.html").display()
    );
    if done.verdict != Verdict::Valid {
        say(format!("again: {}", plan.replay));
    }
    println!("{}", done.verdict);
    Ok(done.verdict)
}

/// A seed for whoever gave none; it is printed with everything that it decides.
pub fn seed(given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| rand::random::<u32>().into())
}
