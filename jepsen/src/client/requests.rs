//! The requests that workloads send, each as one function: one partition or topic, one answer.
//!
//! Where the order of several requests on a connection matters, sending and receiving are two functions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, DeleteRecordsRequest, DeleteRecordsResponse, FetchRequest, FetchResponse,
    InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::connection::{Api, Connection};
use super::{At, Failure, Isolation};

mod configs;
mod consumer;
mod groups;
mod topics;
mod transactions;

pub use configs::{describe_configs, set_configs};
pub use consumer::{Heard, Heartbeat, Parts, describe_consumer_group, member_heartbeat};
pub use groups::{
    Joined, Member, OffsetsSeen, commit_offsets, committed_offsets, committed_offsets_as,
    describe_group, find_coordinator, heartbeat, join_group, leave_group, sync_group,
};
pub use topics::{create_partitions, create_topic, delete_topic};
pub use transactions::{
    Claim, Flow, add_offsets, add_partitions, commit_offsets_in, end_transaction,
    find_transaction_coordinator, init_transactions, produce_in, receive_ended, send_end,
};

const PRODUCE: Api = Api { key: ApiKey::Produce, version: 9 };
const FETCH: Api = Api { key: ApiKey::Fetch, version: 12 };
const LIST_OFFSETS: Api = Api { key: ApiKey::ListOffsets, version: 7 };
const METADATA: Api = Api { key: ApiKey::Metadata, version: 12 };
const DELETE_RECORDS: Api = Api { key: ApiKey::DeleteRecords, version: 2 };
const INIT_PRODUCER_ID: Api = Api { key: ApiKey::InitProducerId, version: 4 };

/// Times that mean an end of the log, for [`list_offset`].
pub const LATEST: i64 = -1;
pub const EARLIEST: i64 = -2;

/// What one broker says of the cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    pub brokers: BTreeMap<u64, SocketAddr>,
    pub topics: BTreeMap<String, SeenTopic>,
}

#[derive(Clone, Debug)]
pub struct SeenTopic {
    pub id: u128,
    pub partitions: BTreeMap<i32, SeenPartition>,
}

#[derive(Clone, Debug)]
pub struct SeenPartition {
    /// None while no leader is known.
    pub leader: Option<u64>,
    pub epoch: i32,
    pub replicas: Vec<u64>,
    pub in_sync: Vec<u64>,
}

/// A committed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// None if the broker did not say.
    pub base_offset: Option<i64>,
    pub log_start: i64,
}

/// A batch of which nothing was appended, because of one of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRefused {
    /// Its place in the batch, if that was told.
    pub record: Option<i32>,
    pub message: String,
}

/// Where a fetch begins.
#[derive(Clone, Debug)]
pub struct FetchFrom {
    pub at: At,
    pub offset: i64,
    /// The leader epoch the client believes in; the broker refuses any other. -1 for none.
    pub epoch: i32,
    pub max_bytes: i32,
}

/// What a fetch found in one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub high_watermark: i64,
    pub stable: i64,
    pub log_start: i64,
    /// Aborted transactions with records among these, by producer and first offset; told only to who reads what is
    /// committed.
    pub aborted: Vec<(i64, i64)>,
    pub records: Bytes,
}

/// A client's patience, and the broker's, which ends first so that an answer can still say what is known.
fn timeout_ms(patience: Duration) -> i32 {
    i32::try_from(patience.mul_f32(0.8).as_millis()).unwrap_or(i32::MAX)
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn check(code: i16) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(Failure::Code(code)) }
}

/// The only element of an answer that has to have one.
fn only<T>(mut list: Vec<T>) -> Result<T, Failure> {
    match (list.pop(), list.len()) {
        (Some(one), 0) => Ok(one),
        (_, more) => Err(Failure::Unanswered(format!("an answer about {} things", more + 1))),
    }
}

fn call<Q: Encodable + HeaderVersion, A: Decodable + HeaderVersion>(
    to: &mut Connection,
    api: Api,
    request: &Q,
    patience: Duration,
) -> Result<A, Failure> {
    let deadline = Instant::now() + patience;
    to.send(api, request, patience)?;
    to.receive(api, deadline)
}

