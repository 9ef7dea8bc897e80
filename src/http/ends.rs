//! Where the logs of partitions begin and end, and where in them a time is.
//!
//! Each leader knows of its own partitions. A leader is asked once for many topics, whatever the number of their partitions, and
//! what has not come in time is told as not known, so that one that hangs hides no more than its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{self, Options};
use super::problem::Problem;
use super::{forward, leaders};
use crate::context::Context;
use crate::metadata::Topic;
use crate::partition::{OffsetSpec, Partition};

/// Topics of one request.
const TOPICS_MAX: usize = 100;
/// The end of the year 9999.
pub(super) const TIME_MS_MAX: i64 = 253_402_300_799_999;
/// Requests to leaders under way at the same time.
const LEADERS_AT_A_TIME: usize = 8;
/// Partitions that are looked at at the same time.
const PARTITIONS_AT_A_TIME: usize = 64;

/// Where the logs begin and end of the partitions that one broker leads.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Ends {
    broker: u64,
    ends: Vec<End>,
}

/// Where the log of a partition begins and ends.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct End {
    #[schema(example = "orders")]
    topic: String,
    /// The topic's id.
    #[schema(value_type = String)]
    id: Uuid,
    partition: i32,
    /// The offset of the first record that is kept.
    pub(super) log_start_offset: i64,
    /// The offset after the last committed record.
    pub(super) high_watermark: i64,
    /// The offset of the first record at or after the time that was asked for, if there is one.
    pub(super) at_time: Option<i64>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EndsWanted {
    /// Names, separated by commas, 100 at most; those that do not exist are left out of the answer. All if left out.
    #[param(example = "orders")]
    topics: Option<String>,
    /// Milliseconds since 1970: tells for each partition the first record at or after that time.
    #[param(minimum = 0, maximum = 253_402_300_799_999_i64)]
    time_ms: Option<i64>,
    /// Has a majority confirm the leader of each partition, so that no end is older than the request; partitions without
    /// a majority are left out.
    confirmed: Option<bool>,
}

/// What is to be known of the ends of partitions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) time_ms: Option<i64>,
    /// No end may be older than the question.
    pub(super) confirmed: bool,
    /// How long the leaders may take, together.
    pub(super) wait: Duration,
}

/// Returns where the logs begin and end of the partitions that the broker leads which is asked.
#[utoipa::path(
    get, path = "/v1/ends", tag = "topics", params(EndsWanted),
    responses((status = 200, body = Ends))
)]
pub(super) async fn ends(
    State(context): State<Context>,
    Options(wanted): Options<EndsWanted>,
) -> Result<Json<Ends>, Problem> {
    let image = context.metadata.image();
    let topics: Vec<Arc<Topic>> = match &wanted.topics {
        None => image.topics.values().cloned().collect(),
        Some(names) => {
            let names: BTreeSet<&str> = names.split(',').collect();
            extract::within("the number of topics", names.len(), 1..=TOPICS_MAX)?;
            names.into_iter().filter_map(|name| image.topic(name).cloned()).collect()
        }
    };
    let time_ms = wanted.time_ms;
    time_ms.map(|ms| extract::within("time_ms", ms, 0..=TIME_MS_MAX)).transpose()?;
    let confirmed = wanted.confirmed.unwrap_or(false);
    let ends = led_here(&context, topics, time_ms, confirmed).await;
    Ok(Json(Ends { broker: context.node.id(), ends }))
}

/// Returns the ends of partitions, asked of their leaders; those that nobody tells of are missing.
pub(super) async fn of(
    context: &Context,
    partitions: &[(Uuid, i32)],
    question: Question,
) -> HashMap<(Uuid, i32), End> {
    let (image, me) = (context.metadata.image(), context.node.id());
    let mut by_leader: BTreeMap<u64, BTreeMap<&str, &Arc<Topic>>> = BTreeMap::new();
    for &(topic, partition) in partitions {
        let Some(topic) = image.topic_by_id(topic) else { continue };
        let Some(info) = topic.partition(partition) else { continue };
        let Some(leader) = context.metadata.leader(info.group) else { continue };
        by_leader.entry(leader.id).or_default().insert(&topic.name, topic);
    }
    let here: Vec<Arc<Topic>> =
        by_leader.remove(&me).into_iter().flat_map(BTreeMap::into_values).cloned().collect();
    let here = led_here(context, here, question.time_ms, question.confirmed);
    let mut elsewhere = Vec::new();
    for (leader, topics) in by_leader {
        let names: Vec<&str> = topics.into_keys().collect();
        for names in names.chunks(TOPICS_MAX) {
            elsewhere.push(ends_at(context, leader, path(names, question), question.wait));
        }
    }
    let elsewhere = stream::iter(elsewhere)
        .buffer_unordered(LEADERS_AT_A_TIME)
        .take_until(sleep(question.wait))
        .collect::<Vec<_>>();
    let (here, elsewhere) = tokio::join!(here, elsewhere);
    let told = here.into_iter().chain(elsewhere.into_iter().flatten());
    told.map(|end| ((end.id, end.partition), end)).collect()
}

fn path(topics: &[&str], question: Question) -> String {
    let time = question.time_ms.map_or_else(String::new, |ms| format!("&time_ms={ms}"));
    format!("/v1/ends?topics={}{time}&confirmed={}", topics.join(","), question.confirmed)
}

/// What a broker says of the partitions that it leads.
async fn ends_at(context: &Context, broker: u64, path: String, wait: Duration) -> Vec<End> {
    let told = forward::ask_within::<Ends>(context, broker, path, wait).await;
    told.map(|told| told.ends).unwrap_or_default()
}

async fn led_here(
    context: &Context,
    topics: Vec<Arc<Topic>>,
    time_ms: Option<i64>,
    confirmed: bool,
) -> Vec<End> {
    let mut led = Vec::new();
    for topic in topics {
        let here = leaders::led_here(context, &topic).into_iter();
        led.extend(here.map(|(index, here)| (Arc::clone(&topic), index, here)));
    }
    let looks = led.into_iter().map(|(topic, partition, here)| async move {
        let (log_start_offset, high_watermark, at_time) = look(&here, time_ms, confirmed).await?;
        let (id, topic) = (topic.id, topic.name.clone());
        Some(End { topic, id, partition, log_start_offset, high_watermark, at_time })
    });
    let looks = stream::iter(looks).buffered(PARTITIONS_AT_A_TIME);
    looks.filter_map(|end| async { end }).collect().await
}

async fn look(
    here: &Partition,
    time_ms: Option<i64>,
    confirmed: bool,
) -> Option<(i64, i64, Option<i64>)> {
    if confirmed {
        here.read_barrier().await.ok()?;
    }
    let at_time = match time_ms {
        Some(ms) => here.offset_for_timestamp(OffsetSpec::AtOrAfter(ms)).await.ok()?,
        None => None,
    };
    // If the leadership went meanwhile, the new leader may know of more.
    here.leader_epoch_if_ready().ok()?;
    Some((here.log_start(), here.high_watermark(), at_time.map(|it| it.offset)))
}
