//! `scenario`: one of the traps, by name.

use anyhow::Context;
use clap::Args;

use super::places::{Places, execute, seed};
use crate::checker::Verdict;
use crate::scenario;

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  quorate-jepsen scenario pause-kill --seed 3\n\n\
    Exit code: 0 valid, 1 invalid, 2 unknown. The last line is the verdict.")]
pub struct ScenarioArgs {
    /// `quorate-jepsen list` names them
    name: String,
    /// [default: random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    places: Places,
}

pub fn run(args: &ScenarioArgs) -> anyhow::Result<Verdict> {
    let scenario = scenario::find(&args.name)
        .with_context(|| format!("no scenario {:?}; see `quorate-jepsen list`", args.name))?;
    execute(&scenario.plan(seed(args.seed)), &args.places)
}
