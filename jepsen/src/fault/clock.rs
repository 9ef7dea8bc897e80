//! Wall clocks that jump, strobe, or run fast or slow. Nothing a log promises may depend on them.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::target::{TargetClass, named};
use super::{Fault, Outcome, installed, skipped};
use crate::sandbox::Cluster;

#[derive(Default)]
struct Clock {
    bent: Vec<u64>,
    before: u64,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Clock>::default()
}

/// The smallest jump, and the largest of some and of most brokers: what is right about ages while most clocks are wrong
/// by days, nobody can say.
const LEAST: Duration = Duration::from_millis(11);
const MOST_OF_SOME: Duration = Duration::from_secs(10 * 24 * 3600);
const MOST_OF_MANY: Duration = Duration::from_secs(300);

/// Up to so far, as many of each size, forward or back; in nanoseconds.
fn jump(most: Duration, random: &mut StdRng) -> i64 {
    let times = most.as_secs_f64() / LEAST.as_secs_f64();
    let size = LEAST.as_nanos() as f64 * times.powf(random.random());
    let sign = if random.random_bool(0.5) { 1.0 } else { -1.0 };
    (sign * size) as i64
}

impl Clock {
    fn hits(&self, cluster: &Cluster) -> u64 {
        let brokers = cluster.brokers().iter().filter(|broker| self.bent.contains(&broker.id));
        brokers.map(|broker| broker.shim.hits().clocks_bent).sum()
    }
}

impl Fault for Clock {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let who = TargetClass::any(
            &[
                TargetClass::Leader,
                TargetClass::One,
                TargetClass::Minority,
                TargetClass::Majority,
                TargetClass::All,
            ],
            random,
        );
        self.bent = who.pick(cluster, random);
        if self.bent.is_empty() {
            return Ok(skipped(format!("{who:?}: no such broker runs")));
        }
        self.before = self.hits(cluster);
        let many = self.bent.len() * 2 >= cluster.ids().len();
        let most = if many { MOST_OF_MANY } else { MOST_OF_SOME };
        let kind = random.random_range(0..3_u8);
        let mut done = Vec::new();
        for id in &self.bent {
            let shim = &cluster.broker(*id)?.shim;
            // Every broker is wrong by another amount.
            let by = jump(most, random);
            let seconds = by as f64 / 1e9;
            done.push(match kind {
                0 => {
                    shim.clock_offset(by)?;
                    format!("{id} jumps by {seconds:.3} s")
                }
                1 => {
                    let period = Duration::from_millis(random.random_range(1..1_000));
                    shim.strobe(by, period)?;
                    format!("{id} strobes by {seconds:.3} s every {period:?}")
                }
                _ => {
                    let rate = random.random_range(-800_000..4_000_000);
                    shim.clock_rate(rate)?;
                    format!("{id} runs at {:.2} times the speed", 1.0 + rate as f64 / 1e6)
                }
            });
        }
        Ok(installed(format!("clocks of {}", named(&self.bent)), done.join("; ")))
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let told = self.hits(cluster) - self.before;
        for id in std::mem::take(&mut self.bent) {
            cluster.broker(id)?.shim.heal_clock()?;
        }
        match told {
            0 => Ok(skipped("nobody asked for the time")),
            told => Ok(installed("clocks are right", format!("{told} wrong times were told"))),
        }
    }
}
