//! A pipelined stream of append requests from one group to one follower.
//!
//! A pump takes requests from the core as fast as their bounds allow: the number of unanswered
//! requests of this stream, and the bytes of `credits`, which are taken before the entries are read.
//! So a group whose follower is slow fills its own share and nobody else's. Answers come back in
//! order, and each gives back what its request had taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use openraft::base::BoxStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::credits::{Reads, StreamRoom, Taken};
use super::link::{Appended, Link};
use super::message;
use super::peer::Peer;
use crate::catch_up::CatchUp;
use crate::shared::Shared;
use crate::types::{AppendRequest, AppendResult};

/// Unanswered requests of a stream; the follower's core takes as many.
pub(crate) const DEPTH: usize = 64;

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
    /// False while the peer refuses the group's requests, for example because it has not opened it yet.
    pub accepted: Arc<AtomicBool>,
    pub idle: Duration,
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
            Reads::Nobody.run(input.next()).await;
            Err(StreamEnd::Unreachable)
        }));
    };
    let (taken, unanswered) = mpsc::channel(DEPTH);
    let Setting { peer, shared, catch_up, accepted, idle } = setting;
    let group = shared.group.0;
    let room = StreamRoom::new(peer, shared, catch_up, Arc::clone(&accepted));
    let end = End { link: Arc::clone(&link), id };
    let pump = pump(Arc::clone(&room), group, end, input, taken);
    let pump = tokio::spawn(Reads::Stream(room).run(pump)).abort_handle();
    let state = Some((unanswered, answers, Guard { link, id, pump }));
    let answers = stream::unfold(state, move |state| next(state, idle));
    Box::pin(answers.inspect(move |answer| match answer {
        Ok(_) => accepted.store(true, Ordering::Relaxed),
        Err(StreamEnd::Failed(_)) => accepted.store(false, Ordering::Relaxed),
        Err(_) => {}
    }))
}

/// Sends the requests that the core makes. Making one reads its entries, which waits for their room.
async fn pump<S>(
    room: Arc<StreamRoom>,
    group: u64,
    end: End,
    mut input: S,
    taken: mpsc::Sender<Taken>,
) where
    S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
{
    while let Some(request) = input.next().await {
        if taken.send(room.of_request().await).await.is_err() {
            return;
        }
        if !end.link.send(message::append(end.id, group, request)).await {
            return;
        }
    }
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

/// Stops the pump when the core drops the stream.
struct Guard {
    link: Arc<Link>,
    id: u64,
    pump: AbortHandle,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pump.abort();
        self.link.forget_stream(self.id);
    }
}

/// Tells the follower that nothing more comes. The pump has it, because only what is dropped with
/// the pump is behind everything the pump still sends: an append behind the end of its stream would
/// be taken for a new one, which nobody ends.
struct End {
    link: Arc<Link>,
    id: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        self.link.end_stream(self.id);
    }
}
