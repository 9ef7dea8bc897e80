//! `suite`: many runs, one after the other, each a process and a sandbox of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::places::{Places, seed};
use crate::checker::Verdict;
use crate::run::say;
use crate::scenario;

/// Names and what they are for; what is in them decides [`runs`].
pub const PROFILES: [(&str, &str); 3] = [
    ("smoke", "two minutes, part of every test run"),
    ("full", "every scenario and a random schedule, about a quarter of an hour"),
    ("nightly", "the same with ever new seeds until --hours are over"),
];

/// Scenarios of the smoke profile, shortened.
const SMOKE: [&str; 3] = ["power-cut", "isolate-leader", "isolate-leader-list-offsets"];
const RANDOM: &[&str] = &["run", "--workload", "queue", "--faults"];

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  quorate-jepsen suite full --seed 1\n  \
    quorate-jepsen suite nightly --hours 8\n\n\
    Exit code: 0 all valid, 1 one invalid, 2 one unknown.")]
pub struct SuiteArgs {
    /// smoke, full or nightly
    #[arg(value_parser = ["smoke", "full", "nightly"])]
    profile: String,
    /// [default: random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// How long nightly goes on
    #[arg(long, default_value_t = 8.0)]
    hours: f64,
    #[command(flatten)]
    places: Places,
}

/// What a run leaves behind for whoever started it.
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

pub fn run(args: &SuiteArgs) -> anyhow::Result<Verdict> {
    args.places.tools()?;
    let mut seed = seed(args.seed);
    let end = Instant::now() + Duration::from_secs_f64(args.hours.clamp(0.0, 1000.0) * 3600.0);
    let mut done = Vec::new();
    loop {
        say(format!("profile {}, seed {seed}", args.profile));
        for arguments in runs(&args.profile, seed) {
            done.push(child(&arguments, &args.places)?);
        }
        if args.profile != "nightly" || Instant::now() >= end {
            return Ok(conclude(&done));
        }
        seed += 1;
    }
}

/// The arguments of every run of a profile.
fn runs(profile: &str, seed: u64) -> Vec<Vec<String>> {
    let with = |arguments: &[&str], seed: u64| {
        let mut arguments: Vec<String> = arguments.iter().map(|&it| it.to_owned()).collect();
        arguments.extend(["--seed".to_owned(), seed.to_string()]);
        arguments
    };
    let random =
        |faults: &str, time: &str, seed| with(&[RANDOM, &[faults, "--time", time]].concat(), seed);
    if profile == "smoke" {
        let mut runs = vec![random("kill,pause,partition", "15", seed)];
        runs.extend(SMOKE.map(|name| with(&["scenario", name], seed)));
        return runs;
    }
    let scenarios = scenario::all();
    let mut runs: Vec<_> = scenarios.iter().map(|it| with(&["scenario", it.name], seed)).collect();
    runs.push(random("kill,pause,partition,packet,clock,transfer", "60", seed));
    runs.push(random("kill,power,slow-disk,membership,restart", "60", seed));
    runs
}

/// One run. Its progress goes where ours goes.
fn child(arguments: &[String], places: &Places) -> anyhow::Result<Summary> {
    let own = std::env::current_exe()?;
    let output = Command::new(own)
        .args(arguments)
        .args(places.arguments())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start a run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report = text.lines().rev().find_map(|line| line.split_once("; see "));
    let Some((_, report)) = report else {
        bail!("`{}` did not come to a verdict:\n{text}", arguments.join(" "));
    };
    let dir = Path::new(report).parent().context("a run's directory")?;
    let summary = Summary::read(dir)?;
    say(format!("{}: {} {}", summary.name, summary.verdict, summary.anomalies.join(", ")));
    Ok(summary)
}

/// One scenario with another broker and environment, for `mutants`.
pub fn scenario_with(
    name: &str,
    seed: u64,
    places: &Places,
    environment: (&str, &str),
) -> anyhow::Result<Summary> {
    // The brokers inherit it through the run's process.
    let own = std::env::current_exe()?;
    let output = Command::new(own)
        .args(["scenario", name, "--seed", &seed.to_string()])
        .args(places.arguments())
        .env(environment.0, environment.1)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("cannot start a run")?;
    let dir = places.out.join(format!("{name}-{seed}"));
    Summary::read(&dir).with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Prints the table; the worst verdict counts.
#[expect(clippy::print_stdout, reason = "a command's answer")]
fn conclude(done: &[Summary]) -> Verdict {
    println!("| scenario | seed | verdict | operations | faults | s | anomalies |");
    println!("|---|---|---|---|---|---|---|");
    for it in done {
        println!(
            "| {} | {} | {} | {} | {} | {:.0} | {} |",
            it.name,
            it.seed,
            it.verdict,
            it.operations,
            it.faults,
            it.seconds,
            it.anomalies.join(", ")
        );
    }
    let operations: usize = done.iter().map(|it| it.operations).sum();
    let faults: usize = done.iter().map(|it| it.faults).sum();
    println!("\n{} runs, {operations} operations, {faults} faults that bit", done.len());
    let worst = done.iter().map(|it| it.verdict).max().unwrap_or(Verdict::Unknown);
    println!("{worst}");
    worst
}
