//! A peer: dialling it, noticing that it is gone, noticing that it is back.
//!
//! One task per peer keeps one connection to it. While connected it pings, and any frame that
//! arrives counts as a sign of life; silence is counted in ping intervals this task really saw, so
//! that a pause of this process does not make its peers look dead. Losing the connection is not
//! death: the peer is dialled again at once, and only a refusal or silence decides.
//!
//! A peer may have two addresses: the one it is registered with, and one where it was last heard of. The
//! second is dialled where the first does not answer as the peer, and only who answers with the peer's
//! directory is the peer, so whoever spreads a wrong address changes nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, timeout};

use super::credits::Credits;
use super::heartbeat::{self, Heartbeat};
use super::hello::{self, Hello, HelloError};
use super::link::{Link, RequestError};
use crate::condition::Condition;
use crate::config::{FailureConfig, TransportLimits};
use crate::failure::Liveness;
use crate::platform::TcpStream;

/// First and longest pause between two attempts to connect.
const DIAL_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Longest wait for a connection to be accepted.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a peer is and which directory it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub address: String,
    pub directory: u128,
}

/// What all peers of a node share.
pub(crate) struct Common {
    pub me: Hello,
    pub failure: FailureConfig,
    pub limits: TransportLimits,
    pub liveness: Arc<Liveness>,
}

/// Another node.
pub(crate) struct Peer {
    pub id: u64,
    address: watch::Sender<Option<Address>>,
    /// Where it was last heard of, if not there.
    heard_at: Mutex<Option<String>>,
    link: watch::Sender<Option<Arc<Link>>>,
    /// Number of the process the peer last was; 0 before the first contact.
    incarnation: AtomicU64,
    condition: Arc<AtomicU8>,
    /// Append bytes that may be unanswered.
    pub credits: Credits,
    wake: Notify,
    heartbeats: mpsc::Sender<Heartbeat>,
    problem: Mutex<Option<HelloError>>,
    /// The address of the last connection, if it was not the registered one.
    connected_at: Mutex<Option<String>>,
}

