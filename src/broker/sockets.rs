//! The addresses a broker accepts on, and those it tells others.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::StartError;
use crate::config::{Config, HostPort};
use crate::kafka;

/// Bound sockets that do not accept yet, and what they are called outside.
pub(super) struct Sockets {
    pub(super) kafka: kafka::Listener,
    pub(super) http: TcpListener,
    /// The node binds this itself.
    pub(super) peer: SocketAddr,
    pub(super) addresses: Addresses,
}

/// How others reach this broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) kafka: HostPort,
    pub(super) http: HostPort,
    pub(super) peer: HostPort,
}

impl Sockets {
    /// Binds before anything else is done, so that a port in use changes nothing anywhere.
    pub(super) async fn bind(config: &Config) -> Result<Self, StartError> {
        let bind = |setting, address| move |source| StartError::Bind { setting, address, source };
        let kafka = kafka::Listener::bind(config.kafka.listen)
            .await
            .map_err(bind("kafka.listen", config.kafka.listen))?;
        let http = TcpListener::bind(config.http.listen)
            .await
            .map_err(bind("http.listen", config.http.listen))?;
        let peer =
            free_port(config.peer.listen).await.map_err(bind("peer.listen", config.peer.listen))?;
        let kafka_bound = kafka.address().map_err(bind("kafka.listen", config.kafka.listen))?;
        let http_bound = http.local_addr().map_err(bind("http.listen", config.http.listen))?;
        let addresses = Addresses {
            kafka: advertised("kafka", config.kafka.advertised.as_ref(), kafka_bound)?,
            http: advertised("http", config.http.advertised.as_ref(), http_bound)?,
            peer: advertised("peer", config.peer.advertised.as_ref(), peer)?,
        };
        Ok(Self { kafka, http, peer, addresses })
    }
}

/// A newcomer tells its peer address before it has a node that could listen there, so a free port is
/// looked for beforehand, and a port in use is noticed here rather than after the broker has joined.
async fn free_port(address: SocketAddr) -> io::Result<SocketAddr> {
    TcpListener::bind(address).await?.local_addr()
}

/// Nobody can connect to "any address", and guessing which of the machine's is meant helps nobody.
fn advertised(
    section: &'static str,
    configured: Option<&HostPort>,
    bound: SocketAddr,
) -> Result<HostPort, StartError> {
    match configured {
        Some(address) => Ok(address.clone()),
        None if bound.ip().is_unspecified() => Err(StartError::NotAdvertised { section, bound }),
        None => Ok(HostPort::from(bound)),
    }
}
