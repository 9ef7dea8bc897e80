//! `run`: a workload under a random schedule of faults.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;

use super::places::{Places, execute, seed};
use crate::checker::Verdict;
use crate::run::{Plan, Stage};
use crate::sandbox::DiskKind;
use crate::{fault, nemesis, workload};

/// The least rate, operations a second.
const RATE_MIN: f64 = 0.1;

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    quorate-jepsen run --workload queue --faults kill,pause,partition --time 30 --seed 7\n\n\
    Exit code: 0 valid, 1 invalid, 2 unknown. The last line is the verdict.")]
pub struct RunArgs {
    /// What clients do; `quorate-jepsen list` names the workloads
    #[arg(long, default_value = "queue")]
    workload: String,
    /// Fault classes, separated by commas; `quorate-jepsen list` names them, none means none
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    /// Seconds of the main phase
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    time: u64,
    /// Decides faults and clients alike [default: random, and printed]
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    brokers: u64,
    /// Client threads
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=100))]
    workers: u64,
    /// Operations a second, all clients together
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Partitions per topic
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    partitions: u32,
    #[command(flatten)]
    places: Places,
}

pub fn run(args: &RunArgs) -> anyhow::Result<Verdict> {
    execute(&args.plan()?, &args.places)
}

impl RunArgs {
    fn plan(&self) -> anyhow::Result<Plan> {
        ensure!(self.rate >= RATE_MIN, "--rate is at least {RATE_MIN}");
        let hint = "see `quorate-jepsen list`";
        ensure!(
            workload::find(&self.workload).is_some(),
            "no workload {:?}; {hint}",
            self.workload
        );
        let mut disk = DiskKind::Plain;
        for name in &self.faults {
            let row = fault::find(name).with_context(|| format!("no fault {name:?}; {hint}"))?;
            if row.needs_image {
                disk = DiskKind::IMAGE;
            }
        }
        let faults = self.faults.join("-");
        let mut plan = Plan::new(&format!("{}-{faults}", self.workload), &self.workload, schedule);
        plan.faults.clone_from(&self.faults);
        plan.has_faults = !self.faults.is_empty();
        plan.seed = seed(self.seed);
        plan.time = Duration::from_secs(self.time);
        plan.brokers = self.brokers;
        plan.spares = 2;
        plan.workers = usize::try_from(self.workers)?;
        plan.rate = self.rate;
        plan.partitions = self.partitions;
        plan.replication = u32::try_from(self.brokers.min(3))?;
        plan.disk = disk;
        let mut replay = format!("quorate-jepsen run --workload {}", self.workload);
        if !self.faults.is_empty() {
            replay += &format!(" --faults {}", self.faults.join(","));
        }
        plan.replay = format!(
            "{replay} --time {} --seed {} --brokers {} --workers {} --rate {} --partitions {}",
            self.time, plan.seed, self.brokers, self.workers, self.rate, self.partitions
        );
        Ok(plan)
    }
}

/// Faults of the plan's classes, begun and ended as its seed says, for as long as the plan says.
pub fn schedule(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    nemesis::run(stage)?;
    stage.rest_until_end();
    Ok(())
}
