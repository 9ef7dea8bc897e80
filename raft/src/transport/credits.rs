//! Room for append requests on their way to a peer, taken before their entries are read.
//!
//! The consensus core reads the entries of a request when the stream's pump asks for it, in the
//! pump's task. A task local therefore tells the log's reader whose room a read takes, so a stream
//! that has to wait for room waits with nothing in memory, however many there are. What does not
//! come from the tail of the log, or goes to a replica without a vote, catches up: all of that may
//! take a quarter of a peer's credits only, so that slow ones leave the rest to who is in step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::EntryPayload;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::peer::Peer;
use crate::catch_up::CatchUp;
use crate::shared::Shared;
use crate::types::Entry;

/// Unanswered bytes of a stream.
const STREAM_BYTES: usize = 8 << 20;
/// What a request costs besides its payloads.
const REQUEST_BYTES: usize = 128;
/// What an entry costs besides its payload.
const ENTRY_BYTES: usize = 32;
/// Replicas that catch up share this part of a peer's credits.
const CATCH_UP_SHARE: usize = 4;

tokio::task_local! {
    static READS_FOR: Reads;
}

/// Whom the reads of a task are for.
#[derive(Clone)]
pub(crate) enum Reads {
    /// A stream, whose room they take.
    Stream(Arc<StreamRoom>),
    /// A peer without a connection: what is read is thrown away.
    Nobody,
}

impl Reads {
    /// Runs a future whose reads of a log are for this.
    pub async fn run<F: Future>(self, task: F) -> F::Output {
        READS_FOR.scope(self, task).await
    }

    /// Whom the reads of the running task are for; `None` for all but the pumps of append streams.
    pub fn current() -> Option<Reads> {
        READS_FOR.try_with(Reads::clone).ok()
    }
}

/// Append bytes that may be on their way to a peer, all groups together.
pub(crate) struct Credits {
    all: Bounded,
    catch_up: Bounded,
}

impl Credits {
    pub fn new(bytes: usize) -> Self {
        Self { all: Bounded::new(bytes), catch_up: Bounded::new(bytes / CATCH_UP_SHARE) }
    }
}

/// A number of bytes, of which a request larger than all of them takes all.
struct Bounded {
    room: Arc<Semaphore>,
    most: usize,
}

impl Bounded {
    fn new(bytes: usize) -> Self {
        let most = bytes.clamp(1, u32::MAX as usize);
        Self { room: Arc::new(Semaphore::new(most)), most }
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.most)).unwrap_or(u32::MAX)
    }

    async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let taken = Arc::clone(&self.room).acquire_many_owned(self.permits(bytes)).await;
        taken.expect("the semaphore is never closed")
    }

    fn try_take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_many_owned(self.permits(bytes)).ok()
    }

    /// Gives back what a permit holds beyond `bytes`.
    fn shrink(&self, permit: &mut OwnedSemaphorePermit, bytes: usize) {
        let surplus = permit.num_permits().saturating_sub(self.permits(bytes) as usize);
        drop(permit.split(surplus));
    }
}

/// What a request holds until it is answered.
pub(crate) struct Taken {
    stream: OwnedSemaphorePermit,
    catch_up: Option<OwnedSemaphorePermit>,
    all: OwnedSemaphorePermit,
}

/// Where the requests of one stream take their room.
pub(crate) struct StreamRoom {
    peer: Arc<Peer>,
    shared: Arc<Shared>,
    pace: Arc<CatchUp>,
    stream: Bounded,
    /// See [`StreamRoom::target`].
    accepted: Arc<AtomicBool>,
    /// Taken by the read that was made last, for the request that carries what it found.
    for_request: Mutex<Option<Taken>>,
}

impl StreamRoom {
    pub fn new(
        peer: Arc<Peer>,
        shared: Arc<Shared>,
        pace: Arc<CatchUp>,
        accepted: Arc<AtomicBool>,
    ) -> Arc<Self> {
        let stream = Bounded::new(STREAM_BYTES);
        Arc::new(Self { peer, shared, pace, stream, accepted, for_request: Mutex::new(None) })
    }

    /// Bytes to read for the next request: one entry while the peer refuses the group's requests, because the core
    /// waits out its backoff with the request in its hands, and so with the room.
    pub fn target(&self, most: usize) -> usize {
        if self.accepted.load(Ordering::Relaxed) { most } else { 1 }
    }

    /// Catching up is paced and shares a part of the room, unless the group comes first.
    fn catches_up(&self) -> bool {
        !self.shared.options.catch_up_first && !self.shared.is_voter(self.peer.id)
    }

    /// Room for entries that are in memory anyway, if there is some at once. False for a replica
    /// without a vote, which is paced.
    pub fn try_keep(&self, entries: &[Entry]) -> bool {
        if self.catches_up() {
            return false;
        }
        let bytes = size(entries);
        let credits = &self.peer.credits;
        let Some(stream) = self.stream.try_take(bytes) else { return false };
        let Some(all) = credits.all.try_take(bytes) else { return false };
        *self.for_request.lock() = Some(Taken { stream, catch_up: None, all });
        true
    }

    /// Waits for room for `bytes`. `from_disk` says that they are not in the tail of the log.
    pub async fn take(&self, bytes: usize, from_disk: bool) -> Taken {
        let learner = self.catches_up();
        if learner {
            self.pace.ready().await;
        }
        let credits = &self.peer.credits;
        let stream = self.stream.take(bytes).await;
        let shared_part = learner || (from_disk && !self.shared.options.catch_up_first);
        let catch_up = if shared_part { Some(credits.catch_up.take(bytes).await) } else { None };
        Taken { stream, catch_up, all: credits.all.take(bytes).await }
    }

    /// Keeps of what was taken as much as the entries need, until their request is answered.
    pub fn keep(&self, mut taken: Taken, entries: &[Entry]) {
        let bytes = size(entries);
        self.stream.shrink(&mut taken.stream, bytes);
        self.peer.credits.all.shrink(&mut taken.all, bytes);
        if let Some(catch_up) = &mut taken.catch_up {
            self.peer.credits.catch_up.shrink(catch_up, bytes);
        }
        if self.catches_up() {
            self.pace.charge(bytes as u64);
        }
        *self.for_request.lock() = Some(taken);
    }

    /// What a request holds: the room its entries took when they were read, or that of an empty one.
    pub async fn of_request(&self) -> Taken {
        let read = self.for_request.lock().take();
        match read {
            Some(taken) => taken,
            None => Taken {
                stream: self.stream.take(REQUEST_BYTES).await,
                catch_up: None,
                all: self.peer.credits.all.take(REQUEST_BYTES).await,
            },
        }
    }
}

/// The room a request with these entries takes.
pub(crate) fn size(entries: &[Entry]) -> usize {
    let payloads = entries.iter().map(|entry| match &entry.payload {
        EntryPayload::Normal(data) => data.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    });
    REQUEST_BYTES + payloads.sum::<usize>() + entries.len() * ENTRY_BYTES
}

#[cfg(test)]
#[cfg(not(feature = "simulation"))]
mod tests;
