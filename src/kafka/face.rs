//! What all connections of the Kafka face share: the broker's parts, its bounds, and the few things that
//! outlive a connection.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::sessions::Sessions;
use crate::broker::Context;
use crate::config::Config;

/// Memory is counted in such pieces, so that a semaphore's 32-bit permits reach far enough.
const GRAIN_BYTES: usize = 1024;
/// Requests up to this size never wait behind large ones: the two have separate memory.
const SMALL_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What takes up to so much is not counted: with ten thousand connections it is 2.5 GB, were all of them to ask
/// for that much at the same time.
pub(super) const LIGHT_BYTES_MAX: usize = 256 * 1024;
/// The largest answer while the memory for answers is taken; a batch of the usual maximal size fits.
const SCARCE_ANSWER_BYTES: usize = 1024 * 1024;
/// Decompression is processor time; more at a time than there are likely to be processors gains nothing.
const CHECKS_AT_A_TIME: usize = 2;

/// Shared by every connection and handler.
pub(crate) struct Face {
    pub(crate) context: Context,
    pub(crate) sessions: Sessions,
    /// Turns true when the broker stops: waiting fetches answer at once with what they have.
    pub(crate) stopping: watch::Receiver<bool>,
    /// A clock that does not go back begins here.
    pub(crate) started: Instant,
    small_requests: Memory,
    large_requests: Memory,
    plans: Memory,
    answers: Answers,
    /// Bounds how many batches are being decompressed outside of the runtime's threads.
    pub(crate) checks: Arc<Semaphore>,
    /// Producer ids given to this broker and not yet to a producer.
    pub(crate) producer_ids: Mutex<Range<i64>>,
    /// Held while a new block is asked for, so that a rush of producers asks once.
    pub(crate) producer_ids_refill: tokio::sync::Mutex<()>,
}

impl Face {
    pub(crate) fn new(context: Context, stopping: watch::Receiver<bool>) -> Arc<Face> {
        let bound = context.config.kafka.requests_bytes_max;
        let sessions = Sessions::new(context.config.kafka.fetch_sessions_max);
        Arc::new(Face {
            context,
            sessions,
            stopping,
            started: Instant::now(),
            small_requests: Memory::new(bound / 4),
            large_requests: Memory::new(bound / 8),
            plans: Memory::new(bound / 8),
            answers: Answers::new(bound / 8 * 3, bound / 8),
            checks: Arc::new(Semaphore::new(CHECKS_AT_A_TIME)),
            producer_ids: Mutex::new(0..0),
            producer_ids_refill: tokio::sync::Mutex::new(()),
        })
    }

    /// Waits until there is room for a request that takes `bytes`.
    pub(super) async fn request_room(&self, bytes: usize) -> Room {
        match bytes <= SMALL_BYTES_MAX {
            true => self.small_requests.take(bytes).await,
            false => self.large_requests.take(bytes).await,
        }
    }

    /// Waits until there is room for what a fetch reads beyond what its request names; `None` when that is little.
    pub(crate) async fn plan_room(&self, bytes: usize) -> Option<Room> {
        match bytes <= LIGHT_BYTES_MAX {
            true => None,
            false => Some(self.plans.take(bytes).await),
        }
    }

    /// Returns room for the records of an answer and how large it may be: `bytes`, or little when memory is
    /// scarce, but not below `least`.
    ///
    /// So a few clients that do not read their large answers make those of others small, but do not stop
    /// them. Waits when even that is taken.
    pub(crate) async fn answer_room(&self, bytes: usize, least: usize) -> (Room, usize) {
        self.answers.take(bytes, SCARCE_ANSWER_BYTES.max(least)).await
    }

    /// Waits until there is room for an answer that cannot be made smaller; `None` when it is small anyway.
    pub(crate) async fn whole_answer_room(&self, bytes: usize) -> Option<Room> {
        match bytes <= LIGHT_BYTES_MAX {
            true => None,
            false => Some(self.answers.take(bytes, bytes).await.0),
        }
    }

