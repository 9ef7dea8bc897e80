//! From what a path names to the replica that answers: which topic, which partition a key is in, who leads it, and who has
//! a replica that can be read.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use quorate_raft::Role;
use quorate_storage::GroupId;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};
use utoipa::ToSchema;

use super::events;
use super::problem::Problem;
use crate::context::Context;
use crate::metadata::{AdminError, Topic, quote};
use crate::partition::{NotReady, Partition, STREAM_KEY_BYTES_MAX};
use crate::record::partition_for_key;

/// How long the metadata may take to be current before a topic is taken for missing.
const CURRENT_WAIT: Duration = Duration::from_secs(2);
/// Between two looks for a leader that is not known.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// How long a request looks for a leader at most.
pub(super) const LEADER_WAIT: Duration = Duration::from_secs(15);

/// How a key is written in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeyEncoding {
    Utf8,
    Base64Url,
}

/// A partition that a request is about.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) topic: Arc<Topic>,
    pub(super) index: i32,
    pub(super) group: GroupId,
}

/// Who decides on appends.
pub(super) enum Leader {
    /// With the leader epoch in which it was found to lead.
    Here(Arc<Partition>, i32),
    There(u64),
}

/// Who has a replica.
pub(super) enum Replica {
    Here(Arc<Partition>),
    There(u64),
}

/// Finds a topic, also one that was made a moment ago at another broker.
pub(super) async fn topic(context: &Context, name: &str) -> Result<Arc<Topic>, Problem> {
    if let Some(topic) = context.metadata.image().topic(name) {
        return Ok(Arc::clone(topic));
    }
    let caught_up = context.controller.catch_up(Instant::now() + CURRENT_WAIT).await;
    if let Some(topic) = context.metadata.image().topic(name) {
        return Ok(Arc::clone(topic));
    }
    // A broker that has just started and hears no metadata leader yet does not know.
    caught_up?;
    Err(AdminError::UnknownTopic(quote(name)).into())
}

/// Finds a topic that has streams.
pub(super) async fn streams_topic(context: &Context, name: &str) -> Result<Arc<Topic>, Problem> {
    let found = topic(context, name).await?;
    if found.configs.streams().is_some() {
        return Ok(found);
    }
    let caught_up = context.controller.catch_up(Instant::now() + CURRENT_WAIT).await;
    let found = topic(context, name).await?;
    if found.configs.streams().is_some() {
        return Ok(found);
    }
    caught_up?;
    Err(streams_off(name))
}

pub(super) fn streams_off(topic: &str) -> Problem {
    let detail = format!("topic {topic} has no streams, so keys have no versions");
    Problem::new(StatusCode::CONFLICT, "streams_off", detail)
        .hint("PATCH /v1/topics/{topic}/configs sets quorate.streams to true")
}

pub(super) fn streams_building(topic: &str) -> Problem {
    let detail = format!("the versions of older records of topic {topic} are still being counted");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "streams_building", detail)
        .hint("GET /v1/topics/{topic}/streams tells how far it is")
}

/// Reads a key as it stands in a path.
pub(super) fn key_of(text: &str, encoding: Option<KeyEncoding>) -> Result<Bytes, Problem> {
    let invalid =
        |detail: &str| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_key", detail);
    let key = match encoding {
        None | Some(KeyEncoding::Utf8) => text.as_bytes().to_vec(),
        Some(KeyEncoding::Base64Url) => {
            events::decoded_url_safe(text).ok_or_else(|| invalid("the key is not base64url"))?
        }
    };
    if (1..=STREAM_KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(key.into());
    }
    Err(invalid("the key of a stream has 1 to 512 bytes"))
}

impl Place {
    pub(super) fn new(topic: Arc<Topic>, index: i32) -> Result<Self, Problem> {
        let group = topic.partition(index).map(|info| info.group);
        let group = group.ok_or_else(|| AdminError::UnknownPartition {
            topic: topic.name.clone(),
            partition: index,
        })?;
        Ok(Self { topic, index, group })
    }

    /// Returns the partition that a key is in, as for Kafka's clients.
    pub(super) fn of_key(topic: Arc<Topic>, key: &[u8]) -> Result<Self, Problem> {
        let index = index_of_key(&topic, key);
        Self::new(topic, index)
    }

    /// Looks for its leader until the deadline.
    pub(super) async fn leader(
        &self,
        context: &Context,
        deadline: Instant,
    ) -> Result<Leader, Problem> {
        let me = context.node.id();
        loop {
            if let Some(partition) = context.partitions.get(self.group) {
                // Taken before looking, so that what changes in between is not missed.
                let mut changes = partition.changed();
                match partition.leader_epoch_if_ready() {
                    Ok(epoch) => return Ok(Leader::Here(partition, epoch)),
                    Err(NotReady { leader: Some(leader) }) if leader.id == me => {
                        let _ = timeout_at(deadline, changes.changed()).await;
                    }
                    Err(_) => {}
                }
            }
            let known = context.metadata.leader(self.group).map(|leader| leader.id);
            if let Some(broker) = known.filter(|it| *it != me && context.node.alive(*it)) {
                return Ok(Leader::There(broker));
            }
            if Instant::now() >= deadline {
                return Err(self.no_leader());
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Returns who can be asked for its records: this broker if it has a replica.
    pub(super) fn replica(&self, context: &Context) -> Result<Replica, Problem> {
        if let Some(partition) = context.partitions.get(self.group)
            && is_sound(&partition)
        {
            return Ok(Replica::Here(partition));
        }
        let me = context.node.id();
        let info = self.topic.partition(self.index);
        let replicas = info.map(|info| info.replicas.as_slice()).unwrap_or_default();
        let leader = context.metadata.leader(self.group).map(|leader| leader.id);
        let mut known = leader.into_iter().chain(replicas.iter().copied());
        let found = known.find(|it| *it != me && context.node.alive(*it));
        found.map(Replica::There).ok_or_else(|| self.no_leader())
    }

    pub(super) fn no_leader(&self) -> Problem {
        let detail = format!("partition {}-{} has no leader now", self.topic.name, self.index);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_leader", detail)
            .hint("nothing was done; ask again, GET /v1/cluster shows what is wrong")
    }
}

pub(super) fn index_of_key(topic: &Topic, key: &[u8]) -> i32 {
    let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX).max(1);
    i32::try_from(partition_for_key(key, count)).unwrap_or(0)
}

/// Returns whether a replica may show what it has: one whose disk or state is damaged waits to be rebuilt.
fn is_sound(partition: &Partition) -> bool {
    if partition.leader_epoch_if_ready().is_ok() {
        return true;
    }
    let status = partition.group().status();
    status.role != Role::Stopped && status.divergence.is_none() && status.corrupt_index.is_none()
}
