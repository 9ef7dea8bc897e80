//! Accepts Kafka connections, up to a limit, and lets them finish when the broker stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection;
use super::server::{KafkaServer, stopped};
use crate::context::Context;
use crate::telemetry::metrics;

/// How long connections may take to write the answers they owe after the broker was told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// A peer that vanished without a word is noticed after 60 s + 4 x 15 s.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// Accepting fails when the process is out of file descriptors; trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket that does not accept yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
}

impl Listener {
    /// Binds `address`; port 0 takes any free port, which [`Listener::address`] then tells.
    pub async fn bind(address: SocketAddr) -> io::Result<Listener> {
        Ok(Listener { socket: TcpListener::bind(address).await? })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves clients until `stopping` turns true, then returns when every connection has written what it
    /// owes, after ten seconds at the latest.
    pub async fn run(self, context: Context, mut stopping: watch::Receiver<bool>) {
        let server = KafkaServer::new(context, stopping.clone());
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stopped(&mut stopping) => break,
                Some(_) = connections.join_next() => {}
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, peer)) if connections.len() < server.connections_max() => {
                        connections.spawn(serve(Arc::clone(&server), stream, peer));
                    }
                    Ok((_, peer)) => {
                        metrics().kafka_connections_refused.inc();
                        tracing::debug!(%peer, open = connections.len(), "refuse a connection above the limit");
                    }
                    Err(error) => {
                        tracing::info!(%error, "accept a kafka connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.socket);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
            tracing::info!(
                connections = connections.len(),
                "close kafka connections that do not drain"
            );
        }
        connections.shutdown().await;
    }
}

async fn serve(server: Arc<KafkaServer>, stream: TcpStream, peer: SocketAddr) {
    if let Err(error) = prepare(&stream) {
        tracing::debug!(%peer, %error, "set up a kafka connection");
        return;
    }
    metrics().kafka_connections.inc();
    let _open = Open;
    connection::serve(server, stream, peer).await;
}

/// Counts an open connection down, also when its task is aborted.
struct Open;

impl Drop for Open {
    fn drop(&mut self) {
        metrics().kafka_connections.dec();
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
