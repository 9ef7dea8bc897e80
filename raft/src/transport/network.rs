//! What the consensus core sees of the network: one client per group, peer and purpose.
//!
//! All of them are views of the one connection to the peer. Without a connection every call fails
//! at once as unreachable, and the core backs off; it is told to try again when the peer appears.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::append::{self, Setting, StreamEnd};
use super::heartbeat::{Heartbeat, plausible};
use super::link::RequestError;
use super::message::{self, request};
use super::peer::Peer;
use super::peers::Peers;
use crate::catch_up::CatchUp;
use crate::checkpoint::Checkpoint;
use crate::codec::{Get, Put};
use crate::config::TransportLimits;
use crate::error::DecodeError;
use crate::frozen::Frozen;
use crate::page::Position;
use crate::platform::spawn_blocking;
use crate::shared::Shared;
use crate::snapshot::SnapshotData;
use crate::types::{AppendResult, Snapshot, TypeConfig, Vote};

type RpcError = RPCError<TypeConfig>;

/// Makes the clients of one group.
#[derive(Clone)]
pub(crate) struct Factory {
    pub peers: Arc<Peers>,
    pub shared: Arc<Shared>,
    pub catch_up: Arc<CatchUp>,
    pub limits: TransportLimits,
}

/// A client of one group for one peer.
pub(crate) struct Client {
    peer: Arc<Peer>,
    factory: Factory,
    /// The peer took the last request of the group.
    accepted: Arc<AtomicBool>,
    heartbeats: bool,
}

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Client;

    async fn new_client(&mut self, target: u64, (): &()) -> Client {
        Client::new(self, target, false)
    }

    async fn new_heartbeat_client(&mut self, target: u64, (): &()) -> Client {
        Client::new(self, target, true)
    }
}

impl Client {
    fn new(factory: &Factory, target: u64, heartbeats: bool) -> Self {
        let peer = factory.peers.get_or_add(target);
        let accepted = Arc::new(AtomicBool::new(true));
        Self { peer, factory: factory.clone(), accepted, heartbeats }
    }

    fn group(&self) -> u64 {
        self.factory.shared.group.0
    }

    async fn ask(&self, what: u8, body: Bytes) -> Result<Bytes, RpcError> {
        self.peer.request(what, self.group(), vec![body]).await.map_err(rpc_error)
    }

    fn append_stream<S>(&self, input: S) -> BoxStream<'static, StreamItem>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let (id, target) = (self.factory.shared.me, self.peer.id);
        let idle = self.factory.limits.stream_idle;
        let setting = Setting {
            peer: Arc::clone(&self.peer),
            shared: Arc::clone(&self.factory.shared),
            catch_up: Arc::clone(&self.factory.catch_up),
            accepted: Arc::clone(&self.accepted),
            idle,
        };
        Box::pin(append::open(setting, input).map(move |answer| {
            answer.map_err(|end| match end {
                StreamEnd::Unreachable => unreachable(),
                StreamEnd::Failed(failed) => rpc_error(RequestError::Failed(failed)),
                StreamEnd::Silent => RPCError::Timeout(Timeout {
                    action: RPCTypes::AppendEntries,
                    id,
                    target,
                    timeout: idle,
                }),
            })
        }))
    }

    /// Sends heartbeats one after the other, each answered before the next.
    fn heartbeat_stream<S>(&self, input: S) -> BoxStream<'static, StreamItem>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        let (peer, shared) = (Arc::clone(&self.peer), Arc::clone(&self.factory.shared));
        Box::pin(stream::unfold(Some(input), move |input| {
            let (peer, shared) = (Arc::clone(&peer), Arc::clone(&shared));
            async move {
                let mut input = input?;
                let request = input.next().await?;
                let answer = heartbeat(&peer, &shared, request).await;
                let more = matches!(answer, Ok(Ok(_)));
                Some((answer, more.then_some(input)))
            }
        }))
    }
}

type StreamItem = Result<AppendResult, RpcError>;