fn ids(brokers: &[kafka_protocol::messages::BrokerId]) -> Vec<u64> {
    brokers.iter().filter_map(|broker| u64::try_from(broker.0).ok()).collect()
}

/// Topics that the broker does not know are left out; `None` asks for all.
pub fn metadata(
    from: &mut Connection,
    topics: Option<&[&str]>,
    patience: Duration,
) -> Result<ClusterView, Failure> {
    let named = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default()
        .with_topics(topics.map(|topics| topics.iter().map(named).collect()))
        .with_allow_auto_topic_creation(false);
    let answer: MetadataResponse = call(from, METADATA, &request, patience)?;
    let mut seen = ClusterView::default();
    for broker in &answer.brokers {
        let address = format!("{}:{}", broker.host.as_str(), broker.port).parse();
        if let (Ok(id), Ok(address)) = (u64::try_from(broker.node_id.0), address) {
            seen.brokers.insert(id, address);
        }
    }
    for topic in answer.topics.iter().filter(|topic| topic.error_code == 0) {
        let partitions = topic.partitions.iter().map(|partition| {
            let seen = SeenPartition {
                leader: u64::try_from(partition.leader_id.0).ok(),
                epoch: partition.leader_epoch,
                replicas: ids(&partition.replica_nodes),
                in_sync: ids(&partition.isr_nodes),
            };
            (partition.partition_index, seen)
        });
        let found = SeenTopic { id: topic.topic_id.as_u128(), partitions: partitions.collect() };
        let name = topic.name.as_ref().map_or(String::new(), |name| name.0.to_string());
        seen.topics.insert(name, found);
    }
    Ok(seen)
}

/// Sends one batch; the answers come in the order of the sends, see [`receive_produced`].
pub fn send_produce(
    to: &mut Connection,
    at: &At,
    acks: i16,
    batch: Bytes,
    patience: Duration,
) -> Result<(), Failure> {
    let data = PartitionProduceData::default().with_index(at.partition).with_records(Some(batch));
    let topic = TopicProduceData::default()
        .with_name(topic_name(&at.topic))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(acks)
        .with_timeout_ms(timeout_ms(patience))
        .with_topic_data(vec![topic]);
    to.send(PRODUCE, &request, patience)
}

/// As [`receive_produced`], with what the broker said of a batch that it refused for one of its records.
pub fn receive_judged(
    from: &mut Connection,
    deadline: Instant,
) -> Result<Result<Produced, RecordRefused>, Failure> {
    let answer: ProduceResponse = from.receive(PRODUCE, deadline)?;
    let partition = only(only(answer.responses)?.partition_responses)?;
    if partition.error_code == ResponseError::InvalidRecord.code() {
        let error = partition.record_errors.first();
        let of_record = error.and_then(|error| error.batch_index_error_message.as_ref());
        let message = of_record.or(partition.error_message.as_ref()).map(ToString::to_string);
        let record = error.map(|error| error.batch_index);
        return Ok(Err(RecordRefused { record, message: message.unwrap_or_default() }));
    }
    check(partition.error_code)?;
    let base_offset = (partition.base_offset >= 0).then_some(partition.base_offset);
    Ok(Ok(Produced { base_offset, log_start: partition.log_start_offset }))
}

pub fn receive_produced(from: &mut Connection, deadline: Instant) -> Result<Produced, Failure> {
    let answer: ProduceResponse = from.receive(PRODUCE, deadline)?;
    let partition = only(only(answer.responses)?.partition_responses)?;
    check(partition.error_code)?;
    let base_offset = (partition.base_offset >= 0).then_some(partition.base_offset);
    Ok(Produced { base_offset, log_start: partition.log_start_offset })
}

pub fn produce(
    to: &mut Connection,
    at: &At,
    acks: i16,
    batch: Bytes,
    patience: Duration,
) -> Result<Produced, Failure> {
    let deadline = Instant::now() + patience;
    send_produce(to, at, acks, batch, patience)?;
    receive_produced(to, deadline)
}

