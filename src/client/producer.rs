//! Idempotent producing: each partition's batches are stored once each and in the order they were given.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::InitProducerIdRequest;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::partition_producer::{PartitionProducer, PendingRecords, WINDOW_MAX};
use super::{Client, ClientError, ErrorCode};
use crate::record::Codec;

const INIT_PRODUCER_ID: i16 = 4;
/// Between two tries to get an identity.
const PAUSE: Duration = Duration::from_millis(20);

/// How a producer behaves.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// Batches of one partition on their way at a time, 1 to 5.
    pub in_flight: usize,
    /// What was given and is waiting to be sent, per partition; giving more waits.
    pub queued: usize,
    /// While the window is full, what waits is joined into batches of up to so many bytes.
    pub batch_bytes: usize,
    pub codec: Codec,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self { in_flight: WINDOW_MAX, queued: 16, batch_bytes: 16 * 1024, codec: Codec::None }
    }
}

/// A record to be produced.
#[derive(Clone, Debug, Default)]
pub struct NewRecord {
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// Names and values.
    pub headers: Vec<(String, Bytes)>,
}

/// A producer with an identity of its own. Dropping it lets what was given be sent, unawaited.
pub struct Producer {
    client: Client,
    config: ProducerConfig,
    id: i64,
    epoch: i16,
    queues: Mutex<HashMap<(String, i32), mpsc::Sender<PendingRecords>>>,
}

/// A batch on its way.
pub struct PendingBatch(oneshot::Receiver<Result<i64, ClientError>>);

impl PendingBatch {
    /// Returns the offset of the first record once the batch is stored on a majority.
    pub async fn stored(self) -> Result<i64, ClientError> {
        self.0.await.unwrap_or(Err(ClientError::Stopped))
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
                    sleep(PAUSE).await;
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

    /// Queues the records, which will be in one batch; waits while the partition's queue is full.
    ///
    /// The order of calls is the order in the log.
    pub async fn send(
        &self,
        topic: &str,
        partition: i32,
        records: Vec<NewRecord>,
    ) -> Result<PendingBatch, ClientError> {
        let queue = self.queue(topic, partition);
        let (done, pending) = oneshot::channel();
        queue.send(PendingRecords { records, done }).await.map_err(|_| ClientError::Stopped)?;
        Ok(PendingBatch(pending))
    }

    fn queue(&self, topic: &str, partition: i32) -> mpsc::Sender<PendingRecords> {
        let mut queues = self.queues.lock();
        let queue = queues.entry((topic.to_owned(), partition)).or_insert_with(|| {
            let (sender, queue) = mpsc::channel(self.config.queued.max(1));
            let partition_producer = PartitionProducer::new(
                self.client.clone(),
                topic,
                partition,
                (self.id, self.epoch),
                &self.config,
            );
            tokio::spawn(partition_producer.run(queue));
            sender
        });
        queue.clone()
    }
}