async fn heartbeat(
    peer: &Peer,
    shared: &Shared,
    request: AppendEntriesRequest<TypeConfig>,
) -> StreamItem {
    let first = request.prev_log_id.is_none();
    let (answer, answered) = oneshot::channel();
    let (group, is_awaited) = (shared.group.0, shared.barriers.load(Ordering::Relaxed) > 0);
    peer.heartbeat(Heartbeat { group, is_awaited, request, answer }).await;
    let answer = answered.await.map_err(|_| unreachable())?;
    plausible(first, answer).map_err(|failed| rpc_error(RequestError::Failed(failed)))
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotData;

    /// Only `stream_append` is used by the core; this keeps the trait whole.
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let mut answers = self.append_stream(Box::pin(stream::iter([rpc])));
        let answer = answers.next().await.ok_or_else(unreachable)??;
        Ok(answer.into())
    }

    /// The timeout in `option` is the heartbeat interval, which says nothing about how long a disk
    /// may take; streams have their own idle limit.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, StreamItem>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>>
            + openraft::OptionalSend
            + Unpin
            + 'static,
    {
        let opened: BoxStream<'s, StreamItem> =
            if self.heartbeats { self.heartbeat_stream(input) } else { self.append_stream(input) };
        Box::pin(std::future::ready(Ok(opened)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let answer = self.ask(request::VOTE, message::vote_request(&rpc)).await?;
        message::read_vote_response(answer).map_err(nonsense)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let answer = self.ask(request::PRE_VOTE, message::vote_request(&rpc)).await?;
        message::read_vote_response(answer).map_err(nonsense)
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let answer = self.ask(request::TRANSFER, message::transfer_request(&rpc)).await?;
        message::read_transfer_response(answer).map_err(nonsense)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + openraft::OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        if self.factory.shared.states.divergence().is_some() {
            // It would make another replica as wrong as this one.
            let error = io::Error::other("the state of this replica is not that of the others");
            return Err(StreamingError::Unreachable(Unreachable::new(&error)));
        }
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => sent.map_err(StreamingError::from),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let pauses = (0..).map(|attempt: u32| Duration::from_millis(200 << attempt.min(5)));
        Some(Backoff::new(pauses))
    }
}

impl Client {
    /// Sends a snapshot piece by piece. The receiver answers how much it has, so that a transfer
    /// that was cut off continues where it was.
    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<TypeConfig>, RpcError> {
        let checkpoint = snapshot.snapshot.checkpoint().clone();
        let last = Checkpoint::decode(checkpoint.clone()).map_err(nonsense)?.last;
        let chunk = self.factory.limits.snapshot_chunk_bytes.max(1);
        let frozen = snapshot.snapshot.frozen();
        let (mut from, mut data, mut pairs, mut stalls) = (0, Bytes::new(), None, 0);
        // An empty piece asks what is there already.
        let mut had: Option<(u64, Position)> = None;
        while stalls <= STALLS_MAX {
            let mut head = BytesMut::new();
            head.vote(&vote);
            head.opt_log_id(Some(&last));
            head.u64(checkpoint.len() as u64);
            head.u64(from as u64);
            head.u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
            let flag = Bytes::from_static(if pairs.is_some() { &[1] } else { &[0] });
            let body = vec![head.freeze(), data, flag, pairs.unwrap_or_default()];
            let answer = self.peer.request(request::SNAPSHOT, self.group(), body).await;
            let (have, at) =
                match read_snapshot_answer(answer.map_err(rpc_error)?).map_err(nonsense)? {
                    SnapshotAnswer::Installed(vote) => {
                        frozen.inspect(|frozen| frozen.installed());
                        return Ok(SnapshotResponse::new(vote));
                    }
                    SnapshotAnswer::Continue(have, at) => (have, at),
                };
            frozen.inspect(|frozen| frozen.answered(Instant::now()));
            let has = Some((have, at.clone()));
            stalls += u32::from(has <= had);
            had = has;
            from = usize::try_from(have).unwrap_or(usize::MAX).min(checkpoint.len());
            let to = checkpoint.len().min(from.saturating_add(chunk));
            (data, pairs) = (checkpoint.slice(from..to), None);
            if data.is_empty()
                && let Some(frozen) = frozen
            {
                pairs = Some(page(frozen, at, chunk).await?);
            }
        }
        Err(nonsense(DecodeError("the receiver of a snapshot makes no progress".into())))
    }
}

/// Answers of a receiver by which it has no more than before, until the sender gives up.
const STALLS_MAX: u32 = 4;

/// The page at a position, read off the async workers.
async fn page(frozen: &Arc<Frozen>, at: Position, bytes: usize) -> Result<Bytes, RpcError> {
    let frozen = Arc::clone(frozen);
    let read = spawn_blocking(move || frozen.page(at, bytes).map(|page| page.encode())).await;
    read.map_err(|error| nonsense(DecodeError(error.to_string())))
}

/// What the receiver of a piece of a snapshot says.
pub(crate) enum SnapshotAnswer {
    /// This many bytes of the checkpoint have arrived, and of what belongs to it all before a position.
    Continue(u64, Position),
    /// The snapshot is installed, or was refused in favour of this vote.
    Installed(Vote),
}

pub(crate) fn snapshot_answer(answer: &SnapshotAnswer) -> Bytes {
    let mut out = BytesMut::new();
    match answer {
        SnapshotAnswer::Continue(have, at) => {
            out.u8(0);
            out.u64(*have);
            at.put(&mut out);
        }
        SnapshotAnswer::Installed(vote) => {
            out.u8(1);
            out.vote(vote);
        }
    }
    out.freeze()
}

fn read_snapshot_answer(body: Bytes) -> Result<SnapshotAnswer, DecodeError> {
    let mut input = Get::new(body);
    let answer = match input.u8()? {
        0 => SnapshotAnswer::Continue(input.u64()?, Position::get(&mut input)?),
        1 => SnapshotAnswer::Installed(input.vote()?),
        other => return Err(DecodeError(format!("snapshot answer {other} is unknown"))),
    };
    input.end()?;
    Ok(answer)
}

fn unreachable() -> RpcError {
    RPCError::Unreachable(Unreachable::new(&io::Error::from(io::ErrorKind::NotConnected)))
}

/// A peer that answers with a failure is as good as none for a while: the core backs off.
fn rpc_error(error: RequestError) -> RpcError {
    RPCError::Unreachable(Unreachable::new(&error))
}

fn nonsense(error: DecodeError) -> RpcError {
    RPCError::Network(NetworkError::new(&error))
}
