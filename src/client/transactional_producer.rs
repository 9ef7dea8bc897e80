//! Transactions: records of several partitions that become visible together or not at all (KIP-98, KIP-890).
//!
//! ```text
//!  open   ─▶ InitProducerId: an id and an epoch; whoever had the name before is fenced
//!  write  ─▶ classic: AddPartitionsToTxn, then Produce; second version: Produce alone
//!  commit ─▶ EndTxn; in the second version its answer has the epoch of the next transaction
//! ```
//!
//! A write returns when its records are stored, so a partition has one batch under way at a time and what has to be sent again
//! overtakes nothing. A write that failed leaves a transaction that can only be aborted: how far it came is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_wire::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_wire::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest, InitProducerIdRequest,
};

use super::coordinator::Coordinator;
use super::partition_producer::advance;
use super::transactional_write::{TransactionalBatch, Write};
use super::{Client, ClientError, ErrorCode, NewRecord, TransactionVersion};
use crate::record::BatchBuilder;

const INIT_PRODUCER_ID: (&str, i16) = ("init producer id", 4);
const ADD_PARTITIONS: (&str, i16) = ("add partitions to transaction", 3);
/// The newest before epochs change with each transaction, and the first since.
const END_CLASSIC: (&str, i16) = ("end transaction", 3);
const END_SECOND: (&str, i16) = ("end transaction", 5);

/// The attribute bit of a batch that belongs to a transaction.
const TRANSACTIONAL: i16 = 1 << 4;

/// The number of the error that only an abort helps (KIP-890).
const MUST_ABORT: i16 = 120;

/// A partition by its topic and number.
type Place = (String, i32);

/// How a transactional producer behaves.
#[derive(Clone, Copy, Debug)]
pub struct TransactionalConfig {
    /// The coordinator aborts a transaction that has been open for so long.
    pub timeout: Duration,
    /// That of the cluster if there is none.
    pub version: Option<TransactionVersion>,
}

impl Default for TransactionalConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), version: None }
    }
}

/// The producer that has a transactional id, until another one takes it.
pub struct TransactionalProducer {
    client: Client,
    coordinator: Coordinator,
    transactional_id: String,
    timeout_ms: i32,
    version: TransactionVersion,
    id: i64,
    epoch: i16,
    /// Of the next record of each partition.
    sequences: BTreeMap<Place, i32>,
    /// The partitions of the transaction that is open.
    open: BTreeSet<Place>,
    /// A write failed, so it is not known which sequence numbers were taken.
    broken: bool,
    concurrent_writes: u64,
}

impl TransactionalProducer {
    /// Takes the transactional id, and ends what an earlier instance has left open.
    pub async fn open(
        client: Client,
        transactional_id: &str,
        config: TransactionalConfig,
    ) -> Result<Self, ClientError> {
        let version = match config.version {
            Some(version) => version,
            None => client.transaction_version().await?,
        };
        let id = transactional_id.to_owned();
        let mut producer = Self {
            coordinator: Coordinator::of_transactions(client.clone(), id.clone()),
            client,
            transactional_id: id,
            timeout_ms: i32::try_from(config.timeout.as_millis()).unwrap_or(i32::MAX),
            version,
            id: -1,
            epoch: -1,
            sequences: BTreeMap::new(),
            open: BTreeSet::new(),
            broken: false,
            concurrent_writes: 0,
        };
        producer.init().await?;
        Ok(producer)
    }

    pub fn version(&self) -> TransactionVersion {
        self.version
    }

    /// Returns how often brokers have answered that the transaction before had not ended, and were asked again.
    pub fn concurrent(&self) -> u64 {
        self.coordinator.concurrent() + self.concurrent_writes
    }

    /// Takes an id and epoch. With those that it has it goes on as the same producer, with all sequences from 0 (KIP-360).
    async fn init(&mut self) -> Result<(), ClientError> {
        let request = message!(InitProducerIdRequest {
            transactional_id: Some(self.transactional_id.as_str().into()),
            transaction_timeout_ms: self.timeout_ms,
            producer_id: self.id,
            producer_epoch: self.epoch,
        });
        let answer = self.coordinator.ask(INIT_PRODUCER_ID, &request, |it| it.error_code).await?;
        self.take_identity(answer.producer_id, answer.producer_epoch);
        Ok(())
    }

    fn take_identity(&mut self, id: i64, epoch: i16) {
        if (self.id, self.epoch) != (id, epoch) {
            (self.id, self.epoch) = (id, epoch);
            self.sequences.clear();
        }
    }

    /// Writes records in the open transaction, or in a new one; returns when all are stored on a majority.
    ///
    /// # Errors
    /// If the records of one partition cannot be stored. The transaction has to be aborted then.
    pub async fn write(
        &mut self,
        mut records: BTreeMap<Place, Vec<NewRecord>>,
    ) -> Result<(), ClientError> {
        records.retain(|_, records| !records.is_empty());
        let outcome = self.write_all(records).await;
        self.broken |= outcome.is_err();
        outcome
    }

