//! What goes wrong on purpose, and whether it really did.
//!
//! A fault is one file and one row of the table of faults. It is begun and ended by the nemesis, and has to prove
//! that it bit: by counters of the network, the state of a process, an error of the disk. One that did nothing does
//! not count.

mod address;
mod bitrot;
mod clock;
mod damage;
mod disk_full;
mod halt;
mod idle;
mod io_error;
mod membership;
mod packet;
mod partition;
mod power;
mod replace;
mod reset;
mod restart;
mod slow_disk;
mod starve;
mod target;
mod torn_tail;
mod transfer;

pub use bitrot::Rot;
pub use damage::{Class, Kind};
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
    /// Picks a target with `random` only, so that a seed picks the same again, and does it.
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome>;

    /// Undoes it, whatever other faults did to its target meanwhile. The proof may be known only now.
    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome>;
}

/// A row of the table of faults.
pub struct Row {
    /// On the command line and in the history.
    pub name: &'static str,
    /// One sentence for people.
    pub about: &'static str,
    /// Whether brokers need disks whose power can be cut.
    pub needs_image: bool,
    make: fn() -> Box<dyn Fault>,
}

impl Row {
    pub fn make(&self) -> Box<dyn Fault> {
        (self.make)()
    }
}

/// Every fault class.
pub fn all() -> &'static [Row] {
    &ALL
}

static ALL: [Row; 19] = [
    row("kill", false, halt::kill, "kill -9 of the leader, one, several or all brokers"),
    row("pause", false, halt::pause, "brokers stop in the middle of whatever they do, and go on"),
    row("starve", false, starve::make, "brokers get only a share of the processor"),
    row(
        "partition",
        false,
        partition::make,
        "cuts of every shape, dropped or rejected: halves, rings, one-way, old leader with clients",
    ),
    row(
        "reset",
        false,
        reset::make,
        "connections are reset, once or again and again, while the network stays whole",
    ),
    row(
        "packet",
        false,
        packet::make,
        "packets are late, lost, doubled, out of order, damaged, or few",
    ),
    row(
        "clock",
        false,
        clock::make,
        "wall clocks jump by up to ten days, strobe, or run fast or slow",
    ),
    row(
        "power",
        true,
        power::make,
        "power cuts of one, the leader or all brokers: what was not synced is gone",
    ),
    row(
        "disk-full",
        true,
        disk_full::make,
        "not a byte is left on a broker's disk, or on all at once",
    ),
    row("io-error", false, io_error::make, "fsync or writes of a broker fail"),
    row(
        "slow-disk",
        false,
        slow_disk::make,
        "every fsync of a leader or follower takes long, or hangs",
    ),
    row(
        "bitrot",
        true,
        bitrot::make,
        "flipped bits, blank and stale blocks in files of one broker",
    ),
    row(
        "torn-tail",
        true,
        torn_tail::make,
        "the unsynced tail of a write-ahead log is cut or garbage",
    ),
    row(
        "membership",
        false,
        membership::make,
        "brokers join, replicas move, shrink to one and grow, a broker is drained",
    ),
    row(
        "replace",
        false,
        replace::make,
        "a broker's disk is lost for good, a new broker takes its place",
    ),
    row("transfer", false, transfer::make, "leaderships move on request, back and forth"),
    row("restart", false, restart::make, "every broker in turn is stopped in order and started"),
    row("address", false, address::make, "brokers are killed and come back at other addresses"),
    row("idle", false, idle::make, "hundreds of idle and half-used connections to every port"),
];

const fn row(
    name: &'static str,
    needs_image: bool,
    make: fn() -> Box<dyn Fault>,
    about: &'static str,
) -> Row {
    Row { name, about, needs_image, make }
}

/// The write-ahead logs under a broker's directory.
pub fn write_ahead_logs(data: &std::path::Path) -> Vec<std::path::PathBuf> {
    damage::files(data, Class::Wal)
}

/// The fault class of a name.
pub fn find(name: &str) -> Option<&'static Row> {
    all().iter().find(|row| row.name == name)
}

fn installed(what: impl Into<String>, proof: impl Into<String>) -> Outcome {
    Outcome::Installed { what: what.into(), proof: proof.into() }
}

fn skipped(reason: impl Into<String>) -> Outcome {
    Outcome::Skipped { reason: reason.into() }
}

fn indeterminate(reason: impl Into<String>) -> Outcome {
    Outcome::Indeterminate { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let names: BTreeSet<&str> = all().iter().map(|row| row.name).collect();
        assert_eq!(names.len(), all().len());
        assert!(names.iter().all(|name| find(name).is_some_and(|row| row.name == *name)));
    }
}
