//! DescribeConfigs (key 32), versions 1–4: what topics, brokers and groups are set to, defaults included.
//!
//! Tools read everything, change one value and write everything back, so every config known is listed with its
//! value in force and where it comes from. A list of names restricts the answer; null means all, an empty list none.
//! A broker's settings are listed under Kafka's names where Kafka has the like. Of all brokers together only what was set is
//! listed.
//!
//! | since version | what is new |
//! |---|---|
//! | 1 | where a value comes from (KIP-226) |
//! | 3 | types and documentation (KIP-569) |
//! | 4 | flexible (KIP-482) |

use std::collections::HashSet;
use std::sync::Arc;

use kafka_wire::describe_configs_request::DescribeConfigsResource;
use kafka_wire::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_wire::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_wire_core::StrBytes;

use crate::config::{
    ConfigRow, ConfigSource, Synonym, broker_configs, cluster_configs, group_configs, topic_configs,
};
use crate::kafka::call::Call;
use crate::kafka::config_resource::{Refusal, Resource, TOPIC};
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::{ConfigKind, ConfigResource, TOPIC_CONFIGS};

/// What a row takes while an answer is made of it, both forms of the answer together.
const ROW_BYTES: usize = 2 * 1024;
/// No resource has more.
const ROWS_MAX: usize = 64;

/// The version from which types and documentation are told.
const TYPES_FROM: i16 = 3;

pub(in crate::kafka) async fn handle(
    server: Arc<KafkaServer>,
    call: Call,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let mut answer = DescribeConfigsResponse::default();
    for resource in distinct(request.resources) {
        let mut result = DescribeConfigsResult::default();
        result.resource_type = resource.resource_type;
        match shown(&server, &resource) {
            Ok(configs) => {
                let row =
                    |of| row(of, &call, request.include_synonyms, request.include_documentation);
                let named = configs.into_iter().filter(|it| is_wanted(&resource, it.name));
                result.configs = named.map(row).collect();
            }
            Err((code, message)) => {
                result.error_code = code.count(&call);
                result.error_message = Some(message.into());
            }
        }
        result.resource_name = resource.resource_name;
        answer.results.push(result);
    }
    answer
}

/// Returns about how many bytes the answer takes while it is made.
pub(in crate::kafka) fn weigh(_: &KafkaServer, _: i16, request: &DescribeConfigsRequest) -> usize {
    // The resource itself counts as a row. Topics are what is asked for by the thousand, and they have fewer.
    let rows = |it: &DescribeConfigsResource| match it.resource_type {
        TOPIC => TOPIC_CONFIGS.len(),
        _ => ROWS_MAX,
    };
    let bytes = |it| (rows(it) + 1) * ROW_BYTES;
    request.resources.iter().map(bytes).fold(0, usize::saturating_add)
}

/// The resources of a request, each once.
fn distinct(
    resources: Vec<DescribeConfigsResource>,
) -> impl Iterator<Item = DescribeConfigsResource> {
    let mut seen = HashSet::new();
    resources.into_iter().filter(move |it| {
        seen.insert((it.resource_type, it.resource_name.clone(), it.configuration_keys.clone()))
    })
}

fn is_wanted(resource: &DescribeConfigsResource, name: &str) -> bool {
    let keys = resource.configuration_keys.as_ref();
    keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
}

fn shown(
    server: &KafkaServer,
    resource: &DescribeConfigsResource,
) -> Result<Vec<ConfigRow>, Refusal> {
    let name = resource.resource_name.as_str();
    let image = server.context.metadata.image();
    let me = server.context.node.id();
    match Resource::of(resource.resource_type, name)? {
        Resource::Topic(name) => {
            let topic = image.topic(&name).ok_or_else(|| {
                (ErrorCode::UnknownTopicOrPartition, format!("there is no topic {name}"))
            })?;
            Ok(topic_configs(&topic.configs).collect())
        }
        Resource::Dynamic(ConfigResource::Brokers) => Ok(cluster_configs(&image.configs)),
        Resource::Dynamic(ConfigResource::Broker(id)) if id == me => {
            Ok(broker_configs(&server.in_force(), &image.configs, id))
        }
        Resource::Dynamic(ConfigResource::Broker(id)) => {
            let message = format!("this is broker {me}, ask broker {id} itself");
            Err((ErrorCode::InvalidRequest, message))
        }
        Resource::Dynamic(ConfigResource::Group(group)) => {
            Ok(group_configs(&server.context.config, &image.configs, &group))
        }
    }
}

fn row(
    of: ConfigRow,
    call: &Call,
    synonyms: bool,
    documentation: bool,
) -> DescribeConfigsResourceResult {
    let mut row = DescribeConfigsResourceResult::default();
    row.name = of.name.into();
    row.config_source = wire_source(of.source());
    row.read_only = of.read_only;
    if synonyms {
        row.synonyms = of.from.iter().map(synonym).collect();
    }
    if call.version >= TYPES_FROM {
        row.config_type = wire_kind(of.kind);
        row.documentation = documentation.then(|| of.doc.into());
    }
    row.value = Some(of.value().into());
    row
}

