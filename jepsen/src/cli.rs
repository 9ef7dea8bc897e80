//! The command line: one file per subcommand.

mod check;
mod list;
mod mutants;
mod places;
mod run;
mod scenario;
mod suite;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::checker::Verdict;

#[derive(Parser)]
#[command(
    name = "quorate-jepsen",
    about = "Tests brokers under faults and judges what clients saw",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judge a history in a file: exit code 0 valid, 1 invalid, 2 unknown.
    Check(check::CheckArgs),
    /// Run a workload under a random schedule of faults.
    Run(run::RunArgs),
    /// Run one of the named traps.
    Scenario(scenario::ScenarioArgs),
    /// Run many of them, one after the other.
    Suite(suite::SuiteArgs),
    /// Show that known defects are found.
    Mutants(mutants::MutantsArgs),
    /// Name the workloads, faults, scenarios and profiles.
    List,
}

/// Runs the command. What could not be judged at all is unknown.
#[expect(clippy::print_stderr, reason = "a command's error")]
pub fn main() -> ExitCode {
    let verdict = match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Scenario(args) => scenario::run(&args),
        Command::Suite(args) => suite::run(&args),
        Command::Mutants(args) => mutants::run(&args),
        Command::List => list::run(),
    };
    let verdict = verdict.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Verdict::Unknown
    });
    ExitCode::from(verdict.exit_code())
}
