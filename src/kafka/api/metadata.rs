//! Metadata (key 3), versions 0–13: brokers, topics, and who leads each partition.
//!
//! An unknown leader is said to be unknown (-1 and LEADER_NOT_AVAILABLE), never guessed and never with epoch 0:
//! clients ignore whatever is older than the newest epoch they saw. A topic that does not exist is created when the
//! request names it, allows it and the broker is set up so; unlike Kafka, the answer waits for the creation, which
//! saves the client one round of errors. In-sync replicas are the live ones: with Raft any majority will do.
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | racks, the controller, a null list for all topics |
//! | 2 | the cluster's id (KIP-78) |
//! | 4 | topics are created only if the request allows it |
//! | 5 | offline replicas (KIP-112) |
//! | 7 | leader epochs (KIP-320) |
//! | 8 | authorized operations (KIP-430) |
//! | 9 | flexible (KIP-482) |
//! | 10 | the ids of topics (KIP-516) |
//! | 11 | those of the cluster are asked of DescribeCluster (KIP-700) |
//! | 12 | topics asked for by id (KIP-516) |
//! | 13 | an error of the whole answer (KIP-1102) |

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_wire::metadata_request::MetadataRequestTopic;
use kafka_wire::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_wire::{MetadataRequest, MetadataResponse};
use kafka_wire_core::{StrBytes, Uuid as WireUuid};
use uuid::Uuid;

use super::operations;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::route;
use crate::kafka::server::{KafkaServer, broker_id};
use crate::metadata::{
    AdminError, Image, METADATA_GROUP, NewTopic, PartitionInfo, Topic, cluster_id_text,
};

/// How long an answer waits for the topics it creates. Clients ask again anyway.
const CREATE_MAX: Duration = Duration::from_secs(5);
/// The most topics that one request creates on the side; whoever wants more should say so with CreateTopics.
const AUTO_CREATED_MAX: usize = 100;
/// What a topic and a partition take while an answer is made of them, both forms of the answer together.
pub(super) const TOPIC_BYTES: usize = 512;
pub(super) const PARTITION_BYTES: usize = 512;
/// Before this version an empty list means every topic, from it on none.
const EMPTY_IS_NONE_FROM: i16 = 1;
/// Before this version a topic without a name cannot be expressed.
const NULL_NAME_FROM: i16 = 12;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: MetadataRequest,
) -> MetadataResponse {
    let wanted = named(&request.topics, call.version);
    let create = request.allow_auto_topic_creation && server.topics().auto_create;
    let refused = match wanted {
        Some(topics) if create => create_missing(&server, topics).await,
        _ => HashMap::new(),
    };
    let image = server.context.metadata.image();
    let mut answer = MetadataResponse::default();
    answer.cluster_id = Some(cluster_id_text(image.cluster_id).into());
    answer.controller_id = controller_id(&server, &image);
    answer.topics = match wanted {
        None => {
            image.topics.values().map(|topic| topic_row(&server, &image, topic, &call)).collect()
        }
        Some(topics) => distinct(topics)
            .map(|it| match asked(it, &image, &refused, call.version) {
                Ok(topic) => topic_row(&server, &image, topic, &call),
                Err(code) => missing_row(it, code, &call),
            })
            .collect(),
    };
    answer.cluster_authorized_operations =
        operations::on_cluster(request.include_cluster_authorized_operations);
    for topic in answer.topics.iter_mut().filter(|topic| topic.error_code == 0) {
        topic.topic_authorized_operations =
            operations::on_topic(request.include_topic_authorized_operations);
    }
    // A client can only go to a leader that is among the brokers.
    let named: HashSet<i32> = leaders_of(&answer.topics).collect();
    let shown = |id: u64, fenced: bool| !fenced || named.contains(&broker_id(id));
    let brokers = image.brokers.values().filter(|broker| shown(broker.id, broker.fenced));
    answer.brokers = brokers.map(broker_row).collect();
    answer
}

fn leaders_of(topics: &[MetadataResponseTopic]) -> impl Iterator<Item = i32> + '_ {
    topics.iter().flat_map(|topic| topic.partitions.iter().map(|partition| partition.leader_id))
}

/// Returns about how many bytes the answer takes while it is made.
pub(in crate::kafka) fn weigh(
    server: &KafkaServer,
    version: i16,
    request: &MetadataRequest,
) -> usize {
    let image = server.context.metadata.image();
    let of_topic = |topic: &Arc<Topic>| TOPIC_BYTES + topic.partitions.len() * PARTITION_BYTES;
    let all = image.topics.len() * TOPIC_BYTES + image.groups.len() * PARTITION_BYTES;
    let Some(wanted) = named(&request.topics, version) else { return all };
    let found = wanted.iter().filter_map(|it| find(it, &image));
    // A topic that is named often is answered once.
    let once = found.map(of_topic).fold(0_usize, usize::saturating_add).min(all);
    once + wanted.len() * TOPIC_BYTES
}

