//! Hundreds of connections that say nothing, or half a word. Nothing that strangers do may take a place that clients'
//! health checks, other brokers or the storage need.

use rand::rngs::StdRng;

use super::target::{TargetClass, named};
use super::{Fault, Outcome, installed, skipped};
use crate::client::Idle;
use crate::sandbox::Cluster;

#[derive(Default)]
struct Connections {
    idle: Option<Idle>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Connections>::default()
}

/// To each port of each broker.
const MANY: usize = 300;

impl Fault for Connections {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who =
            TargetClass::any(&[TargetClass::Leader, TargetClass::One, TargetClass::All], random);
        let some = who.pick(cluster, random);
        if some.is_empty() {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        }
        let mut ports = Vec::new();
        for id in &some {
            ports.extend(cluster.broker(*id)?.ports());
        }
        let idle = cluster.client_host(0).run(|| Idle::open(&ports, MANY))?;
        let proof = format!("{} of {} open", idle.held(), ports.len() * MANY);
        self.idle = Some(idle);
        Ok(installed(format!("{who:?}: idle connections to {}", named(&some)), proof))
    }

    fn end(&mut self, _: &mut Cluster) -> anyhow::Result<Outcome> {
        let Some(idle) = self.idle.take() else { return Ok(skipped("not begun")) };
        let (opened, held) = (idle.opened(), idle.held());
        match opened {
            0 => Ok(skipped("no connection was let in")),
            _ => Ok(installed("closed", format!("{held} of {opened} were still open"))),
        }
    }
}
