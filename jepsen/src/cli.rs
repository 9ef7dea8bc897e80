//! The command line: one file per subcommand.

mod check;

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
}

/// Runs the command. What could not be judged at all is unknown.
#[expect(clippy::print_stderr, reason = "a command's error")]
pub fn main() -> ExitCode {
    let verdict = match Cli::parse().command {
        Command::Check(args) => check::run(&args),
    };
    let verdict = verdict.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Verdict::Unknown
    });
    ExitCode::from(verdict.exit_code())
}