    async fn write_all(
        &mut self,
        records: BTreeMap<Place, Vec<NewRecord>>,
    ) -> Result<(), ClientError> {
        if self.version == TransactionVersion::Classic {
            let new = records.keys().filter(|place| !self.open.contains(*place)).cloned().collect();
            self.add_partitions(new).await?;
        }
        self.open.extend(records.keys().cloned());
        let batches = records.into_iter().map(|(place, records)| self.batch(place, &records));
        let batches = batches.collect();
        let mut write = Write::new(&self.client, &self.transactional_id, self.version, batches);
        let outcome = write.store().await;
        self.concurrent_writes += write.concurrent();
        outcome
    }

    fn batch(&mut self, place: Place, records: &[NewRecord]) -> TransactionalBatch {
        let sequence = self.sequences.entry(place.clone()).or_default();
        let mut builder =
            BatchBuilder::new().attributes(TRANSACTIONAL).producer(self.id, self.epoch, *sequence);
        for record in records {
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            builder = builder.record(record.timestamp_ms, key, value);
            for (name, value) in &record.headers {
                builder = builder.header(name, Some(value));
            }
        }
        *sequence = advance(*sequence, records.len());
        let (topic, partition) = place;
        TransactionalBatch { topic, partition, bytes: builder.build() }
    }

    async fn add_partitions(&mut self, places: Vec<Place>) -> Result<(), ClientError> {
        if places.is_empty() {
            return Ok(());
        }
        let mut topics = BTreeMap::<String, Vec<i32>>::new();
        for (topic, partition) in places {
            topics.entry(topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, numbers)| {
            message!(AddPartitionsToTxnTopic { name: name.into(), partitions: numbers })
        });
        let request = message!(AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.transactional_id.as_str().into(),
            v3_and_below_producer_id: self.id,
            v3_and_below_producer_epoch: self.epoch,
            v3_and_below_topics: topics.collect(),
        });
        self.coordinator.ask(ADD_PARTITIONS, &request, first_error).await.map(drop)
    }

    /// Makes the records of the open transaction visible, all of them. Does nothing if nothing was written.
    ///
    /// # Errors
    /// After a write that failed: the transaction can only be aborted.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        if self.broken {
            return ErrorCode::check(MUST_ABORT, END_SECOND.0);
        }
        self.end(true).await
    }

    /// Ends the open transaction so that readers of committed records never see any of it.
    pub async fn abort(&mut self) -> Result<(), ClientError> {
        self.end(false).await?;
        // Which sequence numbers partitions have taken is not known, so all begin anew.
        if self.broken && self.version == TransactionVersion::Classic {
            self.init().await?;
        }
        self.broken = false;
        Ok(())
    }

    async fn end(&mut self, commit: bool) -> Result<(), ClientError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let request = message!(EndTxnRequest {
            transactional_id: self.transactional_id.as_str().into(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            committed: commit,
        });
        let is_classic = self.version == TransactionVersion::Classic;
        let end = if is_classic { END_CLASSIC } else { END_SECOND };
        let answer = self.coordinator.ask(end, &request, |it| it.error_code).await?;
        if !is_classic {
            self.take_identity(answer.producer_id, answer.producer_epoch);
        }
        self.open.clear();
        Ok(())
    }
}

/// The error of a partition that was not added; the one that says why, not that others were left alone for it.
fn first_error(answer: &AddPartitionsToTxnResponse) -> i16 {
    const NOT_ATTEMPTED: i16 = 55;
    let topics = answer.results_by_topic_v3_and_below.iter();
    let rows = topics.flat_map(|topic| &topic.results_by_partition);
    let errors: Vec<i16> = rows.map(|row| row.partition_error_code).filter(|it| *it != 0).collect();
    let first = errors.iter().find(|it| **it != NOT_ATTEMPTED).or(errors.first());
    first.copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kafka_wire::add_partitions_to_txn_response::{
        AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
    };

    use super::*;

    #[test]
    fn an_error_that_says_why_comes_before_those_that_follow_from_it() {
        let answer = |codes: &[i16]| {
            let rows = codes.iter().map(|code| {
                message!(AddPartitionsToTxnPartitionResult { partition_error_code: *code })
            });
            let topic =
                message!(AddPartitionsToTxnTopicResult { results_by_partition: rows.collect() });
            message!(AddPartitionsToTxnResponse { results_by_topic_v3_and_below: vec![topic] })
        };
        assert_eq!(first_error(&answer(&[])), 0);
        assert_eq!(first_error(&answer(&[0, 0])), 0);
        assert_eq!(first_error(&answer(&[55, 3, 55])), 3);
        assert_eq!(first_error(&answer(&[0, 51, 51])), 51);
    }
}
