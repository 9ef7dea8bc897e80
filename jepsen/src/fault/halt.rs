//! Brokers that stop working from one moment to the next, and go on later: killed (`kill -9`) or asleep (SIGSTOP).
//!
//! A killed one ends in the middle of anything; what it had written is in the kernel's cache and stays, see `power` for
//! what does not. One that slept wakes believing what was true before.

use rand::rngs::StdRng;

use super::target::{TargetClass, named};
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::{Broker, Cluster, State};

type Act = fn(&mut Cluster, u64) -> anyhow::Result<String>;

struct Halt {
    halt: Act,
    /// Whether it still is as `halt` left it: other faults may have met it meanwhile.
    halted: fn(&Broker) -> bool,
    go_on: Act,
    met: Vec<u64>,
}

pub(super) fn kill() -> Box<dyn Fault> {
    Box::new(Halt {
        halt: Cluster::kill,
        halted: |broker| broker.state() == State::Down && broker.powered(),
        go_on: |cluster, id| cluster.start_broker(id).map(|()| format!("broker {id} started")),
        met: Vec::new(),
    })
}

pub(super) fn pause() -> Box<dyn Fault> {
    Box::new(Halt {
        halt: Cluster::pause,
        halted: |broker| broker.state() == State::Paused,
        go_on: Cluster::resume,
        met: Vec::new(),
    })
}

const WHO: [TargetClass; 6] = [
    TargetClass::Leader,
    TargetClass::Leader,
    TargetClass::One,
    TargetClass::Minority,
    TargetClass::Majority,
    TargetClass::All,
];

impl Fault for Halt {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = TargetClass::any(&WHO, random);
        self.met = who.pick(cluster, random);
        if self.met.is_empty() {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        }
        let proofs: anyhow::Result<Vec<String>> =
            self.met.iter().map(|id| (self.halt)(cluster, *id)).collect();
        Ok(installed(format!("{who:?}: {}", named(&self.met)), proofs?.join("; ")))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let mut proofs = Vec::new();
        for id in std::mem::take(&mut self.met) {
            if (self.halted)(cluster.broker(id)?) {
                proofs.push((self.go_on)(cluster, id)?);
            }
        }
        if proofs.is_empty() {
            Ok(installed("none left", "other faults ended them meanwhile"))
        } else {
            Ok(installed("they go on", proofs.join("; ")))
        }
    }
}
