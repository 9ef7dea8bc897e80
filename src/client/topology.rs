//! Who leads what: asked of any broker, kept until it proves wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_wire::metadata_request::MetadataRequestTopic;
use kafka_wire::metadata_response::MetadataResponseTopic;
use kafka_wire::{MetadataRequest, MetadataResponse};
use kafka_wire_core::StrBytes;
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::{Client, ClientError, ErrorCode};
use crate::config::HostPort;

const METADATA: i16 = 9;
/// Between two questions while waiting for a leader; a failover takes about a second.
const PAUSE: Duration = Duration::from_millis(50);

/// The cluster as one broker described it.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    pub brokers: HashMap<i32, HostPort>,
    topics: HashMap<String, HashMap<i32, Option<i32>>>,
}

/// Where a partition is led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionAt {
    pub broker: i32,
    pub address: HostPort,
}

impl Topology {
    /// Returns the numbers of the topic's partitions in order; empty when the topic is not known.
    pub fn partitions(&self, topic: &str) -> Vec<i32> {
        let mut numbers: Vec<i32> =
            self.topics.get(topic).map(|all| all.keys().copied().collect()).unwrap_or_default();
        numbers.sort_unstable();
        numbers
    }

    /// Returns the partition's leader, if it has one.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<PartitionAt> {
        let broker = (*self.topics.get(topic)?.get(&partition)?)?;
        Some(PartitionAt { broker, address: self.brokers.get(&broker)?.clone() })
    }

    fn merge(&self, answer: MetadataResponse) -> Self {
        let mut next = self.clone();
        if !answer.brokers.is_empty() {
            let address = |host: &StrBytes, port: i32| {
                HostPort::new(host.as_str(), u16::try_from(port).unwrap_or(0))
            };
            next.brokers = answer
                .brokers
                .iter()
                .map(|broker| (broker.node_id, address(&broker.host, broker.port)))
                .collect();
        }
        for topic in answer.topics {
            let MetadataResponseTopic { name: Some(name), error_code: 0, partitions, .. } = topic
            else {
                continue;
            };
            let leader = |leader: i32| (leader >= 0).then_some(leader);
            let partitions =
                partitions.iter().map(|p| (p.partition_index, leader(p.leader_id))).collect();
            next.topics.insert(name.into_string(), partitions);
        }
        next
    }
}

impl Client {
    /// Returns what is known of the cluster without asking.
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.shared.topology.lock())
    }

    /// Asks the brokers one after the other until one describes the topic.
    ///
    /// `create` lets the broker create a topic that does not exist, if it is set up to.
    pub async fn refresh(&self, topic: &str, create: bool) -> Result<Arc<Topology>, ClientError> {
        let request = message!(MetadataRequest {
            topics: Some(vec![message!(MetadataRequestTopic { name: Some(topic.into()) })]),
            allow_auto_topic_creation: create
        });
        let connection = self.any_connection().await?;
        let answer =
            connection.call(&request, METADATA, self.shared.config.request_timeout).await?;
        let error = answer.topics.first().map_or(0, |topic| topic.error_code);
        let mut known = self.shared.topology.lock();
        *known = Arc::new(known.merge(answer));
        ErrorCode::check(error, "metadata")?;
        Ok(Arc::clone(&known))
    }

    /// Like [`Client::refresh`], trying again while that may help: a topic just created has no leader yet.
    pub async fn refresh_patiently(
        &self,
        topic: &str,
        create: bool,
    ) -> Result<Arc<Topology>, ClientError> {
        let started = Instant::now();
        loop {
            let error = match self.refresh(topic, create).await {
                Ok(topology) if !topology.partitions(topic).is_empty() => return Ok(topology),
                Ok(_) => ClientError::UnknownPartition { topic: topic.to_owned(), partition: 0 },
                Err(error) => error,
            };
            // A topic that nobody creates does not appear by waiting, and when nobody answers at first the
            // address is more likely wrong than the whole cluster just restarting.
            let hopeless = match error {
                ClientError::Broker { code: ErrorCode(3), .. } => !create,
                ClientError::Connect { .. } => self.topology().brokers.is_empty(),
                _ => false,
            };
            if hopeless || !error.retriable() {
                return Err(error);
            }
            if started.elapsed() > self.shared.config.patience {
                return Err(ClientError::GaveUp {
                    seconds: started.elapsed().as_secs(),
                    last: Box::new(error),
                });
            }
            sleep(PAUSE).await;
        }
    }

    /// Returns the partition's leader, from what is known or by asking once.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<PartitionAt, ClientError> {
        if let Some(leader) = self.topology().leader(topic, partition) {
            return Ok(leader);
        }
        let topology = self.refresh(topic, false).await?;
        topology
            .leader(topic, partition)
            .ok_or_else(|| ClientError::NoLeader { topic: topic.to_owned(), partition })
    }

    /// Forgets who leads the partition, because that broker does not answer or denies it.
    pub(super) fn forget_leader(&self, topic: &str, partition: i32) {
        let mut known = self.shared.topology.lock();
        if known.leader(topic, partition).is_some() {
            let mut next = Topology::clone(&known);
            if let Some(leader) = next.topics.get_mut(topic).and_then(|all| all.get_mut(&partition))
            {
                *leader = None;
            }
            *known = Arc::new(next);
        }
    }

    /// Returns a connection to any broker: those given first, then those learned.
    pub(super) async fn any_connection(&self) -> Result<Arc<Connection>, ClientError> {
        let mut last = None;
        let learned = self.topology();
        let mut others: Vec<&HostPort> = learned.brokers.values().collect();
        others.sort_unstable();
        for address in self.shared.config.servers.iter().chain(others) {
            match self.connection(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(ClientError::Connect {
            address: HostPort::new("", 0),
            reason: "no server was given".to_owned(),
        }))
    }
}
