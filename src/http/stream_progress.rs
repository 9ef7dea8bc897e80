//! How far the streams of a topic's partitions are: on, off, or still being counted.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Nothing, Options, Parameters};
use super::problem::Problem;
use super::{forward, leaders, placed};
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
    let here = leaders::led_here(&context, &topic).into_iter();
    let here = here.map(|(index, here)| (index, state_of(&topic, index, &here)));
    let mut told: BTreeMap<i32, PartitionStreams> = here.collect();
    if forward::is_forwarded(&headers) {
        let partitions = told.into_values().collect();
        return Ok(Json(TopicStreams { topic: name, partitions }));
    }
    let asked = leaders::others(&context, &topic).into_iter();
    let asked = asked.map(|leader| {
        let path = format!("/v1/topics/{name}/streams");
        forward::ask::<TopicStreams>(&context, leader, path)
    });
    for answer in futures::future::join_all(asked).await.into_iter().flatten() {
        told.extend(answer.partitions.into_iter().map(|it| (it.partition, it)));
    }
    let partitions = topic.numbered().map(|(index, info)| {
        // A replica knows, if nobody leads, how far it was when somebody did.
        let here = || {
            let here = context.partitions.get(info.group)?;
            Some(state_of(&topic, index, &here))
        };
        told.remove(&index).or_else(here).unwrap_or(PartitionStreams {
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
