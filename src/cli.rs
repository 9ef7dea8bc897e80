//! The command line: what can be typed, and what each command's exit code means.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | it failed; the message says what to do next |
//! | 2 | the command or the configuration is wrong; nothing was started |
//! | 3 | storage failed: a write or sync that failed, or damaged data |
//! | 4 | the cluster refused: this broker, whose identity does not match, or an append to a stream of another version |

mod cluster;
mod config;
mod consume;
mod features;
mod group;
mod produce;
mod serve;
mod stream;
mod topic;
mod transaction;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench::BenchCommand;
use crate::demo::DemoOptions;
use crate::terminal::{Failure, line};

/// A Kafka-compatible log store in which every partition is a Raft group.
#[derive(Debug, Parser)]
#[command(
    name = "quorate",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  \
        quorate demo                          three brokers on this machine, and what to type next\n  \
        quorate serve                         one broker, no configuration needed\n  \
        quorate topic create orders -p 3\n  \
        echo hello | quorate produce orders\n  \
        quorate consume orders --from beginning -n 1"
)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one broker.
    Serve(Box<serve::ServeOptions>),
    /// Run a cluster of brokers on this machine, to try things out.
    Demo(DemoOptions),
    /// Create, list, describe, alter, compact and delete topics.
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// List, describe and delete consumer groups, and set where they read on.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// List, describe and abort transactions.
    #[command(subcommand)]
    Transaction(transaction::TransactionCommand),
    /// Write lines of standard input as records.
    Produce(produce::ProduceOptions),
    /// Read records and print them.
    Consume(consume::ConsumeOptions),
    /// Append to streams of events, read and follow them.
    #[command(subcommand)]
    Stream(stream::StreamCommand),
    /// Show how a cluster fares, and remove brokers from it.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Print every setting with its meaning, range and default; show and change configs while brokers run.
    Config(config::ConfigCommand),
    /// Measure a running cluster.
    #[command(
        subcommand,
        after_help = "Example:\n  quorate bench produce --rate 1000 --seconds 20"
    )]
    Bench(BenchCommand),
    /// Print the version.
    #[command(after_help = "Example:\n  quorate version")]
    Version,
}

/// Runs the command line this process was started with.
pub fn main() -> ExitCode {
    // Wrong usage ends here with exit code 2, help and version with 0.
    let command = Line::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(),
    };
    // Boxed, because the future of a whole broker is too large for the main thread's stack frame.
    let outcome = runtime.block_on(Box::pin(run(command)));
    // Reading standard input blocks a thread that nothing can interrupt; do not wait for it.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(options) => serve::serve(&options).await,
        Command::Demo(options) => crate::demo::run(options).await,
        Command::Topic(command) => topic::run(command).await,
        Command::Group(command) => group::run(command).await,
        Command::Transaction(command) => transaction::run(command).await,
        Command::Produce(options) => produce::produce(options).await,
        Command::Consume(options) => consume::consume(options).await,
        Command::Stream(command) => stream::run(command).await,
        Command::Cluster(command) => cluster::run(command).await,
        Command::Config(command) => config::run(command).await,
        Command::Bench(command) => crate::bench::run(command).await,
        Command::Version => line(&format!("quorate {}", env!("CARGO_PKG_VERSION"))),
    }
}

#[cfg(test)]
mod tests;
