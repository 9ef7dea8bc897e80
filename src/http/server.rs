//! The accept loop: bounded connections, a deadline for each request's header, and an orderly end.
//!
//! Clients that connect and say nothing, or stop in the middle of a body, can take all places for half a minute. An
//! orchestrator that gets no answer about the broker's health meanwhile would kill it. So there are a few places
//! more, in which only health is answered, one request each; the newest connection always gets one, if need be that
//! of the oldest.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::drain::Draining;
use crate::config::Http;

/// How long a client may take for a request's header; also how long an idle connection is kept.
const HEADER_WAIT: Duration = Duration::from_secs(30);
/// Connections beyond the configured ones, for questions about health.
pub(crate) const HEALTH_PLACES: usize = 64;
/// How long a client in such a place may take for its request's header.
const HEALTH_HEADER_WAIT: Duration = Duration::from_secs(5);
/// How long requests under way may take once the broker stops.
const DRAIN: Duration = Duration::from_secs(5);
/// After a failed accept, most often for want of file descriptors, which only time brings back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A request line with its headers.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// What is answered: everything, or health alone while all ordinary places are taken.
pub struct Routers {
    pub all: Router,
    pub health: Router,
}

/// Serves HTTP until `stop` resolves, then lets requests under way finish for a bounded time.
pub async fn serve(
    listener: TcpListener,
    routers: Routers,
    config: Http,
    stop: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(config.connections_max));
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut health = HealthPlaces::default();
    tokio::pin!(stop);
    loop {
        // Who was turned out of a place is gone at its next turn; until then it still holds a descriptor.
        let room = connections.len() < config.connections_max + 2 * HEALTH_PLACES;
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if room => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "http connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let stopped = stopped.clone();
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let router = routers.all.clone();
            connections.spawn(async move {
                converse(stream, &ordinary(), router, stopped).await;
                drop(place);
            });
        } else {
            let router = routers.health.clone();
            let one = connections.spawn(async move {
                converse(stream, &health_only(), router, stopped).await;
            });
            health.take(one);
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::info!(seconds = DRAIN.as_secs(), "http requests were cut off");
    }
}

/// The connections in health's places, oldest first.
#[derive(Default)]
struct HealthPlaces(VecDeque<AbortHandle>);

impl HealthPlaces {
    fn take(&mut self, newest: AbortHandle) {
        self.0.retain(|connection| !connection.is_finished());
        if self.0.len() == HEALTH_PLACES
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(newest);
    }
}

fn ordinary() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .max_header_size(HEADER_BYTES_MAX);
    builder
}

fn health_only() -> http1::Builder {
    let mut builder = ordinary();
    builder.header_read_timeout(HEALTH_HEADER_WAIT).keep_alive(false);
    builder
}

async fn converse(
    stream: TcpStream,
    builder: &http1::Builder,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let stream = Draining::new(stream);
    let state = stream.state();
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let stopped = async move {
        // The sender lives as long as this task, so the wait ends with a true.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopped => {
            state.stop();
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // Errors here are the client's: it went away, or sent something that is not HTTP.
    if let Err(error) = outcome {
        tracing::debug!(%error, "http connection ended");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn an_idle_connection_does_not_keep_the_broker_from_stopping() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let routers = Routers { health: router.clone(), all: router };
        let (stop, mut stopped) = watch::channel(false);
        let stopped = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        let config = crate::config::Config::default().http;
        let server = tokio::spawn(serve(listener, routers, config, stopped));
        let mut clients = Vec::new();
        for request in ["", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !request.is_empty() && !answer.ends_with(b"here") {
                client.read_buf(&mut answer).await.unwrap();
            }
            clients.push(client);
        }
        stop.send_replace(true);
        // Half of what a client that may still be sending is given.
        tokio::time::timeout(Duration::from_secs(1), server).await.unwrap().unwrap();
        for mut client in clients {
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0, "closed, not reset");
        }
    }
}
