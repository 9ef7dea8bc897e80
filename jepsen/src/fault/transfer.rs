//! Leaderships that move on request, to any replica and back, as fast as they are granted.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::target::places;
use super::{Fault, Outcome, indeterminate, installed, skipped};
use crate::sandbox::Cluster;

#[derive(Default)]
struct Transfer {
    /// Topic, partition, and who led before.
    moved: Vec<(String, i32, u64)>,
}

pub(super) fn make() -> Box<dyn Fault> {
    Box::<Transfer>::default()
}

/// Partitions moved at a time.
const MANY: usize = 12;
/// For asking them all: other faults may make each answer late.
const PATIENCE: Duration = Duration::from_secs(4);

impl Fault for Transfer {
    fn begin(&mut self, cluster: &mut Cluster, random: &mut StdRng) -> anyhow::Result<Outcome> {
        let (admin, running) = (cluster.hasty_admin(), cluster.running());
        let (started, mut asked) = (Instant::now(), 0);
        for place in places(cluster, MANY, random) {
            if started.elapsed() > PATIENCE {
                break;
            }
            let (topic, partition) = (place.topic, place.partition);
            let Some(leader) = partition.leader else { continue };
            let others = partition.replicas.iter().filter(|id| **id != leader);
            let others: Vec<u64> = others.copied().filter(|id| running.contains(id)).collect();
            let Some(to) = others.choose(random) else { continue };
            asked += 1;
            if admin.set_leader(&topic, partition.partition, *to).is_ok_and(|reply| reply.ok()) {
                self.moved.push((topic, partition.partition, leader));
            }
        }
        let proof = format!("{} of {asked} granted", self.moved.len());
        match (asked, self.moved.len()) {
            (0, _) => Ok(skipped("no partition has a leader and another replica that runs")),
            (_, 0) => Ok(indeterminate(proof)),
            _ => Ok(installed("leaderships to other replicas", proof)),
        }
    }

    fn end(&mut self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let (admin, moved) = (cluster.hasty_admin(), std::mem::take(&mut self.moved));
        let started = Instant::now();
        let back = moved.iter().take_while(|_| started.elapsed() < PATIENCE);
        let back = back.filter(|(topic, partition, leader)| {
            admin.set_leader(topic, *partition, *leader).is_ok_and(|reply| reply.ok())
        });
        Ok(installed("leaderships back", format!("{} of {} granted", back.count(), moved.len())))
    }
}
