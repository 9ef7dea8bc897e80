//! A process' clients: one connection to each broker, and what it believes about leaders.
//!
//! Beliefs come from whichever broker answers and may be old, as with any client. Only one thing is never believed:
//! an epoch below one this process has seen already, for ordinary clients refuse that too (KIP-320), and whoever
//! follows a leader back in time would see the log go back.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::requests::{self, ClusterView};
use super::{Connection, Failure};
use crate::environment::Env;

/// Longest wait for a connection, and for metadata from one broker: there are others.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(1_500);

/// A partition by its topic's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    pub topic: Arc<str>,
    pub partition: i32,
}

/// Who leads a partition, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    pub broker: u64,
    /// -1 if it is not known.
    pub epoch: i32,
}

/// See the module.
pub struct Client {
    env: Arc<Env>,
    random: StdRng,
    connections: BTreeMap<u64, Connection>,
    /// Addresses told by brokers, for those that nobody told us of.
    told: BTreeMap<u64, SocketAddr>,
    leaders: BTreeMap<At, Leader>,
    epochs: BTreeMap<At, i32>,
}

impl At {
    pub fn new(topic: &str, partition: i32) -> At {
        At { topic: Arc::from(topic), partition }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl Client {
    pub fn new(env: Arc<Env>, random: &mut StdRng) -> Client {
        let random = StdRng::seed_from_u64(random.random());
        let (connections, told) = (BTreeMap::new(), BTreeMap::new());
        let (leaders, epochs) = (BTreeMap::new(), BTreeMap::new());
        Client { env, random, connections, told, leaders, epochs }
    }

    /// How long a request may take.
    pub fn patience(&self) -> Duration {
        self.env.settings.request_timeout
    }

    /// The connection to a broker, opened if there is none that is good for anything.
    pub fn to(&mut self, broker: u64) -> Result<&mut Connection, Failure> {
        if self.connections.get(&broker).is_some_and(|connection| !connection.usable()) {
            self.connections.remove(&broker);
        }
        if !self.connections.contains_key(&broker) {
            let listed = self.env.addresses();
            let listed = listed.iter().find(|address| address.id == broker);
            let address = listed.map(|address| address.kafka).or(self.told.get(&broker).copied());
            let address = address
                .ok_or_else(|| Failure::Unsent(format!("broker {broker} has no known address")))?;
            let patience = LOOKUP_PATIENCE.min(self.patience());
            self.connections.insert(broker, Connection::open(address, patience)?);
        }
        let connection = self.connections.get_mut(&broker);
        connection.ok_or_else(|| Failure::Unsent("no connection".to_owned()))
    }

    /// The open connection to a broker, with answers outstanding perhaps.
    pub fn open(&mut self, broker: u64) -> Option<&mut Connection> {
        self.connections.get_mut(&broker)
    }

    /// What a request failed with says more than that the request failed: its connection is of no use any more, or
    /// its leader is not one.
    pub fn learn(&mut self, broker: u64, at: &At, failure: &Failure) {
        if !matches!(failure, Failure::Code(_)) {
            self.connections.remove(&broker);
        }
        if self.leaders.get(at).is_some_and(|leader| leader.broker == broker) {
            self.leaders.remove(at);
        }
    }

    pub fn disconnect(&mut self, broker: u64) {
        self.connections.remove(&broker);
    }

    /// The believed leader of a partition, asked for if there is none.
    pub fn leader(&mut self, at: &At) -> Result<Leader, Failure> {
        if !self.leaders.contains_key(at) {
            self.refresh(std::slice::from_ref(at))?;
        }
        let none = || Failure::Unsent(format!("no leader of {at} is known"));
        self.leaders.get(at).copied().ok_or_else(none)
    }

    /// Believes in the leader of each partition that the first broker to answer names.
    pub fn refresh(&mut self, partitions: &[At]) -> Result<(), Failure> {
        let mut topics: Vec<&str> = partitions.iter().map(|at| &*at.topic).collect();
        topics.dedup();
        let seen = self.metadata(Some(&topics))?;
        for at in partitions {
            let partition =
                seen.topics.get(&*at.topic).and_then(|topic| topic.partitions.get(&at.partition));
            let Some((broker, epoch)) = partition.and_then(|it| Some((it.leader?, it.epoch)))
            else {
                continue;
            };
            let newest = self.epochs.entry(at.clone()).or_insert(epoch);
            if epoch >= *newest || epoch < 0 {
                *newest = epoch.max(*newest);
                self.leaders.insert(at.clone(), Leader { broker, epoch });
            }
        }
        Ok(())
    }

    /// Partitions whose leader is not known now.
    pub fn leaderless<'a>(&self, partitions: impl Iterator<Item = &'a At>) -> Vec<At> {
        partitions.filter(|at| !self.leaders.contains_key(*at)).cloned().collect()
    }

    /// What the first broker to answer says, asked in random order.
    pub fn metadata(&mut self, topics: Option<&[&str]>) -> Result<ClusterView, Failure> {
        let mut brokers = self.env.addresses();
        brokers.shuffle(&mut self.random);
        let patience = LOOKUP_PATIENCE.min(self.patience());
        let mut failed = "there are no brokers".to_owned();
        for broker in brokers {
            let asked = self.to(broker.id).and_then(|to| requests::metadata(to, topics, patience));
            match asked {
                Ok(seen) => {
                    self.told.extend(&seen.brokers);
                    return Ok(seen);
                }
                Err(failure) => {
                    self.disconnect(broker.id);
                    failed = failure.to_string();
                }
            }
        }
        // It changed nothing, so whoever wanted it for something else has not begun.
        Err(Failure::Unsent(format!("metadata: {failed}")))
    }

    /// Any broker, for requests that any may serve.
    pub fn any_broker(&mut self) -> u64 {
        let brokers = self.env.addresses();
        if brokers.is_empty() { 0 } else { brokers[self.random.random_range(0..brokers.len())].id }
    }
}
