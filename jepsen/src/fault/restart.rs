//! A rolling restart: every broker in turn is stopped as an operator stops it, and started.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::Cluster;

struct Restart;

pub(super) fn make() -> Box<dyn Fault> {
    Box::new(Restart)
}

/// The next broker has its turn when this one serves, or after so long: other faults may keep it from serving.
const READY: Duration = Duration::from_secs(10);

impl Fault for Restart {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let mut brokers = cluster.running();
        brokers.shuffle(random);
        let mut proofs = Vec::new();
        for id in brokers {
            cluster.watch();
            if !cluster.broker(id)?.running() {
                continue;
            }
            let how = cluster.stop(id)?;
            cluster.start_broker(id)?;
            let ready = if cluster.wait_ready(id, READY) { "ready" } else { "not ready yet" };
            proofs.push(format!("broker {id}: {how}, {ready}"));
        }
        match proofs.is_empty() {
            true => Ok(skipped("no broker runs")),
            false => Ok(installed("all in turn", proofs.join("; "))),
        }
    }

    fn end(&mut self, _: &mut Cluster) -> anyhow::Result<Outcome> {
        Ok(installed("done", "all run"))
    }
}
