//! Who makes things go wrong: a schedule that a seed decides, and the loop that carries it out.
//!
//! The schedule is pure, so that the same seed gives the same faults at the same times whatever the cluster does
//! meanwhile. What a fault finds when its time has come may differ; then its outcome says so.

mod schedule;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

pub use schedule::{Action, Step, schedule};

use crate::fault::{self, Fault, Outcome};
use crate::run::Stage;

/// Between two looks at the brokers while nothing is to be done.
const LOOK: Duration = Duration::from_millis(200);

/// Carries out the schedule of the stage's plan. Every fault is ended when this returns.
pub fn run(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let started = Instant::now();
    let names: Vec<&str> = stage.plan.faults.iter().map(String::as_str).collect();
    let steps = schedule(stage.plan.seed, &names, stage.plan.time);
    let mut open: BTreeMap<String, Box<dyn Fault>> = BTreeMap::new();
    // A step that takes long shifts all later ones, so that what comes between a beginning and its end stays.
    let mut late = Duration::ZERO;
    for step in steps {
        while started.elapsed() < step.at + late && stage.going_on() {
            let rest = (step.at + late).saturating_sub(started.elapsed());
            std::thread::sleep(rest.min(stage.left()).min(LOOK));
            stage.cluster.watch();
        }
        match step.action {
            Action::Begin { seed } if stage.going_on() => {
                begin(stage, &mut open, &step.fault, seed)?;
            }
            Action::Begin { .. } => {}
            Action::End => {
                if let Some(fault) = open.remove(&step.fault) {
                    end(stage, &step.fault, fault)?;
                }
            }
        }
        late = late.max(started.elapsed().saturating_sub(step.at));
        // Clients hear of brokers that joined.
        *stage.env.brokers.write() = stage.cluster.addresses();
    }
    for (name, fault) in open {
        end(stage, &name, fault)?;
    }
    Ok(())
}

fn begin(
    stage: &mut Stage<'_>,
    open: &mut BTreeMap<String, Box<dyn Fault>>,
    name: &str,
    seed: u64,
) -> anyhow::Result<()> {
    let Some(row) = fault::find(name) else { return Ok(()) };
    let mut fault = row.make();
    let begun = fault.begin(stage.cluster, &mut StdRng::seed_from_u64(seed));
    let outcome = sure(begun);
    // What was skipped is over; what may have happened has to be undone.
    if !matches!(outcome, Outcome::Skipped { .. }) {
        open.insert(name.to_owned(), fault);
    }
    stage.began(name, outcome)
}

fn end(stage: &mut Stage<'_>, name: &str, mut fault: Box<dyn Fault>) -> anyhow::Result<()> {
    let outcome = sure(fault.end(stage.cluster));
    stage.ended(name, outcome)
}

fn sure(outcome: anyhow::Result<Outcome>) -> Outcome {
    outcome.unwrap_or_else(|error| Outcome::Indeterminate { reason: format!("{error:#}") })
}
