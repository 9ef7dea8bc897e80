//! CreateTopics (key 19), versions 2–7.
//!
//! The answer comes when this broker's own image shows the topic, so the client may go on with it here at once.
//! Configs that are not enforced are refused, not stored and ignored.
//!
//! | since version | what is new |
//! |---|---|
//! | 4 | defaults for partitions and replicas (KIP-464) |
//! | 5 | flexible; the answer lists the configs (KIP-525) |
//! | 6 | quotas on changes (KIP-599), of which there are none here |
//! | 7 | the ids of new topics (KIP-516) |

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_wire::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_wire::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_wire::{CreateTopicsRequest, CreateTopicsResponse};
use kafka_wire_core::Uuid as WireUuid;

use super::describe_configs::wire_source;
use super::{change_wait_of, repeated};
use crate::config::{ConfigRow, topic_configs};
use crate::controller::PARTITIONS_AT_ONCE;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::{AdminError, NewTopic, Topic, quote};

/// The version from which -1 stands for the broker's default (KIP-464).
const DEFAULTS_FROM: i16 = 4;
/// The version from which the answer describes the topic (KIP-525), and its id.
const DESCRIBED_FROM: i16 = 5;
/// What a topic takes while an answer is made that describes it, or says why there is none; both forms of the answer
/// together.
const DESCRIBED_BYTES: usize = 6 * 1024;
const REFUSED_BYTES: usize = 512;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let repeated = repeated(request.topics.iter().map(|topic| topic.name.clone()));
    let mut names = Vec::new();
    let mut outcomes: Vec<Option<Result<Arc<Topic>, AdminError>>> = Vec::new();
    let mut wanted = Vec::new();
    for topic in request.topics {
        let outcome = if repeated.contains(&topic.name) {
            Some(named_twice())
        } else {
            new_topic(&topic, call.version).map(|topic| wanted.push(topic)).err()
        };
        names.push(topic.name);
        outcomes.push(outcome.map(Err));
    }
    let timeout = change_wait_of(request.timeout_ms);
    let controller = &server.context.controller;
    let mut created =
        controller.create_topics(wanted, request.validate_only, timeout).await.into_iter();
    let mut answer = CreateTopicsResponse::default();
    for (name, refused) in names.into_iter().zip(outcomes) {
        let outcome = refused.or_else(|| created.next()).unwrap_or(Err(AdminError::Timeout));
        let mut row = row(outcome, &call);
        row.name = name;
        answer.topics.push(row);
    }
    answer
}

/// Returns about how many bytes the answer takes while it is made.
pub(in crate::kafka) fn weigh(_: &KafkaServer, _: i16, request: &CreateTopicsRequest) -> usize {
    let described = request.topics.len().min(PARTITIONS_AT_ONCE);
    described * DESCRIBED_BYTES + request.topics.len() * REFUSED_BYTES
}

/// Of a topic that a request names twice it cannot be said which of the two is meant.
pub(super) fn named_twice() -> AdminError {
    AdminError::InvalidRequest("the topic is named more than once".to_owned())
}

fn new_topic(asked: &CreatableTopic, version: i16) -> Result<NewTopic, AdminError> {
    let mut configs = BTreeMap::new();
    for config in &asked.configs {
        // Kafka refuses null as well: there is nothing to reset yet.
        let value = config.value.as_ref().ok_or_else(|| AdminError::InvalidConfig {
            name: quote(&config.name),
            reason: "it has no value".to_owned(),
        })?;
        configs.insert(config.name.to_string(), value.to_string());
    }
    let name = asked.name.to_string();
    if !asked.assignments.is_empty() {
        if asked.num_partitions != -1 || asked.replication_factor != -1 {
            return Err(AdminError::InvalidRequest(
                "with replicas named, partitions and replication factor must be -1".to_owned(),
            ));
        }
        let assignment = assignment(&asked.assignments)?;
        return Ok(NewTopic { name, partitions: None, replication: None, assignment, configs });
    }
    let may_default = version >= DEFAULTS_FROM;
    let partitions = match asked.num_partitions {
        -1 if may_default => None,
        count => Some(u32::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| {
            AdminError::InvalidPartitions(format!("it is {count}, at least 1 is needed"))
        })?),
    };
    let replication = match asked.replication_factor {
        -1 if may_default => None,
        count => Some(u16::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| {
            AdminError::InvalidReplicationFactor(format!("it is {count}, at least 1 is needed"))
        })?),
    };
    Ok(NewTopic { name, partitions, replication, assignment: Vec::new(), configs })
}

