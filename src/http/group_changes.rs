//! Changes of consumer groups by an operator: groups are deleted, offsets reset and deleted.
//!
//! Decided on by the coordinator of the group, to which any broker passes the request. A reset is one commit of whoever is
//! no member: the coordinator makes all of it or nothing, and nothing if somebody has joined meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant};
use utoipa::ToSchema;
use uuid::Uuid;

use super::ends::{self, Question};
use super::extract::{Body, Nothing, Options, Parameters};
use super::forward;
use super::groups::{Home, home, home_of_new, unavailable, unknown};
use super::problem::Problem;
use super::reset::{OffsetReset, ResetTopic, Target, invalid};
use crate::context::Context;
use crate::coordinator::{
    Commit, Coordinator, Described, GROUP_NAME_BYTES_MAX, GroupError, GroupState, Identity,
    NamedPartition, Position,
};
use crate::metadata::{AdminError, Image, quote};

/// How long the leaders of the partitions may take to say where their logs begin and end.
const ENDS_WAIT: Duration = Duration::from_secs(10);
/// How long the metadata may take to be current before a topic that it lacks is taken for missing.
const CURRENT_WAIT: Duration = Duration::from_secs(2);

/// What became of the offsets of a group, or would become.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResetOffsets {
    group: String,
    dry_run: bool,
    offsets: Vec<ResetOffset>,
}

/// The offset of a partition before and after.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResetOffset {
    topic: String,
    partition: i32,
    /// None if the group had none.
    old_offset: Option<i64>,
    /// None if it cannot be told.
    new_offset: Option<i64>,
    /// Why it cannot; only a dry run answers with this, otherwise nothing is reset.
    error: Option<ResetError>,
}

/// Why an offset cannot be told.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ResetError {
    /// The leader of the partition does not answer.
    NoLeader,
    /// There is no offset that could be shifted.
    NoOffset,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OffsetsToDelete {
    #[param(example = "orders")]
    topic: String,
    /// All of the topic if left out.
    #[param(minimum = 0, maximum = 2_147_483_647)]
    partition: Option<i32>,
}