impl Peer {
    /// Creates a peer and the task that keeps the connection to it, which ends with the peer.
    pub fn start(id: u64, common: Arc<Common>) -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        let (heartbeats, waiting) = heartbeat::queue();
        let peer = Arc::new(Self {
            id,
            address: watch::Sender::new(None),
            heard_at: Mutex::new(None),
            link: watch::Sender::new(None),
            incarnation: AtomicU64::new(0),
            condition: Arc::default(),
            credits: Credits::new(common.limits.peer_inflight_bytes),
            wake: Notify::new(),
            heartbeats,
            problem: Mutex::new(None),
            connected_at: Mutex::new(None),
        });
        let run = Arc::clone(&peer);
        let task = tokio::spawn(async move {
            tokio::join!(run.keep_connected(&common), heartbeat::run(&run, waiting));
        });
        (peer, task)
    }

    /// Sets or forgets where the peer is; a connection to another place ends.
    pub fn set_address(&self, address: Option<Address>) {
        self.address.send_if_modified(|current| {
            let changed = *current != address;
            *current = address;
            changed
        });
    }

    pub fn address(&self) -> Option<Address> {
        self.address.borrow().clone()
    }

    /// Notes where the peer was heard of, to be dialled if it does not answer where it is registered.
    /// True if that is news.
    pub fn heard_at(&self, address: &str) -> bool {
        let Some(registered) = self.address() else { return false };
        let mut heard_at = self.heard_at.lock();
        let news = registered.address != address && heard_at.as_deref() != Some(address);
        if news {
            *heard_at = Some(address.to_owned());
        }
        drop(heard_at);
        self.dial_now();
        news
    }

    /// Where the peer was reached last.
    pub fn found_at(&self) -> Option<Address> {
        let registered = self.address()?;
        match self.connected_at.lock().clone() {
            Some(address) => Some(Address { address, ..registered }),
            None => Some(registered),
        }
    }

    /// The connection, if there is one.
    pub fn link(&self) -> Option<Arc<Link>> {
        self.link.borrow().clone()
    }

    /// Waits for a connection.
    pub async fn connected(&self) -> Arc<Link> {
        let mut link = self.link.subscribe();
        // Cloned at once: the guard of a watch must not live across an await.
        let found = link.wait_for(Option::is_some).await.ok().and_then(|link| link.clone());
        match found {
            Some(link) => link,
            None => std::future::pending().await,
        }
    }

    /// The peer was heard of in another way: dial now.
    pub fn dial_now(&self) {
        self.wake.notify_one();
    }

    /// What the peer last said of its disk.
    pub fn condition(&self) -> Condition {
        Condition::from_bits(self.condition.load(Ordering::Relaxed))
    }

    /// Why there is no connection, in words for an operator.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().as_ref().map(ToString::to_string)
    }

    /// The peer is there, and refuses this node.
    pub fn turns_away(&self) -> bool {
        matches!(*self.problem.lock(), Some(HelloError::Refused(_)))
    }

    /// Waits until the peer is no member any more, or one with another directory.
    pub async fn dismissed(&self, directory: u128) {
        let mut address = self.address.subscribe();
        let gone = |it: &Option<Address>| it.as_ref().is_none_or(|it| it.directory != directory);
        drop(address.wait_for(gone).await);
    }

    /// Asks for something over the present connection.
    pub async fn request(
        &self,
        what: u8,
        group: u64,
        body: Vec<Bytes>,
    ) -> Result<Bytes, RequestError> {
        match self.link() {
            Some(link) => link.request(what, group, body).await,
            None => Err(RequestError::NotConnected),
        }
    }

    /// Queues a heartbeat to be sent with those of other groups.
    pub async fn heartbeat(&self, heartbeat: Heartbeat) {
        drop(self.heartbeats.send(heartbeat).await);
    }

    async fn keep_connected(&self, common: &Common) {
        let mut address = self.address.subscribe();
        let mut pause = DIAL_AGAIN.0;
        loop {
            let Some(target) = address.borrow_and_update().clone() else {
                common.liveness.forget(self.id);
                *self.problem.lock() = None;
                *self.heard_at.lock() = None;
                if address.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match self.dial_all(&target, common).await {
                Ok((stream, theirs, used)) => {
                    pause = DIAL_AGAIN.0;
                    let moved = moved(&mut address, &used);
                    self.use_connection(stream, theirs, moved, common).await;
                }
                Err(error) => {
                    common.liveness.set(self.id, false);
                    self.explain(error);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(DIAL_AGAIN.1),
                        () = self.wake.notified() => pause = DIAL_AGAIN.0,
                        _ = address.changed() => pause = DIAL_AGAIN.0,
                    }
                }
            }
        }
    }

    /// Dials the peer where it is registered and where it was heard of, first where it was last.
    async fn dial_all(
        &self,
        registered: &Address,
        common: &Common,
    ) -> Result<(TcpStream, Hello, Address), HelloError> {
        let heard_at = self.heard_at.lock().clone();
        let elsewhere = heard_at.map(|address| Address { address, ..registered.clone() });
        let mut targets: Vec<Address> = [registered.clone()].into_iter().chain(elsewhere).collect();
        if self.connected_at.lock().is_some() {
            targets.reverse();
        }
        // Why it is not found where it is registered is what an operator should look at.
        let mut problem = None;
        for target in targets {
            let moved = target != *registered;
            match self.dial(&target, common).await {
                Ok((stream, theirs)) => {
                    if moved && self.connected_at.lock().as_ref() != Some(&target.address) {
                        let (peer, address) = (self.id, &target.address);
                        tracing::info!(peer, address, "peer is found elsewhere than registered");
                    }
                    *self.connected_at.lock() = moved.then(|| target.address.clone());
                    if !moved {
                        *self.heard_at.lock() = None;
                    }
                    return Ok((stream, theirs, target));
                }
                Err(error) if moved => {
                    tracing::debug!(peer = self.id, %error, "peer is not where it was heard of");
                }
                Err(error) => problem = Some(error),
            }
        }
        Err(problem.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into()))
    }

    /// Dials and introduces this node. Taking longer than silence may last counts as silence, but
    /// the attempt goes on: a busy peer is not a refusal.
    async fn dial(
        &self,
        target: &Address,
        common: &Common,
    ) -> Result<(TcpStream, Hello), HelloError> {
        let me = Hello { to: self.id, ..common.me.clone() };
        let mut attempt = std::pin::pin!(async {
            let dialled = timeout(DIAL_TIMEOUT, TcpStream::connect(&target.address)).await;
            let mut stream = dialled.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            stream.set_nodelay(true)?;
            let theirs = hello::introduce(&mut stream, &me).await?;
            Ok::<_, HelloError>((stream, theirs))
        });
        let answer = match timeout(common.failure.dead_after, &mut attempt).await {
            Ok(answer) => answer,
            Err(_) => {
                common.liveness.set(self.id, false);
                attempt.await
            }
        };
        let (stream, theirs) = answer?;
        check(&theirs, &me, target)?;
        Ok((stream, theirs))
    }

    async fn use_connection(
        &self,
        stream: TcpStream,
        theirs: Hello,
        moved: impl Future<Output = ()>,
        common: &Common,
    ) {
        let before = self.incarnation.swap(theirs.incarnation, Ordering::AcqRel);
        if before != theirs.incarnation {
            self.condition.store(Condition::default().to_bits(), Ordering::Relaxed);
        }
        let link = Link::start(stream, common.limits.frame_bytes, Arc::clone(&self.condition));
        *self.problem.lock() = None;
        self.link.send_replace(Some(Arc::clone(&link)));
        tracing::debug!(peer = self.id, "connected to peer");
        common.liveness.set(self.id, !self.condition().stalled);
        common.liveness.connected(self.id, before != theirs.incarnation);
        let silent = tokio::select! {
            () = link.closed() => false,
            () = self.watch(&link, common) => true,
            () = moved => false,
        };
        self.link.send_replace(None);
        link.close();
        tracing::debug!(peer = self.id, silent, "connection to peer ended");
        if silent {
            common.liveness.set(self.id, false);
        }
    }

    /// Pings; returns when the peer was silent for too many ping intervals. A peer whose disk hangs
    /// answers and yet can neither lead nor acknowledge, so it counts as dead until that is over.
    async fn watch(&self, link: &Link, common: &Common) {
        let FailureConfig { ping_interval, dead_after, .. } = common.failure;
        let mut ticks = tokio::time::interval(ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = Duration::ZERO;
        while silent < dead_after {
            ticks.tick().await;
            silent = if link.heard() { Duration::ZERO } else { silent + ping_interval };
            common.liveness.set(self.id, !self.condition().stalled);
            link.ping();
        }
    }

    /// Tells an operator once why a peer is not connected. Being down is the detector's to tell.
    fn explain(&self, error: HelloError) {
        let text = error.to_string();
        let mut problem = self.problem.lock();
        if problem.as_ref().is_some_and(|known| known.to_string() == text) {
            return;
        }
        match &error {
            HelloError::Io(_) => tracing::debug!(peer = self.id, error = text, "cannot reach peer"),
            HelloError::Refused(_) => {
                tracing::info!(peer = self.id, reason = text, "peer refuses this node");
            }
            HelloError::Stranger(_) => {
                tracing::warn!(peer = self.id, reason = text, "peer is not who it should be");
            }
        }
        *problem = Some(error);
    }
}

/// Returns when the peer is registered with another address than the one in use.
async fn moved(address: &mut watch::Receiver<Option<Address>>, used: &Address) {
    while address.changed().await.is_ok() {
        if address.borrow_and_update().as_ref() != Some(used) {
            return;
        }
    }
}

fn check(theirs: &Hello, me: &Hello, target: &Address) -> Result<(), HelloError> {
    let wrong = |what: String| Err(HelloError::Stranger(what));
    let version = me.versions.common(theirs.versions).map_err(HelloError::Stranger)?;
    tracing::debug!(peer = theirs.node, version, "peer protocol agreed on");
    if theirs.cluster != me.cluster {
        return wrong(format!("{} belongs to cluster {:032x}", target.address, theirs.cluster));
    }
    if theirs.node != me.to {
        return wrong(format!("{} is node {}, not {}", target.address, theirs.node, me.to));
    }
    if theirs.directory != target.directory {
        return wrong(format!(
            "node {} at {} has data directory {:032x}, but {:032x} is registered",
            theirs.node, target.address, theirs.directory, target.directory
        ));
    }
    Ok(())
}
