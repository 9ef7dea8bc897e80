//! `scenario`: one of the traps, by name.

use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::places::{Places, execute, seed};
use crate::checker::Verdict;
use crate::scenario;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  quorate-jepsen scenario pause-kill --seed 3\n  \
    quorate-jepsen scenario group-soak --seconds 600\n\n\
    Exit code: 0 valid, 1 invalid, 2 unknown. The last line is the verdict.")]
pub struct ScenarioArgs {
    /// `quorate-jepsen list` names them
    name: String,
    /// [default: random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Seconds of the main phase [default: the scenario's own]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    #[command(flatten)]
    places: Places,
}

pub fn run(args: &ScenarioArgs) -> anyhow::Result<Verdict> {
    let scenario = scenario::find(&args.name)
        .with_context(|| format!("no scenario {:?}; see `quorate-jepsen list`", args.name))?;
    let mut plan = scenario.plan(seed(args.seed));
    if let Some(seconds) = args.seconds {
        plan.time = Duration::from_secs(seconds);
        plan.replay += &format!(" --seconds {seconds}");
    }
    execute(&plan, &args.places)
}
