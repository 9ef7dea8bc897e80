//! DescribeConfigs (key 32), versions 1–4: what topics and brokers are set to, defaults included.
//!
//! Tools read everything, change one value and write everything back, so every config known is listed with its
//! value in force and where it comes from. A list of names restricts the answer; null means all, an empty list none.
//! A broker's settings are listed under Kafka's names where Kafka has the like; they are read only here.
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

use crate::config::Config;
use crate::kafka::call::Call;
use crate::kafka::error::ErrorCode;
use crate::kafka::server::KafkaServer;
use crate::metadata::{ConfigKind, TOPIC_CONFIGS, TopicConfigs};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

const SOURCE_TOPIC: i8 = 1;
const SOURCE_STATIC_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

/// What a row takes while an answer is made of it, both forms of the answer together.
const ROW_BYTES: usize = 2 * 1024;
/// No resource has more.
const ROWS_MAX: usize = if TOPIC_CONFIGS.len() > BROKER_CONFIGS.len() {
    TOPIC_CONFIGS.len()
} else {
    BROKER_CONFIGS.len()
};
/// The resource itself counts as one; a topic's name and what is said of one that does not exist fit in.
const RESOURCE_BYTES: usize = ROW_BYTES * (ROWS_MAX + 1);

/// The version from which types and documentation are told.
const TYPES_FROM: i16 = 3;

/// One config with the value in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigRow {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) default: Option<&'static str>,
    pub(super) source: i8,
    pub(super) kind: ConfigKind,
    pub(super) doc: &'static str,
    pub(super) read_only: bool,
}

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
    request.resources.len().saturating_mul(RESOURCE_BYTES)
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

/// Returns every config of a topic with its value in force.
pub(super) fn topic_configs(configs: &TopicConfigs) -> impl Iterator<Item = ConfigRow> {
    let known = TOPIC_CONFIGS.iter().filter(|entry| configs.get(entry.name).is_some());
    known.map(|entry| {
        let explicit = configs.explicit().get(entry.name);
        ConfigRow {
            name: entry.name,
            value: explicit.cloned().unwrap_or_else(|| entry.default.to_owned()),
            default: Some(entry.default),
            source: explicit.map_or(SOURCE_DEFAULT, |_| SOURCE_TOPIC),
            kind: entry.kind,
            doc: entry.doc,
            read_only: false,
        }
    })
}

fn is_wanted(resource: &DescribeConfigsResource, name: &str) -> bool {
    let keys = resource.configuration_keys.as_ref();
    keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
}

fn shown(
    server: &KafkaServer,
    resource: &DescribeConfigsResource,
) -> Result<Vec<ConfigRow>, (ErrorCode, String)> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => {
            let image = server.context.metadata.image();
            let topic = image.topic(name).ok_or_else(|| {
                (ErrorCode::UnknownTopicOrPartition, format!("there is no topic {name}"))
            })?;
            Ok(topic_configs(&topic.configs).collect())
        }
        // An empty name asks for the cluster-wide dynamic settings, which are none.
        BROKER if name.is_empty() => Ok(Vec::new()),
        BROKER if name == server.node_id().to_string() => {
            Ok(broker_configs(&server.in_force(), server.node_id()))
        }
        BROKER => {
            let message = format!("this is broker {}, ask broker {name} itself", server.node_id());
            Err((ErrorCode::InvalidRequest, message))
        }
        other => {
            let message = format!("resources of type {other} have no configs here");
            Err((ErrorCode::InvalidRequest, message))
        }
    }
}

/// The settings of a broker: name, type, meaning and value in force, by name.
const BROKER_CONFIGS: &[BrokerConfig] = &[
    ("advertised.listeners", ConfigKind::String, "Where clients connect.", |it, _| {
        let kafka = &it.kafka;
        let address = kafka.advertised.as_ref().map(ToString::to_string);
        format!("PLAINTEXT://{}", address.unwrap_or_else(|| kafka.listen.to_string()))
    }),
    (
        "auto.create.topics.enable",
        ConfigKind::Boolean,
        "Whether a client that asks for a topic that does not exist creates it.",
        |it, _| it.topics.auto_create.to_string(),
    ),
    ("broker.id", ConfigKind::Int, "This broker's id.", |_, id| id.to_string()),
    ("broker.rack", ConfigKind::String, "The rack this broker stands in.", |it, _| {
        it.broker.rack.clone().unwrap_or_default()
    }),
    (
        "connections.max.idle.ms",
        ConfigKind::Long,
        "The longest a connection may be silent.",
        |it, _| it.kafka.idle_timeout_ms.to_string(),
    ),
    (
        "default.replication.factor",
        ConfigKind::Int,
        "Replicas of a new topic's partitions, or as many as the cluster has brokers.",
        |it, _| it.topics.replication_factor.unwrap_or(3).to_string(),
    ),
    ("delete.topic.enable", ConfigKind::Boolean, "Topics can be deleted.", |_, _| "true".into()),
    ("fetch.max.bytes", ConfigKind::Int, "The most record bytes in one fetch answer.", |it, _| {
        it.kafka.fetch_bytes_max.to_string()
    }),
    ("log.cleanup.policy", ConfigKind::List, "What becomes of old records.", |_, _| {
        "delete".into()
    }),
    (
        "log.retention.bytes",
        ConfigKind::Long,
        "Bytes of each partition of a new topic that are kept; -1 keeps all.",
        |it, _| it.topics.retention_bytes.to_string(),
    ),
    (
        "log.retention.ms",
        ConfigKind::Long,
        "How long records of a new topic are kept; -1 keeps them for ever.",
        |it, _| it.topics.retention_ms.to_string(),
    ),
    ("max.connections", ConfigKind::Int, "The most client connections at a time.", |it, _| {
        it.kafka.connections_max.to_string()
    }),
    (
        "message.max.bytes",
        ConfigKind::Int,
        "The largest record batch a new topic takes.",
        |it, _| it.topics.message_bytes_max.to_string(),
    ),
    (
        "min.insync.replicas",
        ConfigKind::Int,
        "Every record is acknowledged by a majority of its replicas, whatever this is.",
        |_, _| "1".into(),
    ),
    ("num.partitions", ConfigKind::Int, "Partitions of a new topic.", |it, _| {
        it.topics.partitions.to_string()
    }),
    ("socket.request.max.bytes", ConfigKind::Int, "The largest request taken.", |it, _| {
        it.kafka.request_bytes_max.to_string()
    }),
    (
        "unclean.leader.election.enable",
        ConfigKind::Boolean,
        "A replica that misses acknowledged records is never elected.",
        |_, _| "false".into(),
    ),
];

