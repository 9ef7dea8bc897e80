//! Asking a broker to store one record now, without retries: what a measurement of failover needs.

use bytes::Bytes;
use kafka_wire::ProduceRequest;
use kafka_wire::produce_request::{PartitionProduceData, TopicProduceData};

use super::{Client, ClientError, ErrorCode, PartitionAt};
use crate::record::BatchBuilder;

/// The version of produce requests (KIP-467).
pub(super) const PRODUCE: i16 = 9;

/// A partition to try.
pub struct Probe<'a> {
    pub client: &'a Client,
    pub topic: &'a str,
    pub partition: i32,
}

impl Probe<'_> {
    /// Learns the topic's leaders and connects to each that answers.
    pub async fn warm_up(client: &Client, topic: &str) -> Result<(), ClientError> {
        let topology = client.refresh_patiently(topic, false).await?;
        for address in topology.brokers.values() {
            client.connection(address).await?;
        }
        Ok(())
    }

    /// Returns once the record is stored on a majority.
    pub async fn write(&self, leader: &PartitionAt, timestamp_ms: i64) -> Result<(), ClientError> {
        let batch = BatchBuilder::new().record(timestamp_ms, None, Some(b"probe")).build();
        let request = request(self.topic, self.partition, batch, 1_000);
        let connection = self.client.connection(&leader.address).await?;
        let wait = self.client.config().request_timeout;
        let answer = connection.call(&request, PRODUCE, wait).await?;
        let partition =
            answer.responses.first().and_then(|topic| topic.partition_responses.first());
        ErrorCode::check(partition.map_or(-1, |partition| partition.error_code), "produce")
    }
}

/// Returns a request to store one batch on a majority.
pub(super) fn request(topic: &str, partition: i32, batch: Bytes, wait_ms: i32) -> ProduceRequest {
    let data = message!(PartitionProduceData { index: partition, records: Some(batch) });
    let topic = message!(TopicProduceData { name: topic.into(), partition_data: vec![data] });
    message!(ProduceRequest { acks: -1, timeout_ms: wait_ms, topic_data: vec![topic] })
}
