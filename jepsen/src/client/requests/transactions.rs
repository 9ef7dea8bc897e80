//! Transactions: what a producer with a transactional id asks of its coordinator and of partitions (KIP-98), and how that is
//! said where each transaction has an epoch of its own (KIP-890).

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, ApiKey, EndTxnRequest, EndTxnResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, GroupId, InitProducerIdRequest, InitProducerIdResponse,
    ProduceRequest, ProduceResponse, TransactionalId, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Api, Connection, Failure, Produced, call, check, only, timeout_ms, topic_name};
use crate::client::At;

const FIND_COORDINATOR: Api = Api { key: ApiKey::FindCoordinator, version: 2 };
const ADD_PARTITIONS: Api = Api { key: ApiKey::AddPartitionsToTxn, version: 3 };
const ADD_OFFSETS: Api = Api { key: ApiKey::AddOffsetsToTxn, version: 3 };
/// What FindCoordinator calls a transactional id.
const TRANSACTION: i8 = 1;

/// How a producer goes through a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Partitions and groups are added before anything is sent, and the epoch stays.
    Classic,
    /// They are added by what is sent, and each end raises the epoch (`transaction.version` 2).
    Implicit,
}

/// A producer as it names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub transactional_id: String,
    pub producer_id: i64,
    pub epoch: i16,
}

impl Flow {
    pub fn name(self) -> &'static str {
        match self {
            Flow::Classic => "classic",
            Flow::Implicit => "implicit",
        }
    }

    fn api(self, key: ApiKey, classic: i16, implicit: i16) -> Api {
        let version = match self {
            Flow::Classic => classic,
            Flow::Implicit => implicit,
        };
        Api { key, version }
    }
}

impl Claim {
    fn id(&self) -> TransactionalId {
        transactional(&self.transactional_id)
    }
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}

fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

/// The broker that coordinates a transactional id.
pub fn find_transaction_coordinator(
    to: &mut Connection,
    id: &str,
    patience: Duration,
) -> Result<u64, Failure> {
    let request = FindCoordinatorRequest::default()
        .with_key(StrBytes::from_string(id.to_owned()))
        .with_key_type(TRANSACTION);
    let answer: FindCoordinatorResponse = call(to, FIND_COORDINATOR, &request, patience)?;
    check(answer.error_code)?;
    u64::try_from(answer.node_id.0)
        .map_err(|_| Failure::Unanswered(format!("coordinator {}", answer.node_id.0)))
}

/// Takes a transactional id over: the producer id and epoch. `had` is what this instance had before, if it had any.
pub fn init_transactions(
    to: &mut Connection,
    id: &str,
    flow: Flow,
    timeout: Duration,
    had: Option<(i64, i16)>,
    patience: Duration,
) -> Result<(i64, i16), Failure> {
    let (producer_id, epoch) = had.unwrap_or((-1, -1));
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(transactional(id)))
        .with_transaction_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
        .with_producer_id(producer_id.into())
        .with_producer_epoch(epoch);
    let api = flow.api(ApiKey::InitProducerId, 4, 5);
    let answer: InitProducerIdResponse = call(to, api, &request, patience)?;
    check(answer.error_code)?;
    Ok((answer.producer_id.0, answer.producer_epoch))
}

/// Adds partitions to the transaction. Fails with the first error that says more than that others failed.
pub fn add_partitions(
    to: &mut Connection,
    claim: &Claim,
    partitions: &[At],
    patience: Duration,
) -> Result<(), Failure> {
    let topic = |at: &At| {
        AddPartitionsToTxnTopic::default()
            .with_name(topic_name(&at.topic))
            .with_partitions(vec![at.partition])
    };
    let mut topics: Vec<AddPartitionsToTxnTopic> = Vec::new();
    for at in partitions {
        match topics.iter_mut().find(|topic| topic.name.0.as_str() == &*at.topic) {
            Some(topic) => topic.partitions.push(at.partition),
            None => topics.push(topic(at)),
        }
    }
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(claim.id())
        .with_v3_and_below_producer_id(claim.producer_id.into())
        .with_v3_and_below_producer_epoch(claim.epoch)
        .with_v3_and_below_topics(topics);
    let answer: AddPartitionsToTxnResponse = call(to, ADD_PARTITIONS, &request, patience)?;
    let results = answer.results_by_topic_v3_and_below.iter();
    let codes: Vec<i16> = results
        .flat_map(|topic| &topic.results_by_partition)
        .map(|partition| partition.partition_error_code)
        .collect();
    if codes.len() != partitions.len() {
        return Err(Failure::Unanswered(format!("an answer about {} partitions", codes.len())));
    }
    let wrong = |code: &&i16| **code != 0;
    let telling = |code: &&i16| **code != ResponseError::OperationNotAttempted.code();
    let first = codes.iter().filter(wrong).find(telling).or_else(|| codes.iter().find(wrong));
    check(first.copied().unwrap_or(0))
}

