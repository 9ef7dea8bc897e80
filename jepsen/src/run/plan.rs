//! What one run is to do.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::{Demand, Stage};
use crate::sandbox::DiskKind;

/// What goes wrong during the main phase. It ends by itself when the stage's time is over, or earlier.
pub type Script = fn(&mut Stage<'_>) -> anyhow::Result<()>;

/// A run, wholly determined but for the timing of the machine.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Also the name of its directory.
    pub name: String,
    pub workload: String,
    /// Fault classes for a schedule; a script of a scenario needs none.
    pub faults: Vec<String>,
    pub seed: u64,
    /// What must have happened for a verdict to count.
    pub demands: &'static [Demand],
    /// Whether a run in which nothing went wrong has missed its purpose.
    pub has_faults: bool,
    /// Length of the main phase, at most.
    pub time: Duration,
    pub brokers: u64,
    /// Places for brokers that join.
    pub spares: u64,
    pub workers: usize,
    pub client_groups: usize,
    /// Operations a second, all workers together.
    pub rate: f64,
    pub partitions: u32,
    pub replication: u32,
    #[serde(skip)]
    pub disk: DiskKind,
    /// Settings of all brokers.
    pub settings: Vec<(String, String)>,
    /// The most files and connections that a broker may have open, if there is a limit.
    pub descriptors: Option<u64>,
    /// The command that does the same again.
    pub replay: String,
    #[serde(skip)]
    pub script: Script,
}

/// What a run is done with.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The broker.
    pub binary: PathBuf,
    /// The library that stands between a broker and its kernel.
    pub shim: PathBuf,
    /// Where runs leave their directories.
    pub out: PathBuf,
}

impl Plan {
    /// Three brokers and enough clients for them, on plain directories.
    pub fn new(name: &str, workload: &str, script: Script) -> Plan {
        Plan {
            name: name.to_owned(),
            workload: workload.to_owned(),
            faults: Vec::new(),
            demands: &[],
            has_faults: true,
            seed: 1,
            time: Duration::from_secs(20),
            brokers: 3,
            spares: 0,
            workers: 6,
            client_groups: 2,
            rate: 200.0,
            partitions: 2,
            replication: 3,
            disk: DiskKind::Plain,
            settings: Vec::new(),
            descriptors: None,
            replay: String::new(),
            script,
        }
    }
}
