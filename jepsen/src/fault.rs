//! What goes wrong on purpose, and whether it really did.
//!
//! A fault is one file and one row of the table of faults. It is begun and ended by the nemesis, and has to prove
//! that it bit: by counters of the network, the state of a process, an error of the disk. One that did nothing does
//! not count.

use rand::rngs::StdRng;
use serde::Serialize;

use crate::sandbox::Cluster;

/// What became of a step of a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// It took effect, and this shows it.
    Installed { what: String, proof: String },
    /// It could not be done now, which is no fault of the broker: no leader known, too few brokers up.
    Skipped { reason: String },
    /// It may or may not have taken effect.
    Indeterminate { reason: String },
}

impl Outcome {
    /// In one line, for people.
    pub fn words(&self) -> String {
        match self {
            Outcome::Installed { what, proof } => format!("{what} ({proof})"),
            Outcome::Skipped { reason } => format!("skipped: {reason}"),
            Outcome::Indeterminate { reason } => format!("indeterminate: {reason}"),
        }
    }
}

/// A fault from its beginning to its end, as reports show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultRecord {
    pub name: String,
    /// On the history's clock.
    pub begin_ns: u64,
    /// None if the run was over first.
    pub end_ns: Option<u64>,
    pub begin: Outcome,
    pub end: Option<Outcome>,
}

impl FaultRecord {
    /// Whether it took effect, as far as is known: one that met nothing says so at its end.
    pub fn bit(&self) -> bool {
        let installed = |outcome: &Outcome| matches!(outcome, Outcome::Installed { .. });
        installed(&self.begin) && self.end.as_ref().is_none_or(installed)
    }
}

/// One fault class. A fault is never begun twice without being ended in between.
pub trait Fault: Send {
    /// Name on the command line and in the history, such as `partition`.
    fn name(&self) -> &'static str;

    /// Picks a target with `random` only, so that a seed picks the same again, and does it.
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> Outcome;

    /// Undoes it. The proof may be known only now. Must succeed in whatever state the cluster is.
    fn end(&mut self, cluster: &mut Cluster) -> Outcome;
}
