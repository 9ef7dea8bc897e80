//! A member of a consumer group, request by request: what a measurement of coordinators needs.
//!
//! It speaks either protocol and reads one topic. It fetches nothing, and gives a partition back as soon as it hears that
//! it has to, so that what a rebalance takes is the coordinator's time and that between heartbeats.

mod classic;
mod consumer;

use std::time::Duration;

use kafka_wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_wire::{OffsetCommitRequest, RequestResponsePair};
use kafka_wire_core::Uuid;
use tokio::time::{Instant, sleep};

use super::{Client, ClientError, ErrorCode};
use crate::config::HostPort;

const OFFSET_COMMIT: i16 = 9;
const PAUSE: Duration = Duration::from_millis(50);
/// A member that is silent for so long is gone.
const SESSION_MS: i32 = 45_000;
/// Members have so long to join again, or to give something back.
const REBALANCE_MS: i32 = 60_000;
/// Somebody else coordinates the group, or soon will.
const ELSEWHERE: [ErrorCode; 3] = [ErrorCode(14), ErrorCode(15), ErrorCode(16)];
const ILLEGAL_GENERATION: ErrorCode = ErrorCode(22);
const UNKNOWN_MEMBER: ErrorCode = ErrorCode(25);
const REBALANCE_IN_PROGRESS: ErrorCode = ErrorCode(27);

/// How a group comes to who reads what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberProtocol {
    /// A member assigns.
    Classic,
    /// The coordinator assigns (KIP-848).
    Consumer,
}

/// See the file's header. It has a connection of its own, for an answer to a member that joins holds up what is behind it.
pub struct GroupMember {
    client: Client,
    coordinator: HostPort,
    protocol: MemberProtocol,
    group: String,
    topic: String,
    /// How many the topic has.
    partitions: i32,
    id: String,
    /// The generation; of the consumer protocol the member's epoch.
    generation: i32,
    part: Vec<i32>,
    /// Of the consumer protocol: what the topic is called in assignments.
    topic_id: Option<Uuid>,
    /// Of the consumer protocol: what it has is something else than what it last said.
    has_to_tell: bool,
}

impl GroupMember {
    /// Somebody who may become a member of the group. The client is to be its own.
    pub fn new(
        client: Client,
        coordinator: HostPort,
        protocol: MemberProtocol,
        group: &str,
        (topic, partitions): (&str, i32),
    ) -> Self {
        let id = match protocol {
            MemberProtocol::Classic => String::new(),
            MemberProtocol::Consumer => uuid::Uuid::new_v4().to_string(),
        };
        Self {
            client,
            coordinator,
            protocol,
            group: group.to_owned(),
            topic: topic.to_owned(),
            partitions,
            id,
            generation: 0,
            part: Vec::new(),
            topic_id: None,
            has_to_tell: false,
        }
    }

    /// The generation that it is in; of the consumer protocol its epoch.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// The partitions that it reads.
    pub fn part(&self) -> &[i32] {
        &self.part
    }

    /// Whether the coordinator waits for a heartbeat that says what it has.
    pub fn has_to_tell(&self) -> bool {
        self.has_to_tell
    }

    /// Joins the group, and in the classic protocol waits for its part.
    pub async fn join(&mut self) -> Result<(), ClientError> {
        let started = Instant::now();
        loop {
            let joined = match self.protocol {
                MemberProtocol::Classic => self.join_classic().await,
                MemberProtocol::Consumer => self.consumer_heartbeat(true).await.map(drop),
            };
            let Err(error) = joined else { return Ok(()) };
            self.recover(error, started).await?;
        }
    }

    /// Says that it is alive; returns whether it may have another part, or be in another generation, than before.
    pub async fn heartbeat(&mut self) -> Result<bool, ClientError> {
        let started = Instant::now();
        loop {
            let heard = match self.protocol {
                MemberProtocol::Classic => self.classic_heartbeat().await,
                MemberProtocol::Consumer => self.consumer_heartbeat(false).await,
            };
            let error = match heard {
                Ok(is_new) => return Ok(is_new),
                Err(ClientError::Broker {
                    code: REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION | UNKNOWN_MEMBER,
                    ..
                }) => return self.join().await.map(|()| true),
                Err(error) => error,
            };
            self.recover(error, started).await?;
        }
    }

    /// Leaves the group.
    pub async fn leave(self) -> Result<(), ClientError> {
        match self.protocol {
            MemberProtocol::Classic => self.leave_classic().await,
            MemberProtocol::Consumer => self.leave_consumer().await,
        }
    }

    /// Commits the same offset of some of its partitions; returns when that is durable.
    pub async fn commit(&self, partitions: &[i32], offset: i64) -> Result<(), ClientError> {
        let partition = |number: &i32| {
            message!(OffsetCommitRequestPartition {
                partition_index: *number,
                committed_offset: offset,
                committed_leader_epoch: -1
            })
        };
        let topic = message!(OffsetCommitRequestTopic {
            name: self.topic.as_str().into(),
            partitions: partitions.iter().map(partition).collect()
        });
        let request = message!(OffsetCommitRequest {
            group_id: self.group.as_str().into(),
            member_id: self.id.as_str().into(),
            generation_id_or_member_epoch: self.generation,
            topics: vec![topic]
        });
        let answer = self.call(&request, OFFSET_COMMIT, Duration::ZERO).await?;
        let mut codes = answer.topics.iter().flat_map(|topic| &topic.partitions);
        codes.try_for_each(|it| ErrorCode::check(it.error_code, "offset commit"))
    }

    /// Asks its coordinator; `more` is what the answer may take beside.
    async fn call<R: RequestResponsePair>(
        &self,
        request: &R,
        version: i16,
        more: Duration,
    ) -> Result<R::Response, ClientError> {
        let connection = self.client.connection(&self.coordinator).await?;
        connection.call(request, version, self.client.config().request_timeout + more).await
    }

    /// Looks who coordinates the group now, if that may be why something failed.
    async fn recover(&mut self, error: ClientError, started: Instant) -> Result<(), ClientError> {
        let is_elsewhere = match &error {
            ClientError::Broker { code, .. } => ELSEWHERE.contains(code),
            other => other.retriable(),
        };
        if !is_elsewhere || started.elapsed() > self.client.config().patience {
            return Err(error);
        }
        sleep(PAUSE).await;
        self.coordinator = self.client.coordinator(&self.group).await?;
        Ok(())
    }
}
