//! Topics: list, create, describe, delete.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Body, Options, Parameters};
use super::partitions::{self, Partition};
use super::problem::Problem;
use crate::broker::Context;
use crate::controller::TopicRef;
use crate::metadata::{AdminError, Metadata, NewTopic, Topic, quote};

const PAGE_MAX: usize = 1_000;

/// Some topics, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Topics {
    topics: Vec<Brief>,
    /// Ask again with `after` set to this name for the rest; none at the end.
    next: Option<String>,
}

/// A topic in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Brief {
    name: String,
    /// Never used again, not even for a topic of the same name.
    id: String,
    partitions: usize,
    replication_factor: usize,
    /// Partitions without a leader.
    leaderless: usize,
}

/// A topic in full.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Described {
    name: String,
    id: String,
    replication_factor: usize,
    /// What was set explicitly; the rest are defaults.
    configs: BTreeMap<String, String>,
    partitions: Vec<Partition>,
}

/// A topic to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[schema(example = "orders")]
    name: String,
    /// Default: `topics.partitions` of the broker asked.
    #[schema(example = 6)]
    partitions: Option<u32>,
    /// Default: three, or as many as there are live brokers.
    #[schema(example = 3)]
    replication_factor: Option<u16>,
    /// The brokers of each partition, first the preferred leader; instead of the two numbers.
    #[serde(default)]
    replicas: Vec<Vec<u64>>,
    /// Topic configs by Kafka's names, such as `retention.ms`.
    #[serde(default)]
    configs: BTreeMap<String, String>,
    /// Only check the request and show what would be created.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Begin after this name.
    after: Option<String>,
    /// At most so many topics, up to 1000.
    limit: Option<usize>,
}

/// Lists topics by name.
#[utoipa::path(get, path = "/v1/topics", tag = "topics", params(Page), responses((status = 200, body = Topics)))]
pub(super) async fn list(
    State(context): State<Context>,
    Options(page): Options<Page>,
) -> Json<Topics> {
    let image = context.metadata.image();
    let limit = page.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let from = page.after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut found = image.topics.range((from, Bound::Unbounded));
    let topics: Vec<Brief> =
        found.by_ref().take(limit).map(|(_, topic)| brief(&context.metadata, topic)).collect();
    let next = found.next().and_then(|_| topics.last().map(|topic| topic.name.clone()));
    Json(Topics { topics, next })
}

/// Creates a topic. The answer comes when the topic is agreed on; leaders follow within a second.
#[utoipa::path(
    post, path = "/v1/topics", tag = "topics", request_body = Wanted,
    responses(
        (status = 201, description = "Created", body = Described),
        (status = 200, description = "What a dry run would create", body = Described),
        (status = 409, description = "There is one of that name", body = Problem),
        (status = 422, description = "Something in it is not usable", body = Problem),
        (status = 503, description = "Nothing was created", body = Problem),
        (status = 504, description = "It may have been created", body = Problem)
    )
)]
pub(super) async fn create(
    State(context): State<Context>,
    Body(wanted): Body<Wanted>,
) -> Result<Response, Problem> {
    let topic = NewTopic {
        name: wanted.name,
        partitions: wanted.partitions,
        replication: wanted.replication_factor,
        assignment: wanted.replicas,
        configs: wanted.configs,
    };
    let created =
        context.controller.create_topics(vec![topic], wanted.dry_run, patience(&context)).await;
    let topic = created.into_iter().next().unwrap_or(Err(AdminError::Timeout))?;
    let place = format!("/v1/topics/{}", topic.name);
    let described = Json(full(&context, &topic));
    match wanted.dry_run {
        true => Ok(described.into_response()),
        false => Ok((StatusCode::CREATED, [(header::LOCATION, place)], described).into_response()),
    }
}

/// Returns a topic with its partitions.
#[utoipa::path(
    get, path = "/v1/topics/{topic}", tag = "topics", params(("topic" = String, Path, description = "Its name")),
    responses((status = 200, body = Described), (status = 404, description = "There is none", body = Problem))
)]
pub(super) async fn describe(
    State(context): State<Context>,
    Parameters(name): Parameters<String>,
) -> Result<Json<Described>, Problem> {
    let image = context.metadata.image();
    let topic = image.topic(&name).ok_or_else(|| AdminError::UnknownTopic(quote(&name)))?;
    Ok(Json(full(&context, topic)))
}

/// Deletes a topic and all its records.
#[utoipa::path(
    delete, path = "/v1/topics/{topic}", tag = "topics", params(("topic" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is none", body = Problem),
        (status = 503, description = "Nothing was deleted", body = Problem),
        (status = 504, description = "It may have been deleted", body = Problem)
    )
)]
pub(super) async fn delete(
    State(context): State<Context>,
    Parameters(name): Parameters<String>,
) -> Result<StatusCode, Problem> {
    let deleted =
        context.controller.delete_topics(vec![TopicRef::Name(name)], patience(&context)).await;
    deleted.into_iter().next().unwrap_or(Err(AdminError::Timeout))?;
    Ok(StatusCode::NO_CONTENT)
}

/// A change gives up a little before the request does, so that the answer can say what is known.
pub(super) fn patience(context: &Context) -> Duration {
    Duration::from_millis(context.config.http.request_timeout_ms).mul_f32(0.9)
}

fn brief(metadata: &Metadata, topic: &Topic) -> Brief {
    let leaderless =
        topic.partitions.iter().filter(|partition| metadata.leader(partition.group).is_none());
    Brief {
        name: topic.name.clone(),
        id: topic.id.to_string(),
        partitions: topic.partitions.len(),
        replication_factor: topic.replication(),
        leaderless: leaderless.count(),
    }
}

fn full(context: &Context, topic: &Topic) -> Described {
    Described {
        name: topic.name.clone(),
        id: topic.id.to_string(),
        replication_factor: topic.replication(),
        configs: topic.configs.explicit().clone(),
        partitions: topic
            .numbered()
            .map(|(index, partition)| partitions::brief(&context.metadata, index, partition))
            .collect(),
    }
}
