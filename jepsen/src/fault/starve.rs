//! Starvation: a broker gets only a share of the processor, so that everything it does takes long, and what it does by
//! time comes late. Unlike a pause it is never quite silent.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::target::{OFTEN_LEADER, TargetClass, named};
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::{Cluster, Share};

#[derive(Default)]
struct Starve {
    starved: Vec<u64>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Starve>::default()
}

const fn share(run_ms: u64, stop_ms: u64) -> Share {
    Share { run: Duration::from_millis(run_ms), stop: Duration::from_millis(stop_ms) }
}

/// From a half to a twentieth, in steps that are short or long to a failure detector.
const SHARES: [Share; 5] =
    [share(10, 10), share(5, 45), share(5, 95), share(50, 250), share(50, 950)];

impl Fault for Starve {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = TargetClass::any(&OFTEN_LEADER, random);
        let share = SHARES.choose(random).copied().unwrap_or(SHARES[0]);
        self.starved = who.pick(cluster, random);
        if self.starved.is_empty() {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        }
        for id in &self.starved {
            cluster.starve(*id, share)?;
        }
        Ok(installed(format!("{who:?}: {}: {share}", named(&self.starved)), "set"))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let mut stops = 0;
        for id in std::mem::take(&mut self.starved) {
            stops += cluster.feed(id)?;
        }
        match stops {
            0 => Ok(skipped("other faults ended them before they were stopped once")),
            stops => Ok(installed("as fast as before", format!("stopped {stops} times"))),
        }
    }
}
