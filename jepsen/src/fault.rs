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

/// One fault class. A fault is never begun twice without being ended in between.
pub trait Fault: Send {
    /// Name on the command line and in the history, such as `partition`.
    fn name(&self) -> &'static str;

    /// Picks a target with `random` only, so that a seed picks the same again, and does it.
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> Outcome;

    /// Undoes it. The proof may be known only now. Must succeed in whatever state the cluster is.
    fn end(&mut self, cluster: &mut Cluster) -> Outcome;
}
