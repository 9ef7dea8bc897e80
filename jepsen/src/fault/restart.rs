//! A rolling restart: every broker in turn is stopped as an operator stops it, and started.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::Cluster;

#[derive(Default)]
struct Restart {
    /// Those whose turn is yet to come.
    waiting: Vec<u64>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Restart>::default()
}

/// The next broker has its turn when this one serves, or after so long: other faults may keep it from serving.
const READY: Duration = Duration::from_secs(10);

/// None if another fault has stopped it meanwhile.
fn restart(cluster: &mut Cluster, id: u64) -> anyhow::Result<Option<String>> {
    cluster.watch();
    if !cluster.broker(id)?.running() {
        return Ok(None);
    }
    let how = cluster.stop(id)?;
    cluster.start_broker(id)?;
    let ready = if cluster.wait_ready(id, READY) { "ready" } else { "not ready yet" };
    Ok(Some(format!("broker {id}: {how}, {ready}")))
}

impl Fault for Restart {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        self.waiting = cluster.running();
        self.waiting.shuffle(random);
        let Some(first) = self.waiting.pop() else { return Ok(skipped("no broker runs")) };
        let proof = restart(cluster, first)?;
        Ok(installed("the first of all", proof.unwrap_or_default()))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let mut proofs = Vec::new();
        for id in std::mem::take(&mut self.waiting) {
            proofs.extend(restart(cluster, id)?);
        }
        Ok(installed("the others in turn", proofs.join("; ")))
    }
}
