//! A pipelined stream of append requests from one group to one follower.
//!
//! A pump takes requests from the core as fast as three bounds allow: the number of unanswered
//! requests of this stream, its unanswered bytes, and the unanswered bytes of the whole peer. So a
//! group whose follower is slow fills its own share and nobody else's. Answers come back in order,
//! and each gives back what its request had taken.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use openraft::EntryPayload;
use openraft::base::BoxStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::link::{Appended, Link};
use super::message;
use super::peer::Peer;
use crate::catch_up::CatchUp;
use crate::replica::Shared;
use crate::types::{AppendRequest, AppendResult};

/// Unanswered requests of a stream; the follower's core takes as many.
pub(crate) const DEPTH: usize = 64;
/// Unanswered bytes of a stream.
const STREAM_BYTES: usize = 8 << 20;
/// What a request costs besides its payloads.
const REQUEST_BYTES: usize = 128;

/// Why a stream ended.
#[derive(Debug)]
pub(crate) enum StreamEnd {
    /// No connection.
    Unreachable,
    /// No answer for too long.
    Silent,
    /// The follower said why.
    Failed(message::Failed),
}

/// What a stream needs to know of its surroundings.
pub(crate) struct Setting {
    pub peer: Arc<Peer>,
    pub shared: Arc<Shared>,
    pub catch_up: Arc<CatchUp>,
    pub idle: Duration,
    /// All credits of the peer.
    pub peer_bytes: usize,
}

/// Starts a stream over the present connection. Without one the stream fails only after it took a
/// request: the core waits out its backoff where it makes requests, and would try again at once,
/// for ever, if it were refused before that.
pub(crate) fn open<S>(
    setting: Setting,
    mut input: S,
) -> BoxStream<'static, Result<AppendResult, StreamEnd>>
where
    S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
{
    let opened = setting.peer.link().and_then(|link| {
        let (id, answers) = link.open_stream(DEPTH + 1)?;
        Some((link, id, answers))
    });
    let Some((link, id, answers)) = opened else {
        return Box::pin(stream::once(async move {
            input.next().await;
            Err(StreamEnd::Unreachable)
        }));
    };
    let (taken, unanswered) = mpsc::channel(DEPTH);
    let idle = setting.idle;
    let pump = tokio::spawn(pump(setting, Arc::clone(&link), id, input, taken)).abort_handle();
    let state = Some((unanswered, answers, Guard { link, id, pump }));
    Box::pin(stream::unfold(state, move |state| next(state, idle)))
}

/// What an unanswered request holds.
struct Taken {
    _stream: OwnedSemaphorePermit,
    _peer: OwnedSemaphorePermit,
}

async fn pump<S>(
    setting: Setting,
    link: Arc<Link>,
    id: u64,
    mut input: S,
    taken: mpsc::Sender<Taken>,
) where
    S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
{
    let Setting { peer, shared, catch_up, peer_bytes, .. } = setting;
    let stream_room = Arc::new(Semaphore::new(STREAM_BYTES));
    while let Some(request) = input.next().await {
        let bytes = size(&request);
        if !request.entries.is_empty() && !shared.is_voter(peer.id) {
            catch_up.take(bytes as u64).await;
        }
        // A request larger than the bound waits until it is alone.
        let Ok(_stream) = acquire(&stream_room, bytes.min(STREAM_BYTES)).await else { return };
        let Ok(_peer) = acquire(&peer.credits, bytes.min(peer_bytes)).await else { return };
        if taken.send(Taken { _stream, _peer }).await.is_err() {
            return;
        }
        if !link.send(message::append(id, shared.group.0, request)).await {
            return;
        }
    }
}

async fn acquire(
    room: &Arc<Semaphore>,
    bytes: usize,
) -> Result<OwnedSemaphorePermit, tokio::sync::AcquireError> {
    Arc::clone(room).acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX)).await
}

fn size(request: &AppendRequest) -> usize {
    let payloads = request.entries.iter().map(|entry| match &entry.payload {
        EntryPayload::Normal(data) => data.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    });
    REQUEST_BYTES + payloads.sum::<usize>() + request.entries.len() * 32
}

type State = (mpsc::Receiver<Taken>, mpsc::Receiver<Appended>, Guard);

/// The next answer; ends after an error and when the input has ended and everything is answered.
async fn next(
    state: Option<State>,
    idle: Duration,
) -> Option<(Result<AppendResult, StreamEnd>, Option<State>)> {
    let (mut unanswered, mut answers, guard) = state?;
    let _returned_with_the_answer = unanswered.recv().await?;
    match timeout(idle, answers.recv()).await {
        Ok(Some(Ok(result))) => Some((Ok(result), Some((unanswered, answers, guard)))),
        Ok(Some(Err(failed))) => Some((Err(StreamEnd::Failed(failed)), None)),
        Ok(None) => Some((Err(StreamEnd::Unreachable), None)),
        Err(_) => Some((Err(StreamEnd::Silent), None)),
    }
}

/// Stops the pump and tells the follower when the core drops the stream.
struct Guard {
    link: Arc<Link>,
    id: u64,
    pump: AbortHandle,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pump.abort();
        self.link.close_stream(self.id);
    }
}
