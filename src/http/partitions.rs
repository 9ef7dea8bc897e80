//! One partition: its state, its replicas, its leader.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Body, Nothing, Options, Parameters, patience};
use super::problem::Problem;
use super::whole::{BrokerIds, WholeNumber};
use super::{compaction, forward, leaders, raft};
use crate::context::Context;
use crate::metadata::{AdminError, Metadata, PartitionInfo, quote};

/// A partition as the cluster agreed on it, and who leads it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct Partition {
    partition: i32,
    /// Its Raft group, see `/v1/raft/groups/{group}`.
    group: u64,
    /// None while no leader is known.
    leader: Option<u64>,
    leader_epoch: Option<i32>,
    /// The brokers that keep it, first the preferred leader.
    replicas: Vec<u64>,
    /// The brokers that shall keep it, while they are being changed.
    target: Option<Vec<u64>>,
}

/// A partition with what its leader knows of it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Detailed {
    topic: String,
    #[serde(flatten)]
    partition: Partition,
    /// Offset of its first record; none when its leader does not answer.
    log_start_offset: Option<i64>,
    /// The offset after its last committed record.
    high_watermark: Option<i64>,
    /// The feature level that its log has reached.
    level: Option<u16>,
    /// How far it is compacted; none if its topic is not, or its leader does not answer.
    compaction: Option<compaction::Compaction>,
    /// Its Raft group as the leader sees it.
    raft: Option<raft::Group>,
}

/// The brokers that shall keep a partition.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Replicas {
    brokers: BrokerIds,
}

/// The broker that shall lead a partition.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewLeader {
    /// One of its replicas, alive and caught up.
    #[schema(value_type = u64, example = 2, maximum = 2_147_483_647)]
    broker: WholeNumber<u64>,
}

/// Returns a partition: replicas, leader, offsets and the state of its Raft group.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/partitions/{partition}", tag = "topics",
    params(
        ("topic" = String, Path, description = "Its name", example = "orders"),
        ("partition" = i32, Path, description = "Its number", example = 0, minimum = 0, maximum = 2_147_483_647)
    ),
    responses((status = 200, body = Detailed), (status = 404, description = "There is none", body = Problem))
)]
pub(super) async fn describe(
    State(context): State<Context>,
    headers: HeaderMap,
    Parameters((topic, index)): Parameters<(String, i32)>,
) -> Result<Json<Detailed>, Problem> {
    let image = context.metadata.image();
    let found = image.topic(&topic).ok_or_else(|| AdminError::UnknownTopic(quote(&topic)))?;
    let info = found
        .partition(index)
        .ok_or_else(|| AdminError::UnknownPartition { topic: topic.clone(), partition: index })?;
    let partition = brief(&context.metadata, index, info);
    if let Some(leader) = leaders::elsewhere(&context, partition.leader, &headers) {
        let path = format!("/v1/topics/{topic}/partitions/{index}");
        if let Some(detailed) = forward::ask(&context, leader, path).await {
            return Ok(Json(detailed));
        }
    }
    let leads = partition.leader.is_none_or(|leader| leader == context.node.id());
    let here = context.partitions.get(info.group).filter(|_| leads);
    Ok(Json(Detailed {
        topic,
        log_start_offset: here.as_ref().map(|here| here.log_start()),
        high_watermark: here.as_ref().map(|here| here.high_watermark()),
        level: here.as_ref().map(|here| here.level()),
        compaction: here.as_ref().and_then(|here| compaction::of(&context, here)),
        raft: raft::find(&context, &image, info.group, true).await,
        partition,
    }))
}

