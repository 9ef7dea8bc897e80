//! What a script of faults acts on: the cluster, the clock of the main phase, and the record of what was done.
//!
//! Every fault is recorded twice, when it begins and when it ends, with what proves that it bit.

use std::time::{Duration, Instant};

use anyhow::Context;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::evidence::{Evidence, Sign};
use super::{Plan, say};
use crate::admin::{Admin, Partition, wait};
use crate::environment::Env;
use crate::fault::{FaultRecord, Outcome};
use crate::history::{map, text};
use crate::net::{HostId, Rule};
use crate::sandbox::Cluster;

/// Until a partition's leader is where a script wants it.
const TRANSFER: Duration = Duration::from_secs(10);
/// How far into a run a script may wait for something that should happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub struct Stage<'a> {
    pub cluster: &'a mut Cluster,
    pub env: &'a Env,
    pub plan: &'a Plan,
    pub random: StdRng,
    pub(super) evidence: Evidence,
    until: Instant,
    /// When the round under way began, and how long rounds take.
    round: Option<Instant>,
    longest: Duration,
    faults: Vec<FaultRecord>,
}

/// A partition of a topic that clients use.
#[derive(Clone, Debug)]
pub struct Used {
    pub topic: String,
    pub partition: Partition,
}

impl<'a> Stage<'a> {
    pub(super) fn new(cluster: &'a mut Cluster, env: &'a Env, plan: &'a Plan) -> Stage<'a> {
        let until = Instant::now() + plan.time;
        let random = StdRng::seed_from_u64(plan.seed);
        let (evidence, faults) = (Evidence::default(), Vec::new());
        let (round, longest) = (None, Duration::ZERO);
        Stage { cluster, env, plan, random, evidence, until, round, longest, faults }
    }

    /// Whether the main phase has time left.
    pub fn going_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// Whether to begin another round of the same: the first in any case, more as long as they are likely to end in
    /// time. A round that is broken off shows nothing, and one that is not makes a run longer than promised.
    pub fn another_round(&mut self) -> bool {
        let now = Instant::now();
        if let Some(began) = self.round.replace(now) {
            self.longest = self.longest.max(now - began);
        }
        now + self.longest <= self.until
    }

    /// Takes note of something that the scenario is about.
    pub fn saw(&mut self, sign: Sign, count: usize) {
        self.evidence.add(sign, count);
    }

    /// What is left of the main phase.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Lets clients work for a while. Not cut short: what a script begins it also ends.
    pub fn rest(&mut self, seconds: f64) {
        std::thread::sleep(Duration::from_secs_f64(seconds));
        self.cluster.watch();
    }

    /// Lets clients work for what is left of the main phase.
    pub fn rest_until_end(&mut self) {
        self.rest(self.left().as_secs_f64());
    }

    pub(super) fn finish(self) -> (Vec<FaultRecord>, Evidence) {
        (self.faults, self.evidence)
    }

    /// Records that a fault begins, whatever became of it.
    pub fn began(&mut self, name: &str, outcome: Outcome) -> anyhow::Result<()> {
        let now = self.record(&format!("start-{name}"), &outcome)?;
        self.faults.push(FaultRecord {
            name: name.to_owned(),
            begin_ns: now,
            end_ns: None,
            begin: outcome,
            end: None,
        });
        Ok(())
    }

    /// Records the end of the newest fault of that name.
    pub fn ended(&mut self, name: &str, outcome: Outcome) -> anyhow::Result<()> {
        let now = self.record(&format!("stop-{name}"), &outcome)?;
        let open = self.faults.iter_mut().rfind(|it| it.name == name && it.end_ns.is_none());
        let open = open.with_context(|| format!("{name} ends but never began"))?;
        (open.end_ns, open.end) = (Some(now), Some(outcome));
        Ok(())
    }

    fn record(&self, f: &str, outcome: &Outcome) -> anyhow::Result<u64> {
        say(format!("{f}: {}", outcome.words()));
        let now = self.env.recorder.now();
        self.env.recorder.nemesis(f, map([("outcome", text(outcome.words()))]))?;
        Ok(now)
    }

    /// Does something to the cluster and records it as the beginning of a fault.
    pub fn begin(
        &mut self,
        name: &str,
        what: &str,
        act: impl FnOnce(&mut Cluster) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        self.act(Stage::began, name, what, act)
    }

    /// As [`Stage::begin`], for the end.
    pub fn end(
        &mut self,
        name: &str,
        what: &str,
        act: impl FnOnce(&mut Cluster) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        self.act(Stage::ended, name, what, act)
    }

    fn act(
        &mut self,
        note: fn(&mut Stage<'a>, &str, Outcome) -> anyhow::Result<()>,
        name: &str,
        what: &str,
        act: impl FnOnce(&mut Cluster) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let outcome = match act(self.cluster) {
            Ok(proof) => Outcome::Installed { what: what.to_owned(), proof },
            Err(error) => Outcome::Indeterminate { reason: format!("{what}: {error:#}") },
        };
        note(self, name, outcome)
    }

    /// Cuts these directed links for as long as `meanwhile` takes; the packets that met the cut are the proof.
    pub fn cut(
        &mut self,
        what: &str,
        links: &[(HostId, HostId)],
        meanwhile: impl FnOnce(&mut Stage<'a>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let network = self.cluster.network();
        let before = network.counters(links);
        let rule = Rule::cut();
        network.change(links.iter().map(|link| (*link, rule.clone())));
        let installed = Outcome::Installed { what: what.to_owned(), proof: "rules set".to_owned() };
        self.began("partition", installed)?;
        let done = meanwhile(self);
        let network = self.cluster.network();
        network.change(links.iter().map(|link| (*link, Rule::default())));
        let harm = network.counters(links).since(&before).harm();
        self.ended("partition", bitten(what, harm))?;
        done
    }

    /// Every partition clients use, as the brokers that run tell it.
    pub fn used(&self) -> anyhow::Result<Vec<Used>> {
        let admin = self.cluster.admin();
        let mut used = Vec::new();
        for topic in admin.topics()? {
            let partitions = admin.topic(&topic)?.partitions;
            used.extend(
                partitions.into_iter().map(|partition| Used { topic: topic.clone(), partition }),
            );
        }
        Ok(used)
    }

    /// Makes one broker the leader of every partition it has a replica of.
    pub fn gather(&mut self, leader: u64) -> anyhow::Result<()> {
        let admin = self.cluster.admin();
        for used in self.used()? {
            let (topic, number) = (&used.topic, used.partition.partition);
            if used.partition.replicas.contains(&leader) {
                lead(&admin, topic, number, leader)?;
            }
        }
        Ok(())
    }

    /// Makes a broker the leader of a partition.
    pub fn lead(&self, topic: &str, partition: i32, leader: u64) -> anyhow::Result<()> {
        lead(&self.cluster.admin(), topic, partition, leader)
    }

    /// The broker that leads most partitions now.
    pub fn busiest(&self) -> anyhow::Result<u64> {
        let members = self.cluster.admin().members()?;
        let busiest = members.iter().filter(|member| member.alive).max_by_key(|it| it.leading);
        Ok(busiest.context("no broker is alive")?.id)
    }

    /// Starts a broker and waits until it serves again.
    pub fn start(&mut self, id: u64) -> anyhow::Result<String> {
        self.cluster.start_broker(id)?;
        self.await_ready(id)
    }

    /// Waits until a broker that was started serves.
    pub fn await_ready(&mut self, id: u64) -> anyhow::Result<String> {
        if self.cluster.wait_ready(id, PATIENCE) {
            Ok(format!("broker {id} is ready"))
        } else {
            anyhow::bail!("broker {id} is not ready within {PATIENCE:?}")
        }
    }
}

/// Transfers a leadership and waits until the brokers say so; tries again, as an operator would.
fn lead(admin: &Admin, topic: &str, partition: i32, leader: u64) -> anyhow::Result<()> {
    let led = wait(TRANSFER, || {
        if admin.leader(topic, partition) == Some(leader) {
            return Some(());
        }
        let _ = admin.set_leader(topic, partition, leader);
        None
    });
    led.with_context(|| format!("broker {leader} does not lead {topic}-{partition}"))
}

/// A fault of the network that met no packet did nothing.
fn bitten(what: &str, packets: u64) -> Outcome {
    match packets {
        0 => Outcome::Skipped { reason: format!("{what}: met no packet") },
        packets => Outcome::Installed {
            what: what.to_owned(),
            proof: format!("{packets} packets dropped or changed"),
        },
    }
}

/// Both directions between each host of one side and each of the other.
pub fn between(left: &[HostId], right: &[HostId]) -> Vec<(HostId, HostId)> {
    let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b)));
    pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_between_sides_leaves_each_side_whole() {
        assert_eq!(between(&[1], &[2, 3]), [(1, 2), (2, 1), (1, 3), (3, 1)]);
    }

    #[test]
    fn a_fault_that_met_no_packet_does_not_count() {
        assert!(matches!(bitten("cut", 0), Outcome::Skipped { .. }));
        assert!(matches!(bitten("cut", 2), Outcome::Installed { .. }));
    }
}
