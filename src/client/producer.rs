//! Idempotent producing: each partition's batches are stored once each and in the order they were given.
//!
//! One task per partition keeps a window of batches that were sent and not answered, at most the five whose
//! sequence numbers the broker remembers (KIP-98). Answers are taken from the front only. When the front fails in
//! a way that may pass, everything in the window is sent again in order, to whoever leads now; what had been
//! stored already is answered with its first offset.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use kafka_wire::InitProducerIdRequest;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::probe::request;
use super::{Client, ClientError, ErrorCode};
use crate::record::{BatchBuilder, Codec};

pub(super) const PRODUCE: i16 = 9;
const INIT_PRODUCER_ID: i16 = 4;
/// As many as the broker can recognise when they are sent again.
const WINDOW_MAX: usize = 5;
/// Between two tries while a partition has no leader; a failover takes about a second.
const PAUSE: Duration = Duration::from_millis(20);
const OUT_OF_ORDER_SEQUENCE: ErrorCode = ErrorCode(45);
const DUPLICATE_SEQUENCE: i16 = 46;

/// How a producer behaves.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// Batches of one partition on their way at a time, 1 to 5.
    pub in_flight: usize,
    /// Batches of one partition waiting to be sent; giving more waits.
    pub queued: usize,
    pub codec: Codec,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self { in_flight: WINDOW_MAX, queued: 16, codec: Codec::None }
    }
}

/// A record to be produced.
#[derive(Clone, Debug, Default)]
pub struct NewRecord {
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
}

/// A producer with an identity of its own. Dropping it lets what was given be sent, unawaited.
pub struct Producer {
    client: Client,
    config: ProducerConfig,
    id: i64,
    epoch: i16,
    queues: Mutex<HashMap<(String, i32), mpsc::Sender<Batch>>>,
}

struct Batch {
    records: Vec<NewRecord>,
    done: oneshot::Sender<Result<i64, ClientError>>,
}

/// A batch on its way.
pub struct PendingBatch(oneshot::Receiver<Result<i64, ClientError>>);

