//! `kill -9`: a process ends in the middle of anything. What it had written is in the kernel's cache and stays; see
//! `power` for what does not.

use rand::rngs::StdRng;

use super::target::{Who, named};
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::{Cluster, State};

#[derive(Default)]
struct Kill {
    killed: Vec<u64>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Kill>::default()
}

const WHO: [Who; 6] = [Who::Leader, Who::Leader, Who::One, Who::Minority, Who::Majority, Who::All];

impl Fault for Kill {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = Who::any(&WHO, random);
        self.killed = who.pick(cluster, random);
        if self.killed.is_empty() {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        }
        let mut proofs = Vec::new();
        for id in &self.killed {
            proofs.push(cluster.kill(*id)?);
        }
        Ok(installed(format!("{who:?}: {}", named(&self.killed)), proofs.join("; ")))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let killed = std::mem::take(&mut self.killed);
        let mut started = Vec::new();
        for id in killed {
            if cluster.broker(id)?.state() == State::Down && cluster.broker(id)?.powered() {
                cluster.start_broker(id)?;
                started.push(id);
            }
        }
        Ok(installed(format!("{} started", named(&started)), "processes run"))
    }
}
