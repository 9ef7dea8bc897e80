//! One partition of a producer.
//!
//! Its task keeps a window of batches that were sent and not answered, at most the five whose sequence numbers the
//! broker remembers (KIP-98). Answers are taken from the front only. When the front fails in a way that may pass,
//! everything in the window is sent again in order, to whoever leads now; what had been stored already is answered
//! with its first offset.
//!
//! Invariant: all of the window is under way on one connection. A partition that has not heard of a producer takes any
//! first sequence number, so a batch that overtook the first one on another connection would shut it out for good.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::probe::{PRODUCE, request};
use super::{Client, ClientError, ErrorCode, NewRecord, ProducerConfig};
use crate::record::{BatchBuilder, Codec};

/// As many as the broker can recognise when they are sent again.
pub(super) const WINDOW_MAX: usize = 5;
/// Between two tries while a partition has no leader; a failover takes about a second.
const PAUSE: Duration = Duration::from_millis(20);
const OUT_OF_ORDER_SEQUENCE: ErrorCode = ErrorCode(45);
pub(super) const DUPLICATE_SEQUENCE: i16 = 46;

type Outcome = Result<i64, ClientError>;

/// Records given together, which stay together.
pub(super) struct PendingRecords {
    pub(super) records: Vec<NewRecord>,
    pub(super) done: oneshot::Sender<Outcome>,
}

impl PendingRecords {
    /// About as many as they take in a batch.
    fn bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = |record: &NewRecord| {
            record.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>()
        };
        let size =
            |record: &NewRecord| length(&record.key) + length(&record.value) + headers(record) + 16;
        self.records.iter().map(size).sum()
    }
}

/// What one partition's batches go through.
pub(super) struct PartitionProducer {
    route: Route,
    codec: Codec,
    producer: (i64, i16),
    /// Of the next record. Goes from `i32::MAX` on to 0.
    sequence: i32,
    in_flight: usize,
    batch_bytes: usize,
    /// Taken from the queue and too large for the batch before it.
    held: Option<PendingRecords>,
    window: VecDeque<Sent>,
    /// The connection that the window is under way on.
    via: Option<Arc<Connection>>,
    failing_since: Option<Instant>,
}

/// Where a partition's batches go.
struct Route {
    client: Client,
    topic: String,
    partition: i32,
}

struct Sent {
    bytes: Bytes,
    /// Who waits, and how many records of the batch are before theirs.
    done: Vec<(oneshot::Sender<Outcome>, i64)>,
    /// None while it has to be sent again.
    answer: Option<BoxFuture<'static, Outcome>>,
}

impl Route {
    /// Returns the connection to whoever leads now.
    async fn connection(&self) -> Result<Arc<Connection>, ClientError> {
        let leader = self.client.leader(&self.topic, self.partition).await?;
        self.client.connection(&leader.address).await
    }

    /// Sends a batch and returns the answer under way.
    async fn transmit(
        &self,
        connection: &Connection,
        bytes: Bytes,
    ) -> Result<BoxFuture<'static, Outcome>, ClientError> {
        let wait = self.client.config().request_timeout;
        let timeout_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let request = request(&self.topic, self.partition, bytes, timeout_ms);
        let answer = connection.send(&request, PRODUCE, wait).await?;
        Ok(Box::pin(async move {
            let response = answer.wait().await?;
            let partition =
                response.responses.first().and_then(|topic| topic.partition_responses.first());
            let Some(partition) = partition else {
                return Err(ClientError::Broker { api: "produce", code: ErrorCode(-1) });
            };
            if partition.error_code != DUPLICATE_SEQUENCE {
                ErrorCode::check(partition.error_code, "produce")?;
            }
            Ok(partition.base_offset)
        }))
    }
}

impl PartitionProducer {
    pub(super) fn new(
        client: Client,
        topic: &str,
        partition: i32,
        producer: (i64, i16),
        config: &ProducerConfig,
    ) -> Self {
        Self {
            route: Route { client, topic: topic.to_owned(), partition },
            codec: config.codec,
            producer,
            sequence: 0,
            in_flight: config.in_flight.clamp(1, WINDOW_MAX),
            batch_bytes: config.batch_bytes,
            held: None,
            window: VecDeque::new(),
            via: None,
            failing_since: None,
        }
    }

