//! Reading a topic as a member of a consumer group whose coordinator assigns (KIP-848).
//!
//! ```text
//!  next:   heartbeat when it is due ─▶ other partitions? ─▶ nothing more is delivered, `must_commit`
//!          or the next record of those that it has
//!  commit: what was delivered is committed ─▶ partitions are given up and taken ─▶ told at once
//! ```
//!
//! The caller decides when a record is done with: it calls `commit` when all that was delivered is. So what is committed was
//! seen, and what is seen again after a crash is what came after the last commit.
//!
//! Every heartbeat says all there is to say, so one whose answer was lost needs no thought.

use std::collections::{BTreeMap, BTreeSet};

use kafka_wire::consumer_group_heartbeat_request::TopicPartitions;
use kafka_wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_wire::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_wire::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_wire_core::Uuid as WireUuid;
use tokio::time::{Duration, Instant, sleep_until, timeout, timeout_at};
use uuid::Uuid;

use super::coordinator::Coordinator;
use super::{Client, ClientError, Consumer, Delivery, ErrorCode, Isolation, Start};

const HEARTBEAT: (&str, i16) = ("consumer group heartbeat", 1);
const OFFSET_COMMIT: (&str, i16) = ("offset commit", 9);
const OFFSET_FETCH: (&str, i16) = ("offset fetch", 7);
/// How long it may take to give a partition up once it is told to.
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
/// How old what was delivered and not committed becomes while more is delivered.
const COMMIT_AFTER: Duration = Duration::from_secs(1);
/// Before it joins again after it was put out.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it tries to leave; who does not is missed after its session.
const LEAVE_WAIT: Duration = Duration::from_secs(5);
/// The epochs of who joins and of who leaves.
const JOINS: i32 = 0;
const LEAVES: i32 = -1;

/// Partitions by the id of their topic, of which there is one unless it was made anew.
type Parts = BTreeMap<[u8; 16], BTreeSet<i32>>;

/// A member of a group that reads one topic.
pub struct GroupConsumer {
    client: Client,
    coordinator: Coordinator,
    group: String,
    topic: String,
    /// Where a partition begins of which the group has no offset.
    start: Start,
    member_id: String,
    epoch: i32,
    owned: Parts,
    /// What it is to have instead, as soon as what it delivered is committed.
    assigned: Option<Parts>,
    consumer: Consumer,
    /// Behind the last record delivered of a partition, if that is not committed yet.
    delivered: BTreeMap<i32, i64>,
    committed: Instant,
    next_heartbeat: Instant,
}

impl GroupConsumer {
    /// A member that joins with its first heartbeat.
    pub async fn open(
        client: Client,
        topic: &str,
        group: &str,
        start: Start,
        isolation: Isolation,
    ) -> Result<Self, ClientError> {
        client.refresh_patiently(topic, false).await?;
        Ok(Self {
            coordinator: Coordinator::new(client.clone(), group.to_owned()),
            consumer: Consumer::of_nothing(client.clone(), topic, isolation),
            client,
            group: group.to_owned(),
            topic: topic.to_owned(),
            start,
            member_id: Uuid::new_v4().to_string(),
            epoch: JOINS,
            owned: Parts::new(),
            assigned: None,
            delivered: BTreeMap::new(),
            committed: Instant::now(),
            next_heartbeat: Instant::now(),
        })
    }

