//! The side that is dialled.
//!
//! A connection is read by one task that never waits for a group: appends go to their stream's
//! queue, everything else to a task of its own, and whatever exceeds a bound is answered as busy or
//! ends the connection. Answers share one queue to the socket; if the peer does not read them, the
//! connection ends instead of the queue growing.

mod places;
mod receive;
mod serve_append;
mod serve_request;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::BufReader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::calls::Caller;
use crate::core::Core;
use crate::error::DecodeError;
use crate::platform::{OwnedReadHalf, TcpListener, TcpStream, wall_ms};
use crate::transport::frame::{self, Frame};
use crate::transport::hello::{self, GUEST, Hello};
use crate::transport::message::{self, Failed, Failure};
use crate::transport::peer::Peer;

use places::{Place, Places};
use receive::Arriving;
use serve_append::Streams;

/// Answers that may wait for the socket.
const OUT_FRAMES: usize = 4096;
/// Largest frame of somebody who is not a member.
const GUEST_FRAME_BYTES: usize = 1 << 20;
/// Calls of a guest at the same time.
const GUEST_REQUESTS: usize = 4;
/// A connection that says nothing for this long is closed; members ping far more often.
const SILENCE: Duration = Duration::from_secs(60);
/// Pause after the system refused to accept a connection, for example for lack of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Accepts peers until the node stops.
pub(crate) async fn run(core: Arc<Core>, listener: TcpListener) {
    let places = Arc::new(Places::new(core.config.limits.connections));
    let arriving = Arc::new(Arriving::default());
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let (place, gives_way) = Places::take(&places);
        let (core, arriving) = (Arc::clone(&core), Arc::clone(&arriving));
        tokio::spawn(async move {
            let mut stop = core.stop.subscribe();
            tokio::select! {
                ended = connection(&core, arriving, stream, from, place) => {
                    let error = ended.err().map(|error| error.to_string());
                    tracing::debug!(%from, error, "connection from a peer ended");
                }
                _ = gives_way => tracing::debug!(%from, "too many connections of strangers"),
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }
}

/// Who is at the other end, and the way back.
pub(crate) struct Session {
    pub core: Arc<Core>,
    pub arriving: Arc<Arriving>,
    pub caller: Caller,
    pub out: mpsc::Sender<Frame>,
    /// Requests executed at the same time.
    pub requests: Arc<Semaphore>,
    /// Heartbeats that wait for their group at the same time. Not requests: one that waits for a
    /// disk must not be in the way of the others, nor a burst of requests in theirs.
    pub heartbeats: Arc<Semaphore>,
}

async fn connection(
    core: &Arc<Core>,
    arriving: Arc<Arriving>,
    mut stream: TcpStream,
    from: SocketAddr,
    mut place: Place,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let introduced = hello::listen(&mut stream).await?;
    // Its own address may be among those where it looks for members.
    let own = introduced.as_ref().is_ok_and(|theirs| theirs.directory == core.me.directory);
    let admitted = introduced.and_then(|theirs| {
        admit(core, &theirs)?;
        // A guest stays a stranger: anybody may call himself one.
        if theirs.node != GUEST {
            place.keep()?;
        }
        Ok(theirs)
    });
    let theirs = match admitted {
        Ok(theirs) => theirs,
        Err(reason) => {
            if own {
                tracing::debug!(%from, reason, "connection refused");
            } else {
                tracing::info!(%from, reason, "connection refused");
            }
            return hello::refuse(&mut stream, &reason).await;
        }
    };
    let guest = theirs.node == GUEST;
    // A directory's id tells a member from one that lost its disk, and is no secret: who reaches this port is trusted.
    // A guest has no use for it.
    let me = if guest { Hello { directory: 0, ..core.me.clone() } } else { core.me.clone() };
    hello::welcome(&mut stream, &me).await?;
    let limits = &core.config.limits;
    let member = core.peers.get(theirs.node).filter(|_| !guest);
    if let Some(peer) = &member {
        // It is there, so dialling it makes sense right now.
        core.peers.heard_of(peer, &theirs.address);
    }
    let (input, output) = stream.into_split();
    let (out, frames) = mpsc::channel(OUT_FRAMES);
    let session = Session {
        core: Arc::clone(core),
        arriving,
        caller: if guest { Caller::Guest } else { Caller::Member(theirs.node) },
        out,
        requests: Arc::new(Semaphore::new(if guest { GUEST_REQUESTS } else { limits.requests })),
        heartbeats: Arc::new(Semaphore::new(limits.streams)),
    };
    let frame_max = if guest { GUEST_FRAME_BYTES } else { limits.frame_bytes };
    tokio::select! {
        written = frame::write_all(output, frames) => written,
        read = read(session, input, frame_max) => read,
        () = dismissed(member, theirs.directory) => Ok(()),
    }
}

/// Returns when somebody who was let in as a member would not be let in any more.
async fn dismissed(member: Option<Arc<Peer>>, directory: u128) {
    match member {
        Some(peer) => peer.dismissed(directory).await,
        None => std::future::pending().await,
    }
}

/// Decides whether somebody may speak to this node.
fn admit(core: &Core, theirs: &Hello) -> Result<(), String> {
    let me = &core.me;
    let guest = theirs.node == GUEST;
    me.versions.common(theirs.versions)?;
    if theirs.cluster != me.cluster && !(guest && theirs.cluster == 0) {
        return Err(format!(
            "this node belongs to cluster {:032x}, not {:032x}",
            me.cluster, theirs.cluster
        ));
    }
    if theirs.to != 0 && theirs.to != me.node {
        return Err(format!("this is node {}, not {}", me.node, theirs.to));
    }
    if guest {
        return Ok(());
    }
    if theirs.node == me.node {
        return Err(format!("this is node {} itself", me.node));
    }
    match core.peers.objection(theirs.node, theirs.directory) {
        Some(reason) => Err(reason),
        None => Ok(()),
    }
}

async fn read(session: Session, input: OwnedReadHalf, frame_max: usize) -> std::io::Result<()> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    let mut streams = Streams::new(&session);
    loop {
        let next = tokio::time::timeout(SILENCE, frame::read(&mut input, frame_max)).await?;
        let Some((kind, body)) = next? else { return Ok(()) };
        match session.caller {
            Caller::Member(_) => member_frame(&session, &mut streams, kind, body).await?,
            Caller::Guest if kind == message::REQUEST => serve_request::serve(&session, body)?,
            Caller::Guest => return Err(frame::invalid(format!("frame {kind} from a guest"))),
        }
    }
}

async fn member_frame(
    session: &Session,
    streams: &mut Streams,
    kind: u8,
    body: Bytes,
) -> std::io::Result<()> {
    match kind {
        message::PING => {
            let nonce = message::read_number(body).map_err(invalid)?;
            session.answer(message::pong(nonce, wall_ms(), session.core.condition()))
        }
        message::APPEND => streams.append(session, body).await,
        message::APPEND_END => {
            streams.end(message::read_number(body).map_err(invalid)?);
            Ok(())
        }
        message::HEARTBEATS => serve_request::heartbeats(session, body),
        message::REQUEST => serve_request::serve(session, body),
        other => Err(frame::invalid(format!("unknown frame {other}"))),
    }
}

impl Session {
    /// Queues an answer without waiting: a peer that does not read its answers is cut off.
    pub fn answer(&self, frame: Frame) -> std::io::Result<()> {
        self.out.try_send(frame).map_err(|_| frame::invalid("answers are not read".into()))
    }

    /// Places for heartbeats, or the answer that there are none. A leader sends a group's next one
    /// when the last is answered or given up, so an honest one has about as many as streams.
    pub fn heartbeat_places(&self, count: usize) -> Result<OwnedSemaphorePermit, Failed> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let places = Arc::clone(&self.heartbeats).try_acquire_many_owned(count);
        places.map_err(|_| Failed::new(Failure::Busy, "too many heartbeats"))
    }

    /// A place for one more request, or the answer that there is none.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, Failed> {
        let places = Arc::clone(&self.requests);
        places.try_acquire_owned().map_err(|_| Failed::new(Failure::Busy, "too many requests"))
    }
}

pub(crate) fn invalid(error: DecodeError) -> std::io::Error {
    frame::invalid(error.0)
}
