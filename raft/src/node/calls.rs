//! Calls between nodes, and learning where they are, for the owner of a node.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout, timeout_at};

use super::Node;
use crate::calls::{CallHandler, Caller};
use crate::codec::Put;
use crate::config::TransportLimits;
use crate::error::CallError;
use crate::platform::TcpStream;
use crate::transport::hello::{self, GUEST, Hello, HelloError, Versions};
use crate::transport::link::{Link, RequestError};
use crate::transport::message::{Failure, request};

impl Node {
    /// Dials an address as this node and asks who is there. A member of this cluster that this node knows
    /// is dialled there from now on if it does not answer where it is registered, and learns where this
    /// node is. Returns the member's id.
    ///
    /// # Errors
    /// [`CallError::Unreachable`] if nobody answers there, [`CallError::Refused`] if it does not want this
    /// node, or is somebody this node does not know.
    pub async fn meet(&self, address: &str) -> Result<u64, CallError> {
        let core = self.shared_core();
        let me = core.me.clone();
        let there = timeout(MEET, introduce_at(address, &me)).await;
        let theirs = match there {
            Err(_) => return Err(CallError::Unreachable(format!("{address}: no answer"))),
            Ok(Err(HelloError::Refused(reason))) => return Err(CallError::Refused(reason)),
            Ok(Err(error)) => return Err(CallError::Unreachable(format!("{address}: {error}"))),
            Ok(Ok((_, theirs))) => theirs,
        };
        if theirs.cluster != me.cluster || theirs.node == me.node {
            let who = format!("{address} is node {} of {:032x}", theirs.node, theirs.cluster);
            return Err(CallError::Refused(who));
        }
        match core.peers.objection(theirs.node, theirs.directory) {
            Some(objection) => Err(CallError::Refused(objection)),
            None => {
                core.peers.hear_at(theirs.node, address, theirs.directory);
                Ok(theirs.node)
            }
        }
    }

    /// Notes where somebody says that a peer is. It is dialled there if it does not answer where it is
    /// registered, and believed only if it answers with the same directory.
    pub fn hear_peer(&self, id: u64, address: &str, directory_id: u128) {
        self.shared_core().peers.hear_at(id, address, directory_id);
    }

    /// The peers this node is connected to, as id, address and directory, for others who look for them.
    pub fn reached_peers(&self) -> Vec<(u64, String, u128)> {
        self.shared_core().peers.reached()
    }

    /// Sets who answers calls. Until then they are answered as busy.
    pub fn serve_calls(&self, handler: Arc<dyn CallHandler>) {
        *self.shared_core().handler.write() = Some(handler);
    }

    /// Calls a peer, waiting for a connection if there is none. A call to this node itself is
    /// answered by its own handler.
    ///
    /// # Errors
    /// See [`CallError`]; after [`CallError::Timeout`] the call may have been executed.
    pub async fn call(
        &self,
        peer: u64,
        method: u16,
        body: Bytes,
        wait: Duration,
    ) -> Result<Bytes, CallError> {
        let core = self.shared_core();
        let deadline = Instant::now() + wait;
        if peer == self.id() {
            let handler = core.handler.read().clone().ok_or(CallError::Busy)?;
            let call = handler.call(Caller::Member(peer), method, body);
            return timeout_at(deadline, call).await.map_err(|_| CallError::Timeout)?;
        }
        let known = core.peers.get(peer).filter(|known| known.address().is_some());
        let known =
            known.ok_or_else(|| CallError::Unreachable(format!("node {peer} is unknown")))?;
        check_size(&body, core.config.limits.frame_bytes)?;
        let link = timeout_at(deadline, known.connected()).await.map_err(|_| {
            CallError::Unreachable(known.problem().unwrap_or_else(|| "not connected".into()))
        })?;
        ask(&link, method, body, deadline).await
    }

    /// Calls whoever listens on an address, before this node is a member of anything: the other
    /// side sees [`Caller::Guest`]. `cluster` is the cluster it must belong to, if that is known.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call_address(
        cluster: Option<u128>,
        address: &str,
        method: u16,
        body: Bytes,
        wait: Duration,
    ) -> Result<Bytes, CallError> {
        let deadline = Instant::now() + wait;
        let frame_bytes = TransportLimits::default().frame_bytes;
        check_size(&body, frame_bytes)?;
        let me = Hello {
            versions: Versions::spoken(),
            cluster: cluster.unwrap_or(0),
            node: GUEST,
            directory: 0,
            incarnation: 0,
            to: 0,
            address: String::new(),
        };
        let connected = timeout(wait, introduce_at(address, &me)).await;
        let stream = match connected {
            Err(_) => return Err(CallError::Unreachable(format!("{address}: no answer"))),
            Ok(Err(HelloError::Refused(reason))) => return Err(CallError::Refused(reason)),
            Ok(Err(error)) => return Err(CallError::Unreachable(format!("{address}: {error}"))),
            Ok(Ok((stream, _))) => stream,
        };
        let link = Link::start(stream, frame_bytes, Arc::default());
        let answer = ask(&link, method, body, deadline).await;
        link.close();
        answer
    }
}

/// Time to learn who listens on an address.
const MEET: Duration = Duration::from_secs(3);

async fn introduce_at(address: &str, me: &Hello) -> Result<(TcpStream, Hello), HelloError> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let theirs = hello::introduce(&mut stream, me).await?;
    Ok((stream, theirs))
}

/// Room for what a frame holds besides the body of a call.
const FRAME_SLACK: usize = 64;

fn check_size(body: &Bytes, frame_bytes: usize) -> Result<(), CallError> {
    if body.len() + FRAME_SLACK > frame_bytes {
        Err(CallError::TooLarge(body.len()))
    } else {
        Ok(())
    }
}

async fn ask(link: &Link, method: u16, body: Bytes, deadline: Instant) -> Result<Bytes, CallError> {
    let mut head = BytesMut::new();
    head.u16(method);
    let asked = link.request(request::CALL, 0, vec![head.freeze(), body]);
    match timeout_at(deadline, asked).await {
        Err(_) | Ok(Err(RequestError::Lost)) => Err(CallError::Timeout),
        Ok(Err(RequestError::NotConnected)) => Err(CallError::Unreachable("not connected".into())),
        Ok(Err(RequestError::Failed(failed))) => Err(match failed.failure {
            Failure::Busy => CallError::Busy,
            Failure::Refused => CallError::Refused(failed.text),
            Failure::NoGroup | Failure::Failed => CallError::Failed(failed.text),
        }),
        Ok(Ok(answer)) => Ok(answer),
    }
}
