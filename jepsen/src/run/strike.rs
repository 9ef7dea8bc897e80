//! Faults that strike one broker for a while: it is asked before what it leads, and the others before it is well again
//! whether they went on without it.

use std::collections::BTreeMap;

use super::Stage;
use super::evidence::Sign;
use crate::admin::Group;
use crate::sandbox::{Broker, Cluster};

/// Kafka requests that clients of a partition make.
const REQUESTS: [&str; 3] = ["Produce", "Fetch", "ListOffsets"];

/// A broker as it was before it was struck.
pub struct Struck {
    broker: u64,
    led: Vec<String>,
    /// Last indexes, by partition.
    ends: BTreeMap<String, u64>,
    /// Requests of clients it had answered.
    answered: u64,
}

/// Lets clients work for a while, for what takes something to do meanwhile.
pub fn resting(seconds: f64) -> impl FnOnce(&mut Stage<'_>) -> anyhow::Result<()> {
    move |stage| {
        stage.rest(seconds);
        Ok(())
    }
}

impl Struck {
    pub fn id(&self) -> u64 {
        self.broker
    }
}

impl<'a> Stage<'a> {
    /// SIGKILL, and the start once `meanwhile` is over.
    pub fn kill(
        &mut self,
        id: u64,
        why: &str,
        meanwhile: impl FnOnce(&mut Stage<'a>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut struck = self.strike(id);
        self.begin("kill", &format!("broker {id}, {why}"), |cluster| cluster.kill(id))?;
        // What it may have received between question and death is what anybody has by now.
        last_indexes(&replicas(self.cluster, id), &mut struck.ends);
        let done = meanwhile(self);
        self.overtake(&struck);
        self.recover(&struck);
        let started = self.start(id);
        self.end("kill", &format!("broker {id} starts"), |_| started)?;
        done
    }

    /// SIGSTOP, and SIGCONT some seconds later.
    pub fn pause(&mut self, id: u64, why: &str, seconds: f64) -> anyhow::Result<()> {
        let struck = self.strike(id);
        self.begin("pause", &format!("broker {id}, {why}"), |cluster| cluster.pause(id))?;
        self.rest(seconds);
        self.recover(&struck);
        self.end("pause", &format!("broker {id} wakes"), |cluster| cluster.resume(id))
    }

    /// To be called right before a broker is struck.
    pub fn strike(&mut self, broker: u64) -> Struck {
        let address = self.cluster.broker(broker).map(Broker::address);
        let own = address.and_then(|address| self.cluster.hasty_admin().groups(&address));
        let own = own.unwrap_or_default();
        let led: Vec<String> =
            own.iter().filter(|it| it.role == "leader").filter_map(name).collect();
        let mut ends = BTreeMap::new();
        last_indexes(&own, &mut ends);
        let now = self.env.recorder.now();
        self.evidence.struck(now, led.clone());
        Struck { broker, led, ends, answered: answered(self.cluster, broker).unwrap_or(0) }
    }

    /// To be called before it is well again.
    pub fn recover(&mut self, struck: &Struck) {
        let others = replicas(self.cluster, struck.broker);
        let leaders = others.iter().filter(|it| it.role == "leader").filter_map(name);
        let moved = leaders.filter(|partition| struck.led.contains(partition)).count();
        self.evidence.add(Sign::LedByAnother, moved);
        if let Some(now) = answered(self.cluster, struck.broker).filter(|_| !struck.led.is_empty())
        {
            let more = usize::try_from(now.saturating_sub(struck.answered)).unwrap_or(0);
            self.evidence.add(Sign::AnsweredMeanwhile, more);
        }
    }

    /// Whether others lead everything that a struck broker led.
    pub fn all_moved(&self, struck: &Struck) -> bool {
        self.still_led(struck).is_empty()
    }

    /// What a struck broker led and none of the others leads, by their own account.
    pub fn still_led(&self, struck: &Struck) -> Vec<String> {
        let others = replicas(self.cluster, struck.broker);
        let leaders = others.iter().filter(|it| it.role == "leader").filter_map(name);
        let leaders: Vec<String> = leaders.collect();
        struck.led.iter().filter(|led| !leaders.contains(led)).cloned().collect()
    }

    /// Finds the partitions whose entries after those that a dead broker has are gone from all others.
    fn overtake(&mut self, dead: &Struck) {
        if self.cluster.running().len() + 1 < self.cluster.ids().len() {
            // Whoever cannot be asked may have them all.
            return;
        }
        let mut purged: BTreeMap<String, u64> = BTreeMap::new();
        for other in replicas(self.cluster, dead.broker) {
            let (Some(partition), index) = (other.partition, other.purged_index.unwrap_or(0))
            else {
                continue;
            };
            let least = purged.entry(partition).or_insert(index);
            *least = index.min(*least);
        }
        for (partition, purged) in purged {
            if dead.ends.get(&partition).is_some_and(|end| *end < purged) {
                self.evidence.overtaken(dead.broker, partition, purged);
            }
        }
    }
}

fn name(group: &Group) -> Option<String> {
    group.partition.clone()
}

/// What all brokers that run say of their replicas, but for one of them.
fn replicas(cluster: &Cluster, without: u64) -> Vec<Group> {
    let admin = cluster.hasty_admin();
    let others = admin.brokers().iter().filter(|broker| broker.id != without);
    others.flat_map(|broker| admin.groups(broker).unwrap_or_default()).collect()
}

fn last_indexes(of: &[Group], ends: &mut BTreeMap<String, u64>) {
    for (partition, last) in of.iter().filter_map(|it| Some((name(it)?, it.last_index?))) {
        let end = ends.entry(partition).or_default();
        *end = last.max(*end);
    }
}

/// Requests of clients that a broker has answered, by its metrics; none if it does not say.
fn answered(cluster: &Cluster, id: u64) -> Option<u64> {
    let broker = cluster.broker(id).ok().filter(|broker| broker.running())?;
    let reply = cluster.hasty_admin().ask(&broker.address(), "GET", "/metrics", None).ok()?;
    let of = |api: &str| {
        let name = format!("quorate_kafka_requests_total{{api=\"{api}\"}} ");
        reply.body.as_str()?.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok())
    };
    Some(REQUESTS.iter().filter_map(|api| of(api)).sum())
}
