//! `mutants`: brokers with known defects, each of which a scenario has to find.
//!
//! The table of the README is this command's output, so it cannot claim what did not happen.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;

use super::places::{Places, beside};
use super::suite::scenario_with;
use crate::checker::Verdict;
use crate::run::say;
use crate::summary::Summary;

/// A defect, the scenario that finds it, and within how many seconds.
const TABLE: [(&str, &str, u64); 40] = [
    ("ack-before-fsync", "power-cut", 240),
    ("ack-before-commit", "isolate-leader", 240),
    ("vote-not-persisted", "pause-kill", 240),
    ("dedup-off", "answers-lost", 240),
    ("neighbour-answered", "answers-lost", 240),
    ("fetch-past-high-watermark", "isolate-leader", 240),
    ("apply-twice-after-restart", "restart-storm", 240),
    ("truncate-on-checksum-error", "bit-rot-single", 240),
    ("stale-list-offsets", "isolate-leader-list-offsets", 240),
    ("leader-restore", "power-cut-slow-leader", 240),
    ("record-left-out", "snapshot-while-changing", 240),
    ("machine-differs", "isolate-leader", 240),
    ("metadata-before-commit", "admin-churn", 240),
    ("decided-on-any-image", "admin-churn", 240),
    ("config-half-applied", "config-churn", 240),
    ("clock-expiry", "clock-days", 240),
    ("clock-trusted", "clock-days-single", 240),
    ("room-unminded", "disks-full", 240),
    ("hang-unnoticed", "sync-hangs", 240),
    ("deleted-by-old-image", "replicas-come-back", 240),
    ("connections-unbounded", "few-descriptors", 240),
    ("addresses-remembered", "addresses-change", 240),
    ("commit-before-durable", "coordinator-falls", 240),
    ("commit-applied-late", "coordinator-falls", 240),
    ("members-never-expire", "coordinator-falls", 240),
    ("given-before-free", "assigning-coordinator-falls", 240),
    ("newest-compacted-away", "compaction-churn", 240),
    ("tombstone-dropped-early", "compaction-churn", 240),
    ("compacted-offsets-renumbered", "compaction-churn", 240),
    ("condition-judged-before-log", "streams-kill", 240),
    ("retry-answered-as-conflict", "streams-partition", 240),
    ("version-lost-at-snapshot", "streams-away", 240),
    ("refused-batch-takes-sequence", "streams-kill", 240),
    ("closed-stream-takes-more", "streams-kill", 240),
    ("live-record-skipped", "streams-kill", 240),
    ("marker-before-prepare", "transactions-coordinator-falls", 240),
    ("lso-one-too-far", "transactions-away", 240),
    ("old-epoch-let-in", "transactions-zombies", 240),
    ("aborted-rows-forgotten", "transactions-away", 240),
    ("pending-offset-visible", "transactions-coordinator-falls", 240),
];
/// The variable by which a mutant is told its defect.
const VARIABLE: &str = "MUTANT";
const BEGIN: &str = "<!-- mutants: made by `quorate-jepsen mutants --write` -->";
const END: &str = "<!-- /mutants -->";

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  make mutants\n  \
    quorate-jepsen mutants --only dedup-off --binary target/release/quorate-mutant\n\n\
    Exit code: 0 if every defect was found in time, 1 if not.")]
pub struct MutantsArgs {
    /// Only these defects
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Puts the table into this file, between its marks
    #[arg(long, value_name = "README")]
    write: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
}

struct Caught {
    mutant: &'static str,
    scenario: &'static str,
    budget: u64,
    /// The summary of the run that found it; none if the budget ran out.
    by: Option<Summary>,
    seconds: f64,
}

#[expect(clippy::print_stdout, reason = "a command's answer")]
pub fn run(args: &MutantsArgs) -> anyhow::Result<Verdict> {
    let known = |name: &String| TABLE.iter().any(|(mutant, ..)| mutant == name);
    ensure!(args.only.iter().all(known), "a name in --only is no mutant");
    let mut places = args.places.clone();
    if places.binary.is_none() {
        places.binary = Some(beside("quorate-mutant")?);
    }
    places.out = places.out.join("mutants");
    places.tools().context("`make mutants` builds the brokers with defects")?;
    let wanted = |name: &&str| args.only.is_empty() || args.only.iter().any(|it| it == name);
    let rows = TABLE.iter().filter(|(mutant, ..)| wanted(mutant));
    let caught: Vec<Caught> = rows.map(|row| hunt(row, &places)).collect::<anyhow::Result<_>>()?;
    let table = table(&caught);
    println!("{table}");
    if let Some(readme) = &args.write {
        put(readme, &table)?;
    }
    let all = caught.iter().all(|it| it.by.is_some());
    Ok(if all { Verdict::Valid } else { Verdict::Invalid })
}

/// Runs the scenario with seed after seed until it finds the defect or the time is over.
fn hunt(row: &(&'static str, &'static str, u64), places: &Places) -> anyhow::Result<Caught> {
    let (mutant, scenario, budget) = *row;
    let started = Instant::now();
    let mut by = None;
    for seed in 1.. {
        let summary = scenario_with(scenario, seed, places, (VARIABLE, mutant))?;
        say(format!(
            "{mutant}: {scenario} seed {seed}: {} {:?}",
            summary.verdict, summary.anomalies
        ));
        let in_time = started.elapsed().as_secs() <= budget;
        if in_time && summary.verdict == Verdict::Invalid {
            by = Some(summary);
        }
        if by.is_some() || !in_time {
            break;
        }
    }
    Ok(Caught { mutant, scenario, budget, by, seconds: started.elapsed().as_secs_f64() })
}

fn table(caught: &[Caught]) -> String {
    let mut lines = vec![
        "| mutant | scenario | seed | anomalies | seconds | within |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for it in caught {
        let (seed, anomalies) = match &it.by {
            Some(summary) => (summary.seed.to_string(), summary.anomalies.join(", ")),
            None => ("-".to_owned(), "**not found**".to_owned()),
        };
        lines.push(format!(
            "| {} | {} | {seed} | {anomalies} | {:.0} | {} |",
            it.mutant, it.scenario, it.seconds, it.budget
        ));
    }
    lines.join("\n")
}

fn put(readme: &Path, table: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(readme)
        .with_context(|| format!("cannot read {}", readme.display()))?;
    let text = replaced(&text, table).context("the README lacks the marks of the table")?;
    std::fs::write(readme, text).with_context(|| format!("cannot write {}", readme.display()))
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (head, rest) = text.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}\n{table}\n{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_the_table_exists() {
        for (_, scenario, _) in TABLE {
            assert!(crate::scenario::find(scenario).is_some(), "{scenario}");
        }
    }

    #[test]
    fn the_table_is_put_between_its_marks() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(replaced(&text, "new").unwrap(), format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(replaced("a", "new"), None);
    }
}
