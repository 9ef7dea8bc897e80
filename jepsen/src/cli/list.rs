//! `list`: everything that has a name.

use crate::checker::Verdict;
use crate::{fault, scenario, workload};

#[expect(clippy::print_stdout, reason = "a command's answer")]
pub fn run() -> anyhow::Result<Verdict> {
    println!("workloads");
    for workload in workload::all() {
        println!("  {:32}{}", workload.name(), workload.about());
    }
    println!("\nfaults");
    for row in fault::all() {
        println!("  {:32}{}", row.name, row.about);
    }
    println!("\nscenarios");
    for scenario in scenario::all() {
        println!("  {:32}{:4} {}", scenario.name, scenario.trap, scenario.about);
    }
    println!("\nprofiles");
    for (name, about) in super::suite::PROFILES {
        println!("  {name:32}{about}");
    }
    Ok(Verdict::Valid)
}
