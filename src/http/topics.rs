//! Topics: list, create, describe, delete.
//!
//! A topic is created when the cluster has agreed on it; its leaders are elected after that. Who creates one wants to
//! use it, so the answer waits for the leaders, for a while, and says how many are missing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::extract::{Body, Nothing, Options, Parameters, patience, within};
use super::partitions::{self, Partition};
use super::problem::Problem;
use super::whole::{BrokerIds, WholeNumber};
use crate::context::Context;
use crate::controller::TopicRef;
use crate::metadata::{AdminError, Metadata, NewTopic, Topic, quote};

const PAGE_MAX: usize = 1_000;
/// How long the answer to a creation waits for leaders when nobody says otherwise.
const LEADER_WAIT: Duration = Duration::from_secs(10);

/// Some topics, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Topics {
    topics: Vec<TopicSummary>,
    /// Ask again with `after` set to this name for the rest; none at the end.
    next: Option<String>,
}

/// A topic in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopicSummary {
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
    /// Partitions without a leader.
    leaderless: usize,
    /// What was set explicitly; the rest are defaults.
    configs: BTreeMap<String, String>,
    /// Brokers that shall keep replicas and are out of service; theirs are made when they are back.
    out_of_service: Vec<u64>,
    partitions: Vec<Partition>,
}

/// A topic to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateTopicRequest {
    /// Not `.` or `..`.
    #[schema(example = "orders", pattern = "^[a-zA-Z0-9._-]+$", min_length = 1, max_length = 249)]
    name: String,
    /// Default: `topics.partitions` of the broker asked.
    #[schema(value_type = Option<u32>, example = 6, minimum = 1, maximum = 10_000)]
    partitions: Option<WholeNumber<u32>>,
    /// Default: three, or as many as the cluster has brokers.
    #[schema(value_type = Option<u16>, example = 3, minimum = 1, maximum = 15)]
    replication_factor: Option<WholeNumber<u16>>,
    /// The brokers of each partition, first the preferred leader; instead of the two numbers.
    #[serde(default)]
    #[schema(value_type = Vec<BrokerIds>, max_items = 10_000)]
    replicas: Vec<BrokerIds>,
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
pub(super) struct Creation {
    /// How many milliseconds the answer waits until every partition has a leader, 10000 if left out; 0 does not wait,
    /// and http.request_timeout_ms bounds it. The answer tells how many are `leaderless` then.
    #[param(minimum = 0, maximum = 600_000)]
    leader_wait_ms: Option<u64>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Begin after this name.
    after: Option<String>,
    /// At most so many topics; 1000 if left out.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
}

/// Lists topics by name.
#[utoipa::path(get, path = "/v1/topics", tag = "topics", params(Page), responses((status = 200, body = Topics)))]
pub(super) async fn list(
    State(context): State<Context>,
    Options(page): Options<Page>,
) -> Result<Json<Topics>, Problem> {
    let image = context.metadata.image();
    let limit = within("limit", page.limit.unwrap_or(PAGE_MAX), 1..=PAGE_MAX)?;
    let from = page.after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut found = image.topics.range((from, Bound::Unbounded));
    let topics: Vec<TopicSummary> =
        found.by_ref().take(limit).map(|(_, topic)| brief(&context.metadata, topic)).collect();
    let next = found.next().and_then(|_| topics.last().map(|topic| topic.name.clone()));
    Ok(Json(Topics { topics, next }))
}

