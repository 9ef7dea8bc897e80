//! A small Kafka client: what the command line and the benchmarks need, and no more.
//!
//! It speaks fixed protocol versions, the ones Kafka 2.7 brought, so it can be pointed at any broker of today.
//! Producing is idempotent (KIP-98): a batch whose answer was lost is sent again with the same sequence numbers,
//! and the broker answers with the offset it was given the first time.

/// The message with these fields set. The generated types may grow, so Rust does not let them be written out.
macro_rules! message {
    ($type:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let mut message = $type::default();
        $( message.$field = $value; )*
        message
    }};
}

mod connection;
mod consumer;
mod coordinator;
mod error;
mod event_store;
mod group_consumer;
mod group_member;
mod http_agent;
mod partition_producer;
mod probe;
mod producer;
mod topology;
mod transactional_producer;
mod transactional_write;
mod versions;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use consumer::{Consumer, Delivery, Isolation, Start};
pub use error::{ClientError, ErrorCode};
pub use event_store::{
    AppendedEvents, EventRange, EventStore, Expected, Loaded, NewEvent, StoreError, StoredEvent,
};
pub use group_consumer::GroupConsumer;
pub use group_member::{GroupMember, MemberProtocol};
pub(crate) use http_agent::http_agent;
pub use probe::Probe;
pub use producer::{NewRecord, PendingBatch, Producer, ProducerConfig};
pub use topology::{PartitionAt, Topology};
pub use transactional_producer::{TransactionalConfig, TransactionalProducer};
pub use versions::TransactionVersion;

use crate::config::HostPort;
use connection::Connection;

/// How a client behaves towards brokers.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Brokers to ask first; the rest of the cluster is learned from them.
    pub servers: Vec<HostPort>,
    /// How long to wait for one answer, a fetch's own wait not counted.
    pub request_timeout: Duration,
    /// How long to go on trying what may succeed later.
    pub patience: Duration,
}

impl ClientConfig {
    pub fn new(servers: Vec<HostPort>) -> Self {
        Self {
            servers,
            request_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(60),
        }
    }
}

/// A connection to a cluster. Cheap to clone; clones share connections and what is known of the cluster.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    connections: Mutex<HashMap<HostPort, Arc<Connection>>>,
    topology: Mutex<Arc<Topology>>,
}

impl Client {
    /// Returns a client that connects when it is first used.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                connections: Mutex::new(HashMap::new()),
                topology: Mutex::new(Arc::new(Topology::default())),
            }),
        }
    }

    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// Returns the living connection to that address; there is one, so that what is sent stays in order.
    async fn connection(&self, address: &HostPort) -> Result<Arc<Connection>, ClientError> {
        let known = self.shared.connections.lock().get(address).cloned();
        if let Some(connection) = known.filter(|connection| connection.alive()) {
            return Ok(connection);
        }
        let opened = Connection::open(address, self.shared.config.request_timeout).await?;
        let mut connections = self.shared.connections.lock();
        // Somebody else may have opened one meanwhile, and sent on it.
        if let Some(connection) = connections.get(address).filter(|other| other.alive()) {
            return Ok(Arc::clone(connection));
        }
        connections.insert(address.clone(), Arc::clone(&opened));
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn all_who_connect_at_once_get_the_same_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address =
            HostPort { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
        let client = Client::new(ClientConfig::new(vec![address.clone()]));
        // The listener's backlog completes the connections; nobody has to accept them.
        let opening = (0..20).map(|_| client.connection(&address));
        let opened = futures::future::try_join_all(opening).await.unwrap_or_else(|e| panic!("{e}"));
        assert!(opened.iter().all(|connection| Arc::ptr_eq(connection, &opened[0])));
    }
}