/// Reads replicas by partition, which may come in any order but without a gap.
fn assignment(asked: &[CreatableReplicaAssignment]) -> Result<Vec<Vec<u64>>, AdminError> {
    let mut sorted: Vec<&CreatableReplicaAssignment> = asked.iter().collect();
    sorted.sort_by_key(|it| it.partition_index);
    let dense = (0..).zip(&sorted).all(|(index, it)| it.partition_index == index);
    if !dense {
        let reason = "partitions are not numbered 0, 1, 2 and so on";
        return Err(AdminError::InvalidAssignment(reason.to_owned()));
    }
    sorted.iter().map(|it| broker_ids(&it.broker_ids)).collect()
}

/// Converts broker ids as clients write them.
pub(super) fn broker_ids(ids: &[i32]) -> Result<Vec<u64>, AdminError> {
    let convert = |id: &i32| {
        u64::try_from(*id)
            .map_err(|_| AdminError::InvalidAssignment(format!("{id} is not a broker id")))
    };
    ids.iter().map(convert).collect()
}

fn row(outcome: Result<Arc<Topic>, AdminError>, call: &Call) -> CreatableTopicResult {
    let mut row = CreatableTopicResult::default();
    match outcome {
        Ok(topic) => {
            // The codec's own default is an empty text, which reads like an error without words.
            row.error_message = None;
            row.topic_id = WireUuid::from_bytes(*topic.id.as_bytes());
            row.num_partitions = i32::try_from(topic.partitions.len()).unwrap_or(-1);
            row.replication_factor = i16::try_from(topic.replication()).unwrap_or(-1);
            if call.version >= DESCRIBED_FROM {
                row.configs = Some(topic_configs(&topic.configs).map(config_row).collect());
            }
        }
        Err(error) => {
            row.error_code = ErrorCode::from(&error).count(call);
            row.error_message = Some(error.to_string().into());
        }
    }
    row
}

fn config_row(of: ConfigRow) -> CreatableTopicConfigs {
    let mut row = CreatableTopicConfigs::default();
    row.name = of.name.into();
    row.value = Some(of.value().into());
    row.read_only = false;
    row.config_source = wire_source(of.source());
    row
}

#[cfg(test)]
mod tests {
    use kafka_wire::create_topics_request::CreatableTopicConfig;

    use super::*;

    fn asked(partitions: i32, replication: i16) -> CreatableTopic {
        let mut topic = CreatableTopic::default();
        topic.name = "t".into();
        topic.num_partitions = partitions;
        topic.replication_factor = replication;
        topic
    }

    #[test]
    fn minus_one_is_the_default_where_the_version_has_it() {
        let topic = new_topic(&asked(-1, -1), 4).unwrap();
        assert_eq!((topic.partitions, topic.replication), (None, None));
        assert!(matches!(new_topic(&asked(-1, 1), 3), Err(AdminError::InvalidPartitions(_))));
        assert!(matches!(
            new_topic(&asked(1, -1), 3),
            Err(AdminError::InvalidReplicationFactor(_))
        ));
        assert!(matches!(new_topic(&asked(0, 1), 7), Err(AdminError::InvalidPartitions(_))));
    }

    #[test]
    fn named_replicas_exclude_counts_and_gaps() {
        let replicas = |index, ids: &[i32]| {
            let mut replicas = CreatableReplicaAssignment::default();
            (replicas.partition_index, replicas.broker_ids) = (index, ids.to_vec());
            replicas
        };
        let mut topic = asked(-1, -1);
        topic.assignments = vec![replicas(1, &[2, 3]), replicas(0, &[1, 2])];
        assert_eq!(new_topic(&topic, 7).unwrap().assignment, [[1, 2], [2, 3]]);
        topic.num_partitions = 2;
        assert!(matches!(new_topic(&topic, 7), Err(AdminError::InvalidRequest(_))));
        topic.num_partitions = -1;
        topic.assignments[0].partition_index = 3;
        assert!(matches!(new_topic(&topic, 7), Err(AdminError::InvalidAssignment(_))));
        topic.assignments[0] = replicas(1, &[-4]);
        assert!(matches!(new_topic(&topic, 7), Err(AdminError::InvalidAssignment(_))));
    }

    #[test]
    fn a_config_without_a_value_is_refused() {
        let mut topic = asked(1, 1);
        let mut config = CreatableTopicConfig::default();
        (config.name, config.value) = ("retention.ms".into(), None);
        topic.configs.push(config);
        assert!(matches!(new_topic(&topic, 7), Err(AdminError::InvalidConfig { .. })));
    }
}