/// The topics that a request names; `None` when it asks for all.
fn named(
    topics: &Option<Vec<MetadataRequestTopic>>,
    version: i16,
) -> Option<&Vec<MetadataRequestTopic>> {
    topics.as_ref().filter(|it| version >= EMPTY_IS_NONE_FROM || !it.is_empty())
}

/// The topics of a request, each once, as Kafka answers them.
fn distinct(wanted: &[MetadataRequestTopic]) -> impl Iterator<Item = &MetadataRequestTopic> {
    let mut seen = HashSet::new();
    wanted.iter().filter(move |it| seen.insert((it.name.as_deref(), it.topic_id.to_bytes())))
}

/// The broker to send admin requests to; any will do, since each forwards them.
pub(super) fn controller_id(server: &KafkaServer, image: &Image) -> i32 {
    let leader = server.context.metadata.leader(METADATA_GROUP).map(|leader| leader.id);
    let live = |id: &u64| image.brokers.get(id).is_some_and(|broker| !broker.fenced);
    leader.filter(live).map_or_else(|| server.node_id(), broker_id)
}

/// Creates the topics asked for that do not exist; returns why some could not be.
async fn create_missing(
    server: &KafkaServer,
    topics: &[MetadataRequestTopic],
) -> HashMap<String, ErrorCode> {
    let image = server.context.metadata.image();
    let mut missing: Vec<NewTopic> = Vec::new();
    for name in topics.iter().filter_map(|topic| topic.name.as_ref()) {
        let known =
            image.topic(name).is_some() || missing.iter().any(|it| it.name == name.as_str());
        if !known && usable(name) && missing.len() < AUTO_CREATED_MAX {
            missing.push(NewTopic { name: name.as_str().to_owned(), ..NewTopic::default() });
        }
    }
    if missing.is_empty() {
        return HashMap::new();
    }
    let names: Vec<String> = missing.iter().map(|topic| topic.name.clone()).collect();
    let created = server.context.controller.create_topics(missing, false, CREATE_MAX).await;
    let mut refused = HashMap::new();
    for (topic, outcome) in names.into_iter().zip(created) {
        match outcome {
            Ok(_) => tracing::info!(topic, "topic created because a client asked for it"),
            Err(AdminError::TopicExists(_)) => {}
            Err(error) => {
                tracing::debug!(topic, %error, "topic not created for a client");
                refused.insert(topic, auto_creation_code(&error));
            }
        }
    }
    refused
}

/// What a client is told that did not ask for a creation: what may work later is no failure of its request.
fn auto_creation_code(error: &AdminError) -> ErrorCode {
    match error.into() {
        ErrorCode::NotController | ErrorCode::RequestTimedOut => ErrorCode::LeaderNotAvailable,
        code => code,
    }
}

fn broker_row(broker: &crate::metadata::Broker) -> MetadataResponseBroker {
    let mut row = MetadataResponseBroker::default();
    row.node_id = broker_id(broker.id);
    row.host = broker.kafka.host.as_str().into();
    row.port = i32::from(broker.kafka.port);
    row.rack = broker.rack.as_deref().map(Into::into);
    row
}

/// Finds the topic that a request asks for.
fn asked<'i>(
    wanted: &MetadataRequestTopic,
    image: &'i Image,
    refused: &HashMap<String, ErrorCode>,
    version: i16,
) -> Result<&'i Arc<Topic>, ErrorCode> {
    let id = Uuid::from_bytes(wanted.topic_id.to_bytes());
    if !id.is_nil() && version < NULL_NAME_FROM {
        return Err(ErrorCode::InvalidRequest);
    }
    let Some(name) = name_of(wanted) else {
        return find(wanted, image).ok_or(ErrorCode::UnknownTopicId);
    };
    if !id.is_nil() {
        // A topic of that name made anew is not the one asked for.
        let topic = image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId)?;
        return Some(topic).filter(|it| it.name == name.as_str()).ok_or(ErrorCode::InvalidRequest);
    }
    find(wanted, image).ok_or_else(|| match refused.get(name.as_str()) {
        Some(code) => *code,
        None if usable(name) => ErrorCode::UnknownTopicOrPartition,
        None => ErrorCode::InvalidTopic,
    })
}

/// The name that a request goes by. Java's consumer asks by an id and puts an empty name beside it.
fn name_of(wanted: &MetadataRequestTopic) -> Option<&StrBytes> {
    let has_id = wanted.topic_id.to_bytes() != [0; 16];
    wanted.name.as_ref().filter(|name| !has_id || !name.is_empty())
}