    /// The most record bytes in one answer: what is configured, but never so much that fewer than
    /// eight answers fit into memory at a time.
    pub(crate) fn fetch_bytes_max(&self) -> usize {
        self.context.config.kafka.fetch_bytes_max.min(self.answers.most.bytes / 8)
    }

    /// The configuration with what other settings leave of it.
    pub(crate) fn in_force(&self) -> Config {
        let mut config = Config::clone(&self.context.config);
        config.kafka.fetch_bytes_max = self.fetch_bytes_max();
        config
    }

    /// This broker's id as the protocol writes it.
    pub(crate) fn node_id(&self) -> i32 {
        broker_id(self.context.node.id())
    }
}

/// Converts a broker id; ids are bounded by i32 where they are given out, so nothing is lost.
pub(crate) fn broker_id(id: u64) -> i32 {
    i32::try_from(id).unwrap_or(-1)
}

/// The time in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Waits until the broker is told to stop.
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that whoever would tell us is gone, which is a stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// A bounded amount of memory.
struct Memory {
    permits: Arc<Semaphore>,
    bytes: usize,
}

/// Memory taken; given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    permit: OwnedSemaphorePermit,
}

/// The memory for answers, the last of which is given out sparingly.
struct Answers {
    most: Memory,
    last: Memory,
}

impl Answers {
    fn new(most: usize, last: usize) -> Answers {
        Answers { most: Memory::new(most), last: Memory::new(last) }
    }

    /// Returns room for `bytes`, or after a wait for at most `scarce`, and for how many it is.
    async fn take(&self, bytes: usize, scarce: usize) -> (Room, usize) {
        if let Some(room) = self.most.try_take(bytes) {
            return (room, bytes);
        }
        let bytes = bytes.min(scarce);
        (self.last.take(bytes).await, bytes)
    }
}

impl Memory {
    fn new(bytes: usize) -> Memory {
        let grains = (bytes / GRAIN_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Memory { permits: Arc::new(Semaphore::new(grains)), bytes: grains * GRAIN_BYTES }
    }

    fn try_take(&self, bytes: usize) -> Option<Room> {
        let grains = grains(bytes.min(self.bytes));
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(grains);
        Some(Room { permit: permit.ok()? })
    }

    async fn take(&self, bytes: usize) -> Room {
        let grains = grains(bytes.min(self.bytes));
        let permit = Arc::clone(&self.permits).acquire_many_owned(grains).await;
        Room { permit: permit.expect("this semaphore is never closed") }
    }
}

impl Room {
    /// Gives back what is held beyond `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let surplus = self.permit.num_permits().saturating_sub(grains(bytes) as usize);
        drop(self.permit.split(surplus));
    }
}

fn grains(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(GRAIN_BYTES).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_bounded_and_comes_back() {
        let memory = Memory::new(10 * GRAIN_BYTES);
        let mut all = memory.take(usize::MAX).await;
        assert_eq!(memory.permits.available_permits(), 0);
        all.shrink(GRAIN_BYTES + 1);
        assert_eq!(memory.permits.available_permits(), 8);
        drop(all);
        assert_eq!(memory.permits.available_permits(), 10);
    }

    #[tokio::test]
    async fn when_answers_take_all_they_become_small_but_not_smaller_than_they_can_be() {
        let grain = GRAIN_BYTES;
        let answers = Answers::new(10 * grain, 6 * grain);
        let (_large, granted) = answers.take(8 * grain, grain).await;
        assert_eq!(granted, 8 * grain);
        let (_small, granted) = answers.take(8 * grain, grain).await;
        assert_eq!((granted, answers.last.permits.available_permits()), (grain, 5));
        let (_batch, granted) = answers.take(8 * grain, 4 * grain).await;
        assert_eq!((granted, answers.last.permits.available_permits()), (4 * grain, 1));
    }
}