/// Deletes a group that has no members, and its offsets, those in transactions that have not ended included.
#[utoipa::path(
    delete, path = "/v1/groups/{group}", tag = "groups",
    params(("group" = String, Path, description = "Its name", example = "billing")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is none", body = Problem),
        (status = 409, description = "It has members", body = Problem),
        (status = 503, description = "Nothing was deleted", body = Problem),
        (status = 504, description = "It may have been deleted", body = Problem)
    )
)]
pub(super) async fn delete(
    State(context): State<Context>,
    headers: HeaderMap,
    uri: Uri,
    Options(Nothing {}): Options<Nothing>,
    Parameters(group): Parameters<String>,
) -> Result<Response, Problem> {
    let home = home(&context, &group, &headers).await?;
    let asked = Asked { method: Method::DELETE, uri: &uri, body: None };
    decided_at(&context, home, asked, async |coordinator| {
        coordinator.delete(group.clone()).await.map_err(|error| refused(&group, &error))?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// Sets the offsets of a group that has no members, all that are named or none.
///
/// An offset outside of what is kept of a partition becomes the nearest that is; a time after the last record is the end.
/// A group that does not exist begins with what is named. What was committed before in a transaction that has not ended
/// does not undo it.
#[utoipa::path(
    post, path = "/v1/groups/{group}/offsets", tag = "groups", request_body = OffsetReset,
    params(("group" = String, Path, description = "Its name", example = "billing")),
    responses(
        (status = 200, description = "The offsets before and after", body = ResetOffsets),
        (status = 404, description = "There is no such group, topic or partition", body = Problem),
        (status = 409, description = "The group has members", body = Problem),
        (status = 422, description = "Something in it is not usable", body = Problem),
        (status = 503, description = "Nothing was changed", body = Problem),
        (status = 504, description = "They may have been changed", body = Problem)
    )
)]
pub(super) async fn reset(
    State(context): State<Context>,
    headers: HeaderMap,
    uri: Uri,
    Options(Nothing {}): Options<Nothing>,
    Parameters(group): Parameters<String>,
    Body(wanted): Body<OffsetReset>,
) -> Result<Response, Problem> {
    let target = wanted.to.target()?;
    if group.len() > GROUP_NAME_BYTES_MAX {
        let detail = format!("a group's name has at most {GROUP_NAME_BYTES_MAX} bytes");
        return Err(invalid(detail));
    }
    // An operator may say where a group begins before anybody has been in one.
    let home = match wanted.topics {
        Some(_) => home_of_new(&context, &group, &headers).await?,
        None => home(&context, &group, &headers).await?,
    };
    let asked = Asked { method: Method::POST, uri: &uri, body: Some(&wanted) };
    decided_at(&context, home, asked, async |coordinator| {
        let plan = plan(&context, &coordinator, &group, wanted.topics.as_deref(), target).await?;
        if !wanted.dry_run {
            commit(&coordinator, &group, positions(&plan)?).await?;
        }
        let mut offsets: Vec<ResetOffset> = plan.into_values().collect();
        offsets.sort_by(|one, other| {
            (&one.topic, one.partition).cmp(&(&other.topic, other.partition))
        });
        let group = group.clone();
        Ok(Json(ResetOffsets { group, dry_run: wanted.dry_run, offsets }).into_response())
    })
    .await
}

/// Deletes the offsets that a group has of a topic, those in transactions that have not ended included; not of one that its
/// members read.
#[utoipa::path(
    delete, path = "/v1/groups/{group}/offsets", tag = "groups",
    params(("group" = String, Path, description = "Its name", example = "billing"), OffsetsToDelete),
    responses(
        (status = 204, description = "Deleted, or there were none"),
        (status = 404, description = "There is no such group, topic or partition", body = Problem),
        (status = 409, description = "The group reads the topic", body = Problem),
        (status = 503, description = "Nothing was deleted", body = Problem),
        (status = 504, description = "They may have been deleted", body = Problem)
    )
)]
pub(super) async fn delete_offsets(
    State(context): State<Context>,
    headers: HeaderMap,
    uri: Uri,
    Parameters(group): Parameters<String>,
    Options(wanted): Options<OffsetsToDelete>,
) -> Result<Response, Problem> {
    let home = home(&context, &group, &headers).await?;
    let asked = Asked { method: Method::DELETE, uri: &uri, body: None };
    decided_at(&context, home, asked, async |coordinator| {
        let image = context.metadata.image();
        let found = named(&image, &wanted.topic, wanted.partition.map(|it| vec![it]))?;
        let partitions = found.into_iter().map(|(id, partition)| {
            let topic = wanted.topic.clone();
            NamedPartition { id, topic, partition }
        });
        let deleted = coordinator.delete_offsets(group.clone(), partitions.collect()).await;
        let refused = |error: GroupError| refused(&group, &error);
        deleted.map_err(refused)?.into_iter().collect::<Result<(), _>>().map_err(refused)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// A request as it is passed on.
struct Asked<'a> {
    method: Method,
    uri: &'a Uri,
    body: Option<&'a OffsetReset>,
}

/// Has the coordinator of a group decide: here, or by passing the request on to where it is.
async fn decided_at(
    context: &Context,
    home: Home,
    Asked { method, uri, body }: Asked<'_>,
    decide: impl AsyncFnOnce(Arc<Coordinator>) -> Result<Response, Problem>,
) -> Result<Response, Problem> {
    let broker = match home {
        Home::Here(coordinator) => return decide(coordinator).await,
        Home::At(broker) => broker,
    };
    let path = uri.path_and_query().map_or(uri.path(), |it| it.as_str()).to_owned();
    let body = body.map(serde_json::to_vec).transpose();
    let body = body.map_err(|error| invalid(error.to_string()))?.unwrap_or_default();
    forward::pass_on(context, broker, method, path, body).await
}

/// What is to be committed of a plan; nothing if one of its offsets is not known.
fn positions(plan: &BTreeMap<(Uuid, i32), ResetOffset>) -> Result<Vec<Position>, Problem> {
    let position = |((topic, partition), row): (&(Uuid, i32), &ResetOffset)| {
        let offset = row.new_offset.ok_or_else(|| unplanned(row))?;
        Ok(Position {
            topic: *topic,
            partition: *partition,
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        })
    };
    plan.iter().map(position).collect()
}

/// What each offset would become.
async fn plan(
    context: &Context,
    coordinator: &Coordinator,
    group: &str,
    topics: Option<&[ResetTopic]>,
    target: Target,
) -> Result<BTreeMap<(Uuid, i32), ResetOffset>, Problem> {
    let named = match topics {
        Some(topics) => Some(all_named(context, topics).await?),
        None => None,
    };
    let described = coordinator.describe(group.to_owned()).await;
    let state = described.map_err(|_| unavailable(group))?.map(|described| match described {
        Described::Classic(it) => it.state,
        Described::Consumer(it) => it.state,
    });
    match state {
        None if named.is_none() => return Err(unknown(group)),
        None | Some(GroupState::Empty) => {}
        Some(_) => return Err(refused(group, &GroupError::NotEmpty)),
    }
    let committed = coordinator.offsets(group).await.map_err(|_| unavailable(group))?;
    let old: BTreeMap<(Uuid, i32), i64> =
        committed.into_iter().map(|it| ((it.topic, it.partition), it.offset)).collect();
    let partitions = named.unwrap_or_else(|| old.keys().copied().collect());
    let question = Question { time_ms: target.time_ms(), confirmed: true, wait: ENDS_WAIT };
    let ends = ends::of(context, &partitions, question).await;
    let image = context.metadata.image();
    let row = |place: (Uuid, i32)| {
        // Offsets of a topic that was deleted go by themselves.
        let topic = image.topic_by_id(place.0)?.name.clone();
        let old_offset = old.get(&place).copied();
        let end = ends.get(&place);
        let new_offset = end.and_then(|end| target.offset(old_offset, end));
        let error = match (end, new_offset) {
            (None, _) => Some(ResetError::NoLeader),
            (_, None) => Some(ResetError::NoOffset),
            _ => None,
        };
        let partition = place.1;
        Some((place, ResetOffset { topic, partition, old_offset, new_offset, error }))
    };
    Ok(partitions.into_iter().filter_map(row).collect())
}

/// The partitions that a reset names, each once.
async fn all_named(context: &Context, topics: &[ResetTopic]) -> Result<Vec<(Uuid, i32)>, Problem> {
    let mut image = context.metadata.image();
    // It may have been made a moment ago, through another broker.
    if topics.iter().any(|it| image.topic(&it.topic).is_none())
        && context.controller.catch_up(Instant::now() + CURRENT_WAIT).await.is_ok()
    {
        image = context.metadata.image();
    }
    let mut all = Vec::new();
    for it in topics {
        let partitions = it.partitions.as_ref();
        let partitions = partitions.map(|some| some.iter().map(|number| number.0).collect());
        all.extend(named(&image, &it.topic, partitions)?);
    }
    if all.is_empty() {
        return Err(invalid("no partition is named".to_owned()));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Some or all partitions of a topic.
fn named(
    image: &Image,
    name: &str,
    partitions: Option<Vec<i32>>,
) -> Result<Vec<(Uuid, i32)>, Problem> {
    let topic = image.topic(name).ok_or_else(|| AdminError::UnknownTopic(quote(name)))?;
    let partitions =
        partitions.unwrap_or_else(|| topic.numbered().map(|(index, _)| index).collect());
    let missing = partitions.iter().find(|it| topic.partition(**it).is_none());
    if let Some(partition) = missing {
        let (topic, partition) = (name.to_owned(), *partition);
        return Err(AdminError::UnknownPartition { topic, partition }.into());
    }
    Ok(partitions.into_iter().map(|partition| (topic.id, partition)).collect())
}

async fn commit(
    coordinator: &Coordinator,
    group: &str,
    offsets: Vec<Position>,
) -> Result<(), Problem> {
    if offsets.is_empty() {
        return Ok(());
    }
    let nobody = String::new();
    let who =
        Identity { group: group.to_owned(), member_id: nobody, instance_id: None, generation: -1 };
    let committed = coordinator.commit(Commit { who, offsets }).await;
    committed.map_err(|error| refused(group, &error))
}

fn unplanned(row: &ResetOffset) -> Problem {
    let detail = |reason| format!("{}-{} {reason}; nothing was reset", row.topic, row.partition);
    match row.error {
        Some(ResetError::NoOffset) => invalid(detail("has no offset that could be shifted"))
            .hint("name the partitions that have one, or say where to begin instead of a shift"),
        _ => {
            let detail = detail("has no leader that answers");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_leader", detail)
                .hint("GET /v1/cluster shows what is wrong; a dry run shows all that it concerns")
        }
    }
}

/// Why a coordinator did not do it.
fn refused(group: &str, error: &GroupError) -> Problem {
    let named = quote(group);
    match error {
        GroupError::NotFound => unknown(group),
        // Whoever commits as nobody is not known while there are members.
        GroupError::NotEmpty | GroupError::UnknownMember => {
            let detail = format!("consumer group {named} has members; nothing was changed");
            Problem::new(StatusCode::CONFLICT, "group_has_members", detail)
                .hint("stop its consumers; GET /v1/groups/{group} shows who they are")
        }
        GroupError::Subscribed => {
            let detail = format!("members of consumer group {named} read the topic");
            Problem::new(StatusCode::CONFLICT, "group_reads_topic", detail)
                .hint("stop its consumers; GET /v1/groups/{group} shows who they are")
        }
        GroupError::TooLarge => invalid(format!("{error}; reset fewer partitions at once")),
        _ => forward::unknown_outcome(&format!("consumer group {named}: {error}")),
    }
}
