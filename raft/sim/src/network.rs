//! Faults of the network, one at a time: turmoil does not combine all of them.

use std::time::Duration;

use quorate_storage::simulation::Random;
use turmoil::Sim;

use crate::host::name;
use crate::plan::Plan;

/// A fault that has been put in place.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing passes between the two sides.
    Split { side: Vec<u64> },
    /// Nothing passes from the first to the second of each pair.
    OneWay { pairs: Vec<(u64, u64)> },
    /// What is sent between two machines arrives when the fault is over.
    Hold { pair: (u64, u64) },
    /// A share of messages, in thousandths, breaks its connection.
    Loss { thousandths: u64 },
    /// Everything takes up to this many milliseconds.
    Slow { millis: u64 },
}

impl Fault {
    /// Some fault.
    pub fn draw(random: &mut Random, nodes: u64) -> Fault {
        let node = |random: &mut Random| random.between(1, nodes);
        match random.below(10) {
            0..3 => Fault::Split { side: vec![node(random)] },
            3..5 => Fault::Split { side: (1..=nodes).filter(|_| random.chance(50)).collect() },
            5..7 => {
                let count = random.between(1, nodes);
                Fault::OneWay { pairs: (0..count).map(|_| two(random, nodes)).collect() }
            }
            7 => Fault::Hold { pair: two(random, nodes) },
            8 => Fault::Loss { thousandths: random.between(2, 60) },
            _ => Fault::Slow { millis: random.between(60, 500) },
        }
    }

    /// Puts the fault in place.
    pub fn begin(&self, sim: &mut Sim<'_>, nodes: u64) {
        match self {
            Fault::Split { side } => {
                for (one, other) in pairs(nodes) {
                    if side.contains(&one) != side.contains(&other) {
                        sim.partition(name(one), name(other));
                    }
                }
            }
            Fault::OneWay { pairs } => {
                for (from, to) in pairs {
                    sim.partition_oneway(name(*from), name(*to));
                }
            }
            Fault::Hold { pair } => sim.hold(name(pair.0), name(pair.1)),
            Fault::Loss { thousandths } => sim.set_fail_rate(*thousandths as f64 / 1000.0),
            Fault::Slow { millis } => sim.set_max_message_latency(Duration::from_millis(*millis)),
        }
    }
}

/// Ends whatever is in place.
pub fn heal(sim: &mut Sim<'_>, plan: &Plan) {
    sim.set_fail_rate(0.0);
    sim.set_max_message_latency(Duration::from_millis(plan.latency.1));
    for (one, other) in pairs(plan.nodes) {
        // Releasing what is not held makes a link healthy as well.
        sim.release(name(one), name(other));
    }
}

fn two(random: &mut Random, nodes: u64) -> (u64, u64) {
    let one = random.between(1, nodes);
    let other = random.between(1, nodes - 1);
    (one, if other >= one { other + 1 } else { other })
}

fn pairs(nodes: u64) -> impl Iterator<Item = (u64, u64)> {
    (1..=nodes).flat_map(move |one| (one + 1..=nodes).map(move |other| (one, other)))
}
