//! Power cuts: what was not synced is gone, on one disk or on all of them at the same moment.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::target::{OFTEN_ALL, TargetClass, named};
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::{Cluster, State};

#[derive(Default)]
struct Power {
    dark: Vec<u64>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Power>::default()
}

/// How long a broker may go on without its disk, at most: whatever it acknowledges then is a lie.
const LINGER: Duration = Duration::from_millis(1_500);

impl Fault for Power {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = TargetClass::any(&OFTEN_ALL, random);
        self.dark = match who {
            // Brokers that do not run lose their power as well; that costs them nothing.
            TargetClass::All => cluster.ids(),
            _ => who.pick(cluster, random),
        };
        let linger =
            if random.random_bool(0.5) { LINGER.mul_f64(random.random()) } else { Duration::ZERO };
        if self.dark.is_empty() {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        }
        let proofs = cluster.cut_power_slowly(&self.dark, linger)?;
        let what = format!("{who:?}: {} without power, killed {linger:?} later", named(&self.dark));
        Ok(installed(what, proofs.join("; ")))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let mut started = Vec::new();
        for id in std::mem::take(&mut self.dark) {
            cluster.restore_power(id)?;
            if cluster.broker(id)?.state() == State::Down {
                cluster.start_broker(id)?;
                started.push(id);
            }
        }
        Ok(installed(format!("{} started", named(&started)), "file systems mounted again"))
    }
}
