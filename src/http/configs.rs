//! A topic's configs: all that are in force, and changing them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::extract::{Body, Nothing, Options, Parameters, patience};
use super::problem::Problem;
use crate::config::{ConfigSource, topic_configs};
use crate::context::Context;
use crate::metadata::{AdminError, AlteredConfigs, Image, Topic, find_config, quote};

/// Every config of a topic.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Configs {
    topic: String,
    configs: Vec<TopicConfig>,
}

/// A config with its value in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopicConfig {
    #[schema(example = "retention.ms")]
    name: &'static str,
    value: String,
    /// What it is where nothing was set, for the topic or for all brokers.
    default: &'static str,
    /// Whether it was set for this topic.
    explicit: bool,
    /// Where the value comes from: topic, cluster (set for all brokers while they ran) or default.
    source: &'static str,
    /// What it means.
    doc: &'static str,
}

/// Configs to change; those that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigChanges {
    /// Kafka's names and the new values; null returns a config to its default.
    #[schema(example = json!({"retention.ms": "86400000", "retention.bytes": null}))]
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    pub(super) configs: EachOnce,
    /// Only check the request and show what would be.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// What an object says, each name once: of two the reader could only guess which was meant.
#[derive(Debug)]
pub(super) struct EachOnce(pub(super) BTreeMap<String, Option<String>>);

impl<'de> Deserialize<'de> for EachOnce {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = EachOnce;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EachOnce, A::Error> {
                let mut said = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Option<String>>()? {
                    if said.contains_key(&name) {
                        return Err(de::Error::custom(format!("{} is named twice", quote(&name))));
                    }
                    said.insert(name, value);
                }
                Ok(EachOnce(said))
            }
        }
        from.deserialize_map(Object)
    }
}

/// Returns every config of a topic with its value in force.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/configs", tag = "topics",
    params(("topic" = String, Path, description = "Its name", example = "orders")),
    responses(
        (status = 200, body = Configs),
        (status = 404, description = "There is no such topic", body = Problem),
        (status = 503, description = "The broker has not caught up since its start", body = Problem)
    )
)]
pub(super) async fn list(
    State(context): State<Context>,
    Parameters(name): Parameters<String>,
) -> Result<Json<Configs>, Problem> {
    let image = current(&context).await?;
    let topic = image.topic(&name).ok_or_else(|| AdminError::UnknownTopic(quote(&name)))?;
    Ok(Json(configs(topic)))
}

/// Returns the image once it shows what was agreed on while this broker was away. A config that was taken back meanwhile looks
/// like one that is in force; Kafka's clients are let in no sooner either.
pub(super) async fn current(context: &Context) -> Result<Arc<Image>, Problem> {
    let caught_up = timeout(patience(context), context.readiness.until_current()).await;
    caught_up.map(|()| context.metadata.image()).map_err(|_| {
        let detail = "this broker does not know yet what was agreed on while it was away";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_current", detail)
            .hint("ask another broker, or again; GET /readyz shows what it waits for")
    })
}

/// Changes configs of a topic, all that are named or none.
#[utoipa::path(
    patch, path = "/v1/topics/{topic}/configs", tag = "topics", request_body = ConfigChanges,
    params(("topic" = String, Path, description = "Its name", example = "orders")),
    responses(
        (status = 200, description = "What is in force now, or would be", body = Configs),
        (status = 404, description = "There is no such topic", body = Problem),
        (status = 422, description = "A value is not usable", body = Problem),
        (status = 503, description = "Nothing was changed", body = Problem),
        (status = 504, description = "It may have been changed", body = Problem)
    )
)]
pub(super) async fn change(
    State(context): State<Context>,
    Options(Nothing {}): Options<Nothing>,
    Parameters(topic): Parameters<String>,
    Body(wanted): Body<ConfigChanges>,
) -> Result<Json<Configs>, Problem> {
    let (mut set, mut remove) = (BTreeMap::new(), Vec::new());
    for (name, value) in wanted.configs.0 {
        match value {
            Some(value) => drop(set.insert(name, value)),
            // Where it is set it is refused below.
            None if find_config(&name).is_none() => {
                let reason = "there is no such config, so it has no default".to_owned();
                return Err(AdminError::InvalidConfig { name: quote(&name), reason }.into());
            }
            None => remove.push(name),
        }
    }
    let change = vec![AlteredConfigs { topic, set, remove }];
    let (dry_run, patience) = (wanted.dry_run, patience(&context));
    let changed = context.controller.alter_configs(change, dry_run, patience, configs).await;
    Ok(Json(changed.into_iter().next().unwrap_or(Err(AdminError::Timeout))?))
}

fn configs(topic: &Topic) -> Configs {
    let rows = topic_configs(&topic.configs).map(|row| TopicConfig {
        name: row.name,
        value: row.value().to_owned(),
        default: find_config(row.name).map_or("", |entry| entry.default),
        explicit: row.source() == ConfigSource::Topic,
        source: source_name(row.source()),
        doc: row.doc,
    });
    Configs { topic: topic.name.clone(), configs: rows.collect() }
}

/// Where a value comes from, in a word.
pub(super) fn source_name(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::Topic => "topic",
        ConfigSource::Group => "group",
        ConfigSource::Broker => "broker",
        ConfigSource::Brokers => "cluster",
        ConfigSource::File => "file",
        ConfigSource::Default => "default",
    }
}
