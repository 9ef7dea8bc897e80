//! Changes of topics.

use std::time::Duration;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    ApiKey, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::{Api, Connection, Failure, call, check, only, timeout_ms, topic_name};

const CREATE_TOPICS: Api = Api { key: ApiKey::CreateTopics, version: 7 };
const DELETE_TOPICS: Api = Api { key: ApiKey::DeleteTopics, version: 6 };
const CREATE_PARTITIONS: Api = Api { key: ApiKey::CreatePartitions, version: 3 };

/// Creates a topic; its id.
pub fn create_topic(
    to: &mut Connection,
    name: &str,
    partitions: u32,
    replication: u32,
    patience: Duration,
) -> Result<u128, Failure> {
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(i32::try_from(partitions).unwrap_or(-1))
        .with_replication_factor(i16::try_from(replication).unwrap_or(-1));
    let request = CreateTopicsRequest::default()
        .with_timeout_ms(timeout_ms(patience))
        .with_topics(vec![topic]);
    let answer: CreateTopicsResponse = call(to, CREATE_TOPICS, &request, patience)?;
    let created = only(answer.topics)?;
    check(created.error_code)?;
    Ok(created.topic_id.as_u128())
}

pub fn delete_topic(to: &mut Connection, name: &str, patience: Duration) -> Result<(), Failure> {
    let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
    let request = DeleteTopicsRequest::default()
        .with_timeout_ms(timeout_ms(patience))
        .with_topics(vec![topic]);
    let answer: DeleteTopicsResponse = call(to, DELETE_TOPICS, &request, patience)?;
    check(only(answer.responses)?.error_code)
}

/// Gives a topic `count` partitions in all.
pub fn create_partitions(
    to: &mut Connection,
    name: &str,
    count: u32,
    patience: Duration,
) -> Result<(), Failure> {
    let topic = CreatePartitionsTopic::default()
        .with_name(topic_name(name))
        .with_count(i32::try_from(count).unwrap_or(-1))
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_timeout_ms(timeout_ms(patience))
        .with_topics(vec![topic]);
    let answer: CreatePartitionsResponse = call(to, CREATE_PARTITIONS, &request, patience)?;
    check(only(answer.results)?.error_code)
}
