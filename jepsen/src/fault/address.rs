//! Brokers that come back somewhere else: the others know none of their old addresses, and they know none of those
//! that moved with them.

use rand::rngs::StdRng;

use super::target::{OFTEN_ALL, TargetClass, named};
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::{Cluster, State};

#[derive(Default)]
struct Address {
    moved: Vec<u64>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Address>::default()
}

impl Fault for Address {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = TargetClass::any(&OFTEN_ALL, random);
        self.moved = who.pick(cluster, random);
        if self.moved.is_empty() {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        }
        for id in &self.moved {
            cluster.kill(*id)?;
        }
        let moves = cluster.move_ports(&self.moved)?;
        Ok(installed(format!("{who:?}: {} killed", named(&self.moved)), moves.join("; ")))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let mut started = Vec::new();
        for id in std::mem::take(&mut self.moved) {
            if cluster.broker(id)?.state() == State::Down && cluster.broker(id)?.powered() {
                cluster.start_broker(id)?;
                started.push(id);
            }
        }
        Ok(installed(format!("{} started", named(&started)), "at other addresses"))
    }
}