    /// Sends what comes out of the queue, until it is closed and empty or a batch has finally failed.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<PendingRecords>) {
        let mut open = true;
        while open || !self.window.is_empty() {
            let room = open && self.window.len() < self.in_flight;
            tokio::select! {
                given = next_given(&mut self.held, &mut queue), if room => match given {
                    Some(given) => self.accept(given, &mut queue).await,
                    None => open = false,
                },
                outcome = front(&mut self.window), if !self.window.is_empty() => {
                    if let Err(error) = self.settle(outcome).await {
                        self.fail(&error);
                        // The sequence has a hole now, so nothing after it can be stored.
                        return;
                    }
                }
            }
        }
    }

    async fn accept(&mut self, first: PendingRecords, queue: &mut mpsc::Receiver<PendingRecords>) {
        let (id, epoch) = self.producer;
        let mut builder = BatchBuilder::new().codec(self.codec).producer(id, epoch, self.sequence);
        let (mut done, mut records, mut size) = (Vec::new(), 0, 0);
        let mut next = Some(first);
        while let Some(given) = next.take() {
            size += given.bytes();
            done.push((given.done, i64::try_from(records).unwrap_or(0)));
            records += given.records.len();
            for record in &given.records {
                let (key, value) = (record.key.as_deref(), record.value.as_deref());
                builder = builder.record(record.timestamp_ms, key, value);
                for (name, value) in &record.headers {
                    builder = builder.header(name, Some(value));
                }
            }
            match queue.try_recv() {
                Ok(given) if size + given.bytes() <= self.batch_bytes => next = Some(given),
                Ok(given) => self.held = Some(given),
                Err(_) => {}
            }
        }
        self.sequence = advance(self.sequence, records);
        let bytes = builder.build();
        // A failure here is found when the batch comes to the front.
        let answer = self.follow(bytes.clone()).await;
        self.window.push_back(Sent { bytes, done, answer });
    }

    /// Sends a new batch behind the window, if it can be sent behind it.
    async fn follow(&mut self, bytes: Bytes) -> Option<BoxFuture<'static, Outcome>> {
        if self.window.iter().any(|sent| sent.answer.is_none()) {
            return None;
        }
        let connection = self.route.connection().await.ok()?;
        let same = self.via.as_ref().is_some_and(|via| Arc::ptr_eq(via, &connection));
        if !same && !self.window.is_empty() {
            return None;
        }
        let answer = self.route.transmit(&connection, bytes).await.ok();
        self.via = Some(connection);
        answer
    }

    /// Takes the outcome of the front batch. An error is final.
    async fn settle(&mut self, outcome: Outcome) -> Result<(), ClientError> {
        match outcome {
            Ok(offset) => {
                self.failing_since = None;
                for (done, before) in self.window.pop_front().into_iter().flat_map(|sent| sent.done)
                {
                    // The producer's user may not care for the outcome.
                    drop(done.send(Ok(offset + before)));
                }
                Ok(())
            }
            Err(error) => self.recover(error).await,
        }
    }

    /// Sends the whole window again, until it is sent or patience ends.
    async fn recover(&mut self, mut error: ClientError) -> Result<(), ClientError> {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        loop {
            let out_of_order =
                matches!(error, ClientError::Broker { code: OUT_OF_ORDER_SEQUENCE, .. });
            if !error.retriable() && !out_of_order {
                return Err(error);
            }
            if since.elapsed() > self.route.client.config().patience {
                return Err(ClientError::GaveUp {
                    seconds: since.elapsed().as_secs(),
                    last: Box::new(error),
                });
            }
            self.route.client.forget_leader(&self.route.topic, self.route.partition);
            sleep(PAUSE).await;
            match self.transmit_window().await {
                Ok(()) => return Ok(()),
                Err(next) => error = next,
            }
        }
    }

    async fn transmit_window(&mut self) -> Result<(), ClientError> {
        for sent in &mut self.window {
            sent.answer = None;
        }
        let connection = self.route.connection().await?;
        for sent in &mut self.window {
            sent.answer = Some(self.route.transmit(&connection, sent.bytes.clone()).await?);
        }
        self.via = Some(connection);
        Ok(())
    }

    fn fail(&mut self, error: &ClientError) {
        for (done, _) in self.window.drain(..).flat_map(|sent| sent.done) {
            drop(done.send(Err(error.clone())));
        }
    }
}

/// Returns what is to be sent next, None when there will be nothing more. Cancel-safe.
async fn next_given(
    held: &mut Option<PendingRecords>,
    queue: &mut mpsc::Receiver<PendingRecords>,
) -> Option<PendingRecords> {
    match held.take() {
        Some(given) => Some(given),
        None => queue.recv().await,
    }
}

/// Waits for the front batch's answer. Cancel-safe: the answer stays in the window.
async fn front(window: &mut VecDeque<Sent>) -> Outcome {
    let Some(sent) = window.front_mut() else { return std::future::pending().await };
    match &mut sent.answer {
        Some(answer) => answer.await,
        // It could not be sent: nobody was there to take it.
        None => Err(ClientError::Broker { api: "produce", code: ErrorCode(5) }),
    }
}

pub(super) fn advance(sequence: i32, records: usize) -> i32 {
    let next =
        (i64::from(sequence) + i64::try_from(records).unwrap_or(0)) % (i64::from(i32::MAX) + 1);
    i32::try_from(next).expect("a remainder of 2^31 fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_after_the_largest() {
        assert_eq!(advance(0, 3), 3);
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 3), 1);
    }
}