/// Sends a fetch without a session that waits up to `wait` for something to read.
pub fn send_fetch(
    to: &mut Connection,
    from: &[FetchFrom],
    isolation: Isolation,
    wait: Duration,
    patience: Duration,
) -> Result<(), Failure> {
    let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
    for wanted in from {
        let partition = FetchPartition::default()
            .with_partition(wanted.at.partition)
            .with_current_leader_epoch(wanted.epoch)
            .with_fetch_offset(wanted.offset)
            .with_partition_max_bytes(wanted.max_bytes);
        topics.entry(&wanted.at.topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        FetchTopic::default().with_topic(topic_name(name)).with_partitions(partitions)
    });
    let request = FetchRequest::default()
        .with_max_wait_ms(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(1)
        .with_max_bytes(16 << 20)
        .with_isolation_level(isolation.level())
        .with_topics(topics.collect());
    to.send(FETCH, &request, patience)
}

/// The answer to [`send_fetch`], by partition.
pub fn receive_fetched(
    from: &mut Connection,
    deadline: Instant,
) -> Result<BTreeMap<At, Result<Fetched, Failure>>, Failure> {
    let answer: FetchResponse = from.receive(FETCH, deadline)?;
    check(answer.error_code)?;
    let mut found = BTreeMap::new();
    for topic in answer.responses {
        for partition in topic.partitions {
            let aborted = partition.aborted_transactions.unwrap_or_default();
            let aborted = aborted.iter().map(|it| (it.producer_id.0, it.first_offset));
            let fetched = check(partition.error_code).map(|()| Fetched {
                aborted: aborted.collect(),
                high_watermark: partition.high_watermark,
                stable: partition.last_stable_offset,
                log_start: partition.log_start_offset,
                records: partition.records.unwrap_or_default(),
            });
            found.insert(At::new(topic.topic.0.as_str(), partition.partition_index), fetched);
        }
    }
    Ok(found)
}

/// A fetch of one partition of what is committed, as Jepsen's clients read.
pub fn fetch(
    to: &mut Connection,
    from: FetchFrom,
    wait: Duration,
    patience: Duration,
) -> Result<Fetched, Failure> {
    fetch_as(to, from, Isolation::Committed, wait, patience)
}

pub fn fetch_as(
    to: &mut Connection,
    from: FetchFrom,
    isolation: Isolation,
    wait: Duration,
    patience: Duration,
) -> Result<Fetched, Failure> {
    let deadline = Instant::now() + patience + wait;
    let at = from.at.clone();
    send_fetch(to, &[from], isolation, wait, patience)?;
    let mut found = receive_fetched(to, deadline)?;
    found.remove(&at).ok_or_else(|| Failure::Unanswered(format!("no answer about {at}")))?
}

/// An end of the log or the first offset at or after a time.
pub fn list_offset(
    to: &mut Connection,
    at: &At,
    epoch: i32,
    time: i64,
    patience: Duration,
) -> Result<i64, Failure> {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(at.partition)
        .with_current_leader_epoch(epoch)
        .with_timestamp(time);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(&at.topic))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(1)
        .with_topics(vec![topic]);
    let answer: ListOffsetsResponse = call(to, LIST_OFFSETS, &request, patience)?;
    let partition = only(only(answer.topics)?.partitions)?;
    check(partition.error_code)?;
    Ok(partition.offset)
}

/// A fresh producer id and its epoch.
pub fn init_producer_id(to: &mut Connection, patience: Duration) -> Result<(i64, i16), Failure> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let answer: InitProducerIdResponse = call(to, INIT_PRODUCER_ID, &request, patience)?;
    check(answer.error_code)?;
    Ok((answer.producer_id.0, answer.producer_epoch))
}

/// Moves the log start up to `before`; the new log start.
pub fn delete_records(
    to: &mut Connection,
    at: &At,
    before: i64,
    patience: Duration,
) -> Result<i64, Failure> {
    let partition =
        DeleteRecordsPartition::default().with_partition_index(at.partition).with_offset(before);
    let topic = DeleteRecordsTopic::default()
        .with_name(topic_name(&at.topic))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default()
        .with_timeout_ms(timeout_ms(patience))
        .with_topics(vec![topic]);
    let answer: DeleteRecordsResponse = call(to, DELETE_RECORDS, &request, patience)?;
    let partition = only(only(answer.topics)?.partitions)?;
    check(partition.error_code)?;
    Ok(partition.low_watermark)
}
