//! Configs of one topic.

use std::time::Duration;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    ApiKey, DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Api, Connection, Failure, call, check, only};

const DESCRIBE_CONFIGS: Api = Api { key: ApiKey::DescribeConfigs, version: 4 };
const INCREMENTAL_ALTER_CONFIGS: Api = Api { key: ApiKey::IncrementalAlterConfigs, version: 1 };
/// A resource that is a topic.
const TOPIC: i8 = 2;
const SET: i8 = 0;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Sets all of these to the same value, in one request.
pub fn set_configs(
    to: &mut Connection,
    topic: &str,
    names: &[&str],
    value: &str,
    patience: Duration,
) -> Result<(), Failure> {
    let set = |name: &&str| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(SET)
            .with_value(Some(text(value)))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configs(names.iter().map(set).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer: IncrementalAlterConfigsResponse =
        call(to, INCREMENTAL_ALTER_CONFIGS, &request, patience)?;
    check(only(answer.responses)?.error_code)
}

/// The values in force, in the order of the names.
pub fn describe_configs(
    to: &mut Connection,
    topic: &str,
    names: &[&str],
    patience: Duration,
) -> Result<Vec<String>, Failure> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configuration_keys(Some(names.iter().map(|name| text(name)).collect()));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer: DescribeConfigsResponse = call(to, DESCRIBE_CONFIGS, &request, patience)?;
    let described = only(answer.results)?;
    check(described.error_code)?;
    let value = |name: &&str| {
        let found = described.configs.iter().find(|config| *config.name == **name);
        let value = found.and_then(|config| config.value.as_ref());
        value.map(ToString::to_string).ok_or_else(|| Failure::Unanswered(format!("no {name}")))
    };
    names.iter().map(value).collect()
}