/// Creates a topic. The answer comes when every partition has a leader, or says how many have none yet.
#[utoipa::path(
    post, path = "/v1/topics", tag = "topics", params(Creation), request_body = CreateTopicRequest,
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
    Options(creation): Options<Creation>,
    Body(wanted): Body<CreateTopicRequest>,
) -> Result<Response, Problem> {
    let wait = creation.leader_wait_ms.map_or(LEADER_WAIT, Duration::from_millis);
    within("leader_wait_ms", wait.as_millis(), 0..=600_000)?;
    let end = Instant::now() + patience(&context);
    let topic = NewTopic {
        name: wanted.name,
        partitions: wanted.partitions.map(|count| count.0),
        replication: wanted.replication_factor.map(|count| count.0),
        assignment: wanted.replicas.into_iter().map(BrokerIds::into).collect(),
        configs: wanted.configs,
    };
    let created =
        context.controller.create_topics(vec![topic], wanted.dry_run, patience(&context)).await;
    let topic = created.into_iter().next().unwrap_or(Err(AdminError::Timeout))?;
    if wanted.dry_run {
        return Ok(Json(full(&context, &topic)).into_response());
    }
    led(&context.metadata, &topic, end.min(Instant::now() + wait)).await;
    let place = format!("/v1/topics/{}", topic.name);
    let described = Json(full(&context, &topic));
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], described).into_response())
}

/// Waits until every partition was seen with a leader, or the topic is gone, or `end`.
async fn led(metadata: &Metadata, topic: &Topic, end: Instant) {
    let mut changes = metadata.leaders().changes();
    let mut without = topic.partitions.iter().peekable();
    let all = async {
        loop {
            changes.borrow_and_update();
            while without.next_if(|it| metadata.leader(it.group).is_some()).is_some() {}
            let exists = metadata.image().topic_by_id(topic.id).is_some();
            if without.peek().is_none() || !exists || changes.changed().await.is_err() {
                return;
            }
        }
    };
    // What is missing then, the answer tells.
    let _ = tokio::time::timeout_at(end, all).await;
}

/// Returns a topic with its partitions.
#[utoipa::path(
    get, path = "/v1/topics/{topic}", tag = "topics", params(("topic" = String, Path, description = "Its name", example = "orders")),
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
    delete, path = "/v1/topics/{topic}", tag = "topics", params(("topic" = String, Path, description = "Its name", example = "orders")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is none", body = Problem),
        (status = 503, description = "Nothing was deleted", body = Problem),
        (status = 504, description = "It may have been deleted", body = Problem)
    )
)]
pub(super) async fn delete(
    State(context): State<Context>,
    Options(Nothing {}): Options<Nothing>,
    Parameters(name): Parameters<String>,
) -> Result<StatusCode, Problem> {
    let deleted =
        context.controller.delete_topics(vec![TopicRef::Name(name)], patience(&context)).await;
    deleted.into_iter().next().unwrap_or(Err(AdminError::Timeout))?;
    Ok(StatusCode::NO_CONTENT)
}

fn leaderless(metadata: &Metadata, topic: &Topic) -> usize {
    topic.partitions.iter().filter(|it| metadata.leader(it.group).is_none()).count()
}

fn brief(metadata: &Metadata, topic: &Topic) -> TopicSummary {
    TopicSummary {
        name: topic.name.clone(),
        id: topic.id.to_string(),
        partitions: topic.partitions.len(),
        replication_factor: topic.replication(),
        leaderless: leaderless(metadata, topic),
    }
}

fn full(context: &Context, topic: &Topic) -> Described {
    let image = context.metadata.image();
    let live = |id: &u64| image.brokers.get(id).is_some_and(|broker| !broker.fenced);
    let replicas = topic.partitions.iter().flat_map(|partition| partition.replicas.iter().copied());
    let out_of_service: BTreeSet<u64> = replicas.filter(|id| !live(id)).collect();
    Described {
        name: topic.name.clone(),
        id: topic.id.to_string(),
        replication_factor: topic.replication(),
        leaderless: leaderless(&context.metadata, topic),
        configs: topic.configs.explicit().clone(),
        out_of_service: out_of_service.into_iter().collect(),
        partitions: topic
            .numbered()
            .map(|(index, partition)| partitions::brief(&context.metadata, index, partition))
            .collect(),
    }
}