type BrokerConfig = (&'static str, ConfigKind, &'static str, fn(&Config, i32) -> String);

fn broker_configs(config: &Config, id: i32) -> Vec<ConfigRow> {
    let show = |(name, kind, doc, value): &BrokerConfig| ConfigRow {
        name,
        value: value(config, id),
        default: None,
        source: SOURCE_STATIC_BROKER,
        kind: *kind,
        doc,
        read_only: true,
    };
    BROKER_CONFIGS.iter().map(show).collect()
}

fn row(
    of: ConfigRow,
    call: &Call,
    synonyms: bool,
    documentation: bool,
) -> DescribeConfigsResourceResult {
    let mut row = DescribeConfigsResourceResult::default();
    row.name = of.name.into();
    row.config_source = of.source;
    row.read_only = of.read_only;
    if synonyms {
        let default = of.default.filter(|_| of.source != SOURCE_DEFAULT);
        let own = synonym(of.name, &of.value, of.source);
        let behind = default.map(|value| synonym(of.name, value, SOURCE_DEFAULT));
        row.synonyms = std::iter::once(own).chain(behind).collect();
    }
    if call.version >= TYPES_FROM {
        row.config_type = wire_kind(of.kind);
        row.documentation = documentation.then(|| of.doc.into());
    }
    row.value = Some(of.value.into());
    row
}

fn synonym(name: &str, value: &str, source: i8) -> DescribeConfigsSynonym {
    let mut synonym = DescribeConfigsSynonym::default();
    synonym.name = name.into();
    synonym.value = Some(StrBytes::from(value));
    synonym.source = source;
    synonym
}

fn wire_kind(kind: ConfigKind) -> i8 {
    match kind {
        ConfigKind::Boolean => 1,
        ConfigKind::String => 2,
        ConfigKind::Int => 3,
        ConfigKind::Long => 5,
        ConfigKind::List => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::*;
    use crate::kafka::codec::encode;
    use crate::kafka::table;

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
            "cleanup.policy" => "delete",
            _ => "9223372036854775807",
        };
        let mut topic: Vec<ConfigRow> = topic_configs(&TopicConfigs::default()).collect();
        for shown in &mut topic {
            (shown.value, shown.source) = (longest(shown.name).to_owned(), SOURCE_TOPIC);
        }
        let mut broker = broker_configs(&Config::default(), i32::MAX);
        let host = "h".repeat(255);
        broker[0].value = format!("PLAINTEXT://{host}:65535");
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
        for shown in topic.into_iter().chain(broker) {
            let name = shown.name;
            let row = row(shown, &call, true, true);
            // A vector that grows has room for twice as many.
            let kept = 2 * size_of::<DescribeConfigsResourceResult>() + heap(&row);
            let taken = kept + answer_of(vec![row]) - none;
            assert!(taken <= ROW_BYTES, "{name}: {taken}");
        }
    }

    #[test]
    fn a_topic_shows_every_config_and_where_it_comes_from() {
        let explicit = BTreeMap::from([("retention.ms".to_owned(), "5000".to_owned())]);
        let configs = TopicConfigs::new(explicit);
        let shown: Vec<ConfigRow> = topic_configs(&configs).collect();
        assert_eq!(shown.len(), TOPIC_CONFIGS.len());
        let find = |name| shown.iter().find(|it| it.name == name).unwrap();
        assert_eq!(
            (find("retention.ms").value.as_str(), find("retention.ms").source),
            ("5000", SOURCE_TOPIC)
        );
        assert_eq!(find("cleanup.policy").source, SOURCE_DEFAULT);
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

    #[test]
    fn a_broker_lists_its_settings_in_order() {
        let rows = broker_configs(&Config::default(), 7);
        assert!(rows.is_sorted_by_key(|row| row.name));
        assert!(rows.iter().any(|row| row.name == "broker.id" && row.value == "7"));
    }
}