fn find<'i>(wanted: &MetadataRequestTopic, image: &'i Image) -> Option<&'i Arc<Topic>> {
    match name_of(wanted) {
        Some(name) => image.topic(name),
        None => image.topic_by_id(Uuid::from_bytes(wanted.topic_id.to_bytes())),
    }
}

fn missing_row(
    wanted: &MetadataRequestTopic,
    code: ErrorCode,
    call: &Call,
) -> MetadataResponseTopic {
    let mut row = MetadataResponseTopic::default();
    row.error_code = code.count(call);
    row.topic_id = wanted.topic_id;
    row.name = wanted.name.clone();
    if row.name.is_none() && call.version < NULL_NAME_FROM {
        row.name = Some("".into());
    }
    row
}

/// The rule for topic names: 249 letters, digits, dots, underscores and hyphens, and not a path.
pub(super) fn usable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(plain)
}

fn topic_row(
    server: &KafkaServer,
    image: &Image,
    topic: &Topic,
    call: &Call,
) -> MetadataResponseTopic {
    let mut row = MetadataResponseTopic::default();
    row.name = Some(topic.name.as_str().into());
    row.topic_id = WireUuid::from_bytes(*topic.id.as_bytes());
    row.partitions = topic
        .numbered()
        .map(|(index, partition)| partition_row(server, image, index, partition, call))
        .collect();
    row
}

pub(super) fn partition_row(
    server: &KafkaServer,
    image: &Image,
    index: i32,
    partition: &PartitionInfo,
    call: &Call,
) -> MetadataResponsePartition {
    let live = |id: &u64| image.brokers.get(id).is_some_and(|broker| !broker.fenced);
    let ids = |keep: &dyn Fn(&u64) -> bool| -> Vec<i32> {
        partition.replicas.iter().filter(|id| keep(id)).map(|id| broker_id(*id)).collect()
    };
    let mut row = MetadataResponsePartition::default();
    row.partition_index = index;
    row.replica_nodes = ids(&|_| true);
    row.isr_nodes = ids(&live);
    row.offline_replicas = ids(&|id| !live(id));
    row.leader_id = -1;
    row.leader_epoch = -1;
    let leader = server.context.metadata.leader(partition.group);
    match leader.filter(|leader| route::reached(server, image, leader.id)) {
        Some(leader) => {
            row.leader_id = broker_id(leader.id);
            row.leader_epoch = leader.epoch;
        }
        None => row.error_code = ErrorCode::LeaderNotAvailable.count(call),
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: Option<&str>, id: Uuid) -> MetadataRequestTopic {
        let mut wanted = MetadataRequestTopic::default();
        wanted.name = name.map(Into::into);
        wanted.topic_id = WireUuid::from_bytes(*id.as_bytes());
        wanted
    }

    #[test]
    fn a_topic_that_is_not_there_says_why() {
        let image = Image::default();
        let none = HashMap::new();
        let ask = |name, id, version| asked(&wanted(name, id), &image, &none, version).unwrap_err();
        assert_eq!(ask(Some("t"), Uuid::nil(), 9), ErrorCode::UnknownTopicOrPartition);
        assert_eq!(ask(Some("a/b"), Uuid::nil(), 9), ErrorCode::InvalidTopic);
        assert_eq!(ask(None, Uuid::from_u128(5), 12), ErrorCode::UnknownTopicId);
        assert_eq!(ask(Some("t"), Uuid::from_u128(5), 11), ErrorCode::InvalidRequest);
        assert_eq!(ask(Some("t"), Uuid::from_u128(5), 12), ErrorCode::UnknownTopicId);
        let refused = HashMap::from([("t".to_owned(), ErrorCode::InvalidReplicationFactor)]);
        let code = asked(&wanted(Some("t"), Uuid::nil()), &image, &refused, 9).unwrap_err();
        assert_eq!(code, ErrorCode::InvalidReplicationFactor);
    }

    #[test]
    fn a_topic_that_is_named_often_is_answered_once() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut topics = vec![wanted(Some("t"), Uuid::nil()); 1_000];
        topics.extend([wanted(None, one), wanted(Some("u"), Uuid::nil()), wanted(None, two)]);
        topics.extend(topics.clone());
        let distinct: Vec<_> = distinct(&topics).cloned().collect();
        let once = [&topics[0], &topics[1_000], &topics[1_001], &topics[1_002]].map(Clone::clone);
        assert_eq!(distinct, once);
    }

    #[test]
    fn topic_names_follow_kafkas_rule() {
        let longest = "x".repeat(249);
        for good in ["t", "a.b_c-D9", "...", longest.as_str()] {
            assert!(usable(good), "{good}");
        }
        let too_long = "x".repeat(250);
        for bad in ["", ".", "..", "a b", "a/b", "ä", too_long.as_str()] {
            assert!(!usable(bad), "{bad}");
        }
    }
}
