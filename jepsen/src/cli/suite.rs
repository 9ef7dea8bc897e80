//! `suite`: many runs, each a process and a sandbox of its own, two at a time: most of a run is waiting.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::places::{Places, seed};
use crate::checker::Verdict;
use crate::run::say;
use crate::scenario;
use crate::summary::Summary;

/// Names and what they are for; what is in them decides [`runs`].
pub const PROFILES: [(&str, &str); 3] = [
    ("smoke", "a minute, part of every test run"),
    ("full", "every scenario and random schedules, ten minutes"),
    ("nightly", "the same with ever new seeds until --hours are over"),
];

/// Scenarios of the smoke profile.
const SMOKE: [&str; 3] = ["power-cut", "isolate-leader", "isolate-leader-list-offsets"];
const RANDOM: &[&str] = &["run", "--workload", "queue", "--faults"];

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  quorate-jepsen suite full --seed 1\n  \
    quorate-jepsen suite full --seeds 10\n  quorate-jepsen suite nightly --hours 8\n\n\
    Exit code: 0 all valid, 1 one invalid, 2 one unknown.")]
pub struct SuiteArgs {
    /// smoke, full or nightly
    #[arg(value_parser = ["smoke", "full", "nightly"])]
    profile: String,
    /// [default: random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// The profile so often, each time with a seed that nobody chose
    #[arg(long, default_value_t = 1, conflicts_with = "seed",
        value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Runs at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=16))]
    at_once: u64,
    /// How long nightly goes on
    #[arg(long, default_value_t = 8.0)]
    hours: f64,
    #[command(flatten)]
    places: Places,
}

pub fn run(args: &SuiteArgs) -> anyhow::Result<Verdict> {
    args.places.tools()?;
    let end = Instant::now() + Duration::from_secs_f64(args.hours.clamp(0.0, 1000.0) * 3600.0);
    let (mut done, mut times) = (Vec::new(), 0);
    let mut next = seed(args.seed);
    loop {
        say(format!("profile {}, seed {next}", args.profile));
        done.extend(carry_out(&runs(&args.profile, next), args));
        times += 1;
        let nightly = args.profile == "nightly" && Instant::now() < end;
        if times >= args.seeds && !nightly {
            return Ok(conclude(&done));
        }
        next = if nightly { next + 1 } else { seed(None) };
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
        let mut runs = vec![random("kill,pause,partition", "20", seed)];
        runs.extend(SMOKE.map(|name| with(&["scenario", name], seed)));
        return runs;
    }
    // The longest first, so that none is left over at the end.
    let mut runs = vec![
        random("kill,pause,partition,packet,reset,clock,transfer", "60", seed),
        random("kill,power,slow-disk,starve,membership,restart", "60", seed),
    ];
    runs.extend(scenario::all().map(|it| with(&["scenario", it.name], seed)));
    runs
}

/// Some runs at a time; what came of each, in their order.
fn carry_out(runs: &[Vec<String>], args: &SuiteArgs) -> Vec<Summary> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((run, child(run, &args.places)));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.at_once).map(|_| scope.spawn(worker)).collect();
        let joined = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .flat_map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    done.sort_by_key(|(run, _)| runs.iter().position(|it| it == *run));
    done.into_iter().map(|(_, summary)| summary).collect()
}

/// One run. Without a verdict it is unknown, and the others go on.
fn child(arguments: &[String], places: &Places) -> Summary {
    let label = match arguments {
        [command, name, ..] if command == "scenario" => name,
        _ => &arguments[RANDOM.len()],
    };
    // Its lines begin with its own seconds.
    let text = |line: &str| line.split_once(" s  ").map_or(line, |(_, text)| text).to_owned();
    let show = |line: &str| say(format!("{label:28} {}", text(line)));
    let summary = run_again(arguments, places, None, &show).unwrap_or_else(|error| Summary {
        name: label.clone(),
        seed: arguments.last().and_then(|seed| seed.parse().ok()).unwrap_or(0),
        verdict: Verdict::Unknown,
        operations: 0,
        faults: 0,
        seconds: 0.0,
        anomalies: vec![format!("{error:#}")],
    });
    show(&format!("{} {}", summary.verdict, summary.anomalies.join(", ")));
    summary
}

/// One scenario with another environment, which its brokers inherit, for `mutants`.
pub fn scenario_with(
    name: &str,
    seed: u64,
    places: &Places,
    environment: (&str, &str),
) -> anyhow::Result<Summary> {
    let arguments = ["scenario", name, "--seed", &seed.to_string()].map(str::to_owned);
    run_again(&arguments, places, Some(environment), &|_| ())
}

/// This program once more for one run; `show` is given each line of its progress.
fn run_again(
    arguments: &[String],
    places: &Places,
    environment: Option<(&str, &str)>,
    show: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Summary> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .args(places.arguments())
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start a run")?;
    let progress = child.stderr.take().map(BufReader::new);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            let lines = progress.into_iter().flat_map(BufRead::lines);
            lines.map_while(Result::ok).for_each(|line| show(&line));
        });
        child.wait_with_output()
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report = text.lines().rev().find_map(|line| line.split_once("; see "));
    let (_, report) =
        report.with_context(|| format!("`{}` came to no verdict: {text}", arguments.join(" ")))?;
    let summary = Summary::read(Path::new(report).parent().context("a run's directory")?)?;
    if summary.verdict != Verdict::Valid {
        text.lines().for_each(show);
    }
    Ok(summary)
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
