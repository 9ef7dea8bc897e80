//! Slow disks, and disks that hang. A slow follower may hold nobody up; a slow leader may not acknowledge what it has
//! not synced. A broker whose syncs hang may end itself, since others can go on without it.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::target::{OFTEN_LEADER, TargetClass, named};
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::{Cluster, State};

#[derive(Default)]
struct SlowDisk {
    slow: Vec<u64>,
    before: u64,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<SlowDisk>::default()
}

/// Milliseconds that every sync takes longer; in the last case longer than anybody waits.
const BY: [u64; 6] = [5, 20, 100, 500, 2_000, 60_000];
const WHY: &str = "its disk is slow";
const ERRORS: [&str; 3] = ["storage failed", "broker ends", "does not answer"];

impl SlowDisk {
    fn hits(&self, cluster: &Cluster) -> u64 {
        let brokers = cluster.brokers().iter().filter(|broker| self.slow.contains(&broker.id));
        brokers.map(|broker| broker.shim.hits().syncs_delayed).sum()
    }
}

impl Fault for SlowDisk {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = TargetClass::any(&OFTEN_LEADER, random);
        let by = Duration::from_millis(BY.choose(random).copied().unwrap_or(BY[0]));
        self.slow = who.pick(cluster, random);
        if self.slow.is_empty() {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        }
        self.before = self.hits(cluster);
        for id in &self.slow {
            cluster.may_end(*id, WHY, &ERRORS);
            cluster.broker(*id)?.shim.slow_sync(by)?;
        }
        Ok(installed(format!("{who:?}: {}, {by:?} more per sync", named(&self.slow)), "set"))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let late = self.hits(cluster) - self.before;
        for id in std::mem::take(&mut self.slow) {
            cluster.broker(id)?.shim.slow_sync(Duration::ZERO)?;
            cluster.no_longer(id, WHY);
            let broker = cluster.broker(id)?;
            if broker.state() == State::Down && broker.powered() {
                cluster.start_broker(id)?;
            }
        }
        match late {
            0 => Ok(skipped("nothing was synced")),
            late => Ok(installed("as fast as before", format!("{late} syncs were late"))),
        }
    }
}