fn synonym(from: &Synonym) -> DescribeConfigsSynonym {
    let mut synonym = DescribeConfigsSynonym::default();
    synonym.name = from.name.into();
    synonym.value = Some(StrBytes::from(from.value.as_str()));
    synonym.source = wire_source(from.source);
    synonym
}

/// Sources as the protocol numbers them (KIP-226, KIP-848).
pub(super) fn wire_source(source: ConfigSource) -> i8 {
    match source {
        ConfigSource::Topic => 1,
        ConfigSource::Broker => 2,
        ConfigSource::Brokers => 3,
        ConfigSource::File => 4,
        ConfigSource::Default => 5,
        ConfigSource::Group => 8,
    }
}

fn wire_kind(kind: ConfigKind) -> i8 {
    match kind {
        ConfigKind::Boolean => 1,
        ConfigKind::String => 2,
        ConfigKind::Int => 3,
        ConfigKind::Long => 5,
        ConfigKind::Double => 6,
        ConfigKind::List => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::config::Config;
    use crate::kafka::codec::encode;
    use crate::kafka::table;
    use crate::metadata::{DynamicConfigs, TopicConfigs};

    /// What is in memory of a row beyond the row itself.
    fn heap(row: &DescribeConfigsResourceResult) -> usize {
        let text = |text: &StrBytes| text.len();
        let told = row.value.as_ref().map_or(0, text) + row.documentation.as_ref().map_or(0, text);
        let synonyms =
            row.synonyms.iter().map(|it| it.name.len() + it.value.as_ref().map_or(0, text));
        let behind = row.synonyms.capacity() * size_of::<DescribeConfigsSynonym>();
        row.name.len() + told + behind + synonyms.sum::<usize>()
    }

    #[test]
    fn no_row_takes_more_than_is_set_aside_for_it() {
        let longest = |name: &str| match name {
            "cleanup.policy" => "delete".to_owned(),
            _ => i64::MAX.to_string(),
        };
        let mut shown: Vec<ConfigRow> = topic_configs(&TopicConfigs::default()).collect();
        for row in &mut shown {
            for source in [ConfigSource::Topic, ConfigSource::Brokers] {
                let value = longest(row.name);
                row.from.insert(0, Synonym { name: row.name, value, source });
            }
        }
        let mut brokers =
            broker_configs(&Config::default(), &DynamicConfigs::default(), u64::from(u32::MAX));
        for row in &mut brokers {
            let again = row.from[0].clone();
            row.from.push(again);
        }
        let host = "h".repeat(255);
        brokers[0].from[0].value = format!("PLAINTEXT://{host}:65535");
        assert!(brokers.len() <= ROWS_MAX && shown.len() <= ROWS_MAX);
        let call = Call {
            api: &table::find(32).unwrap().api,
            version: 4,
            correlation: 1,
            client: None,
            host: None,
            received: Instant::now(),
            pipeline: Arc::default(),
        };
        let answer_of = |configs| {
            let mut result = DescribeConfigsResult::default();
            result.configs = configs;
            let mut answer = DescribeConfigsResponse::default();
            answer.results = vec![result];
            encode(&call, &answer).unwrap().len()
        };
        let none = answer_of(Vec::new());
        for shown in shown.into_iter().chain(brokers) {
            let name = shown.name;
            let row = row(shown, &call, true, true);
            // A vector that grows has room for twice as many.
            let kept = 2 * size_of::<DescribeConfigsResourceResult>() + heap(&row);
            let taken = kept + answer_of(vec![row]) - none;
            assert!(taken <= ROW_BYTES, "{name}: {taken}");
        }
    }

    #[test]
    fn a_resource_that_is_named_often_is_answered_once() {
        let mut resource = DescribeConfigsResource::default();
        resource.resource_name = "t".into();
        let mut other = resource.clone();
        other.configuration_keys = Some(vec!["retention.ms".into()]);
        let named = vec![resource.clone(), resource.clone(), other.clone(), resource.clone()];
        assert_eq!(distinct(named).collect::<Vec<_>>(), [resource, other]);
    }

    #[test]
    fn null_asks_for_everything_and_an_empty_list_for_nothing() {
        let mut resource = DescribeConfigsResource::default();
        resource.configuration_keys = None;
        assert!(is_wanted(&resource, "retention.ms"));
        resource.configuration_keys = Some(vec![]);
        assert!(!is_wanted(&resource, "retention.ms"));
        resource.configuration_keys = Some(vec!["retention.ms".into()]);
        assert!(is_wanted(&resource, "retention.ms") && !is_wanted(&resource, "segment.ms"));
    }
}