    /// Returns the next record, waiting for one; None when there is none for the moment. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Delivery>, ClientError> {
        if Instant::now() >= self.next_heartbeat {
            self.heartbeat().await?;
        }
        if self.assigned.is_some() {
            return Ok(None);
        }
        if self.consumer.positions().is_empty() {
            sleep_until(self.next_heartbeat).await;
            return Ok(None);
        }
        match timeout_at(self.next_heartbeat, self.consumer.next()).await {
            Err(_) | Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(delivery))) => {
                self.delivered.insert(delivery.partition, delivery.offset + 1);
                Ok(Some(delivery))
            }
            Ok(Err(ClientError::Broker { code: ErrorCode::OFFSET_OUT_OF_RANGE, .. })) => {
                // Retention has overtaken it, or somebody has deleted records.
                self.read_on(self.consumer.positions().clone()).await?;
                Ok(None)
            }
            Ok(Err(error)) => Err(error),
        }
    }

    /// Returns whether the next record is here already.
    pub fn has_ready(&self) -> bool {
        self.consumer.has_ready()
    }

    /// Returns whether it is time to commit; until then nothing may be delivered.
    pub fn must_commit(&self) -> bool {
        let is_old = !self.delivered.is_empty() && self.committed.elapsed() > COMMIT_AFTER;
        self.assigned.is_some() || is_old
    }

    /// Commits everything that was delivered, and takes over the partitions that it is to have.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let started = Instant::now();
        while !self.delivered.is_empty() {
            let request = self.commit_request();
            let code = |answer: &OffsetCommitResponse| {
                let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.map(|it| it.error_code).find(|code| *code != 0).unwrap_or(0)
            };
            match self.coordinator.ask(OFFSET_COMMIT, &request, code).await {
                Ok(_) => self.delivered.clear(),
                // The group has gone on, and it may still be a member.
                Err(ClientError::Broker { code: ErrorCode::STALE_MEMBER_EPOCH, .. })
                    if started.elapsed() < self.client.config().patience =>
                {
                    self.heartbeat().await?;
                }
                Err(error) => self.put_out_by(error)?,
            }
        }
        self.committed = Instant::now();
        if let Some(assigned) = self.assigned.clone() {
            self.take_over(assigned).await?;
        }
        Ok(())
    }

    /// Leaves the group, so that others need not wait for its session to end.
    pub async fn leave(mut self) {
        let request = self.heartbeat_request(LEAVES);
        let code = |answer: &ConsumerGroupHeartbeatResponse| answer.error_code;
        if self.epoch != JOINS {
            // Whoever does not hear of it finds out.
            let _ = timeout(LEAVE_WAIT, self.coordinator.ask(HEARTBEAT, &request, code)).await;
        }
    }

    async fn heartbeat(&mut self) -> Result<(), ClientError> {
        let request = self.heartbeat_request(self.epoch);
        let code = |answer: &ConsumerGroupHeartbeatResponse| answer.error_code;
        let answer = match self.coordinator.ask(HEARTBEAT, &request, code).await {
            Ok(answer) => answer,
            Err(error) => return self.put_out_by(error),
        };
        self.epoch = answer.member_epoch;
        let interval = u64::try_from(answer.heartbeat_interval_ms).unwrap_or(0);
        self.next_heartbeat = Instant::now() + Duration::from_millis(interval).max(PAUSE);
        if let Some(assignment) = answer.assignment {
            let parts = assignment.topic_partitions.into_iter();
            let parts = parts.filter(|it| !it.partitions.is_empty());
            let parts: Parts = parts
                .map(|it| (it.topic_id.to_bytes(), it.partitions.into_iter().collect()))
                .collect();
            self.assigned = Some(parts).filter(|parts| *parts != self.owned);
        }
        Ok(())
    }

    /// A member that was put out has nothing any more, and joins anew; any other error is one.
    fn put_out_by(&mut self, error: ClientError) -> Result<(), ClientError> {
        match error {
            ClientError::Broker {
                code: ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH,
                ..
            } => {}
            error => return Err(error),
        }
        self.epoch = JOINS;
        self.owned.clear();
        self.assigned = None;
        self.delivered.clear();
        self.consumer.assign(BTreeMap::new());
        self.next_heartbeat = Instant::now() + PAUSE;
        Ok(())
    }

    async fn take_over(&mut self, parts: Parts) -> Result<(), ClientError> {
        let all: BTreeSet<i32> = parts.values().flatten().copied().collect();
        let mut positions = self.consumer.positions().clone();
        positions.retain(|partition, _| all.contains(partition));
        let new: Vec<i32> = all.into_iter().filter(|it| !positions.contains_key(it)).collect();
        let committed = self.committed_offsets(&new).await?;
        for partition in new {
            let offset = self.position(partition, committed.get(&partition).copied()).await?;
            positions.insert(partition, offset);
        }
        self.consumer.assign(positions);
        (self.owned, self.assigned) = (parts, None);
        // Others wait for what it gave up.
        self.next_heartbeat = Instant::now();
        Ok(())
    }

    /// Goes on at these offsets, or at the nearest that there are.
    async fn read_on(&mut self, mut positions: BTreeMap<i32, i64>) -> Result<(), ClientError> {
        for (partition, offset) in &mut positions {
            *offset = self.position(*partition, Some(*offset)).await?;
        }
        self.consumer.assign(positions);
        Ok(())
    }

    async fn position(&self, partition: i32, committed: Option<i64>) -> Result<i64, ClientError> {
        let of = async |which, isolation| {
            self.client.offset(&self.topic, partition, which, isolation).await
        };
        // A group may have read further with another isolation, so that counts which does not go back.
        let first = of(-2, Isolation::Uncommitted).await?;
        let end = of(-1, Isolation::Uncommitted).await?;
        let wanted = match (committed, self.start) {
            (Some(offset), _) | (None, Start::Offset(offset)) => offset,
            (None, Start::Beginning) => first,
            (None, Start::End) => of(-1, self.consumer.isolation()).await?,
        };
        Ok(wanted.max(first).min(end))
    }

    async fn committed_offsets(
        &mut self,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let topic = message!(OffsetFetchRequestTopic {
            name: self.topic.as_str().into(),
            partition_indexes: partitions.to_vec()
        });
        let request = message!(OffsetFetchRequest {
            group_id: self.group.as_str().into(),
            topics: Some(vec![topic]),
            require_stable: true
        });
        let code = |answer: &OffsetFetchResponse| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            let mut codes = partitions.map(|it| it.error_code).chain([answer.error_code]);
            codes.find(|code| *code != 0).unwrap_or(0)
        };
        let answer = self.coordinator.ask(OFFSET_FETCH, &request, code).await?;
        let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
        let committed = partitions.filter(|it| it.committed_offset >= 0);
        Ok(committed.map(|it| (it.partition_index, it.committed_offset)).collect())
    }

    fn heartbeat_request(&self, epoch: i32) -> ConsumerGroupHeartbeatRequest {
        let owned = self.owned.iter().map(|(topic, partitions)| {
            message!(TopicPartitions {
                topic_id: WireUuid::from_bytes(*topic),
                partitions: partitions.iter().copied().collect()
            })
        });
        message!(ConsumerGroupHeartbeatRequest {
            group_id: self.group.as_str().into(),
            member_id: self.member_id.as_str().into(),
            member_epoch: epoch,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            subscribed_topic_names: Some(vec![self.topic.as_str().into()]),
            topic_partitions: Some(owned.collect())
        })
    }

    fn commit_request(&self) -> OffsetCommitRequest {
        let partitions = self.delivered.iter().map(|(partition, offset)| {
            message!(OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: *offset,
                committed_leader_epoch: -1
            })
        });
        message!(OffsetCommitRequest {
            group_id: self.group.as_str().into(),
            generation_id_or_member_epoch: self.epoch,
            member_id: self.member_id.as_str().into(),
            topics: vec![message!(OffsetCommitRequestTopic {
                name: self.topic.as_str().into(),
                partitions: partitions.collect()
            })]
        })
    }
}
