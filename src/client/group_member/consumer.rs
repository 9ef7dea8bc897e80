//! The consumer protocol as a member sees it (KIP-848): one request for everything. A heartbeat says who it is and what
//! it has, and the answer what it is to have.

use std::time::Duration;

use kafka_wire::ConsumerGroupHeartbeatRequest;
use kafka_wire::consumer_group_heartbeat_request::TopicPartitions;

use super::{GroupMember, REBALANCE_MS};
use crate::client::{ClientError, ErrorCode};

/// The version in which members give themselves an id.
const CONSUMER_GROUP_HEARTBEAT: i16 = 1;
const JOIN: i32 = 0;
const LEAVE: i32 = -1;
/// What a member has that was fenced: it joins again.
const FENCED_MEMBER_EPOCH: ErrorCode = ErrorCode(110);

impl GroupMember {
    /// Returns whether it is in another epoch, or has another part, than before.
    pub(super) async fn consumer_heartbeat(&mut self, joins: bool) -> Result<bool, ClientError> {
        if joins {
            (self.generation, self.part) = (JOIN, Vec::new());
        }
        let answer = self.call(&self.said(), CONSUMER_GROUP_HEARTBEAT, Duration::ZERO).await?;
        match ErrorCode(answer.error_code) {
            ErrorCode(0) => {}
            FENCED_MEMBER_EPOCH if !joins => return Err(fenced()),
            code => return Err(ClientError::Broker { api: "consumer group heartbeat", code }),
        }
        let before = (self.generation, self.part.clone());
        self.generation = answer.member_epoch;
        self.has_to_tell = false;
        if let Some(assignment) = answer.assignment {
            let all = assignment.topic_partitions;
            self.topic_id = all.first().map(|it| it.topic_id).or(self.topic_id);
            self.part = all.into_iter().flat_map(|it| it.partitions).collect();
            // What it has is said once, for the coordinator waits for what is given back.
            self.has_to_tell = self.part != before.1;
        }
        Ok((self.generation, &self.part) != (before.0, &before.1))
    }

    /// What it says: everything when it joins, and then what it has, when that is something else.
    fn said(&self) -> ConsumerGroupHeartbeatRequest {
        let joins = self.generation == JOIN;
        let owned = self
            .topic_id
            .filter(|_| !self.part.is_empty())
            .map(|id| message!(TopicPartitions { topic_id: id, partitions: self.part.clone() }));
        message!(ConsumerGroupHeartbeatRequest {
            group_id: self.group.as_str().into(),
            member_id: self.id.as_str().into(),
            member_epoch: self.generation,
            rebalance_timeout_ms: if joins { REBALANCE_MS } else { -1 },
            subscribed_topic_names: joins.then(|| vec![self.topic.as_str().into()]),
            topic_partitions: (joins || self.has_to_tell).then(|| owned.into_iter().collect())
        })
    }

    pub(super) async fn leave_consumer(&self) -> Result<(), ClientError> {
        let request = message!(ConsumerGroupHeartbeatRequest {
            group_id: self.group.as_str().into(),
            member_id: self.id.as_str().into(),
            member_epoch: LEAVE
        });
        let answer = self.call(&request, CONSUMER_GROUP_HEARTBEAT, Duration::ZERO).await?;
        ErrorCode::check(answer.error_code, "leaving the group")
    }
}

/// It is as unknown as one that was never there.
fn fenced() -> ClientError {
    ClientError::Broker { api: "consumer group heartbeat", code: super::UNKNOWN_MEMBER }
}