/// Asks for other replicas. New ones copy the log, then all change over at once, then old ones delete theirs.
///
/// The answer comes when the wish is agreed on; the partition's `target` is gone when it is fulfilled. It survives
/// crashes of any broker, and another wish or a cancellation replaces it.
#[utoipa::path(
    put, path = "/v1/topics/{topic}/partitions/{partition}/replicas", tag = "topics", request_body = Replicas,
    params(
        ("topic" = String, Path, description = "Its name", example = "orders"),
        ("partition" = i32, Path, description = "Its number", example = 0, minimum = 0, maximum = 2_147_483_647)
    ),
    responses(
        (status = 202, description = "Agreed; under way", body = Partition),
        (status = 404, description = "There is no such partition", body = Problem),
        (status = 422, description = "These brokers cannot be its replicas", body = Problem),
        (status = 503, description = "Nothing was changed", body = Problem),
        (status = 504, description = "It may have been agreed", body = Problem)
    )
)]
pub(super) async fn set_replicas(
    State(context): State<Context>,
    Options(Nothing {}): Options<Nothing>,
    Parameters((topic, index)): Parameters<(String, i32)>,
    Body(wanted): Body<Replicas>,
) -> Result<(StatusCode, Json<Partition>), Problem> {
    let info = context
        .controller
        .set_replicas(&topic, index, wanted.brokers.into(), patience(&context))
        .await?;
    Ok((StatusCode::ACCEPTED, Json(brief(&context.metadata, index, &info))))
}

/// Cancels a change of replicas under way: the ones before it are wanted again.
#[utoipa::path(
    delete, path = "/v1/topics/{topic}/partitions/{partition}/replicas", tag = "topics",
    params(
        ("topic" = String, Path, description = "Its name", example = "orders"),
        ("partition" = i32, Path, description = "Its number", example = 0, minimum = 0, maximum = 2_147_483_647)
    ),
    responses(
        (status = 202, description = "Agreed; going back", body = Partition),
        (status = 404, description = "There is no such partition", body = Problem),
        (status = 409, description = "No change is under way", body = Problem),
        (status = 503, description = "Nothing was changed", body = Problem),
        (status = 504, description = "It may have been agreed", body = Problem)
    )
)]
pub(super) async fn cancel_replicas(
    State(context): State<Context>,
    Options(Nothing {}): Options<Nothing>,
    Parameters((topic, index)): Parameters<(String, i32)>,
) -> Result<(StatusCode, Json<Partition>), Problem> {
    let info = context.controller.cancel_replicas(&topic, index, patience(&context)).await?;
    Ok((StatusCode::ACCEPTED, Json(brief(&context.metadata, index, &info))))
}

/// Hands the leadership to another replica, without a gap that clients notice.
#[utoipa::path(
    put, path = "/v1/topics/{topic}/partitions/{partition}/leader", tag = "topics", request_body = NewLeader,
    params(
        ("topic" = String, Path, description = "Its name", example = "orders"),
        ("partition" = i32, Path, description = "Its number", example = 0, minimum = 0, maximum = 2_147_483_647)
    ),
    responses(
        (status = 200, description = "It leads", body = Partition),
        (status = 404, description = "There is no such partition", body = Problem),
        (status = 422, description = "It is no replica", body = Problem),
        (status = 503, description = "It does not lead, for a reason given", body = Problem),
        (status = 504, description = "It may lead", body = Problem)
    )
)]
pub(super) async fn set_leader(
    State(context): State<Context>,
    Options(Nothing {}): Options<Nothing>,
    Parameters((topic, index)): Parameters<(String, i32)>,
    Body(wanted): Body<NewLeader>,
) -> Result<Json<Partition>, Problem> {
    context.controller.set_leader(&topic, index, wanted.broker.0, patience(&context)).await?;
    let image = context.metadata.image();
    let info = image.topic(&topic).and_then(|topic| topic.partition(index));
    let info = info.ok_or(AdminError::UnknownPartition { topic, partition: index })?;
    Ok(Json(brief(&context.metadata, index, info)))
}

pub(super) fn brief(metadata: &Metadata, index: i32, info: &PartitionInfo) -> Partition {
    let leader = metadata.leader(info.group);
    Partition {
        partition: index,
        group: info.group.0,
        leader: leader.map(|leader| leader.id),
        leader_epoch: leader.map(|leader| leader.epoch),
        replicas: info.replicas.clone(),
        target: info.target.clone(),
    }
}
