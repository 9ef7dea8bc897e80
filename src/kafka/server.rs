//! What all connections of the Kafka interface share: the broker's parts, its bounds, and the few things that
//! outlive a connection.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::memory::{Answers, Memory, MemoryPermit};
use super::sessions::Sessions;
use crate::config::{Config, Topics};
use crate::context::Context;

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
pub(crate) struct KafkaServer {
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

impl KafkaServer {
    pub(crate) fn new(context: Context, stopping: watch::Receiver<bool>) -> Arc<KafkaServer> {
        let bound = context.config.kafka.requests_bytes_max;
        let sessions = Sessions::new(context.config.kafka.fetch_sessions_max);
        Arc::new(KafkaServer {
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
    pub(super) async fn request_permit(&self, bytes: usize) -> MemoryPermit {
        if bytes <= SMALL_BYTES_MAX {
            self.small_requests.take(bytes).await
        } else {
            self.large_requests.take(bytes).await
        }
    }

    /// Waits until there is room for what a fetch reads beyond what its request names; `None` when that is little.
    pub(crate) async fn plan_permit(&self, bytes: usize) -> Option<MemoryPermit> {
        if bytes <= LIGHT_BYTES_MAX { None } else { Some(self.plans.take(bytes).await) }
    }

    /// Returns room for the records of an answer and how large it may be: `bytes`, or little when memory is
    /// scarce, but not below `least`.
    ///
    /// So a few clients that do not read their large answers make those of others small, but do not stop
    /// them. Waits when even that is taken.
    pub(crate) async fn answer_permit(&self, bytes: usize, least: usize) -> (MemoryPermit, usize) {
        self.answers.take(bytes, SCARCE_ANSWER_BYTES.max(least)).await
    }

    /// Waits until there is room for an answer that cannot be made smaller; `None` when it is small anyway.
    pub(crate) async fn whole_answer_permit(&self, bytes: usize) -> Option<MemoryPermit> {
        if bytes <= LIGHT_BYTES_MAX { None } else { Some(self.answers.take(bytes, bytes).await.0) }
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

    /// The most client connections at a time, as of now.
    pub(crate) fn connections_max(&self) -> usize {
        let Context { config, metadata, node, .. } = &self.context;
        config.connections_max(&metadata.image().configs, node.id())
    }

    /// What a new topic is, as of now.
    pub(crate) fn topics(&self) -> Topics {
        self.context.config.topics.with(&self.context.metadata.image().configs)
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