/// Adds the offsets of a group to the transaction.
pub fn add_offsets(
    to: &mut Connection,
    claim: &Claim,
    group: &str,
    patience: Duration,
) -> Result<(), Failure> {
    let request = AddOffsetsToTxnRequest::default()
        .with_transactional_id(claim.id())
        .with_producer_id(claim.producer_id.into())
        .with_producer_epoch(claim.epoch)
        .with_group_id(group_id(group));
    let answer: AddOffsetsToTxnResponse = call(to, ADD_OFFSETS, &request, patience)?;
    check(answer.error_code)
}

/// Sends offsets of a group without members, which become its own if the transaction commits.
pub fn commit_offsets_in(
    to: &mut Connection,
    claim: &Claim,
    flow: Flow,
    group: &str,
    offsets: &[(At, i64)],
    patience: Duration,
) -> Result<(), Failure> {
    let topic = |(at, offset): &(At, i64)| {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(at.partition)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(None);
        TxnOffsetCommitRequestTopic::default()
            .with_name(topic_name(&at.topic))
            .with_partitions(vec![partition])
    };
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(claim.id())
        .with_group_id(group_id(group))
        .with_producer_id(claim.producer_id.into())
        .with_producer_epoch(claim.epoch)
        .with_generation_id(-1)
        .with_topics(offsets.iter().map(topic).collect());
    let api = flow.api(ApiKey::TxnOffsetCommit, 3, 5);
    let answer: TxnOffsetCommitResponse = call(to, api, &request, patience)?;
    let mut codes = answer.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error_code);
    codes.try_for_each(check)
}

/// Sends one batch of the transaction.
pub fn produce_in(
    to: &mut Connection,
    claim: &Claim,
    flow: Flow,
    at: &At,
    batch: Bytes,
    patience: Duration,
) -> Result<Produced, Failure> {
    let data = PartitionProduceData::default().with_index(at.partition).with_records(Some(batch));
    let topic = TopicProduceData::default()
        .with_name(topic_name(&at.topic))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(Some(claim.id()))
        .with_acks(-1)
        .with_timeout_ms(timeout_ms(patience))
        .with_topic_data(vec![topic]);
    let api = flow.api(ApiKey::Produce, 11, 12);
    let answer: ProduceResponse = call(to, api, &request, patience)?;
    let partition = only(only(answer.responses)?.partition_responses)?;
    check(partition.error_code)?;
    let base_offset = (partition.base_offset >= 0).then_some(partition.base_offset);
    Ok(Produced { base_offset, log_start: partition.log_start_offset })
}

/// Ends the transaction: the producer id and epoch for the next one.
pub fn end_transaction(
    to: &mut Connection,
    claim: &Claim,
    flow: Flow,
    commit: bool,
    patience: Duration,
) -> Result<(i64, i16), Failure> {
    let deadline = Instant::now() + patience;
    send_end(to, claim, flow, commit, patience)?;
    receive_ended(to, claim, flow, deadline)
}

/// The first half of [`end_transaction`], for those who send it twice.
pub fn send_end(
    to: &mut Connection,
    claim: &Claim,
    flow: Flow,
    commit: bool,
    patience: Duration,
) -> Result<(), Failure> {
    let request = EndTxnRequest::default()
        .with_transactional_id(claim.id())
        .with_producer_id(claim.producer_id.into())
        .with_producer_epoch(claim.epoch)
        .with_committed(commit);
    to.send(end_api(flow), &request, patience)
}

pub fn receive_ended(
    from: &mut Connection,
    claim: &Claim,
    flow: Flow,
    deadline: Instant,
) -> Result<(i64, i16), Failure> {
    let answer: EndTxnResponse = from.receive(end_api(flow), deadline)?;
    check(answer.error_code)?;
    Ok(match flow {
        Flow::Classic => (claim.producer_id, claim.epoch),
        Flow::Implicit => (answer.producer_id.0, answer.producer_epoch),
    })
}

fn end_api(flow: Flow) -> Api {
    flow.api(ApiKey::EndTxn, 3, 5)
}
