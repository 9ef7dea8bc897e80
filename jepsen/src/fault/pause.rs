//! SIGSTOP and SIGCONT: a broker sleeps through elections and wakes believing what was true before.

use rand::rngs::StdRng;

use super::target::{Who, named};
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::{Cluster, State};

#[derive(Default)]
struct Pause {
    paused: Vec<u64>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Pause>::default()
}

const WHO: [Who; 6] = [Who::Leader, Who::Leader, Who::One, Who::Minority, Who::Majority, Who::All];

impl Fault for Pause {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = Who::any(&WHO, random);
        self.paused = who.pick(cluster, random);
        if self.paused.is_empty() {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        }
        let mut proofs = Vec::new();
        for id in &self.paused {
            proofs.push(cluster.pause(*id)?);
        }
        Ok(installed(format!("{who:?}: {}", named(&self.paused)), proofs.join("; ")))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let mut proofs = Vec::new();
        for id in std::mem::take(&mut self.paused) {
            // Another fault may have killed it meanwhile.
            if cluster.broker(id)?.state() == State::Paused {
                proofs.push(cluster.resume(id)?);
            }
        }
        match proofs.is_empty() {
            true => Ok(installed("none left", "other faults ended them meanwhile")),
            false => Ok(installed("awake", proofs.join("; "))),
        }
    }
}
