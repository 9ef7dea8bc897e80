//! Deterministic simulation of the Raft layer: the real code of `raft` on simulated machines, with
//! every choice and every chance following from one number.
//!
//! What is real: nodes, groups, transport, failure detector, elections, membership changes,
//! checkpoints and snapshots, the consensus core, and the in-memory half of the store. What is
//! simulated: the network (turmoil), the clock (tokio's, paused and moved by the millisecond), the
//! disk (`storage`, feature `simulation`: it forgets what was not synced) and the system's
//! randomness (`entropy.rs`). A second of a cluster takes some twenty milliseconds, and a seed that
//! fails fails again, in the same way, as often as one likes.
//!
//! A run draws a plan from its seed (`plan.rs`), lets things go wrong for twenty seconds
//! (`chaos.rs`, `network.rs`, `members.rs`) while clients work (`clients.rs`), then heals everything
//! and expects the cluster to settle (`run.rs`). After every tick `judge.rs` compares all nodes and
//! all disks with what is known of each group (`facts.rs`): Election Safety, Log Matching, Leader
//! Completeness, State Machine Safety, one vote per term, nothing goes back, and that what is
//! committed is durable on a majority. Clients add that nothing acknowledged is lost or stale,
//! that what was refused is in no log, and that no proposal is in a log twice.
//!
//! A process runs one seed: then nothing an earlier one left behind can make a difference.
//! `--control` plants a defect; that each is found is itself a test.
//!
//! When a seed fails: `quorate-sim trace --seed N` shows what happened, `--log debug` adds what the
//! nodes say about it.

mod chaos;
mod clients;
mod cluster;
mod entropy;
mod facts;
mod host;
mod judge;
mod ledger;
mod members;
mod network;
mod plan;
mod records;
mod run;
mod sweep;
mod trace;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::plan::Control;
use crate::trace::Trace;

/// Stack of a simulation: futures of the consensus core are deep.
const STACK: usize = 64 << 20;

/// Deterministic simulation of Quorate's Raft layer.
#[derive(Parser)]
#[command(
    name = "quorate-sim",
    max_term_width = 100,
    after_help = "Examples:\n  \
        quorate-sim sweep --from 1 --count 1000\n  \
        quorate-sim run --seed 7\n  \
        quorate-sim sweep --count 200 --wrong\n  \
        quorate-sim trace --seed 7 --log quorate_raft=debug\n\n\
        Exit codes: 0 nothing found, 1 a violation, 2 wrong usage, 3 a node gave up its storage"
)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed and say what it did, or what it violated.
    #[command(after_help = "Example:\n  quorate-sim run --seed 7 --ticks 60000")]
    Run(Seed),
    /// Run one seed and print everything that happened.
    #[command(after_help = "Example:\n  quorate-sim trace --seed 7 | grep 'group 2'")]
    Trace(Seed),
    /// Run many seeds, each in a process of its own, until some fail.
    #[command(after_help = "Examples:\n  \
            quorate-sim sweep --from 1 --count 5000 --jobs 2\n  \
            quorate-sim sweep --count 20 --control forget-vote   (must fail)")]
    Sweep(sweep::Sweep),
}

/// One seed.
#[derive(Args)]
struct Seed {
    /// Everything follows from it.
    #[arg(long)]
    seed: u64,
    #[command(flatten)]
    shape: Shape,
    /// Log of the nodes on standard error, as an env-filter.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// What is the same for all seeds of a sweep.
#[derive(Args, Clone, Copy)]
struct Shape {
    /// Milliseconds of simulated time with faults.
    #[arg(long, default_value_t = plan::TICKS)]
    ticks: u64,
    /// The machine of one replica decides otherwise: it must be found and rebuilt, whatever else happens. No log is purged
    /// then, because a snapshot of the wrong state would make others as wrong.
    #[arg(long)]
    wrong: bool,
    /// Plant a defect.
    #[arg(long, value_enum)]
    control: Option<Control>,
}

fn main() -> ExitCode {
    match Line::parse().command {
        Command::Run(seed) => simulate(seed, false),
        Command::Trace(seed) => simulate(seed, true),
        Command::Sweep(sweep) => sweep.run(),
    }
}

/// Runs the seed on a thread of its own, so that nothing it inherits was made before its seed was
/// set.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks")]
fn simulate(seed: Seed, print: bool) -> ExitCode {
    if let Some(filter) = &seed.log {
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        log.with_ansi(false).init();
    }
    let Seed { seed, shape, .. } = seed;
    let body = move || {
        let mut trace = Trace::new(print);
        let result = run::run(seed, &shape, &mut trace);
        if result.is_err() && !print {
            trace.last().for_each(|line| eprintln!("{line}"));
        }
        (result, trace.hash())
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(body);
    let thread = thread.expect("the system has a thread for the simulation");
    match thread.join() {
        Ok((Ok(summary), hash)) => {
            println!("seed {seed}: ok {summary} trace={hash:016x}");
            ExitCode::SUCCESS
        }
        Ok((Err(violation), hash)) => {
            println!("seed {seed}: FAILED {violation} trace={hash:016x}");
            ExitCode::FAILURE
        }
        Err(_) => {
            println!("seed {seed}: FAILED the simulation panicked: {:?}", run::panics());
            ExitCode::FAILURE
        }
    }
}