impl PendingBatch {
    /// Returns the offset of the first record once the batch is stored on a majority.
    pub async fn stored(self) -> Result<i64, ClientError> {
        self.0.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Producer {
    /// Asks the cluster for a producer identity.
    pub async fn new(client: Client, config: ProducerConfig) -> Result<Self, ClientError> {
        let request = message!(InitProducerIdRequest {
            // The type's default is an empty text, which would be a transaction's name.
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1
        });
        let started = Instant::now();
        loop {
            match Self::identity(&client, &request).await {
                Ok((id, epoch)) => {
                    return Ok(Self { client, config, id, epoch, queues: Mutex::default() });
                }
                Err(error) if error.retriable() && started.elapsed() < client.config().patience => {
                    sleep(PAUSE).await
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn identity(
        client: &Client,
        request: &InitProducerIdRequest,
    ) -> Result<(i64, i16), ClientError> {
        let connection = client.any_connection().await?;
        let answer =
            connection.call(request, INIT_PRODUCER_ID, client.config().request_timeout).await?;
        ErrorCode::check(answer.error_code, "init producer id")?;
        Ok((answer.producer_id, answer.producer_epoch))
    }

    /// Queues the records as one batch; waits while the partition's queue is full. Order of calls is order in the log.
    pub async fn send(
        &self,
        topic: &str,
        partition: i32,
        records: Vec<NewRecord>,
    ) -> Result<PendingBatch, ClientError> {
        let queue = self.queue(topic, partition);
        let (done, pending) = oneshot::channel();
        queue.send(Batch { records, done }).await.map_err(|_| stopped())?;
        Ok(PendingBatch(pending))
    }

    fn queue(&self, topic: &str, partition: i32) -> mpsc::Sender<Batch> {
        let mut queues = self.queues.lock();
        let queue = queues.entry((topic.to_owned(), partition)).or_insert_with(|| {
            let (sender, queue) = mpsc::channel(self.config.queued.max(1));
            let route = Route { client: self.client.clone(), topic: topic.to_owned(), partition };
            let lane = Lane {
                route,
                codec: self.config.codec,
                producer: (self.id, self.epoch),
                sequence: 0,
                in_flight: self.config.in_flight.clamp(1, WINDOW_MAX),
                window: VecDeque::new(),
                failing_since: None,
            };
            tokio::spawn(lane.run(queue));
            sender
        });
        queue.clone()
    }
}

fn stopped() -> ClientError {
    ClientError::Stopped(Box::new(ClientError::Unencodable(
        "an earlier batch of the partition failed".to_owned(),
    )))
}

/// What one partition's batches go through.
struct Lane {
    route: Route,
    codec: Codec,
    producer: (i64, i16),
    /// Of the next record. Goes from `i32::MAX` on to 0.
    sequence: i32,
    in_flight: usize,
    window: VecDeque<Sent>,
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
    done: oneshot::Sender<Result<i64, ClientError>>,
    /// None while it has to be sent again.
    answer: Option<BoxFuture<'static, Result<i64, ClientError>>>,
}

impl Route {
    /// Sends a batch to whoever leads now and returns the answer under way.
    async fn transmit(
        &self,
        bytes: Bytes,
    ) -> Result<BoxFuture<'static, Result<i64, ClientError>>, ClientError> {
        let wait = self.client.config().request_timeout;
        let leader = self.client.leader(&self.topic, self.partition).await?;
        let connection = self.client.connection(&leader.address).await?;
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

impl Lane {
    async fn run(mut self, mut queue: mpsc::Receiver<Batch>) {
        let mut open = true;
        while open || !self.window.is_empty() {
            let room = open && self.window.len() < self.in_flight;
            tokio::select! {
                batch = queue.recv(), if room => match batch {
                    Some(batch) => self.accept(batch).await,
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

    async fn accept(&mut self, batch: Batch) {
        let mut builder = BatchBuilder::new().codec(self.codec).producer(
            self.producer.0,
            self.producer.1,
            self.sequence,
        );
        for record in &batch.records {
            builder =
                builder.record(record.timestamp_ms, record.key.as_deref(), record.value.as_deref());
        }
        self.sequence = advance(self.sequence, batch.records.len());
        let bytes = builder.build();
        // A failure here is found when the batch comes to the front.
        let in_step = self.window.iter().all(|sent| sent.answer.is_some());
        let answer = match in_step {
            true => self.route.transmit(bytes.clone()).await.ok(),
            false => None,
        };
        self.window.push_back(Sent { bytes, done: batch.done, answer });
    }

    /// Takes the outcome of the front batch. An error is final.
    async fn settle(&mut self, outcome: Result<i64, ClientError>) -> Result<(), ClientError> {
        match outcome {
            Ok(offset) => {
                self.failing_since = None;
                if let Some(sent) = self.window.pop_front() {
                    // The producer's user may not care for the outcome.
                    drop(sent.done.send(Ok(offset)));
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
        for place in 0..self.window.len() {
            let answer = self.route.transmit(self.window[place].bytes.clone()).await?;
            self.window[place].answer = Some(answer);
        }
        Ok(())
    }

    fn fail(&mut self, error: &ClientError) {
        for sent in self.window.drain(..) {
            drop(sent.done.send(Err(error.clone())));
        }
    }
}

/// Waits for the front batch's answer. Cancel-safe: the answer stays in the window.
async fn front(window: &mut VecDeque<Sent>) -> Result<i64, ClientError> {
    let Some(sent) = window.front_mut() else { return std::future::pending().await };
    match &mut sent.answer {
        Some(answer) => answer.await,
        // It could not be sent: nobody was there to take it.
        None => Err(ClientError::Broker { api: "produce", code: ErrorCode(5) }),
    }
}

fn advance(sequence: i32, records: usize) -> i32 {
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
