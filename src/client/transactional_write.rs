//! Storing the batches of a transactional producer: one request for each broker that leads some of the partitions.
//!
//! What was not stored for a reason that passes is sent again with the same sequence numbers, to whoever leads then; what had
//! been stored already is answered as a duplicate (KIP-98).

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use kafka_wire::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_wire::{ProduceRequest, ProduceResponse};
use tokio::time::{Instant, sleep};

use super::coordinator::CONCURRENT_PAUSE;
use super::partition_producer::DUPLICATE_SEQUENCE;
use super::{Client, ClientError, ErrorCode, TransactionVersion};
use crate::config::HostPort;

/// The newest before writing adds a partition to its transaction, and the first since.
const PRODUCE_CLASSIC: i16 = 9;
const PRODUCE_SECOND: i16 = 12;

/// The records of one partition.
pub(super) struct TransactionalBatch {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) bytes: Bytes,
}

/// Batches that are to be stored, of different partitions.
pub(super) struct Write<'a> {
    client: &'a Client,
    transactional_id: &'a str,
    version: i16,
    waiting: Vec<TransactionalBatch>,
    concurrent: u64,
}

impl<'a> Write<'a> {
    pub(super) fn new(
        client: &'a Client,
        transactional_id: &'a str,
        version: TransactionVersion,
        batches: Vec<TransactionalBatch>,
    ) -> Self {
        let version = match version {
            TransactionVersion::Classic => PRODUCE_CLASSIC,
            TransactionVersion::Second => PRODUCE_SECOND,
        };
        Self { client, transactional_id, version, waiting: batches, concurrent: 0 }
    }

    /// Returns how often a broker has answered that the transaction before had not ended.
    pub(super) fn concurrent(&self) -> u64 {
        self.concurrent
    }

    /// Returns when all are stored, or one cannot be.
    pub(super) async fn store(&mut self) -> Result<(), ClientError> {
        let started = Instant::now();
        while let Some(error) = self.round().await? {
            if started.elapsed() > self.client.config().patience {
                let seconds = started.elapsed().as_secs();
                return Err(ClientError::GaveUp { seconds, last: Box::new(error) });
            }
            sleep(CONCURRENT_PAUSE).await;
        }
        Ok(())
    }

    /// Sends what is not stored, each to its leader. Returns why some of it has to be sent again.
    async fn round(&mut self) -> Result<Option<ClientError>, ClientError> {
        let mut again = None;
        let (mut led, mut left) = (BTreeMap::<HostPort, Vec<TransactionalBatch>>::new(), vec![]);
        for batch in std::mem::take(&mut self.waiting) {
            match self.client.leader(&batch.topic, batch.partition).await {
                Ok(leader) => led.entry(leader.address).or_default().push(batch),
                Err(error) => {
                    again = Some(passing(error)?);
                    left.push(batch);
                }
            }
        }
        let outcomes = join_all(led.iter().map(|(address, batches)| self.ask(address, batches)));
        let outcomes = outcomes.await;
        let (mut is_concurrent, mut failed) = (false, None);
        for (batches, outcome) in led.into_values().zip(outcomes) {
            for batch in batches {
                let Err(error) = stored(&batch, &outcome) else { continue };
                if error.is(ErrorCode::CONCURRENT_TRANSACTIONS) {
                    is_concurrent = true;
                } else {
                    self.client.forget_leader(&batch.topic, batch.partition);
                }
                match passing(error) {
                    Ok(error) => again = Some(error),
                    Err(error) => failed = Some(error),
                }
                left.push(batch);
            }
        }
        self.concurrent += u64::from(is_concurrent);
        self.waiting = left;
        failed.map_or(Ok(again), Err)
    }

    async fn ask(
        &self,
        address: &HostPort,
        batches: &[TransactionalBatch],
    ) -> Result<ProduceResponse, ClientError> {
        let mut topics = BTreeMap::<&str, Vec<PartitionProduceData>>::new();
        for TransactionalBatch { topic, partition, bytes } in batches {
            let batch = Some(bytes.clone());
            topics
                .entry(topic)
                .or_default()
                .push(message!(PartitionProduceData { index: *partition, records: batch }));
        }
        let topics = topics.into_iter().map(|(name, data)| {
            message!(TopicProduceData { name: name.into(), partition_data: data })
        });
        let wait = self.client.config().request_timeout;
        let request = message!(ProduceRequest {
            transactional_id: Some(self.transactional_id.into()),
            acks: -1,
            timeout_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            topic_data: topics.collect(),
        });
        self.client.connection(address).await?.call(&request, self.version, wait).await
    }
}

/// Gives back an error that may pass, and fails with one that does not.
fn passing(error: ClientError) -> Result<ClientError, ClientError> {
    if error.retriable() { Ok(error) } else { Err(error) }
}

/// Whether a batch is stored, by what the leader has answered.
fn stored(
    batch: &TransactionalBatch,
    outcome: &Result<ProduceResponse, ClientError>,
) -> Result<(), ClientError> {
    let answer = outcome.as_ref().map_err(Clone::clone)?;
    let topic = answer.responses.iter().find(|it| it.name.as_str() == batch.topic);
    let rows = topic.map_or(&[][..], |topic| &topic.partition_responses);
    match rows.iter().find(|row| row.index == batch.partition) {
        Some(row) if row.error_code == DUPLICATE_SEQUENCE => Ok(()),
        row => ErrorCode::check(row.map_or(-1, |row| row.error_code), "produce"),
    }
}

#[cfg(test)]
mod tests {
    use kafka_wire::produce_response::{PartitionProduceResponse, TopicProduceResponse};

    use super::*;

    #[test]
    fn a_batch_is_stored_if_the_answer_says_so_of_its_partition() {
        let batch = |partition| {
            let topic = "orders".to_owned();
            TransactionalBatch { topic, partition, bytes: Bytes::new() }
        };
        let rows = [(0, 0), (1, 46), (2, 51), (3, 48)].map(|(number, code)| {
            message!(PartitionProduceResponse { index: number, error_code: code })
        });
        let topic = message!(TopicProduceResponse {
            name: "orders".into(),
            partition_responses: rows.to_vec()
        });
        let answer = Ok(message!(ProduceResponse { responses: vec![topic] }));
        assert!(stored(&batch(0), &answer).is_ok());
        assert!(stored(&batch(1), &answer).is_ok(), "it was stored before");
        let error = |partition| stored(&batch(partition), &answer).unwrap_err();
        assert!(passing(error(2)).is_ok(), "the transaction before will have ended");
        assert!(passing(error(3)).is_err() && passing(error(4)).is_err());
        let lost = Err(ClientError::Stopped);
        assert!(stored(&batch(0), &lost).is_err(), "nobody answered");
    }
}
