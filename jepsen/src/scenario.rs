//! Named scenarios: each is a trap that some replicated log has fallen into, set up on purpose.
//!
//! Random schedules find what nobody thought of; these make sure that what somebody thought of is met in every run of
//! the suite. T-numbers name the traps in the table of jepsen/README.md. A defect that a seed found stays here as
//! a scenario of its own.

mod address;
mod adjust;
mod clock;
mod compaction;
mod coordinator;
mod descriptors;
mod disk;
mod full;
mod hang;
mod kill;
mod link;
mod many;
mod membership;
mod partition;
mod pause;
mod power;
mod reset;
mod restart;
mod rot;
mod snapshot;
mod starve;
mod streams;
mod table;
mod transactions;
mod transfer;

use std::time::Duration;

use crate::run::{Demand, Plan, Script};
use crate::sandbox::DiskKind;

/// See the module.
pub struct Scenario {
    pub name: &'static str,
    /// The trap, or none for a defect of our own.
    pub trap: &'static str,
    pub about: &'static str,
    workload: &'static str,
    seconds: u64,
    disk: DiskKind,
    script: Script,
    demands: &'static [Demand],
    /// What differs from [`Plan::new`].
    adjust: fn(&mut Plan),
}

/// Every scenario, in the order of the traps.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    table::ALL.iter().chain(table::streams::ALL).chain(table::transactions::ALL)
}

/// The scenario of a name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    all().find(|scenario| scenario.name == name)
}

/// One that demands nothing yet.
const fn row(
    name: &'static str,
    trap: &'static str,
    workload: &'static str,
    seconds: u64,
    disk: DiskKind,
    script: Script,
    about: &'static str,
) -> Scenario {
    let (demands, adjust): (&[Demand], fn(&mut Plan)) = (&[], |_| ());
    Scenario { name, trap, about, workload, seconds, disk, script, demands, adjust }
}

impl Scenario {
    /// What must have happened at least, or the verdict is unknown.
    const fn needs(mut self, demands: &'static [Demand]) -> Scenario {
        self.demands = demands;
        self
    }

    const fn but(mut self, adjust: fn(&mut Plan)) -> Scenario {
        self.adjust = adjust;
        self
    }

    pub fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan::new(self.name, self.workload, self.script);
        plan.seed = seed;
        plan.time = Duration::from_secs(self.seconds);
        plan.disk = self.disk;
        plan.demands = self.demands;
        plan.replay = format!("quorate-jepsen scenario {} --seed {seed}", self.name);
        (self.adjust)(&mut plan);
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::workload;

    #[test]
    fn names_are_unique_and_workloads_exist() {
        let all: Vec<&Scenario> = all().collect();
        let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all.len());
        for scenario in all {
            assert!(workload::find(scenario.workload).is_some(), "{}", scenario.name);
            assert!(!scenario.demands.is_empty(), "{} demands nothing", scenario.name);
        }
    }

    #[test]
    fn every_trap_is_set() {
        let traps: BTreeSet<&str> = all().map(|scenario| scenario.trap).collect();
        for trap in 1..=26 {
            assert!(traps.contains(format!("T{trap}").as_str()), "T{trap}");
        }
    }
}
