//! How far the streams of a topic's partitions are: on, off, or still being counted.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Nothing, Options, Parameters};
use super::forward;
use super::placed;
use super::problem::Problem;
use crate::context::Context;
use crate::metadata::Topic;
use crate::partition::Partition;

/// The streams of a topic.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct TopicStreams {
    topic: String,
    partitions: Vec<PartitionStreams>,
}

/// The streams of a partition, as its leader counts them; as a follower does if the leader does not answer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct PartitionStreams {
    partition: i32,
    /// None if nobody tells.
    state: Option<StreamsState>,
    /// Records before this offset are counted.
    built_upto: i64,
    /// Records before this offset have to be counted, because they are older than the streams.
    build_end: i64,
    /// Keys that have had records.
    streams: u64,
    /// Older records that no stream takes: without a key, or in another partition than their key's.
    misplaced: u64,
}

/// Whether versions are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StreamsState {
    Off,
    /// Older records are being counted.
    Building,
    On,
}

/// Tells how far the streams of a topic are.
#[utoipa::path(
    get, path = "/v1/topics/{topic}/streams", tag = "streams",
    params(("topic" = String, Path, description = "Its name", example = "orders")),
    responses((status = 200, body = TopicStreams), (status = 404, description = "There is no such topic", body = Problem))
)]
pub(super) async fn progress(
    State(context): State<Context>,
    headers: HeaderMap,
    Options(Nothing {}): Options<Nothing>,
    Parameters(name): Parameters<String>,
) -> Result<Json<TopicStreams>, Problem> {
    let topic = placed::topic(&context, &name).await?;
    let mut told: BTreeMap<i32, PartitionStreams> = BTreeMap::new();
    for (index, info) in topic.numbered() {
        let here = context.partitions.get(info.group);
        told.extend(here.map(|here| (index, state_of(&topic, index, &here))));
    }
    let is_leaders = |index: i32| {
        let info = topic.partition(index);
        let leader = info.and_then(|info| context.metadata.leader(info.group));
        leader.map(|leader| leader.id)
    };
    if forward::is_forwarded(&headers) {
        let me = Some(context.node.id());
        let partitions = told.into_values().filter(|it| is_leaders(it.partition) == me);
        return Ok(Json(TopicStreams { topic: name, partitions: partitions.collect() }));
    }
    let mut leaders: Vec<u64> =
        topic.numbered().filter_map(|(index, _)| is_leaders(index)).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let asked = leaders.into_iter().filter(|leader| *leader != context.node.id());
    let asked = asked.map(|leader| {
        let path = format!("/v1/topics/{name}/streams");
        forward::ask::<TopicStreams>(&context, leader, path)
    });
    for answer in futures::future::join_all(asked).await.into_iter().flatten() {
        told.extend(answer.partitions.into_iter().map(|it| (it.partition, it)));
    }
    let partitions = topic.numbered().map(|(index, _)| {
        told.remove(&index).unwrap_or(PartitionStreams {
            partition: index,
            state: None,
            built_upto: 0,
            build_end: 0,
            streams: 0,
            misplaced: 0,
        })
    });
    let partitions = partitions.collect();
    Ok(Json(TopicStreams { topic: name, partitions }))
}

fn state_of(topic: &Topic, index: i32, partition: &Partition) -> PartitionStreams {
    let progress = partition.streams_progress();
    let is_wanted = topic.configs.streams().is_some();
    // With nothing written yet they begin with the first record.
    let is_empty = partition.high_watermark() == 0;
    let state = match (is_wanted, progress.ready) {
        (false, _) => StreamsState::Off,
        (true, true) => StreamsState::On,
        (true, false) if is_empty => StreamsState::On,
        (true, false) => StreamsState::Building,
    };
    PartitionStreams {
        partition: index,
        state: Some(state),
        built_upto: progress.built_upto,
        build_end: progress.build_end,
        streams: progress.streams,
        misplaced: progress.misplaced,
    }
}
